package cgroup

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/penstock/penstock/sandbox"
)

// TestMain is also the hostile program: with a word in BAD it does that.
func TestMain(m *testing.M) {
	if bad := os.Getenv("BAD"); bad != "" {
		misbehave(bad)
		return
	}
	os.Exit(m.Run())
}

// misbehave waits for a line, so that it is in its group, and begins.
func misbehave(what string) {
	bufio.NewReader(os.Stdin).ReadString('\n')
	switch what {
	case "memory":
		var keep [][]byte
		for {
			b := make([]byte, 1<<20)
			for i := 0; i < len(b); i += 4096 {
				b[i] = 1
			}
			keep = append(keep, b)
			_ = keep
		}
	case "forks":
		n := 0
		for ; n < 10_000; n++ {
			if exec.Command("/bin/sleep", "1000").Start() != nil {
				break
			}
		}
		fmt.Println(n)
		io.Copy(io.Discard, os.Stdin)
	case "read":
		f, err := os.OpenFile(os.Getenv("DISK"), os.O_RDONLY|unix.O_DIRECT, 0)
		if err != nil {
			fmt.Println(err)
			return
		}
		b, err := unix.Mmap(-1, 0, 1<<20, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
		for n := 0; n < 2 && err == nil; n++ {
			_, err = f.Read(b)
		}
		fmt.Println(err)
	case "spin":
		fmt.Println("on")
		//lint:ignore SA5002 that is what it is for
		for {
		}
	case "wait":
		fmt.Println("on")
		for {
			unix.Poll(nil, -1) //nolint:errcheck // a signal ends it
		}
	}
}

// root skips for an ordinary user: make test runs everything as root too, where
// what can't be done is a failure.
func root(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("making control groups needs root: root's run has this test")
	}
}

// grow makes a tree of this test's own and removes it at the end.
func grow(t *testing.T) *Tree {
	t.Helper()
	root(t)
	tree, err := NewTree(TreeOptions{Name: fmt.Sprintf("penstock-test-%d-%s", os.Getpid(), strings.ReplaceAll(t.Name(), "/", "-"))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		tree.Sweep() //nolint:errcheck // Close tells
		if err := tree.Close(); err != nil {
			t.Error(err)
		}
		for _, top := range tree.tops() {
			if _, err := os.Stat(top); err == nil {
				t.Errorf("%s is left", top)
			}
		}
	})
	return tree
}

// pen makes a group with limits that must be in force.
func pen(t *testing.T, tree *Tree, session string, l, quota sandbox.Limits) *Group {
	t.Helper()
	g, _, caps, err := tree.Pen(4711, session, l, quota)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range caps {
		if c.State != sandbox.Enforced && c.Control != "io" {
			t.Fatalf("%+v", c)
		}
	}
	t.Cleanup(func() {
		g.Kill() //nolint:errcheck // Close tells
		if err := g.Empty(within10(t)); err != nil {
			t.Error(err)
		}
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
	return g
}

func within10(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// start starts a hostile program in the group and lets it go.
func start(t *testing.T, g *Group, what string, env ...string) (*exec.Cmd, *bufio.Reader) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append([]string{"BAD=" + what}, env...)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close(); cmd.Process.Kill(); cmd.Wait() })
	if err := g.Add(cmd.Process.Pid); err != nil {
		t.Fatal(err)
	}
	if in, err := g.Holds(cmd.Process.Pid); err != nil || !in {
		t.Fatalf("after Add: %v, %v", in, err)
	}
	fmt.Fprintln(in)
	return cmd, bufio.NewReader(out)
}

// hits collects what Watch tells until want is there.
func hits(t *testing.T, g *Group, want func(Counts) bool) (await func() Counts) {
	t.Helper()
	c := make(chan Counts, 64)
	g.Watch(func(n Counts) { c <- n })
	return func() Counts {
		t.Helper()
		var sum Counts
		end := time.After(10 * time.Second)
		for !want(sum) {
			select {
			case n := <-c:
				sum = Counts{sum.OOMKills + n.OOMKills, sum.MemoryMax + n.MemoryMax, sum.PIDsMax + n.PIDsMax}
			case <-end:
				t.Fatalf("only %+v was told, %+v counted", sum, g.Counts())
			}
		}
		return sum
	}
}

