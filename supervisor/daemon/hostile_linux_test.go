package daemon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/penstock/penstock/sandbox/netns"
	"github.com/penstock/penstock/supervisor/daemonctl"
)

// attack is what a hostile caller does after an honest session's first steps. Its
// error is what it got; refused must be in it.
type attack struct {
	after   int
	refused string
	do      func(*pretender, context.Context) error
}

func temp(kind string) *os.File {
	fd, err := unix.MemfdCreate(kind, unix.MFD_CLOEXEC)
	if err != nil {
		panic(err)
	}
	return os.NewFile(uintptr(fd), kind)
}

// joinAs joins a process by its number.
func joinAs(pid int) func(*pretender, context.Context) error {
	return func(u *pretender, ctx context.Context) error {
		f, err := pidfd(pid)
		if err != nil {
			return err
		}
		return u.client.Join(ctx, f)
	}
}

// swapped replaces one of the pen's sockets.
func swapped(name string, make func() (*os.File, error)) func(*pretender, context.Context) error {
	return func(u *pretender, ctx context.Context) error {
		s, err := u.pen.Sockets(ctx)
		if err != nil {
			return err
		}
		files := s.Files()
		if files[name], err = make(); err != nil {
			return err
		}
		ns, err := u.ns()
		if err != nil {
			return err
		}
		return u.client.Network(ctx, files, ns)
	}
}

func socket(domain, typ, proto int, listen bool) func() (*os.File, error) {
	return func() (*os.File, error) {
		fd, err := unix.Socket(domain, typ|unix.SOCK_CLOEXEC, proto)
		if err != nil {
			return nil, err
		}
		if listen {
			unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}})
			if err := unix.Listen(fd, 1); err != nil {
				return nil, err
			}
		}
		return os.NewFile(uintptr(fd), "socket"), nil
	}
}

