package daemon

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/penstock/penstock/supervisor/janitor"
)

// runMain is Run as a process of its own: it can't be undone.
func runMain(dir, name string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	signal.Ignore(syscall.SIGXFSZ)
	err := Run(ctx, Options{
		Socket: filepath.Join(dir, "s"), State: filepath.Join(dir, "state"), Policy: filepath.Join(dir, "policy.yaml"),
		Settings: filepath.Join(dir, "supervise.yaml"), Name: name, Version: "test",
		Log:    func(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) },
		Notify: func(state string) { fmt.Println(state) },
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// running is a daemon in a process of its own.
type running struct {
	service
	cmd  *exec.Cmd
	out  *bufio.Reader
	name string
}

// firstUID of the proxies of run.
var firstUID = runBase + os.Getpid()%100_000*100

func place(t *testing.T) (dir, name string) {
	t.Helper()
	root(t)
	dir, err := os.MkdirTemp("/tmp", "penstock-daemon-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "supervise.yaml"), []byte(fmt.Sprintf("proxies: {first_uid: %d, most: 80, idle: 1}\nquota: {session_audit_bytes: 64K}\n", firstUID)), 0o600); err != nil {
		t.Fatal(err)
	}
	name = "penstock-test-" + filepath.Base(dir)
	t.Cleanup(func() {
		groupsGone(t, name)
		os.RemoveAll(filepath.Join(bpfFS, name)) // of one that was killed: the next one's to sweep
	})
	return dir, name
}

// tops are the topmost groups of that name, in every hierarchy, with their numbers.
func tops(t *testing.T, name string) map[string]uint64 {
	t.Helper()
	out := map[string]uint64{}
	list, err := filepath.Glob("/sys/fs/cgroup/*/" + name)
	if err != nil {
		t.Fatal(err)
	}
	for _, top := range append(list, "/sys/fs/cgroup/"+name) {
		var st unix.Stat_t
		if unix.Lstat(top, &st) == nil {
			out[top] = st.Ino
		}
	}
	return out
}

// groupsGone waits until the janitor has removed what Run may not.
func groupsGone(t *testing.T, name string) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); len(tops(t, name)) > 0; unix.Poll(nil, 5) {
		if time.Now().After(end) {
			t.Fatalf("control groups are left: %v", tops(t, name))
		}
	}
}

func run(t *testing.T, dir, name string) *running {
	t.Helper()
	r := &running{name: name}
	r.socket = filepath.Join(dir, "s")
	r.cfg.State = filepath.Join(dir, "state")
	r.cmd = exec.Command(plain(t), "role:test-run", dir, name)
	r.cmd.Stderr = os.Stderr
	out, err := r.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	r.out = bufio.NewReader(out)
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.cmd.Process.Kill(); r.cmd.Wait() })
	if line, err := r.out.ReadString('\n'); err != nil || line != "READY=1\n" {
		t.Fatalf("it says %q, %v", line, err)
	}
	if err := os.Chmod(r.socket, 0o666); err != nil {
		t.Fatal(err)
	}
	return r
}

// term ends it as a service manager does.
func (r *running) term(t *testing.T) {
	t.Helper()
	r.cmd.Process.Signal(syscall.SIGTERM)
	if line, err := r.out.ReadString('\n'); err != nil || line != "STOPPING=1\n" {
		t.Errorf("it says %q, %v", line, err)
	}
	io.Copy(io.Discard, r.out)
	if err := r.cmd.Wait(); err != nil {
		t.Error(err)
	}
	if left := processesOf(firstUID, firstUID+100); len(left) > 0 {
		t.Errorf("proxies are left: %v", left)
	}
	if _, err := os.Stat(filepath.Join(bpfFS, r.name)); err == nil {
		t.Error("pins are left")
	}
}

