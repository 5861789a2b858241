package ebpf

import (
	"bufio"
	"fmt"
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

	"github.com/penstock/penstock/hooks"
)

// who asks for the next steered connection.
func (pen *testPen) who(t testing.TB) (*hooks.Process, net.Conn) {
	t.Helper()
	conn := <-pen.accepted
	t.Cleanup(func() { conn.Close() })
	return pen.watcher.Who(t.Context(), conn.RemoteAddr().(*net.TCPAddr).AddrPort(), conn.LocalAddr().(*net.TCPAddr).AddrPort()), conn
}

// chain renders a process and its parents by the names of their executables.
func chain(p *hooks.Process) string {
	var names []string
	for ; p != nil; p = p.Parent {
		names = append(names, filepath.Base(p.Exe.Path))
	}
	return strings.Join(names, " < ")
}

// TestForkAndExec: who it is changes with exec and not with fork; the chain goes
// up to the session's first process and keeps what a parent was.
func TestForkAndExec(t *testing.T) {
	r := newRig(t)
	pen := r.session("s1")
	exe, err := os.Executable()
	must(t, err)
	sh, err := filepath.EvalSymlinks("/bin/sh")
	must(t, err)
	self := filepath.Base(exe)
	// A script, so that name and executable differ; the tool is its grandchild.
	script := filepath.Join(t.TempDir(), "script with spaces")
	must(t, os.WriteFile(script, []byte("#!/bin/sh\n( \"$@\"; : ); exit\n"), 0o755))
	tool := startProgram(t, pen.cgroup, pen.net, script, exe, toolRole)
	tool.do("open s inet stream 0")
	if got := tool.do("use s connect 1.2.3.4:80"); got != "ok" {
		t.Fatal(got)
	}
	p, _ := pen.who(t)
	shell := filepath.Base(sh)
	if got, want := chain(p), self+" < "+shell+" < "+shell; got != want {
		// The shell may execute the last command of a list in its own place.
		if got != self+" < "+shell {
			t.Errorf("%s, want %s", got, want)
		}
	}
	first := p
	for first.Parent != nil {
		first = first.Parent
	}
	if first.PID != tool.cmd.Process.Pid || len(first.Args) < 2 || first.Args[1] != script {
		t.Errorf("the first is %+v, want %d %s", first, tool.cmd.Process.Pid, script)
	}
	// The same process as another program: a connection from before stays who
	// it was, one made after is somebody else. bash connects by itself.
	bash, err := exec.LookPath("bash")
	must(t, err)
	fmt.Fprintln(tool.in, "exec bash -c exec\\t3<>/dev/tcp/9.9.9.9/99;read")
	after, conn := pen.who(t)
	if conn.LocalAddr().String() != "9.9.9.9:99" {
		t.Errorf("arrived for %s", conn.LocalAddr())
	}
	real, err := filepath.EvalSymlinks(bash)
	must(t, err)
	if after.Exe.Path != real || after.PID != p.PID || after.Start != p.Start || filepath.Base(p.Exe.Path) != self || chain(after.Parent) != chain(p.Parent) {
		t.Errorf("after exec: %s, %+v", chain(after), after)
	}
}

// pass passes a descriptor from one tool to the other.
func pass(t *testing.T, a, b *tool, name string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "socket")
	if got := b.do("take " + name + " " + path); got != "bound" {
		t.Fatal(got)
	}
	if got := a.do("give " + name + " " + path); got != "ok" {
		t.Fatal(got)
	}
	if got, err := b.out.ReadString('\n'); got != "ok\n" {
		t.Fatal(got, err)
	}
}

