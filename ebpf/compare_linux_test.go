package ebpf

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	cilium "github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/penstock/penstock/sandbox/netns"
)

// way is one way to bring a pen's connections to a listener.
type way struct {
	name   string
	pen    *testPen // only its namespace and what it accepts are used
	target string
	enter  string // the group to make sockets in, "" for our own
	took   []time.Duration
	cpu    []int64 // ns of processor time
}

// ways builds a namespace for each: plain loopback as the reference, the nat
// rule of the rootless pen, rewriting in connect4, sk_lookup alone, and sk_lookup
// with all programs and 10,000 denied addresses, a thousand to this session.
func ways(b *testing.B) []*way {
	b.Helper()
	r := newRig(b)
	r.crowd()
	plain := func(name, target string) *way {
		pen := &testPen{r: r, accepted: make(chan net.Conn, 1024), net: newNetns(b)}
		pen.listen("127.0.0.1", netns.CapturePort)
		return &way{name: name, pen: pen, target: target}
	}
	loopback := plain("loopback", "127.0.0.1:1")

	nft := plain("nft", "45.1.2.3:443")
	cmd := exec.Command("nft", "-f", "-")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	must(b, err)
	inNetns(b, nft.pen.net, func() { err = cmd.Start() })
	must(b, err)
	fmt.Fprint(in, `table inet t { chain nat { type nat hook output priority -100;
		ip daddr 127.0.0.0/8 accept; ip daddr 192.0.0.8 accept; meta l4proto tcp redirect to :1
	}
}
`)
	in.Close()
	must(b, cmd.Wait())

	rewrite := plain("connect4", "45.1.2.3:443")
	rewrite.enter = filepath.Join(filepath.Dir(r.pens), "rewrite")
	group, _ := r.group(filepath.Dir(r.pens), "rewrite")
	prog, err := cilium.NewProgram(&cilium.ProgramSpec{Type: cilium.CGroupSockAddr, AttachType: cilium.AttachCGroupInet4Connect, License: "GPL",
		Instructions: asm.Instructions{ // user_ip4 and user_port
			asm.Mov.Imm(asm.R2, int32(word4(netip.AddrFrom4([4]byte{127, 0, 0, 1})))),
			asm.StoreMem(asm.R1, 4, asm.R2, asm.Word),
			asm.Mov.Imm(asm.R2, 1<<8), // port 1 in network byte order
			asm.StoreMem(asm.R1, 24, asm.R2, asm.Word),
			asm.Mov.Imm(asm.R0, 1), asm.Return(),
		}})
	must(b, err)
	b.Cleanup(func() { prog.Close() })
	l, err := link.AttachRawLink(link.RawLinkOptions{Target: int(group.Fd()), Program: prog, Attach: cilium.AttachCGroupInet4Connect})
	must(b, err)
	b.Cleanup(func() { l.Close() })

	alone := &way{name: "sk_lookup", pen: r.session("alone"), target: "45.1.2.3:443"}
	all := &way{name: "all", pen: r.session("all"), target: "45.1.2.3:443", enter: filepath.Join(r.pens, "all")}
	must(b, all.pen.s.Deny(thousand()))
	return []*way{loopback, nft, rewrite, alone, all}
}

// BenchmarkSteering compares the ways: one stream, in turns of 16 MB, and
// connecting, in processor time of who connects.
func BenchmarkSteering(b *testing.B) {
	const chunk, turn = 64 << 10, 256
	list := ways(b)
	home := ownGroup(b)
	b.Cleanup(func() { move(b, home) })
	inGroup := func(w *way, f func()) {
		if w.enter != "" {
			move(b, w.enter)
			defer move(b, home)
		}
		inNetns(b, w.pen.net, f)
	}
	b.Run("stream", func(b *testing.B) {
		var clients []net.Conn
		for _, w := range list {
			w.took, w.cpu = nil, nil
			inGroup(w, func() {
				d := net.Dialer{}
				d.SetMultipathTCP(false)
				c, err := d.Dial("tcp4", w.target)
				must(b, err)
				clients = append(clients, c)
			})
			server := <-w.pen.accepted
			defer server.Close()
			go serve(server, chunk)
		}
		buf := make([]byte, chunk)
		for b.Loop() {
			for i, w := range list {
				begin, cpu := time.Now(), processTime()
				for n := range turn {
					if buf[0] = 0; n == turn-1 {
						buf[0] = 1
					}
					if _, err := clients[i].Write(buf); err != nil {
						b.Fatal(err)
					}
				}
				if _, err := clients[i].Read(buf[:1]); err != nil {
					b.Fatal(err)
				}
				w.took = append(w.took, time.Since(begin))
				w.cpu = append(w.cpu, processTime()-cpu)
			}
		}
		for _, c := range clients {
			c.Close()
		}
		for _, w := range list {
			slices.Sort(w.took)
			slices.Sort(w.cpu)
		}
		b.ReportMetric(chunk*turn/1e6/list[0].took[len(list[0].took)/2].Seconds(), "loopback-MB/s")
		for _, w := range list[1:] {
			b.ReportMetric(float64(list[0].took[len(w.took)/2])/float64(w.took[len(w.took)/2]), w.name+"/loopback")
			b.ReportMetric(float64(list[0].cpu[len(w.cpu)/2])/float64(w.cpu[len(w.cpu)/2]), w.name+"/loopback-by-cpu")
		}
	})
	b.Run("connect", func(b *testing.B) {
		for _, w := range list {
			w.cpu = nil
			go func() {
				for c := range w.pen.accepted {
					c.Close()
				}
			}()
		}
		for b.Loop() {
			for _, w := range list {
				inGroup(w, func() { w.cpu = append(w.cpu, connectMany(b, w.target, 100)) })
			}
		}
		for _, w := range list {
			slices.Sort(w.cpu)
			b.ReportMetric(float64(w.cpu[len(w.cpu)/2]), w.name+"-ns")
		}
	})
}

// processTime is the processor time of the whole process, both ends of a stream.
func processTime() int64 {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &ts)
	return ts.Nano()
}

// serve reads, and answers the last chunk of a turn.
func serve(c net.Conn, chunk int) {
	buf := make([]byte, chunk)
	for {
		if _, err := io.ReadFull(c, buf); err != nil {
			return
		}
		if buf[0] == 1 {
			if _, err := c.Write(buf[:1]); err != nil {
				return
			}
		}
	}
}

// connectMany returns the processor time of one connect.
func connectMany(b *testing.B, target string, n int) int64 {
	var fds []int
	for range n {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
		must(b, err)
		must(b, unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}))
		fds = append(fds, fd)
	}
	to, err := sockaddr(fds[0], target)
	must(b, err)
	begin := threadTime()
	for _, fd := range fds {
		if err := unix.Connect(fd, to); err != nil {
			b.Fatal(err)
		}
	}
	took := threadTime() - begin
	for _, fd := range fds {
		unix.Close(fd)
	}
	return took / int64(n)
}
