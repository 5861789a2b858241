package netns

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/penstock/penstock/netproxy/dns"
	"github.com/penstock/penstock/sandbox"
)

// need returns the path of a program, or skips the test; with CI=true it fails.
func need(t testing.TB, name, install string) string {
	t.Helper()
	p, err := exec.LookPath(name)
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("%s is missing: %s", name, install)
		}
		t.Skipf("%s is missing: %s", name, install)
	}
	return p
}

// self is this test binary by a path that is valid inside bwrap as well.
func self(t testing.TB) string {
	t.Helper()
	p, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// pen is a running pen whose connections and questions are answered: a captured
// connection gets a line with its original destination.
type pen struct {
	*Building
	Sockets *Sockets
	Names   *dns.Table
	out     *os.File
	server  *dns.Server
}

// serve answers everything that the pen's sockets get. The capture and explicit
// listeners and the DNS sockets are taken over; Drops and Connector are left.
func serve(t testing.TB, s *Sockets) (*dns.Table, *dns.Server) {
	t.Helper()
	table, err := dns.NewTable(0)
	if err != nil {
		t.Fatal(err)
	}
	packets, err := s.DNSPacketConns()
	if err != nil {
		t.Fatal(err)
	}
	had := s.IPv6()
	server := dns.NewServer(dns.Config{Table: table, NoIPv6: !had})
	// A descriptor is closed when the last who uses it is done: tests count them.
	var serving sync.WaitGroup
	t.Cleanup(serving.Wait)
	t.Cleanup(func() { server.Close() })
	for _, c := range packets {
		serving.Go(func() { server.ServeUDP(c) })
	}
	streams, err := s.DNSListeners()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range streams {
		serving.Go(func() { server.ServeTCP(l) })
	}
	capture, err := s.CaptureListeners()
	if err != nil {
		t.Fatal(err)
	}
	explicit, err := s.ExplicitListeners()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range append(capture, explicit...) {
		t.Cleanup(func() { l.Close() })
	}
	if s.IPv6() != had {
		t.Error("IPv6 changes when the sockets are taken over")
	}
	accept := func(l *net.TCPListener, say func(*net.TCPConn) string) {
		for {
			c, err := l.AcceptTCP()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer c.Close()
				io.WriteString(c, say(c)+"\n")
				c.SetReadDeadline(time.Now().Add(5 * time.Second))
				io.Copy(io.Discard, c)
			})
		}
	}
	for _, l := range capture {
		serving.Go(func() {
			accept(l, func(c *net.TCPConn) string {
				dst, err := OriginalDst(c)
				if errors.Is(err, ErrNotRedirected) {
					return "not redirected"
				}
				if err != nil {
					return "error: " + err.Error()
				}
				return "captured " + dst.String()
			})
		})
	}
	for _, l := range explicit {
		serving.Go(func() { accept(l, func(*net.TCPConn) string { return "proxy" }) })
	}
	return table, server
}

// openPen builds a pen and starts next in it. Its standard output is p.out.
func openPen(t testing.TB, o Options, next *sandbox.Command) *pen {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	b, err := Start("/proc/self/exe", next, [3]*os.File{nil, w, w}, o)
	if err != nil {
		t.Fatal(err)
	}
	p := &pen{Building: b, out: r}
	t.Cleanup(func() { b.Close(); r.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if p.Sockets, err = b.Sockets(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Sockets.Close() })
	p.Names, p.server = serve(t, p.Sockets)
	return p
}

// inside is the command that runs the tool's steps as it is in a session: in a
// nested user namespace, with no capability.
func inside(t testing.TB, steps ...string) *sandbox.Command {
	t.Helper()
	bwrap := need(t, "bwrap", "apt-get install bubblewrap")
	argv := []string{bwrap, "--unshare-user", "--unshare-pid", "--cap-drop", "ALL", "--die-with-parent",
		"--dev-bind", "/", "/", "--proc", "/proc", "--ro-bind", "/proc/sys", "/proc/sys", "--", self(t), toolRole}
	return &sandbox.Command{Path: bwrap, Argv: append(argv, steps...), Env: os.Environ()}
}

// builder is the command that runs the steps as root of the pen's namespace,
// which no tool ever is: the rules must hold even then.
func builder(t testing.TB, steps ...string) *sandbox.Command {
	t.Helper()
	return &sandbox.Command{Path: self(t), Argv: append([]string{self(t), toolRole}, steps...), Env: os.Environ()}
}

// result collects the tool's output until its end, one line per step.
func (p *pen) result(t testing.TB) []string {
	t.Helper()
	var buf bytes.Buffer
	timeout := time.AfterFunc(30*time.Second, func() { p.Process().Kill() })
	defer timeout.Stop()
	if _, err := io.Copy(&buf, p.out); err != nil {
		t.Fatal(err)
	}
	if state, err := p.Wait(); err != nil || !state.Success() {
		t.Fatalf("tool: %v, %v\n%s", state, err, buf.String())
	}
	return strings.Split(strings.TrimRight(buf.String(), "\n"), "\n")
}

// step is one step of a tool and what its line of output must be; a want that
// ends in "*" is a beginning.
type step struct{ do, want string }

func (s step) check(t testing.TB, got string) {
	t.Helper()
	for want := range strings.SplitSeq(s.want, "|") {
		if got == want {
			return
		}
		if head, ok := strings.CutSuffix(want, "*"); ok && strings.HasPrefix(got, head) {
			return
		}
	}
	t.Errorf("%s: %s, want %s", s.do, got, s.want)
}

// runSteps runs all steps in one pen.
func runSteps(t *testing.T, command func(testing.TB, ...string) *sandbox.Command, steps []step) *pen {
	t.Helper()
	var do []string
	for _, s := range steps {
		do = append(do, s.do)
	}
	p := openPen(t, Options{}, command(t, do...))
	lines := p.result(t)
	if len(lines) != len(steps) {
		t.Fatalf("%d lines for %d steps:\n%s", len(lines), len(steps), strings.Join(lines, "\n"))
	}
	for i, s := range steps {
		s.check(t, lines[i])
	}
	return p
}

// drain reads refused packets until the sum of want's destinations is there.
func drain(t testing.TB, s *Sockets, done func(map[string]uint64, uint64) bool) (map[string]uint64, uint64) {
	t.Helper()
	d, err := s.DropReader()
	if err != nil {
		t.Fatal(err)
	}
	var once sync.Once
	stop := func() { once.Do(func() { d.Close() }) }
	defer stop()
	timer := time.AfterFunc(10*time.Second, stop)
	defer timer.Stop()
	sum, lost := map[string]uint64{}, uint64(0)
	for !done(sum, lost) {
		drops, more, err := d.Read()
		lost += more
		for _, r := range drops {
			sum[dropName(r)] += r.Count
		}
		if err != nil {
			t.Fatalf("read refused packets: %v; so far %v, lost %d", err, sum, lost)
		}
	}
	return sum, lost
}
