package ebpf

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// ownGroup is the directory of this process's group.
func ownGroup(b *testing.B) string {
	b.Helper()
	text, err := os.ReadFile("/proc/self/cgroup")
	must(b, err)
	for line := range strings.Lines(string(text)) {
		if path, ok := strings.CutPrefix(line, "0::"); ok {
			return filepath.Join(cgroup2(b), strings.TrimSpace(path))
		}
	}
	b.Fatal("in no group")
	return ""
}

// move puts this process into a group.
func move(b *testing.B, dir string) {
	b.Helper()
	must(b, os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(os.Getpid())), 0))
}

// thousand are addresses that nobody connects to.
func thousand() []netip.Prefix {
	var out []netip.Prefix
	for i := range 1000 {
		a := netip.AddrFrom4([4]byte{45, byte(i >> 8), byte(i), byte(i * 7)})
		out = append(out, netip.PrefixFrom(a, 32))
	}
	return out
}

// crowd denies so many addresses to each of nine sessions that nothing is in.
func (r *rig) crowd() {
	for id := range uint64(9) {
		s, err := r.p.AddSession(1<<40 + id)
		must(r.t, err)
		must(r.t, s.Deny(thousand()))
	}
}

// threadTime is the processor time of the calling thread. The machine may be
// busy with something else: that makes wall time say nothing.
func threadTime() int64 {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts)
	return ts.Nano()
}

// sides are what is compared, in turns: sockets made outside of any group, which
// no program sees, and sockets made in a session, which all see.
type sides struct {
	made [2][]int
	ns   [2][]int64 // per call, one for each round
}

// make makes n sockets of each kind.
func (s *sides) make(b *testing.B, r *rig, session string, kind, n int) {
	for side := range s.made {
		if side == 1 {
			move(b, filepath.Join(r.pens, session))
		}
		for range n {
			fd, err := unix.Socket(unix.AF_INET, kind, 0)
			must(b, err)
			if kind == unix.SOCK_STREAM { // reset, so that no port stays occupied
				must(b, unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}))
			}
			s.made[side] = append(s.made[side], fd)
		}
	}
}

func (s *sides) round(b *testing.B, f func(fd int) error) {
	for side := range s.made {
		begin := threadTime()
		for _, fd := range s.made[side] {
			if err := f(fd); err != nil {
				b.Fatal(err)
			}
		}
		s.ns[side] = append(s.ns[side], (threadTime()-begin)/int64(len(s.made[side])))
	}
}

func (s *sides) report(b *testing.B) {
	for side := range s.ns {
		slices.Sort(s.ns[side])
	}
	median := func(side int) float64 { return float64(s.ns[side][len(s.ns[side])/2]) }
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(median(0), "none-ns")
	b.ReportMetric(median(1), "all-ns")
	b.ReportMetric(median(1)-median(0), "added-ns")
	b.ReportMetric(float64(s.ns[1][0]-s.ns[0][0]), "added-best-ns")
}

func (s *sides) close() {
	for side := range s.made {
		for _, fd := range s.made[side] {
			unix.Close(fd)
		}
		s.made[side] = nil
	}
}

// BenchmarkConnect compares connect(2) with all programs and 10,000 denied
// addresses with none: of a datagram socket, which does nothing but pass the
// hooks and look up a route, and of a stream, whole up to being accepted.
func BenchmarkConnect(b *testing.B) {
	for _, kind := range []struct {
		name   string
		number int
	}{{"datagram", unix.SOCK_DGRAM}, {"stream", unix.SOCK_STREAM}} {
		b.Run(kind.name, func(b *testing.B) {
			r := newRig(b)
			r.crowd()
			pen := r.session("s1")
			must(b, pen.s.Deny(thousand()))
			go drop(pen)
			home := ownGroup(b)
			b.Cleanup(func() { move(b, home) })
			to := &unix.SockaddrInet4{Port: 443, Addr: [4]byte{45, 1, 2, 3}}
			inNetns(b, pen.net, func() {
				var s sides
				for b.Loop() {
					if s.made[0] == nil {
						move(b, home)
						s.make(b, r, "s1", kind.number, 200)
					}
					s.round(b, func(fd int) error { return unix.Connect(fd, to) })
					if kind.number == unix.SOCK_STREAM {
						s.close()
					}
				}
				s.close()
				s.report(b)
			})
		})
	}
}