// TestDescriptorPassing: it is who connects, not who made the socket or holds it.
func TestDescriptorPassing(t *testing.T) {
	r := newRig(t)
	pen := r.session("s1")
	a, b := start(t, pen.cgroup, pen.net), start(t, pen.cgroup, pen.net)
	a.do("open s inet stream 0")
	pass(t, a, b, "s")
	b.do("use s connect 1.2.3.4:1000")
	if p, _ := pen.who(t); p == nil || p.PID != b.cmd.Process.Pid {
		t.Errorf("made by one, connected by the other: %+v", p)
	}
	a.do("open c inet stream 0")
	a.do("use c connect 1.2.3.4:1001")
	pass(t, a, b, "c")
	if p, _ := pen.who(t); p == nil || p.PID != a.cmd.Process.Pid {
		t.Errorf("connected by one, held by the other: %+v", p)
	}
}

// TestDeferredFastOpen: with TCP_FASTOPEN_CONNECT the SYN leaves with the first
// data, which somebody else may write. It is who named the destination.
func TestDeferredFastOpen(t *testing.T) {
	r := newRig(t)
	pen := r.session("s1")
	inNetns(t, pen.net, func() { // for clients, and without a cookie from before
		must(t, os.WriteFile("/proc/sys/net/ipv4/tcp_fastopen", []byte("5"), 0))
	})
	a, b := start(t, pen.cgroup, pen.net), start(t, pen.cgroup, pen.net)
	a.do("open s inet stream 0")
	if got := a.do("defer s"); got != "ok" {
		t.Fatal(got)
	}
	if got := a.do("use s connect 1.2.3.4:80"); got != "ok" {
		t.Fatal(got)
	}
	if c, err := pen.s.Counters(); err != nil || c.Flows != 0 {
		t.Fatalf("it was not deferred: %+v %v", c, err)
	}
	pass(t, a, b, "s")
	if got := b.do("use s write 1.2.3.4:80"); got != "ok" {
		t.Fatal(got)
	}
	if p, _ := pen.who(t); p == nil || p.PID != a.cmd.Process.Pid {
		t.Errorf("%+v, want %d", p, a.cmd.Process.Pid)
	}
}

// TestOldKernel: without the helpers that 5.10 does not have, refusals have the
// kernel's errno, and all else is the same.
func TestOldKernel(t *testing.T) {
	r := newGroups(t)
	r.opts.old = true
	r.load()
	pen := r.session("s1")
	must(t, pen.s.Deny([]netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}))
	tool := start(t, pen.cgroup, pen.net)
	tool.do("open s inet stream 0")
	if got := tool.do("use s connect 203.0.113.1:80"); got != "EPERM" {
		t.Error(got)
	}
	if got := tool.do("use s connect 1.2.3.4:80"); got != "ok" {
		t.Error(got)
	}
	exe, err := os.Executable()
	must(t, err)
	if p, _ := pen.who(t); p == nil || p.PID != tool.cmd.Process.Pid || p.Exe.Path != exe {
		t.Errorf("%+v", p)
	}
	for _, f := range r.p.Features() {
		if (f.Name == FeatureErrno || f.Name == FeatureAncestor) && (f.State != Unavailable || f.Reason == "") {
			t.Errorf("%+v", f)
		}
	}
}

// TestPidReuse: another process of the same number is another process.
func TestPidReuse(t *testing.T) {
	r := newRig(t)
	pen := r.session("s1")
	one := start(t, pen.cgroup, pen.net, "one")
	pid := one.cmd.Process.Pid
	one.do("open s inet stream 0")
	one.do("use s connect 1.2.3.4:80")
	first := <-pen.accepted // not asked for yet
	defer first.Close()
	one.in.Close()
	must(t, one.cmd.Wait())
	var two *tool
	for range 200 {
		// The kernel's next number (CONFIG_CHECKPOINT_RESTORE); others may take it.
		if err := os.WriteFile("/proc/sys/kernel/ns_last_pid", []byte(strconv.Itoa(pid-1)), 0); err != nil {
			t.Skipf("this kernel does not let a pid be chosen: %v", err)
		}
		two = start(t, pen.cgroup, pen.net, "two")
		if two.cmd.Process.Pid == pid {
			break
		}
		two.in.Close()
		must(t, two.cmd.Wait())
	}
	if two.cmd.Process.Pid != pid {
		t.Skip("the number was not to be had again")
	}
	two.do("open s inet stream 0")
	two.do("use s connect 1.2.3.4:80")
	ask := func(c net.Conn) *hooks.Process {
		return pen.watcher.Who(t.Context(), c.RemoteAddr().(*net.TCPAddr).AddrPort(), c.LocalAddr().(*net.TCPAddr).AddrPort())
	}
	second := <-pen.accepted
	defer second.Close()
	p1, p2 := ask(first), ask(second)
	if p1 == nil || p2 == nil || p1.PID != pid || p2.PID != pid || p1.Start >= p2.Start || p1.Args[2] != "one" || p2.Args[2] != "two" {
		t.Errorf("%+v\n%+v", p1, p2)
	}
}