// attacks are all that a caller does against the daemon in one conversation.
func attacks() map[string]attack {
	send := func(m *daemonctl.Message, files ...*os.File) func(*pretender, context.Context) error {
		return func(u *pretender, ctx context.Context) error {
			c, err := rawDial(u.socket)
			if err != nil {
				return err
			}
			c.SetDeadline(time.Now().Add(15 * time.Second))
			if err := c.Send(m, files...); err != nil {
				return err
			}
			r, _, err := c.Recv()
			if err != nil {
				return err
			}
			return errors.New(r.Text)
		}
	}
	bytesOf := func(b []byte) func(*pretender, context.Context) error {
		return func(u *pretender, ctx context.Context) error {
			c, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: u.socket, Net: "unixpacket"})
			if err != nil {
				return err
			}
			c.SetDeadline(time.Now().Add(15 * time.Second))
			if _, err := c.Write(b); err != nil {
				return err
			}
			buf := make([]byte, 4096)
			n, err := c.Read(buf)
			if err != nil && err != io.EOF {
				return err
			}
			return errors.New(string(buf[:n]))
		}
	}
	many := make([]*os.File, daemonctl.MaxFiles)
	for i := range many {
		many[i] = os.Stdin
	}
	open := &daemonctl.Message{Op: daemonctl.OpOpen, Version: daemonctl.Version, Open: request()}
	return map[string]attack{
		"garbage":    {0, "decode message", bytesOf([]byte("\x00\xff\xfe garbage"))},
		"half":       {0, "decode message", bytesOf([]byte(`{"op":"open","version":1,"open":{"command":["true"`))},
		"huge":       {0, "receive message: more than", bytesOf(bytes.Repeat([]byte(" "), daemonctl.MaxMessage+2))},
		"deep":       {0, "decode message", bytesOf(bytes.Repeat([]byte("["), 60_000))},
		"answer":     {0, "out of turn", send(&daemonctl.Message{Op: daemonctl.OpOpened, Opened: &daemonctl.Opened{Session: "x"}})},
		"version":    {0, "the caller speaks version 99", send(&daemonctl.Message{Op: daemonctl.OpOpen, Version: 99, Open: request()})},
		"open+files": {0, "", send(open, many...)},
		"list+file":  {0, "", send(&daemonctl.Message{Op: daemonctl.OpList, Version: daemonctl.Version}, os.Stdin)},
		"join first": {0, "", send(&daemonctl.Message{Op: daemonctl.OpJoin}, os.Stdin)},
		"end first":  {0, "", send(&daemonctl.Message{Op: daemonctl.OpEnd, End: &daemonctl.End{}})},
		"silent": {0, "EOF", func(u *pretender, ctx context.Context) error {
			c, _ := rawDial(u.socket)
			c.Raw().CloseWrite()
			_, _, err := c.Recv()
			return err
		}},
		"open twice": {stepOpen, "out of turn", func(u *pretender, ctx context.Context) error {
			_, _, _, err := u.client.Open(ctx, request())
			return err
		}},
		"verify early": {stepJoin, "out of turn", func(u *pretender, ctx context.Context) error { return u.client.Verify(ctx, os.Stdin) }},
		"join twice":   {stepJoin, "out of turn", (*pretender).join},
		"network twice": {stepNetwork, "out of turn", func(u *pretender, ctx context.Context) error {
			ns, err := u.ns()
			if err != nil {
				return err
			}
			return u.client.Network(ctx, u.sockets.Files(), ns)
		}},
		"list inside": {stepOpen, "out of turn", func(u *pretender, ctx context.Context) error { _, err := u.client.List(ctx); return err }},

		"join no pidfd": {stepOpen, "is no pidfd", func(u *pretender, ctx context.Context) error { return u.client.Join(ctx, os.Stdin) }},
		"join memfd":    {stepOpen, "is no pidfd", func(u *pretender, ctx context.Context) error { return u.client.Join(ctx, temp("anon_inode:[pidfd]")) }},
		"join init":     {stepOpen, "another user's", joinAs(1)},
		"join the peer": {stepOpen, "another user's", func(u *pretender, ctx context.Context) error { return joinAs(os.Getppid())(u, ctx) }},
		"join itself":   {stepOpen, "no_new_privs is off", func(u *pretender, ctx context.Context) error { return joinAs(os.Getpid())(u, ctx) }},
		"join host's":   {stepOpen, "host's user or network namespace", joinNoNewPrivs},
		"join the dead": {stepOpen, "the process has ended", joinDead},
		"join a zombie": {stepOpen, "the process has ended", joinZombie},
		"join set-uid":  {stepOpen, "another user's", joinSetUID},
		"network of the host": {stepJoin, "namespace is the host's", func(u *pretender, ctx context.Context) error {
			s, err := u.pen.Sockets(ctx)
			if err != nil {
				return err
			}
			ns, err := os.Open("/proc/self/ns/net")
			if err != nil {
				return err
			}
			return u.client.Network(ctx, s.Files(), ns)
		}},
		"network of another": {stepJoin, "not that of the pen's first process", func(u *pretender, ctx context.Context) error {
			s, err := u.pen.Sockets(ctx)
			if err != nil {
				return err
			}
			other, err := netns.Prepare("/proc/self/exe", [3]*os.File{}, netns.Options{})
			if err != nil {
				return err
			}
			defer other.Close()
			ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", other.Process().Pid))
			if err != nil {
				return err
			}
			return u.client.Network(ctx, s.Files(), ns)
		}},
		"network no namespace": {stepJoin, "is no network namespace", func(u *pretender, ctx context.Context) error {
			s, err := u.pen.Sockets(ctx)
			if err != nil {
				return err
			}
			return u.client.Network(ctx, s.Files(), temp("net:[4026531840]"))
		}},
		"network user namespace": {stepJoin, "is no network namespace", func(u *pretender, ctx context.Context) error {
			s, err := u.pen.Sockets(ctx)
			if err != nil {
				return err
			}
			ns, err := os.Open("/proc/self/ns/user")
			if err != nil {
				return err
			}
			return u.client.Network(ctx, s.Files(), ns)
		}},
		"network host socket":   {stepJoin, "another network namespace", swapped("capture4", socket(unix.AF_INET, unix.SOCK_STREAM, 0, true))},
		"network not listening": {stepJoin, "wrong listening", swapped("explicit4", socket(unix.AF_INET, unix.SOCK_STREAM, 0, false))},
		"network udp for tcp":   {stepJoin, "wrong type", swapped("dnstcp4", socket(unix.AF_INET, unix.SOCK_DGRAM, 0, false))},
		"network unix for udp":  {stepJoin, "wrong family", swapped("dnsudp4", socket(unix.AF_UNIX, unix.SOCK_DGRAM, 0, false))},
		"network route":         {stepJoin, "wrong protocol", swapped("drops", socket(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_ROUTE, false))},
		"network file":          {stepJoin, "is no socket", swapped("drops", func() (*os.File, error) { return temp("socket:[1]"), nil })},
		"network unknown":       {stepJoin, "is unknown or there twice", swapped("capture9", socket(unix.AF_INET, unix.SOCK_STREAM, 0, true))},
		"network without": {stepJoin, "is missing", func(u *pretender, ctx context.Context) error {
			s, err := u.pen.Sockets(ctx)
			if err != nil {
				return err
			}
			files := s.Files()
			delete(files, "drops")
			ns, err := u.ns()
			if err != nil {
				return err
			}
			return u.client.Network(ctx, files, ns)
		}},
		"verify no pidfd": {stepHold, "is no pidfd", func(u *pretender, ctx context.Context) error { return u.client.Verify(ctx, temp("x")) }},
		"verify itself": {stepHold, "not in the session's control group", func(u *pretender, ctx context.Context) error {
			f, err := pidfd(os.Getpid())
			if err != nil {
				return err
			}
			return u.client.Verify(ctx, f)
		}},
		"verify builder": {stepHold, "capabilities", func(u *pretender, ctx context.Context) error {
			f, err := pidfd(u.pen.Process().Pid)
			if err != nil {
				return err
			}
			return u.client.Verify(ctx, f)
		}},
		"verify twice": {stepVerify, "out of turn", (*pretender).verify},
		"capabilities": {stepHold, "it has capabilities", (*pretender).verify}, // with the pen's mode "caps"
	}
}