func TestMemoryBomb(t *testing.T) {
	g := pen(t, grow(t), "m", sandbox.Limits{Memory: 64 << 20}, sandbox.Limits{})
	await := hits(t, g, func(n Counts) bool { return n.OOMKills > 0 && n.MemoryMax > 0 })
	cmd, _ := start(t, g, "memory")
	err := cmd.Wait()
	if cmd.ProcessState.Sys() == nil || !strings.Contains(fmt.Sprint(err), "killed") {
		t.Errorf("it ended with %v", err)
	}
	if n := await(); n.OOMKills != 1 {
		t.Errorf("%+v", n)
	}
}

// A quota bounds all pens of a user together.
func TestMemoryQuota(t *testing.T) {
	tree := grow(t)
	g := pen(t, tree, "m", sandbox.Limits{Memory: 1 << 30}, sandbox.Limits{Memory: 64 << 20})
	await := hits(t, g, func(n Counts) bool { return n.OOMKills > 0 })
	cmd, _ := start(t, g, "memory")
	cmd.Wait() //nolint:errcheck // it is killed
	await()
}

func TestForkBomb(t *testing.T) {
	g := pen(t, grow(t), "f", sandbox.Limits{PIDs: 30}, sandbox.Limits{})
	await := hits(t, g, func(n Counts) bool { return n.PIDsMax > 0 })
	_, out := start(t, g, "forks")
	line, err := out.ReadString('\n')
	if err != nil || len(line) > 3 {
		t.Errorf("it made %q processes, %v", line, err)
	}
	await()
	if u := g.Usage(); u.PIDs == 0 || u.PIDs > 30 || u.CPU == 0 {
		t.Errorf("%+v", u)
	}
	// They are all gone at once.
	if err := g.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := g.Empty(within10(t)); err != nil {
		t.Fatal(err)
	}
	if m, err := g.Members(); len(m) != 0 || err != nil {
		t.Errorf("left: %v %v", m, err)
	}
}

// The way without cgroup.kill, as on Linux 5.10.
func TestKillOneByOne(t *testing.T) {
	g := pen(t, grow(t), "k", sandbox.Limits{PIDs: 200}, sandbox.Limits{})
	_, out := start(t, g, "forks")
	if _, err := out.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	if err := g.freeze(true); err != nil {
		t.Fatal(err)
	}
	if err := killMembers(g.dir, time.Now().Add(killTimeout)); err != nil {
		t.Fatal(err)
	}
	if err := g.Empty(within10(t)); err != nil {
		t.Fatal(err)
	}
}

func TestFreeze(t *testing.T) {
	g := pen(t, grow(t), "z", sandbox.Limits{CPUs: 1}, sandbox.Limits{})
	cmd, out := start(t, g, "spin")
	if _, err := out.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	if err := g.Freeze(true); err != nil {
		t.Fatal(err)
	}
	before := processTime(t, cmd.Process.Pid)
	// This process's own work is the clock.
	for end := processTime(t, os.Getpid()) + 5; processTime(t, os.Getpid()) < end; {
		_ = strings.Repeat("x", 1<<16)
	}
	if after := processTime(t, cmd.Process.Pid); after != before {
		t.Errorf("it went on for %d ticks", after-before)
	}
	if err := g.Freeze(false); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); processTime(t, cmd.Process.Pid) == before; {
		if time.Now().After(end) {
			t.Fatal("it does not go on")
		}
	}
	// A frozen group can be killed.
	if err := g.Freeze(true); err != nil {
		t.Fatal(err)
	}
	if err := g.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := g.Empty(within10(t)); err != nil {
		t.Fatal(err)
	}
}

// processTime is a process's time in user mode, in ticks.
func processTime(t *testing.T, pid int) (n int) {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	fmt.Sscan(strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))[11], &n)
	return n
}