// TestPrivilege reads back what the daemon gave up, for all of its threads, and
// what its proxies have.
func TestPrivilege(t *testing.T) {
	dir, name := place(t)
	r := run(t, dir, name)
	defer r.term(t)
	c := r.call(t, ann, "whole")
	c.expect("serving")
	var want uint64
	for _, c := range keep() {
		want |= 1 << c
	}
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", r.cmd.Process.Pid))
	if err != nil || len(tasks) < 2 {
		t.Fatalf("%d threads, %v", len(tasks), err)
	}
	for _, task := range tasks {
		text, err := os.ReadFile(task)
		if err != nil {
			continue // it has ended
		}
		f, err := parseStatus(string(text))
		if err != nil {
			t.Fatal(err)
		}
		if f.caps != [5]uint64{0, want, want, 0, 0} || !f.noNewPrivs || f.seccomp != 2 || !all(f.uid, 0) {
			t.Errorf("%s: %+v", task, f)
		}
	}
	limits := func(pid int) {
		t.Helper()
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", pid))
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"Max core file size 0 0 bytes", "Max file size 65536 65536 bytes"} {
			if !strings.Contains(strings.Join(strings.Fields(string(text)), " "), want) {
				t.Errorf("process %d: not %q in\n%s", pid, want, text)
			}
		}
	}
	limits(r.cmd.Process.Pid)
	proxies := processesOf(firstUID, firstUID+100)
	if len(proxies) < 2 {
		t.Fatalf("proxies %v", proxies)
	}
	for _, pid := range proxies {
		limits(pid)
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			t.Fatal(err)
		}
		f, err := parseStatus(string(text))
		if err != nil {
			t.Fatal(err)
		}
		if f.caps != [5]uint64{} || !f.noNewPrivs || f.seccomp != 2 || !all(f.uid, f.uid[0]) || !all(f.gid, f.uid[0]) || !strings.Contains(string(text), "\nGroups:\t \n") {
			t.Errorf("proxy %d: %+v", pid, f)
		}
		// One that has just been started is put there a moment later; until then
		// it has no session.
		var group []byte
		for end := time.Now().Add(10 * time.Second); !strings.Contains(string(group), name+"/proxies/"); unix.Poll(nil, 2) {
			if group, err = os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid)); err != nil || time.Now().After(end) {
				t.Fatalf("proxy %d is in %s, %v", pid, group, err)
			}
		}
	}
	// Not dumpable: its files in /proc are root's, and nobody else looks into it.
	if fi, err := os.Stat(fmt.Sprintf("/proc/%d/mem", proxies[0])); err != nil || fi.Sys().(*syscall.Stat_t).Uid != 0 {
		t.Errorf("a proxy's memory: %v, %v", fi, err)
	}
	c.next()
	c.end()
}

// TestKilledDaemon: with SIGKILL the proxies and listeners go, the caller sees it
// and kills its pen, and the next daemon removes what is left and nothing else.
func TestKilledDaemon(t *testing.T) {
	dir, name := place(t)
	r := run(t, dir, name)
	a := r.call(t, ann, "until", strconv.Itoa(stepServe))
	id := strings.Fields(a.expect("at"))[1]
	pens := processesOf(ann, ann+1)
	group := filepath.Join("/sys/fs/cgroup/unified", name, "pens", "u"+strconv.Itoa(ann), "s"+id)
	if fi, err := os.Stat("/sys/fs/cgroup/cgroup.procs"); err == nil && fi.Mode().IsRegular() {
		group = strings.Replace(group, "/unified", "", 1)
	}
	if _, err := os.Stat(group); err != nil {
		t.Fatal(err)
	}
	r.cmd.Process.Kill()
	r.cmd.Wait()
	for end := time.Now().Add(10 * time.Second); len(processesOf(firstUID, firstUID+100)) > 0; unix.Poll(nil, 5) {
		if time.Now().After(end) {
			t.Fatalf("proxies outlive the daemon: %v", processesOf(firstUID, firstUID+100))
		}
	}
	// This caller is stopped, so that its pen is still there for the sweep.
	strange := filepath.Join(filepath.Dir(group), "not-ours")
	if err := os.Mkdir(strange, 0o755); err != nil {
		t.Fatal(err)
	}
	defer os.Remove(strange)
	next := run(t, dir, name)
	if _, err := os.Stat(group); !os.IsNotExist(err) {
		t.Errorf("the group is left: %v", err)
	}
	for _, pid := range pens {
		if pid != a.cmd.Process.Pid && !dead(pid) {
			t.Errorf("process %d of the pen is left", pid)
		}
	}
	if _, err := os.Stat(strange); err != nil {
		t.Errorf("what is not ours was removed: %v", err)
	}
	os.Remove(strange)
	os.Remove(filepath.Dir(strange))
	if rep := next.sealed(t, ann); !rep.OK() || rep.Whole() {
		t.Errorf("%+v", rep)
	}
	b := next.call(t, bob, "whole")
	b.expect("serving")
	b.next()
	b.end()
	a.next()
	a.cmd.Process.Kill()
	next.term(t)
}

