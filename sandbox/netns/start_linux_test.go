package netns

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/penstock/penstock/sandbox"
	"golang.org/x/sys/unix"
)

func TestProbe(t *testing.T) {
	before := descriptors(t)
	ipv6, took, err := Probe(t.Context(), "/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("IPv6 %v, %v", ipv6, took)
	for range 5 {
		if _, _, err := Probe(t.Context(), "/proc/self/exe"); err != nil {
			t.Fatal(err)
		}
	}
	if after := descriptors(t); after != before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}

// descriptors counts the open ones.
func descriptors(t testing.TB) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, e := range entries {
		link, err := os.Readlink("/proc/self/fd/" + e.Name())
		if err == nil && !strings.Contains(link, "[event") && !strings.Contains(link, "/proc/") {
			n++
		}
	}
	return n
}

// TestDescriptors: the next command has its files at their numbers, and nothing
// of the builder's or ours.
func TestDescriptors(t *testing.T) {
	for _, tc := range []struct {
		first, files int
		want         string
	}{
		{3, 0, "0=null 1=pipe 2=pipe"},
		{3, 1, "0=null 1=pipe 2=pipe 3=socket"},
		{3, 12, "0=null 10=socket 11=socket 12=socket 13=socket 14=socket 1=pipe 2=pipe 3=socket 4=socket 5=socket 6=socket 7=socket 8=socket 9=socket"},
		{5, 2, "0=null 1=pipe 2=pipe 5=socket 6=socket"},
		{10, 3, "0=null 10=socket 11=socket 12=socket 1=pipe 2=pipe"},
		{66, 1, "0=null 1=pipe 2=pipe 66=socket"},
	} {
		t.Run(fmt.Sprintf("%d at %d", tc.files, tc.first), func(t *testing.T) {
			next := builder(t, "fds")
			next.FirstFile = tc.first
			for range tc.files {
				fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
				if err != nil {
					t.Fatal(err)
				}
				f := os.NewFile(uintptr(fd), "next")
				defer f.Close()
				next.Files = append(next.Files, f)
			}
			p := openPen(t, Options{Publish: true}, next)
			if got := p.result(t)[0]; got != tc.want {
				t.Errorf("open in the next command: %s\nwant: %s", got, tc.want)
			}
		})
	}
	before := descriptors(t)
	t.Run("ours", func(t *testing.T) {
		p := openPen(t, Options{Publish: true}, builder(t, "links"))
		p.result(t)
	})
	if after := descriptors(t); after != before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}

