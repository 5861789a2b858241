package who

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/sandbox"
	"github.com/penstock/penstock/sandbox/netns"
)

// need returns the path of a program, or skips the test; with CI=true it fails.
func need(t testing.TB, name string) string {
	t.Helper()
	p, err := exec.LookPath("/usr/bin/" + name)
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("%s is missing", name)
		}
		t.Skipf("%s is missing", name)
	}
	return p
}

// pen is a network namespace of the builder's with a pid namespace in it. Each
// connection's first line is answered with what the test makes of it.
type pen struct {
	*Resolver
	t   testing.TB
	b   *netns.Building
	in  *os.File
	out *bufio.Reader

	mu   sync.Mutex
	seen []seen
	news *sync.Cond
	say  func(seen) string // the answer to a connection; nil: "ok"
	with func(client, server netip.AddrPort)
}

// seen is one connection: what it said of itself, and what was found.
type seen struct {
	line   string
	claim  int // its own idea of its process number
	number int // that of the process that was found, in the pen; 0: none
	p      *hooks.Process
	err    error
	took   time.Duration
}

// newPen runs a shell script in a pen; it waits for a line on its standard input
// first, which is sent when the Resolver is ready. o changes how it looks.
func newPen(t testing.TB, o func(*Pen), argv ...string) *pen {
	t.Helper()
	unshare, sh := need(t, "unshare"), need(t, "sh")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	inR, inW, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	outR, outW, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	// init is the shell, which waits; the command is its child.
	next := &sandbox.Command{Path: unshare, Env: []string{"PATH=/usr/bin:/bin", "SELF=" + self, "LANG=C.UTF-8"},
		Argv: append([]string{"unshare", "--pid", "--fork", "--kill-child", "--", sh, "-c", `read go; "$@"; echo "exit $?"`, "init"}, argv...)}
	b, err := netns.Start(self, next, [3]*os.File{inR, outW, os.Stderr}, netns.Options{Attribute: true})
	inR.Close()
	outW.Close()
	if err != nil {
		t.Fatal(err)
	}
	pn := &pen{t: t, b: b, in: inW, out: bufio.NewReader(outR)}
	pn.news = sync.NewCond(&pn.mu)
	t.Cleanup(func() { b.Close(); inW.Close(); outR.Close() })
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	s, err := b.Sockets(ctx)
	if err != nil {
		t.Fatal(err)
	}
	p := Pen{Diag: s.Diag, Track: s.Track, CapturePort: netns.CapturePort}
	s.Diag, s.Track = nil, nil
	t.Cleanup(func() { s.Close() })
	if err := b.Executed(ctx); err != nil {
		t.Fatal(err)
	}
	p.Init, p.PIDNamespace = initOf(t, b.Process().Pid)
	if o != nil {
		o(&p)
	}
	if pn.Resolver, err = New(p); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pn.Resolver.Close() })
	listeners, err := s.CaptureListeners()
	if err != nil {
		t.Fatal(err)
	}
	explicit, err := s.ExplicitListeners()
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	t.Cleanup(serving.Wait)
	for i, l := range append(listeners, explicit...) {
		captured := i < len(listeners)
		serving.Go(func() { pn.serve(l, captured, &serving) })
		t.Cleanup(func() { l.Close() })
	}
	t.Cleanup(func() { b.Close() })
	return pn
}

// initOf waits for the first process of the pid namespace that pid has made.
func initOf(t testing.TB, pid int) (first int, namespace uint64) {
	t.Helper()
	dir := fmt.Sprintf("/proc/%d", pid)
	for range 10_000 {
		b, err := os.ReadFile(fmt.Sprintf("%s/task/%d/children", dir, pid))
		if err != nil {
			t.Fatal(err)
		}
		if f := strings.Fields(string(b)); len(f) == 1 {
			first, _ = strconv.Atoi(f[0])
			break
		}
		runtime.Gosched()
	}
	var st unix.Stat_t
	if err := unix.Stat(dir+"/ns/pid_for_children", &st); err != nil || first == 0 {
		t.Fatal("no pid namespace:", err)
	}
	return first, st.Ino
}

func (pn *pen) serve(l *net.TCPListener, captured bool, all *sync.WaitGroup) {
	for {
		c, err := l.AcceptTCP()
		if err != nil {
			return
		}
		all.Go(func() {
			defer c.Close()
			pn.answer(c, captured)
		})
	}
}

func (pn *pen) answer(c *net.TCPConn, captured bool) {
	client, server := addrPort(c.RemoteAddr()), addrPort(c.LocalAddr())
	if captured {
		var err error
		if server, err = netns.OriginalDst(c); err != nil {
			pn.t.Errorf("original destination: %v", err)
			return
		}
	}
	if pn.with != nil {
		pn.with(client, server)
	}
	var s seen
	began := time.Now()
	s.p, s.err = pn.Lookup(context.Background(), client, server)
	s.took = time.Since(began)
	c.SetReadDeadline(time.Now().Add(20 * time.Second))
	line, _ := bufio.NewReader(c).ReadString('\n')
	s.line = strings.TrimSpace(line)
	s.claim, _ = strconv.Atoi(strings.Fields(s.line + " x")[0])
	if s.p != nil {
		s.number = numberIn(s.p.PID)
	}
	say := "ok"
	pn.mu.Lock()
	if pn.say != nil {
		say = pn.say(s)
	}
	pn.mu.Unlock()
	io.WriteString(c, say+"\n")
	pn.mu.Lock()
	pn.seen = append(pn.seen, s)
	pn.news.Broadcast()
	pn.mu.Unlock()
}

// wait waits for n connections, and returns them.
func (pn *pen) wait(n int) []seen {
	pn.t.Helper()
	stop := time.AfterFunc(30*time.Second, func() { pn.mu.Lock(); n = 0; pn.news.Broadcast(); pn.mu.Unlock() })
	defer stop.Stop()
	pn.mu.Lock()
	defer pn.mu.Unlock()
	for len(pn.seen) < n {
		pn.news.Wait()
	}
	if n == 0 {
		pn.t.Fatalf("only %d connections: %+v", len(pn.seen), pn.seen)
	}
	return append([]seen(nil), pn.seen...)
}

// run lets the command go on and returns what it printed.
func (pn *pen) run() string {
	pn.t.Helper()
	if _, err := io.WriteString(pn.in, "go\n"); err != nil {
		pn.t.Fatal(err)
	}
	var all strings.Builder
	for {
		line, err := pn.out.ReadString('\n')
		if strings.HasPrefix(line, "exit ") {
			if line != "exit 0\n" {
				pn.t.Errorf("the command ended with %s:\n%s", line, &all)
			}
			return all.String()
		}
		all.WriteString(line)
		if err != nil {
			pn.t.Fatalf("the command's output ended: %v:\n%s", err, &all)
		}
	}
}

// numberIn returns a process's number in its own pid namespace.
func numberIn(pid int) int {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	f := strings.Fields(lineOf(b, "NSpid:"))
	if len(f) == 0 {
		return 0
	}
	n, _ := strconv.Atoi(f[len(f)-1])
	return n
}

func addrPort(a net.Addr) netip.AddrPort {
	ap := a.(*net.TCPAddr).AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}
