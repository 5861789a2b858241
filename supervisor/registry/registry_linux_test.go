package registry

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// register lists a session that ends soon after it is told to.
func register(t *testing.T, id string, kill func()) Status {
	t.Helper()
	s := Status{Session: id, PID: os.Getpid(), UID: os.Getuid(), Started: time.Now(), Command: []string{"true"}}
	var e *Entry
	listed := make(chan struct{})
	e, err := Register(s, Control{Kill: func() {
		go func() {
			<-listed
			List() // it can still be asked
			kill()
			e.Close()
		}()
	}})
	if err != nil {
		t.Fatal(err)
	}
	close(listed)
	t.Cleanup(func() { e.Close() })
	return s
}

// named returns a session name of this process's own: the names of all test
// processes of a machine stand in one table.
func named(name string) string { return fmt.Sprintf("t%d-%s", os.Getpid(), name) }

func TestListAndKill(t *testing.T) {
	killed := make(chan string, 2)
	first, second := named("aaaa"), named("bbbb")
	register(t, first, func() { killed <- "first" })
	register(t, second, func() { killed <- "second" })
	list, err := List()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]bool{}
	for _, s := range list {
		got[s.Session] = true
	}
	if !got[first] || !got[second] {
		t.Fatalf("list = %v", list)
	}
	if _, err := Kill(named("")); err == nil {
		t.Error("a prefix of two sessions killed one")
	}
	if _, err := Kill(named("b")); err != nil {
		t.Fatal(err)
	}
	// Kill returns when the session has ended, not before.
	select {
	case k := <-killed:
		if k != "second" {
			t.Errorf("killed %s", k)
		}
	default:
		t.Error("kill returned before the session's end")
	}
	var none *NoSessionError
	if _, err := Kill(named("nope")); !errors.As(err, &none) {
		t.Errorf("kill of nothing: %v", err)
	}
}

func TestLiveAndFreeze(t *testing.T) {
	name, frozen := named("live"), false
	e, err := Register(Status{Session: name, UID: os.Getuid()}, Control{
		Live: func(s *Status) { s.Memory, s.State = 42, map[bool]string{false: Running, true: Frozen}[frozen] },
		Freeze: func(on bool) error {
			if frozen == on {
				return errors.New("it is so already")
			}
			frozen = on
			return nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	for _, on := range []bool{true, false} {
		s, err := Freeze(name, on)
		if err != nil || (s.State == Frozen) != on || s.Memory != 42 {
			t.Errorf("freeze %v: %+v %v", on, s, err)
		}
		if _, err := Freeze(name, on); err == nil || !strings.Contains(err.Error(), "it is so already") {
			t.Errorf("freeze %v again: %v", on, err)
		}
	}
	other := register(t, named("cold"), func() {})
	if _, err := Freeze(other.Session, true); err == nil {
		t.Error("a session that can't be frozen was")
	}
}

// TestExec: who takes further commands goes on with the connection, and nobody waits
// for that; who does not says why.
func TestExec(t *testing.T) {
	name := named("exec")
	var open atomic.Bool
	taken := make(chan *net.UnixConn, 1)
	e, err := Register(Status{Session: name, UID: os.Getuid()}, Control{Exec: func(int) (func(*net.UnixConn), error) {
		if !open.Load() {
			return nil, errors.New("not now")
		}
		return func(c *net.UnixConn) { taken <- c }, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if _, _, err := Exec(name); err == nil || !strings.Contains(err.Error(), "not now") {
		t.Error(err)
	}
	open.Store(true)
	c, s, err := Exec(name)
	if err != nil || s.Session != name {
		t.Fatal(s, err)
	}
	defer c.Close()
	theirs := <-taken
	defer theirs.Close()
	if _, err := List(); err != nil {
		t.Error(err)
	}
	c.Write([]byte("x"))
	theirs.SetDeadline(time.Now().Add(time.Minute))
	if n, err := theirs.Read(make([]byte, 2)); n != 1 || err != nil {
		t.Error(n, err)
	}
	other := register(t, named("noexec"), func() {})
	if _, _, err := Exec(other.Session); err == nil || !strings.Contains(err.Error(), "takes no further command") {
		t.Error(err)
	}
	var none *NoSessionError
	if _, _, err := Exec(named("nosuch")); !errors.As(err, &none) {
		t.Error(err)
	}
}

func TestGarbageIsAnswered(t *testing.T) {
	s := register(t, named("g"), func() { t.Error("garbage killed the session") })
	for _, in := range []string{"\n", "{}\n", "kill\n", `{"op":"kill"`, "\x00\xff\n"} {
		c, err := net.Dial("unix", prefix(s.UID)+s.Session)
		if err != nil {
			t.Fatal(err)
		}
		c.Write([]byte(in))
		c.(*net.UnixConn).CloseWrite()
		c.SetDeadline(time.Now().Add(5 * time.Second))
		line, err := readLine(c, maxAnswer)
		if err != nil || string(line[:9]) != `{"error":` {
			t.Errorf("%q answered with %q, %v", in, line, err)
		}
		c.Close()
	}
}

func TestClosedSessionIsNotListed(t *testing.T) {
	e, err := Register(Status{Session: named("c"), UID: os.Getuid()}, Control{})
	if err != nil {
		t.Fatal(err)
	}
	e.Close()
	e.Close()
	list, _ := List()
	for _, s := range list {
		if s.Session == named("c") {
			t.Error("closed session is listed")
		}
	}
}

// TestEndsMeanwhile: a session that ends between being found and answering is not
// there, whatever of it was still open.
func TestEndsMeanwhile(t *testing.T) {
	id := named("m")
	l, err := net.Listen("unix", prefix(os.Getuid())+id)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for read := false; ; read = !read {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if read {
				readLine(c, maxRequest)
			}
			c.Close()
		}
	}()
	var gone *NoSessionError
	for range 10 {
		if _, err := Freeze(id, false); !errors.As(err, &gone) || gone.Session != id {
			t.Fatal(err)
		}
	}
	name := prefix(os.Getuid()) + id
	l.Close()
	if _, err := query(name, "status", patience); !errors.As(err, &gone) {
		t.Error(err)
	}
}