func TestProcessors(t *testing.T) {
	g := pen(t, grow(t), "c", sandbox.Limits{CPUs: 0.1}, sandbox.Limits{})
	_, out := start(t, g, "spin")
	if _, err := out.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	began, from := time.Now(), g.Usage().CPU
	for g.Usage().CPU-from < 50*time.Millisecond {
		unix.Poll(nil, 10) //nolint:errcheck // a pause
	}
	if took := time.Since(began); took < 250*time.Millisecond {
		t.Errorf("50 ms of a tenth of a processor took %v", took)
	}
}

func TestReadRate(t *testing.T) {
	tree := grow(t)
	file := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(file, make([]byte, 2<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	unix.Sync()
	var st unix.Stat_t
	if err := unix.Stat(file, &st); err != nil {
		t.Fatal(err)
	}
	if _, ok := tree.by[blocks]; !ok || unix.Major(st.Dev) == 0 {
		t.Skip("no disk below the temporary directory, or no controller of its rate")
	}
	g := pen(t, tree, "io", sandbox.Limits{ReadRate: 4 << 20}, sandbox.Limits{})
	began := time.Now()
	_, out := start(t, g, "read", "DISK="+file)
	if line, err := out.ReadString('\n'); line != "<nil>\n" {
		t.Skipf("%s can't be read without the page cache: %s %v", file, line, err)
	}
	if took := time.Since(began); took < 300*time.Millisecond {
		t.Errorf("2 MiB at 4 MiB/s took %v", took)
	}
}

// A quota that changes holds, whichever way.
func TestQuotaChanges(t *testing.T) {
	tree := grow(t)
	for i, mib := range []int64{64, 256, 128} {
		g := pen(t, tree, fmt.Sprint("q", i), sandbox.Limits{}, sandbox.Limits{Memory: mib << 20, PIDs: mib})
		above := filepath.Dir(g.by[pids].dir)
		if n := number(above, "pids.max"); n != uint64(mib) {
			t.Errorf("pids.max is %d, want %d", n, mib)
		}
		if c := g.by[memory]; !c.v2 && number(filepath.Dir(c.dir), "memory.limit_in_bytes") != uint64(mib<<20) {
			t.Errorf("the memory's limit is not %d MiB", mib)
		}
	}
}

func TestExpel(t *testing.T) {
	g := pen(t, grow(t), "e", sandbox.Limits{PIDs: 10, Memory: 1 << 30}, sandbox.Limits{})
	before, _ := os.ReadFile("/proc/self/cgroup")
	cmd, out := start(t, g, "wait")
	if _, err := out.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	if err := g.Expel(cmd.Process.Pid); err != nil {
		t.Fatal(err)
	}
	after, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", cmd.Process.Pid))
	if string(after) != string(before) {
		t.Errorf("it is in\n%s, and was in\n%s", after, before)
	}
	if in, err := g.Holds(cmd.Process.Pid); in || err != nil {
		t.Error(in, err)
	}
}

// Another user sees nothing of it.
func TestModes(t *testing.T) {
	g := pen(t, grow(t), "u", sandbox.Limits{PIDs: 10}, sandbox.Limits{})
	for _, dir := range g.dirs() {
		for _, d := range []string{dir, filepath.Dir(dir), filepath.Dir(filepath.Dir(filepath.Dir(dir)))} {
			if fi, err := os.Stat(d); err != nil || fi.Mode().Perm() != private {
				t.Errorf("%s: %v, %v", d, fi.Mode(), err)
			}
		}
	}
}

func TestTree(t *testing.T) {
	tree := grow(t)
	// Another daemon can't have it as long as this one lives. That it is this one's
	// own is not another.
	for _, top := range tree.tops() {
		if err := unix.Setxattr(top, marks[0], []byte("penstock 1 "+startTime(1)), 0); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := NewTree(TreeOptions{Name: tree.name}); !errors.Is(err, ErrBusy) {
		t.Errorf("a second daemon: %v", err)
	}
	if err := unix.Setxattr(tree.dir, marks[0], []byte("penstock 1 7"), 0); err != nil {
		t.Fatal(err)
	}
	for _, top := range tree.tops() {
		if err := mark(top); err != nil {
			t.Fatal(err)
		}
	}

	a := pen(t, tree, "a", sandbox.Limits{PIDs: 10}, sandbox.Limits{PIDs: 100})
	if _, _, _, err := tree.Pen(4711, "a", sandbox.Limits{}, sandbox.Limits{}); err == nil {
		t.Error("a session's name twice")
	}
	b, _, _, err := tree.Pen(4711, "b", sandbox.Limits{}, sandbox.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if a.ID() == 0 || a.ID() == b.ID() || filepath.Dir(a.Dir()) != filepath.Dir(b.Dir()) || !strings.HasPrefix(a.Path, "/") {
		t.Errorf("%+v %+v", a, b)
	}
	for range 2 {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	}
	p, _, err := tree.Proxy(3, sandbox.Limits{Memory: 1 << 30})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(p.Path, "/proxies/3") {
		t.Error(p.Path)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	for _, bad := range []string{"", "..", "a/b", "a b", strings.Repeat("x", 65)} {
		if _, _, _, err := tree.Pen(1, bad, sandbox.Limits{}, sandbox.Limits{}); err == nil {
			t.Errorf("a session named %q", bad)
		}
	}
	if _, _, _, err := tree.Pen(-1, "a", sandbox.Limits{}, sandbox.Limits{}); err == nil {
		t.Error("a user below zero")
	}
}

// What a dead daemon left goes, with its processes; what another made stays.
func TestSweepTree(t *testing.T) {
	tree := grow(t)
	dead := pen(t, tree, "dead", sandbox.Limits{PIDs: 10, Memory: 1 << 30}, sandbox.Limits{})
	cmd, out := start(t, dead, "wait")
	if _, err := out.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	live, _, _, err := tree.Pen(4712, "live", sandbox.Limits{}, sandbox.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	defer live.Close()
	other, out := start(t, live, "wait")
	if _, err := out.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	// As a daemon finds it that knows only the second.
	tree.mu.Lock()
	delete(tree.live, "pens/u4711/sdead")
	delete(tree.users, 4711)
	tree.mu.Unlock()
	var foreign []string
	for _, top := range tree.tops() {
		for _, name := range []string{"pens/u01", "pens/root", "pens/u4712/x", "proxies/s1", "proxies/01", "other"} {
			foreign = append(foreign, filepath.Join(top, name))
		}
		// A name of ours that is only in one hierarchy.
		if err := os.Mkdir(filepath.Join(top, "proxies/7"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range foreign {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	swept, err := tree.Sweep()
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"pens/u4711/sdead", "proxies/7", "pens/u4711"}; !slices.Equal(swept, want) {
		t.Errorf("swept %v, want %v", swept, want)
	}
	if err := cmd.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Errorf("the dead session's process: %v", err)
	}
	if in, err := live.Holds(other.Process.Pid); !in || err != nil {
		t.Errorf("the live session's process: %v %v", in, err)
	}
	for pid, want := range map[int]bool{other.Process.Pid: true, os.Getpid(): false} {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
		if err != nil {
			t.Fatal(err)
		}
		if in, err := tree.Holds(string(text)); in != want || err != nil {
			t.Errorf("the tree holds process %d: %v %v", pid, in, err)
		}
	}
	for _, dir := range foreign {
		if err := os.Remove(dir); err != nil {
			t.Errorf("another's group: %v", err)
		}
	}
	if err := live.Kill(); err != nil {
		t.Error(err)
	}
	if err := live.Empty(within10(t)); err != nil {
		t.Error(err)
	}
}

// A group of our name that we did not make is not taken.
func TestForeignTree(t *testing.T) {
	tree := grow(t)
	for _, top := range tree.tops() {
		dir := top + "-foreign"
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		_, err := NewTree(TreeOptions{Name: filepath.Base(dir)})
		if !errors.Is(err, ErrUnavailable) {
			t.Errorf("%s: %v", dir, err)
		}
		for _, made := range tree.tops() {
			if made != top {
				os.Remove(filepath.Join(made+"-foreign", pensName))
				os.Remove(filepath.Join(made+"-foreign", proxyName))
				os.Remove(made + "-foreign")
			}
		}
		if err := os.Remove(dir); err != nil {
			t.Errorf("something was made in it: %v", err)
		}
	}
}
