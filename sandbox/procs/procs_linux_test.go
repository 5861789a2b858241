package procs

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// tree starts a shell with a child that has a child, and returns their numbers.
func tree(t *testing.T, script string) (root int, line *bufio.Reader) {
	t.Helper()
	cmd := exec.Command("/bin/sh", "-c", script)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		Continue(cmd.Process.Pid)
		for _, pid := range append(Below(cmd.Process.Pid), cmd.Process.Pid) {
			if p, err := os.FindProcess(pid); err == nil {
				p.Kill()
			}
		}
		in.Close()
		cmd.Wait()
	})
	return cmd.Process.Pid, bufio.NewReader(out)
}

// TestMain is also a process whose first thread has ended while another goes on.
func TestMain(m *testing.M) {
	if os.Getenv("LEADERLESS") == "" {
		os.Exit(m.Run())
	}
	go func() {
		runtime.LockOSThread()
		for unix.Gettid() == os.Getpid() { // the first thread is to end
			runtime.Gosched()
		}
		fmt.Println("on")
		//lint:ignore SA5002 that is what it is for
		for {
		}
	}()
	for {
		runtime.LockOSThread()
		if unix.Gettid() == os.Getpid() {
			unix.Syscall(unix.SYS_EXIT, 0, 0, 0)
		}
		runtime.UnlockOSThread()
		runtime.Gosched()
	}
}

func TestStopLeaderless(t *testing.T) {
	root, out := tree(t, "LEADERLESS=1 /proc/"+strconv.Itoa(os.Getpid())+"/exe & wait")
	if _, err := out.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	pid := Below(root)[0]
	for end := time.Now().Add(10 * time.Second); states([]int{pid}) != "Z"; {
		if time.Now().After(end) {
			t.Fatalf("its first thread is %s", states([]int{pid}))
		}
	}
	if halted(pid) {
		t.Fatal("it seems to stand")
	}
	if err := Stop(root); err != nil {
		t.Fatal(err)
	}
	if !halted(pid) {
		t.Error("it goes on")
	}
}

// A parent that waits for the child of its vfork can't be stopped before that is
// gone, and need not be.
func TestStopVfork(t *testing.T) {
	root, out := tree(t, `sh -c 'echo on; while :; do /bin/true; done'; :`)
	if _, err := out.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	for range 50 {
		if err := Stop(root); err != nil {
			t.Fatal(err)
		}
		Continue(root)
	}
}

func states(pids []int) string {
	var b strings.Builder
	for _, pid := range pids {
		if s, ok := read(pid); ok {
			b.WriteByte(s.state)
		}
	}
	return b.String()
}

func TestStopAndContinue(t *testing.T) {
	root, out := tree(t, `sh -c 'while :; do :; done' & sh -c 'sleep 1000; :' & echo on; wait`)
	if _, err := out.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); len(Below(root)) < 3; {
		if time.Now().After(end) {
			t.Fatalf("only %v", Below(root))
		}
	}
	if err := Stop(root); err != nil {
		t.Fatal(err)
	}
	list := Below(root)
	if got := states(list); strings.Trim(got, "TD") != "" {
		t.Errorf("stopped: %s", got)
	}
	if s, _ := read(root); s.state == 'T' {
		t.Error("the root was stopped too")
	}
	Continue(root)
	for end := time.Now().Add(10 * time.Second); strings.Contains(states(list), "T"); {
		if time.Now().After(end) {
			t.Fatalf("continued: %s", states(list))
		}
	}
	if again := Below(root); !slices.Equal(again, list) {
		t.Errorf("%v, then %v", list, again)
	}
	u := Sum(root)
	if u.Threads < 3 || u.Memory == 0 {
		t.Errorf("%+v", u)
	}
	for end := time.Now().Add(10 * time.Second); Sum(root).CPU == 0; {
		if time.Now().After(end) {
			t.Fatal("a loop uses no processor")
		}
	}
}

// Who forks while it is stopped is stopped with what it has forked.
func TestStopForks(t *testing.T) {
	root, out := tree(t, `sh -c 'echo on; while :; do (:) & done'`)
	if _, err := out.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	if err := Stop(root); err != nil {
		t.Fatal(err)
	}
	if got := states(Below(root)); strings.Trim(got, "TZD") != "" || got == "" {
		t.Errorf("stopped: %q", got)
	}
}

// A process that is not below the root gets nothing.
func TestOthersAreLeft(t *testing.T) {
	root, out := tree(t, `echo on; cat`)
	if _, err := out.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	other, out := tree(t, `echo on; cat`)
	if _, err := out.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	send(root, other, 9)
	send(root, 1, 9)
	if s, ok := read(other); !ok || s.state == 'Z' {
		t.Error("it was signalled")
	}
}

func TestTraffic(t *testing.T) {
	before, err := Traffic(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if after, err := Traffic(os.Getpid()); err != nil || after <= before {
		t.Errorf("%d, then %d, %v", before, after, err)
	}
}

func TestParse(t *testing.T) {
	const rest = " S 42 1 1 0 -1 4194560 1 2 3 4 10 20 30 40 20 0 7 0 999 1 1"
	for _, name := range []string{"(sh)", "(a) b (c)", "()", "(\n) R 1)"} {
		s, ok := parse("1 " + name + rest)
		if !ok || s.state != 'S' || s.parent != 42 || s.cpu != time.Second || s.threads != 7 {
			t.Errorf("%q: %+v %v", name, s, ok)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("1 (sh) S 42 1 1 0 -1 4194560 1 2 3 4 10 20 30 40 20 0 7 0 999 1 1")
	f.Add("1 ()")
	f.Fuzz(func(t *testing.T, s string) { parse(s) })
}