// joinNoNewPrivs joins a process of the caller's that is in no pen.
func joinNoNewPrivs(u *pretender, ctx context.Context) error {
	cmd := exec.Command("setpriv", "--no-new-privs", "sleep", "1000")
	if err := cmd.Start(); err != nil {
		return err
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	return joinAs(cmd.Process.Pid)(u, ctx)
}

// joinDead joins a process that has ended and is reaped.
func joinDead(u *pretender, ctx context.Context) error {
	cmd := exec.Command("true")
	if err := cmd.Start(); err != nil {
		return err
	}
	f, err := pidfd(cmd.Process.Pid)
	if err != nil {
		return err
	}
	cmd.Wait()
	return u.client.Join(ctx, f)
}

// joinZombie joins one that nobody has reaped.
func joinZombie(u *pretender, ctx context.Context) error {
	cmd := exec.Command("true")
	if err := cmd.Start(); err != nil {
		return err
	}
	f, err := pidfd(cmd.Process.Pid)
	if err != nil {
		return err
	}
	fds := []unix.PollFd{{Fd: int32(f.Fd()), Events: unix.POLLIN}}
	for {
		if _, err := unix.Poll(fds, -1); !errors.Is(err, unix.EINTR) {
			break
		}
	}
	defer cmd.Wait()
	return u.client.Join(ctx, f)
}

// joinSetUID joins a set-user-id program that the caller has started.
func joinSetUID(u *pretender, ctx context.Context) error {
	in, out, err := os.Pipe()
	if err != nil {
		return err
	}
	defer out.Close()
	cmd := exec.Command(u.args[0], "1000")
	cmd.Stdin = in
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return err
	}
	defer cmd.Wait()
	defer cmd.Process.Kill() // its real user is still the caller
	return joinAs(cmd.Process.Pid)(u, ctx)
}

// hostileScenario does one attack and prints what it got.
func hostileScenario(u *pretender) error {
	name := u.args[0]
	u.args = u.args[1:]
	a := attacks()[name]
	if name == "capabilities" {
		u.args = []string{"caps"}
	}
	if err := u.to(a.after); err != nil {
		return err
	}
	err := within(func(ctx context.Context) error { return a.do(u, ctx) })
	fmt.Printf("got %s\n", strconv.Quote(fmt.Sprint(err)))
	return nil
}