// TestManyAtOnce: 1,000 connections of 100 processes, which a shell forks and
// which execute something else in between, each asked for by its own goroutine.
// Each says its own pid over its connection.
func TestManyAtOnce(t *testing.T) {
	r := newRig(t)
	pen := r.session("s1")
	const processes, each = 100, 10
	script := `i=0; while [ $i -lt ` + strconv.Itoa(processes) + ` ]; do
		bash -c 'for n in {1..` + strconv.Itoa(each/2) + `}; do exec 3<>/dev/tcp/10.9.8.7/$((1000+n)); echo $$ bash >&3; done
			exec "$0" -c "for n in {1..` + strconv.Itoa(each/2) + `}; do exec 3<>/dev/tcp/2.2.2.2/\$((2000+n)); echo \$\$ dup >&3; done"' "$1" &
		i=$((i+1)); done; wait`
	bash, err := exec.LookPath("bash")
	must(t, err)
	bash, err = filepath.EvalSymlinks(bash)
	must(t, err)
	// Another executable with the same content.
	dup := filepath.Join(t.TempDir(), "dup")
	content, err := os.ReadFile(bash)
	must(t, err)
	must(t, os.WriteFile(dup, content, 0o755))
	cmd := startProgram(t, pen.cgroup, pen.net, "/bin/sh", "-c", script, "sh", dup)
	var wg sync.WaitGroup
	var mu sync.Mutex
	wrong, missing := 0, 0
	for range processes * each {
		conn := <-pen.accepted
		wg.Go(func() {
			defer conn.Close()
			p := pen.watcher.Who(t.Context(), conn.RemoteAddr().(*net.TCPAddr).AddrPort(), conn.LocalAddr().(*net.TCPAddr).AddrPort())
			line, _ := bufio.NewReader(conn).ReadString('\n')
			var pid int
			var name string
			_, err := fmt.Sscan(line, &pid, &name)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case p == nil:
				missing++
			case err != nil || p.PID != pid || filepath.Base(p.Exe.Path) != name || p.Parent == nil || p.Parent.PID != cmd.cmd.Process.Pid:
				wrong++
				t.Logf("%q: %+v", line, p)
			}
		})
	}
	wg.Wait()
	if wrong != 0 || missing != 0 {
		t.Errorf("%d wrong, %d missing of %d", wrong, missing, processes*each)
	}
	if n := pen.watcher.Lost(); n != 0 {
		t.Errorf("%d events lost", n)
	}
}

// TestEnded: who reads hears of an end by a signal when it comes, of a process with
// many threads once, and of no other end.
func TestEnded(t *testing.T) {
	r := newRig(t)
	pen := r.session("s1")
	one := start(t, pen.cgroup, pen.net) // of Go: with threads
	one.do("pid")
	for range 3 {
		cmd := startProgram(t, pen.cgroup, pen.net, "/bin/true")
		must(t, cmd.cmd.Wait())
	}
	must(t, one.cmd.Process.Kill())
	one.cmd.Wait() // its exit status says so too
	if x := <-pen.ended; x.Signal != int(syscall.SIGKILL) || x.OOM || x.Who == nil || x.Who.PID != one.cmd.Process.Pid || x.More != 0 {
		t.Errorf("%+v", x)
	}
	must(t, pen.watcher.Close())
	if n := len(pen.ended); n != 0 {
		t.Errorf("%d more were told: %+v", n, <-pen.ended)
	}
	if n := pen.watcher.Ends(); n.Execs != 4 || n.Exits != 4 || n.Signals != 1 {
		t.Errorf("%+v", n)
	}
}

