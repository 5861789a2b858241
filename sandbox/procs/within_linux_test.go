package procs

import (
	"os"
	"os/exec"
	"slices"
	"strconv"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestKillBelow: all that descends from a process is killed, what is stopped and what
// forks meanwhile too, and it itself is not.
func TestKillBelow(t *testing.T) {
	root, line := tree(t, "(while :; do sleep 100000 & sleep 0.01; done) & setsid sleep 100000 & (kill -STOP $(exec sh -c 'echo $PPID'); sleep 9) & echo up; read x")
	if _, err := line.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	if err := KillBelow(root); err != nil {
		t.Fatal(err)
	}
	if left := slices.DeleteFunc(Below(root), ended); len(left) != 0 || ended(root) {
		t.Errorf("%v are left, root ended: %v", left, ended(root))
	}
	if err := KillBelow(root); err != nil {
		t.Error(err)
	}
}

// TestWithin: a process is in its user namespace and in those above it, and the
// killing of one's processes concerns no other.
func TestWithin(t *testing.T) {
	begin := func() (*exec.Cmd, uint64) {
		cmd := exec.Command("/bin/sh", "-c", "setsid sleep 100000 & unshare --user sleep 100000 & sleep 100000")
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER, Setpgid: true}
		if err := cmd.Start(); err != nil {
			if os.Getenv("CI") == "true" {
				t.Fatal(err)
			}
			t.Skip("user namespaces:", err)
		}
		t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
		fi, err := os.Stat("/proc/" + strconv.Itoa(cmd.Process.Pid) + "/ns/user")
		if err != nil {
			t.Fatal(err)
		}
		return cmd, fi.Sys().(*syscall.Stat_t).Ino
	}
	one, inOne := begin()
	two, inTwo := begin()
	if !slices.Contains(Within(inOne), one.Process.Pid) || slices.Contains(Within(inOne), two.Process.Pid) || slices.Contains(Within(inOne), os.Getpid()) {
		t.Errorf("%v", Within(inOne))
	}
	if err := KillWithin(inOne); err != nil || len(Within(inOne)) != 0 || ended(two.Process.Pid) {
		t.Errorf("%v, %v", err, Within(inOne))
	}
	if err := KillWithin(inTwo); err != nil || len(Within(inTwo)) != 0 {
		t.Errorf("%v, %v", err, Within(inTwo))
	}
	if Within(0) != nil || KillWithin(0) != nil {
		t.Error("no namespace has processes")
	}
}