// TestNextIsTheSameProcess: role and next command share the process id, and
// Executed tells one from the other.
func TestNextIsTheSameProcess(t *testing.T) {
	p := openPen(t, Options{}, builder(t, "sleep"))
	if err := p.Executed(t.Context()); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(p.out).ReadString('\n')
	if want := fmt.Sprintf("sleeping %d\n", p.Process().Pid); err != nil || line != want {
		t.Fatalf("%q, %v; want %q", line, err, want)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if err := p.Close(); err != nil {
		t.Fatal("second Close:", err)
	}
	if state, err := p.Wait(); err != nil || state.Success() {
		t.Fatalf("%v, %v", state, err)
	}
}

// Numbers that are not reserved are refused before anything is started.
func TestDescriptorsOutOfReserve(t *testing.T) {
	for _, next := range []*sandbox.Command{
		{Path: "/bin/true", FirstFile: 67, Files: []*os.File{os.Stderr}},
		{Path: "/bin/true", FirstFile: 2, Files: []*os.File{os.Stderr}},
		{Path: "/bin/true", FirstFile: 3, Argv: []string{strings.Repeat("x", nextSize)}},
	} {
		if b, err := Start("/proc/self/exe", next, [3]*os.File{}, Options{}); err == nil {
			b.Close()
			t.Errorf("%d files from %d, %d arguments: accepted", len(next.Files), next.FirstFile, len(next.Argv))
		}
	}
}

func TestNextCannotBeExecuted(t *testing.T) {
	p := openPen(t, Options{}, &sandbox.Command{Path: "/nonexistent/bwrap", Argv: []string{"bwrap"}})
	err := p.Executed(t.Context())
	if !errors.Is(err, syscall.ENOENT) || !strings.Contains(err.Error(), "/nonexistent/bwrap") {
		t.Fatalf("%v", err)
	}
	if state, err := p.Wait(); err != nil || state.ExitCode() != exitFailed {
		t.Fatalf("%v, %v", state, err)
	}
}

func TestStartFails(t *testing.T) {
	before := descriptors(t)
	_, err := Start("/nonexistent/penstock", &sandbox.Command{}, [3]*os.File{}, Options{})
	var e *Error
	if !errors.As(err, &e) || e.Step != StepNamespace || e.Fix == "" {
		t.Fatalf("%v", err)
	}
	// A program that isn't penstock ends without a word.
	b, err := Start("/bin/true", &sandbox.Command{}, [3]*os.File{}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Sockets(t.Context()); !errors.As(err, &e) || e.Step != StepReceive {
		t.Fatalf("%v", err)
	}
	b.Close()
	// One that never says a word costs no more than the deadline.
	ctx, cancel := context.WithCancel(t.Context())
	b, err = Start(need(t, "cat", "coreutils"), &sandbox.Command{}, [3]*os.File{}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := b.Sockets(ctx); err == nil {
		t.Fatal("sockets from cat")
	}
	b.Close()
	if after := descriptors(t); after != before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}

// TestDiagnosisOnThisKernel makes the kernel refuse for real: a user namespace
// in which no further one may be made.
func TestDiagnosisOnThisKernel(t *testing.T) {
	for _, tc := range []struct{ limit, want string }{
		{"max_user_namespaces", "user.max_user_namespaces=0"},
		{"max_net_namespaces", "user.max_net_namespaces=0"},
	} {
		t.Run(tc.limit, func(t *testing.T) {
			cmd := exec.Command(self(t), limitedRole, tc.limit)
			cmd.SysProcAttr = &syscall.SysProcAttr{
				Cloneflags:  unix.CLONE_NEWUSER,
				UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}},
				GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}},
			}
			out, err := cmd.CombinedOutput()
			if err != nil || !strings.Contains(string(out), tc.want) || !strings.Contains(string(out), "sudo sysctl -w user.") {
				t.Fatalf("%s, %v", out, err)
			}
		})
	}
}

// limitedMain is the process of TestDiagnosisOnThisKernel.
func limitedMain(limit string) int {
	if err := writeSmall("/proc/sys/user/"+limit, "0"); err != nil {
		fmt.Println(err)
		return 1
	}
	_, _, err := Probe(context.Background(), "/proc/self/exe")
	var e *Error
	if !errors.As(err, &e) {
		fmt.Println("not refused:", err)
		return 1
	}
	fmt.Println(e, "|", e.Fix)
	return 0
}

// TestInvariant10KilledStarterLeavesNothing: SIGKILL of the process that started the pen
// ends it and all that is in it, and the namespace is gone with them.
// Mutation: start the builder without Pdeathsig.
func TestInvariant10KilledStarterLeavesNothing(t *testing.T) {
	need(t, "bwrap", "apt-get install bubblewrap")
	cmd := exec.Command(self(t), starterRole)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatal(err)
	}
	// Held, so that no other process's new namespace gets its number.
	held, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", pid))
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	ns, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", held.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	fds := watch(t, inNamespace(ns)) // bwrap, its child, the tool, the connector
	if len(fds) < 4 {
		t.Fatalf("%d processes in the pen", len(fds))
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		awaitEnd(t, fd)
	}
	if left := inNamespace(ns); len(left) > 0 {
		t.Fatalf("left in the pen: %v", left)
	}
}

// starterMain is the process that TestInvariant10KilledStarterLeavesNothing kills.
func starterMain() int {
	exe, err := os.Executable()
	if err != nil {
		return 1
	}
	bwrap, err := exec.LookPath("bwrap")
	if err != nil {
		return 1
	}
	r, w, err := os.Pipe()
	if err != nil {
		return 1
	}
	b, err := Start("/proc/self/exe", &sandbox.Command{Path: bwrap, Argv: []string{bwrap, "--unshare-user", "--unshare-pid",
		"--die-with-parent", "--dev-bind", "/", "/", "--proc", "/proc", "--", exe, toolRole, "sleep"}},
		[3]*os.File{nil, w, os.Stderr}, Options{Publish: true})
	if err != nil {
		fmt.Println(err)
		return 1
	}
	if _, err := b.Sockets(context.Background()); err != nil {
		fmt.Println(err)
		return 1
	}
	if _, err := bufio.NewReader(r).ReadString('\n'); err != nil {
		return 1
	}
	fmt.Println(b.Process().Pid)
	<-b.Done()
	return 0
}

