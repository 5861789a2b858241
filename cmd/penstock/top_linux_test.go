package main

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/penstock/penstock/supervisor/daemonctl"
	"github.com/penstock/penstock/supervisor/registry"
)

func TestMerge(t *testing.T) {
	at := func(s int) time.Time { return time.Unix(int64(s), 0) }
	own := []registry.Status{
		{Session: "a", UID: 1, Started: at(1), State: registry.Running, Flows: 1},
		{Session: "b", UID: 1, Started: at(2), State: registry.Frozen, Flows: 99, PIDs: 7},
		{Session: "c", UID: 2, Started: at(3), State: registry.Running},
	}
	theirs := []daemonctl.Status{
		{Session: "d", UID: 1, Started: at(0), Flows: 4},
		{Session: "b", UID: 1, Started: at(2), Flows: 5, Memory: 6},
		{Session: "c", UID: 1, Started: at(4)}, // another user's claims its name
	}
	var got []string
	for _, s := range merge(own, theirs) {
		got = append(got, s.Session+":"+s.State+":"+supervisorOf(&s))
		if s.Session == "b" && (s.Flows != 5 || s.Memory != 6 || s.PIDs != 7) {
			t.Errorf("%+v", s)
		}
	}
	const want = "d:running:supervised a:running:rootless b:frozen:supervised c:running:rootless c:running:supervised"
	if s := strings.Join(got, " "); s != want {
		t.Errorf("%s\nwant\n%s", s, want)
	}
}

// What a session says of itself reaches no terminal as it is.
func TestTableIsEscaped(t *testing.T) {
	evil := "\x1b]0;owned\x07\x1b[2J\u202e\r\n\u009b31m"
	now := time.Unix(1000, 0)
	list := []registry.Status{{Session: evil, UID: 4000000, Started: now, Tier: evil, Mode: evil, State: evil, Command: []string{evil, evil}, CPU: time.Second}}
	v := &view{r: &running{}}
	v.table(list, now)
	list[0].CPU += 500 * time.Millisecond
	var b strings.Builder
	for _, line := range v.table(list, now.Add(time.Second)) {
		b.Write(line)
		b.WriteByte('\n')
	}
	if err := printRunning(&b, list); err != nil {
		t.Fatal(err)
	}
	if strings.ContainsAny(b.String(), "\x1b\x07\r\u202e\u009b") {
		t.Errorf("%q", b.String())
	}
	if n := strings.Count(b.String(), "\n"); n != 6 {
		t.Errorf("%d lines in\n%s", n, b.String())
	}
	if !strings.Contains(b.String(), "  50  ") {
		t.Errorf("half a processor is not told:\n%s", b.String())
	}
}

// On a terminal the screen is drawn, q ends it, and the terminal is as before.
func TestTopOnTerminal(t *testing.T) {
	master, slave := openPTY(t)
	before, err := unix.IoctlGetTermios(int(slave.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		v := &view{r: &running{socket: "/nonexistent"}, every: time.Hour}
		ended <- v.watch(context.Background(), slave, slave)
	}()
	var seen strings.Builder
	buf := make([]byte, 4096)
	typed := false
	for !strings.Contains(seen.String(), "\x1b[?1049l") {
		n, err := master.Read(buf)
		if err != nil {
			t.Fatalf("%v after %q", err, seen.String())
		}
		seen.Write(buf[:n])
		// The heading that no width cuts off, whatever sessions there are.
		if strings.Contains(seen.String(), "SESSION") && !typed {
			typed = true
			master.WriteString("xq")
		}
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	after, err := unix.IoctlGetTermios(int(slave.Fd()), unix.TCGETS)
	if err != nil || *after != *before {
		t.Errorf("the terminal is left as %+v, %v", after, err)
	}
}

func openPTY(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { master.Close() })
	fd := int(master.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	r, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TIOCGPTPEER, uintptr(unix.O_RDWR|unix.O_NOCTTY))
	if errno != 0 {
		t.Fatal(errno)
	}
	slave = os.NewFile(r, "slave")
	t.Cleanup(func() { slave.Close() })
	return master, slave
}