func drop(pen *testPen) {
	for c := range pen.accepted {
		pen.watcher.Who(pen.r.t.Context(), c.RemoteAddr().(*net.TCPAddr).AddrPort(), c.LocalAddr().(*net.TCPAddr).AddrPort())
		c.Close()
	}
}

// BenchmarkSteer is what a session's start pays for steering.
func BenchmarkSteer(b *testing.B) {
	needRoot(b)
	spec, err := steerSpec(penOptions())
	must(b, err)
	ns := newNetns(b)
	b.Run("load", func(b *testing.B) {
		for b.Loop() {
			st, err := loadSteering(spec)
			must(b, err)
			st.close()
		}
	})
	b.Run("attach", func(b *testing.B) {
		st, err := loadSteering(spec)
		must(b, err)
		defer st.close()
		for b.Loop() {
			l, err := link.AttachNetNs(int(ns.Fd()), st.c.Programs["pen_steer"])
			must(b, err)
			l.Close()
		}
	})
}

// BenchmarkSession is what the start of 50 sessions at once takes of this
// package, when that many are prepared and when hardly any is.
func BenchmarkSession(b *testing.B) {
	const burst = 50
	for _, ready := range []int{burst, 1} {
		b.Run("ready="+strconv.Itoa(ready), func(b *testing.B) {
			r := newGroups(b)
			r.opts.Ready = ready
			r.load()
			var ids [burst]uint64
			var namespaces, listeners [burst]*os.File
			for i := range burst {
				_, ids[i] = r.group(r.pens, "s"+strconv.Itoa(i))
				namespaces[i] = newNetns(b)
				f, err := listener(b, namespaces[i], "127.0.0.1", 1).File()
				must(b, err)
				defer f.Close()
				listeners[i] = f
			}
			for b.Loop() {
				b.StopTimer()
				r.p.work.Wait()
				b.StartTimer()
				var wg sync.WaitGroup
				var sessions [burst]*Session
				for i := range burst {
					wg.Go(func() {
						s, err := r.p.AddSession(ids[i])
						if err == nil {
							err = s.Steer(namespaces[i], listeners[i], nil)
						}
						if err != nil {
							b.Error(err)
						}
						sessions[i] = s
					})
				}
				wg.Wait()
				b.StopTimer()
				for _, s := range sessions {
					must(b, s.Close())
				}
				b.StartTimer()
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/burst, "µs/session")
		})
	}
}

// BenchmarkDeny denies as many addresses as one session may have, and forgets them.
func BenchmarkDeny(b *testing.B) {
	r := newRig(b)
	r.crowd()
	many := thousand()
	for id := uint64(1 << 41); b.Loop(); id++ {
		b.StopTimer()
		s, err := r.p.AddSession(id)
		must(b, err)
		b.StartTimer()
		must(b, s.Deny(many))
		r.p.mu.Lock()
		err = s.forgetDenied()
		r.p.mu.Unlock()
		must(b, err)
		b.StopTimer()
		must(b, s.Close())
		b.StartTimer()
	}
}

// BenchmarkWho is what the proxy pays per connection to know who it is: draining
// the ring and looking it up.
func BenchmarkWho(b *testing.B) {
	r := newRig(b)
	pen := r.session("s1")
	home := ownGroup(b)
	move(b, filepath.Join(r.pens, "s1"))
	b.Cleanup(func() { move(b, home) })
	to := &unix.SockaddrInet4{Port: 80, Addr: [4]byte{1, 2, 3, 4}}
	unknown, took := 0, []int64{}
	inNetns(b, pen.net, func() {
		for b.Loop() {
			fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
			must(b, err)
			must(b, unix.Connect(fd, to))
			c := <-pen.accepted
			client, local := c.RemoteAddr().(*net.TCPAddr).AddrPort(), c.LocalAddr().(*net.TCPAddr).AddrPort()
			begin := threadTime()
			who := pen.watcher.Who(b.Context(), client, local)
			took = append(took, threadTime()-begin)
			if who == nil {
				unknown++
			}
			must(b, c.(*net.TCPConn).SetLinger(0))
			c.Close()
			unix.Close(fd)
		}
	})
	if unknown != 0 {
		b.Errorf("%d connections were nobody's", unknown)
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2]), "who-ns")
	b.ReportMetric(float64(took[len(took)*99/100]), "who-99%-ns")
}