func TestHostileCallers(t *testing.T) {
	s := serve(t, nil)
	suid := setUIDSleep(t)
	for name, a := range attacks() {
		t.Run(name, func(t *testing.T) {
			args := []string{name}
			if name == "join set-uid" {
				args = append(args, suid)
			}
			c := s.call(t, ann, "hostile", args...)
			got, err := strconv.Unquote(c.expect("got"))
			if err != nil || got == "<nil>" || !strings.Contains(got, a.refused) {
				t.Errorf("it got %q, not %q", got, a.refused)
			}
			c.end()
			s.idle(t)
		})
	}
	// After all that the daemon serves as before.
	c := s.call(t, bob, "whole")
	c.expect("serving")
	c.next()
	c.end()
	if strings.Contains(s.logged(), "panic") {
		t.Error(s.logged())
	}
}

// setUIDSleep makes a set-user-id copy of sleep.
func setUIDSleep(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("/bin/sleep")
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.CreateTemp("/tmp", "penstock-suid-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(f.Name()) })
	if _, err := f.Write(b); err != nil {
		t.Fatal(err)
	}
	f.Close()
	if err := os.Chmod(f.Name(), 0o755|os.ModeSetuid); err != nil {
		t.Fatal(err)
	}
	return f.Name()
}

// floodScenario opens connections as fast as it can, and keeps them, until it is
// told to end.
func floodScenario(u *pretender) error {
	fmt.Println("flooding")
	done := make(chan struct{})
	go func() { u.in.ReadString('\n'); close(done) }()
	var keep []*daemonctl.Conn
	for {
		select {
		case <-done:
			return nil
		default:
		}
		c, err := rawDial(u.socket)
		if err == nil {
			keep = append(keep, c)
		}
		if len(keep) > 500 || err != nil {
			for _, c := range keep {
				c.Close()
			}
			keep = keep[:0]
		}
	}
}

// TestFlood: while one user opens connections without end, another's sessions go
// on as if there were nobody.
func TestFlood(t *testing.T) {
	s := serve(t, nil)
	f := s.call(t, ann, "flood")
	f.expect("flooding")
	for range 3 {
		start := time.Now()
		c := s.call(t, bob, "whole")
		c.expect("serving")
		c.next()
		c.end()
		// A loaded machine of two processors is slow, not starved.
		if d := time.Since(start); d > 20*time.Second {
			t.Errorf("a session beside the flood took %v", d)
		}
	}
	f.next()
	f.end()
}

// lingerScenario sends a socket whose last close waits until its peer has read
// all, which it never does.
func lingerScenario(u *pretender) error {
	if err := u.to(stepOpen); err != nil {
		return err
	}
	l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return err
	}
	c, err := net.DialTCP("tcp4", nil, l.Addr().(*net.TCPAddr))
	if err != nil {
		return err
	}
	deaf, err := l.AcceptTCP()
	if err != nil {
		return err
	}
	defer deaf.Close()
	c.SetLinger(600)
	c.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
	for err == nil {
		_, err = c.Write(make([]byte, 1<<16))
	}
	f, err := c.File()
	if err != nil {
		return err
	}
	err = within(func(ctx context.Context) error { return u.client.Join(ctx, f) })
	if err == nil {
		return errors.New("a socket was taken for a process")
	}
	go c.Close() // waits, if it is the last one
	go f.Close()
	u.say("sent")
	return nil
}

// TestDescriptorsThatCannotBeClosed: who sends one has his session ended all the
// same, and nobody else waits.
func TestDescriptorsThatCannotBeClosed(t *testing.T) {
	s := serve(t, nil)
	c := s.call(t, bob+1, "linger") // a user who may outlive the daemon
	c.expect("sent")
	start := time.Now()
	s.idle(t)
	b := s.call(t, bob, "whole")
	b.expect("serving")
	b.next()
	b.end()
	s.stop()
	if d := time.Since(start); d > 15*time.Second {
		t.Errorf("it took %v", d)
	}
	c.next()
	c.end()
}