// TestGroupsAfterTheEnd: however a daemon ends, nothing is left of its groups in any
// hierarchy, and what is not its own is.
func TestGroupsAfterTheEnd(t *testing.T) {
	for _, how := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		t.Run(how.String(), func(t *testing.T) {
			dir, name := place(t)
			r := run(t, dir, name)
			c := r.call(t, ann, "whole")
			c.expect("serving")
			made := tops(t, name)
			if len(made) == 0 {
				t.Fatal("no groups")
			}
			for top := range made {
				beside := top + "-not-ours"
				if err := os.Mkdir(beside, 0o755); err != nil {
					t.Fatal(err)
				}
				defer func() {
					if err := os.Remove(beside); err != nil {
						t.Errorf("what is not ours: %v", err)
					}
				}()
			}
			janitors := janitorsOf(t, r.cmd.Process.Pid)
			if len(janitors) != 1 {
				t.Fatalf("janitors %v", janitors)
			}
			text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", janitors[0]))
			if err != nil {
				t.Fatal(err)
			}
			f, err := parseStatus(string(text))
			if err != nil {
				t.Fatal(err)
			}
			if only := uint64(1 << unix.CAP_DAC_OVERRIDE); f.caps != [5]uint64{0, only, only, 0, 0} || !f.noNewPrivs || f.seccomp != 2 {
				t.Errorf("the janitor has %+v", f)
			}
			// As a service manager, or a terminal, ends everything.
			syscall.Kill(janitors[0], syscall.SIGTERM)
			syscall.Kill(janitors[0], syscall.SIGINT)
			r.cmd.Process.Signal(how)
			r.cmd.Wait()
			c.cmd.Process.Kill() // who would kill his pen now
			groupsGone(t, name)
			for end := time.Now().Add(5 * time.Second); !dead(janitors[0]); unix.Poll(nil, 5) {
				if time.Now().After(end) {
					t.Fatal("the janitor is left")
				}
			}
		})
	}
}

// janitorsOf finds the children of a process that have a session of their own.
func janitorsOf(t *testing.T, parent int) (out []int) {
	t.Helper()
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range dirs {
		line, err := os.ReadFile(dir + "/cmdline")
		if err != nil || !strings.Contains(string(line), "\x00"+janitor.GroupsRole) {
			continue
		}
		text, err := os.ReadFile(dir + "/status")
		if err != nil {
			continue
		}
		if f, err := parseStatus(string(text)); err == nil && f.ppid == parent {
			pid, _ := strconv.Atoi(filepath.Base(dir))
			out = append(out, pid)
		}
	}
	return out
}

// TestGroupsOfTheNext: a daemon that is started while the janitor of the last one
// is at work has its groups, whoever was first, and keeps them.
func TestGroupsOfTheNext(t *testing.T) {
	dir, name := place(t)
	r := run(t, dir, name)
	for range 15 {
		janitors := janitorsOf(t, r.cmd.Process.Pid)
		r.cmd.Process.Kill()
		r.cmd.Wait()
		r = run(t, dir, name)
		made := tops(t, name)
		for end := time.Now().Add(5 * time.Second); !dead(janitors[0]); unix.Poll(nil, 2) {
			if time.Now().After(end) {
				t.Fatal("the last one's janitor is left")
			}
		}
		if now := tops(t, name); len(now) == 0 || !maps.Equal(made, now) {
			t.Fatalf("it had %v, and now %v", made, now)
		}
		for top := range made {
			for _, part := range []string{"pens", "proxies"} {
				if _, err := os.Stat(filepath.Join(top, part)); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	c := r.call(t, bob, "whole")
	c.expect("serving")
	c.next()
	c.end()
	r.term(t)
}

// TestOnlyRoot: an ordinary user can't be the daemon.
func TestOnlyRoot(t *testing.T) {
	if os.Geteuid() == 0 {
		cmd := exec.Command("/proc/self/exe", "-test.run=^TestOnlyRoot$")
		cmd.Dir = "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(ann), Gid: uint32(ann)}}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	if err := Run(context.Background(), Options{}); err == nil || !strings.Contains(err.Error(), "by root") {
		t.Errorf("%v", err)
	}
}
