package install

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/penstock/penstock/internal/world"
)

func TestMain(m *testing.M) {
	code := world.Main(m)
	for _, dir := range built.dirs {
		os.RemoveAll(dir)
	}
	os.Exit(code)
}

// needRoot skips the test for an ordinary user, who can't install a package;
// root's run has it.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("installing a package needs root: root's run has this test")
	}
	for _, tool := range []string{"dpkg", "nsenter", "setpriv", "pivot_root", "useradd"} {
		world.Tool(t, tool)
	}
}

// machine is a throwaway copy of this machine.
type machine struct {
	t    *testing.T
	init *exec.Cmd
	root string // its root directory, as seen from here
}

// newMachine starts a copy, which ends with the test. With the word systemd that
// is its PID 1.
func newMachine(t *testing.T, words ...string) *machine {
	t.Helper()
	needRoot(t)
	groups := ownGroups(t)
	script, err := filepath.Abs("testdata/machine")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	// The process enters the groups before its namespace is made: what it is in
	// then is the root of its hierarchy (cgroup_namespaces(7)).
	var enter strings.Builder
	for _, g := range groups {
		fmt.Fprintf(&enter, "echo 0 >%s/cgroup.procs\n", g)
	}
	cmd := exec.Command("/bin/bash", "-euc", enter.String()+`exec unshare --cgroup /bin/bash "$0" "$@"`, script, dir)
	cmd.Args = append(cmd.Args, words...)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWPID,
		Pdeathsig:  syscall.SIGKILL,
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := world.Start(cmd); err != nil {
		t.Fatalf("start a copy of this machine: %v", err)
	}
	t.Cleanup(func() {
		stdin.Close()
		cmd.Process.Kill() // and with PID 1 everything in its namespace
		io.Copy(io.Discard, stdout)
		cmd.Wait()
	})
	if line, err := bufio.NewReader(stdout).ReadString('\n'); line != "ready\n" {
		stdin.Close()
		cmd.Wait()
		t.Fatalf("make a copy of this machine: %v %s", err, stderr.String())
	}
	return &machine{t: t, init: cmd, root: fmt.Sprintf("/proc/%d/root", cmd.Process.Pid)}
}

// ownGroups makes a control group for one machine in each hierarchy and removes
// it, with what is left below it, when the test ends.
func ownGroups(t *testing.T) []string {
	t.Helper()
	mounts, err := os.ReadFile("/proc/mounts")
	if err != nil {
		t.Fatal(err)
	}
	var groups []string
	for line := range strings.Lines(string(mounts)) {
		f := strings.Fields(line)
		if len(f) < 3 || !strings.HasPrefix(f[1], "/sys/fs/cgroup") || (f[2] != "cgroup" && f[2] != "cgroup2") {
			continue
		}
		dir, err := os.MkdirTemp(f[1], "penstock-install-")
		if err != nil {
			t.Fatal(err)
		}
		if f[2] == "cgroup" { // a cpuset without processors takes no process
			for _, name := range []string{"cpuset.cpus", "cpuset.mems"} {
				if b, err := os.ReadFile(filepath.Join(f[1], name)); err == nil {
					os.WriteFile(filepath.Join(dir, name), b, 0)
				}
			}
		}
		groups = append(groups, dir)
		t.Cleanup(func() {
			if left := below(dir); len(left) > 0 && !t.Failed() { // a supervisor that was killed leaves some to the next one
				t.Errorf("control groups are left: %v", left)
			}
			removeGroup(dir)
		})
	}
	return groups
}

// below returns the control groups below one.
func below(dir string) (found []string) {
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if e.IsDir() && e.Name() != "machine" { // that is where its processes were
			found = append(found, filepath.Join(dir, e.Name()))
		}
	}
	return found
}

// removeGroup removes a control group whose processes were killed: the last of
// them may not have been reaped by the kernel yet.
func removeGroup(dir string) {
	for _, g := range append(below(dir), filepath.Join(dir, "machine")) {
		if _, err := os.Lstat(g); err == nil {
			removeGroup(g)
		}
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for range 500 {
		if err := os.Remove(dir); !errors.Is(err, unix.EBUSY) {
			return
		}
		<-tick.C
	}
}

// command prepares a command in the machine, as root or as one of its users.
func (m *machine) command(user string, argv ...string) *exec.Cmd {
	args := []string{"--target", fmt.Sprint(m.init.Process.Pid), "--mount", "--pid", "--cgroup", "--root", "--", "env", "--chdir=/", "/run/enter"}
	home, dir := "/root", "/root"
	if user != "root" {
		home = "/home/" + user
		dir = home + "/project"
		args = append(args, "setpriv", "--reuid", user, "--regid", user, "--init-groups", "--")
	}
	args = append(args, "env", "-i", "--chdir="+dir, "HOME="+home, "USER="+user, "LOGNAME="+user, "LANG=C.UTF-8", "TERM=dumb",
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND=noninteractive")
	cmd := exec.Command("nsenter", append(args, argv...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	return cmd
}

// run runs a command and returns what it printed and its exit code.
func (m *machine) run(user string, argv ...string) (output string, code int) {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), 2*time.Minute)
	defer cancel()
	cmd := m.command(user, argv...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.WaitDelay = time.Second
	if err := world.Start(cmd); err != nil {
		m.t.Fatalf("start %v: %v", argv, err)
	}
	stop := context.AfterFunc(ctx, func() { syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
	defer stop()
	err := cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) && !errors.Is(err, exec.ErrWaitDelay) {
		m.t.Fatalf("run %v: %v", argv, err)
	}
	return out.String(), cmd.ProcessState.ExitCode()
}

// must runs a command that has to succeed.
func (m *machine) must(user string, argv ...string) string {
	m.t.Helper()
	out, code := m.run(user, argv...)
	if code != 0 {
		m.t.Fatalf("%s: %v: exit %d\n%s", user, argv, code, out)
	}
	return out
}

// addUser makes a user with a home and a project in it.
func (m *machine) addUser(name string) {
	m.t.Helper()
	m.must("root", "useradd", "--create-home", "--user-group", "--shell", "/bin/sh", name)
	m.must("root", "install", "-d", "-o", name, "-g", name, "/home/"+name+"/project")
}

// path is a path of the machine, as seen from here.
func (m *machine) path(p string) string { return filepath.Join(m.root, p) }

// exists says whether the machine has a file, following no link at the end.
func (m *machine) exists(p string) bool {
	_, err := os.Lstat(m.path(p))
	return err == nil
}

// put copies a file into the machine.
func (m *machine) put(from, to string, mode os.FileMode) {
	m.t.Helper()
	b, err := os.ReadFile(from)
	if err != nil {
		m.t.Fatal(err)
	}
	m.write(to, string(b), mode)
}

// write writes a file of the machine.
func (m *machine) write(to, content string, mode os.FileMode) {
	m.t.Helper()
	if err := os.WriteFile(m.path(to), []byte(content), mode); err != nil {
		m.t.Fatal(err)
	}
	if err := os.Chmod(m.path(to), mode); err != nil {
		m.t.Fatal(err)
	}
}