// TestOverflow: with a ring too small and nobody reading, events are lost, which
// is counted; what is then said is less, and never somebody else.
func TestOverflow(t *testing.T) {
	r := newGroups(t)
	r.opts.RingBytes = 4096
	r.load()
	group, id := r.group(r.pens, "s1")
	s, err := r.p.AddSession(id)
	must(t, err)
	cmd := exec.Command("/bin/sh", "-c", "i=0; while [ $i -lt 200 ]; do /bin/true; i=$((i+1)); done")
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(group.Fd())}
	must(t, cmd.Run())
	c, err := s.Counters()
	must(t, err)
	if c.Lost < 300 {
		t.Errorf("%d events lost", c.Lost)
	}
	tool := start(t, group, newNetns(t))
	for range 100 { // refusals are muted long before
		tool.do("socket inet raw 1")
	}
	before := c
	c, err = s.Counters()
	must(t, err)
	if c.Muted != 100 || c.Denied != before.Denied+100 {
		t.Errorf("%+v, before %+v", c, before)
	}
}

// TestExecutables: paths across mounts, of files without a name, of long names
// and arguments.
func TestExecutables(t *testing.T) {
	r := newRig(t)
	pen := r.session("s1")
	bash, err := filepath.EvalSymlinks("/bin/bash")
	must(t, err)
	content, err := os.ReadFile(bash)
	must(t, err)
	dir := t.TempDir()
	deep := dir
	for range 8 {
		deep = filepath.Join(deep, strings.Repeat("d", 200))
	}
	must(t, os.MkdirAll(deep, 0o755))
	mounted := filepath.Join(dir, "mounted")
	must(t, os.Mkdir(mounted, 0o755))
	must(t, syscall.Mount("tmpfs", mounted, "tmpfs", 0, ""))
	t.Cleanup(func() { must(t, syscall.Unmount(mounted, 0)) })
	put := func(name string) string {
		must(t, os.WriteFile(name, content, 0o755))
		return name
	}
	const connect = "exec 3<>/dev/tcp/1.2.3.4/80; read x"
	for _, c := range []struct {
		name, path string
		args       []string
		check      func(p *hooks.Process) bool
	}{
		{"mounted", put(filepath.Join(mounted, "prog")), nil, func(p *hooks.Process) bool { return p.Exe.Path == filepath.Join(mounted, "prog") }},
		{"newline", put(filepath.Join(dir, "a\nb\x1b[2J")), nil, func(p *hooks.Process) bool { return p.Exe.Path == filepath.Join(dir, "a\nb\x1b[2J") }},
		{"deep", put(filepath.Join(deep, "prog")), nil, func(p *hooks.Process) bool {
			return strings.HasPrefix(p.Exe.Path, "/…/") && strings.HasSuffix(p.Exe.Path, "/"+strings.Repeat("d", 200)+"/prog") && len(p.Exe.Path) < 1100
		}},
		{"arguments", bash, []string{strings.Repeat("x", 10_000)}, func(p *hooks.Process) bool {
			return len(p.Args) == 4 && strings.Trim(p.Args[3], "x") == "" && len(strings.Join(p.Args, " ")) == 511+1
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var st syscall.Stat_t
			must(t, syscall.Stat(c.path, &st))
			startProgram(t, pen.cgroup, pen.net, append([]string{c.path, "-c", connect}, c.args...)...)
			p, _ := pen.who(t)
			if p == nil || !c.check(p) || p.Exe.Dev != st.Dev || p.Exe.Ino != st.Ino {
				t.Errorf("%+v; file %d:%d", p, st.Dev, st.Ino)
			}
		})
	}
}