// inNamespace lists the processes that are in a network namespace.
func inNamespace(ns string) (pids []int) {
	all, _ := filepath.Glob("/proc/[0-9]*/ns/net")
	for _, p := range all {
		if got, err := os.Readlink(p); err == nil && got == ns {
			if pid, err := strconv.Atoi(strings.Split(p, "/")[2]); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

func watch(t *testing.T, pids []int) (fds []int) {
	t.Helper()
	for _, pid := range pids {
		fd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Close(fd) })
		fds = append(fds, fd)
	}
	return fds
}

func awaitEnd(t *testing.T, pidfd int) {
	t.Helper()
	p := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(p, 5000)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if n != 1 {
			t.Fatalf("a process of the pen outlives its starter: %v", err)
		}
		return
	}
}

// TestPublish: connections into the pen, by a helper that holds nothing, and
// none once the pen is gone.
func TestPublish(t *testing.T) {
	p := openPen(t, Options{Publish: true}, inside(t, "serve 8000"))
	if line, err := bufio.NewReader(p.out).ReadString('\n'); err != nil || line != "serving\n" {
		t.Fatalf("%q, %v", line, err)
	}
	d, err := p.Sockets.Dialer()
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			c, err := d.Dial(t.Context(), 8000)
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			if got, err := io.ReadAll(c); err != nil || string(got) != "from inside\n" {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
	wg.Wait()
	if _, err := d.Dial(t.Context(), 8001); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("nobody listens there: %v", err)
	}
	// The connector holds nothing.
	pids := inNamespace(namespaceOf(t, p))
	found := false
	for _, pid := range pids {
		cmdline, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if !strings.Contains(string(cmdline), ConnectorRole) {
			continue
		}
		found = true
		status, err := readSmall(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"CapPrm:\t0000000000000000", "CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1"} {
			if !strings.Contains(status, want) {
				t.Errorf("connector: no %q in\n%s", want, status)
			}
		}
	}
	if !found {
		t.Errorf("no connector among %v", pids)
	}
	p.Close()
	if _, err := d.Dial(t.Context(), 8000); err == nil {
		t.Error("a connection into a pen that is gone")
	}
}

func namespaceOf(t *testing.T, p *pen) string {
	t.Helper()
	ns, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", p.Process().Pid))
	if err != nil {
		t.Fatal(err)
	}
	return ns
}

// TestManyAtOnce starts 50 pens side by side.
func TestManyAtOnce(t *testing.T) {
	if testing.Short() {
		t.Skip("short")
	}
	const n = 50
	begin := time.Now()
	var wg sync.WaitGroup
	took := make([]time.Duration, n)
	for i := range n {
		wg.Go(func() {
			b, err := Start("/proc/self/exe", &sandbox.Command{Path: self(t), Argv: []string{"tool", toolRole, "sleep"}}, [3]*os.File{}, Options{})
			if err != nil {
				t.Error(err)
				return
			}
			defer b.Close()
			s, err := b.Sockets(t.Context())
			if err != nil {
				t.Error(err)
				return
			}
			took[i] = time.Since(begin)
			s.Close()
		})
	}
	wg.Wait()
	t.Logf("all up and down in %v", time.Since(begin))
}

// TestOriginalDstElsewhere: a connection that never saw the pen's rules.
func TestOriginalDstElsewhere(t *testing.T) {
	for _, addr := range []string{"127.0.0.1:0", "[::1]:0"} {
		l, err := net.Listen("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		in, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer in.Close()
		if dst, err := OriginalDst(in.(*net.TCPConn)); err == nil {
			t.Errorf("%s: %v", addr, dst)
		} else {
			t.Log(err)
		}
		in.Close()
		if dst, err := OriginalDst(in.(*net.TCPConn)); err == nil || dst != (netip.AddrPort{}) {
			t.Errorf("closed: %v, %v", dst, err)
		}
	}
}
