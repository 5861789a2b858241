package reaper

import (
	"bufio"
	"bytes"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const firstRole = "role:test-first"

// TestMain lets the test binary be process 1.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == firstRole {
		if !First() {
			os.Exit(99)
		}
		os.Exit(Main(os.Args[2], os.Args[2:], os.Stderr))
	}
	os.Exit(m.Run())
}

// first starts a shell below a process 1 in a PID namespace of its own, with a /proc.
func first(t *testing.T, script string) (*exec.Cmd, *bufio.Reader) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// The shell mounts /proc itself: unshare would be a process between us and process 1.
	cmd := exec.CommandContext(t.Context(), exe, firstRole, "/bin/sh", "-c", "mount -t proc proc /proc || exit 98; "+script)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}, GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
		Pdeathsig: unix.SIGKILL,
	}
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, bufio.NewReader(out)
}

// end waits for it and returns the exit code.
func end(t *testing.T, cmd *exec.Cmd, out *bufio.Reader) (string, int) {
	t.Helper()
	rest, err := io.ReadAll(out)
	if err != nil {
		t.Error(err)
	}
	_ = cmd.Wait()
	return string(rest), cmd.ProcessState.ExitCode()
}

func TestExitCode(t *testing.T) {
	for script, want := range map[string]int{"exit 0": 0, "exit 7": 7, "kill -TERM $$": 143, "kill -KILL $$": 137} {
		cmd, out := first(t, script)
		if said, code := end(t, cmd, out); code != want || said != "" {
			t.Errorf("%s: %d, %q", script, code, said)
		}
	}
	var said bytes.Buffer
	if code := Main("/absent", []string{"absent"}, &said); code != 125 || !strings.Contains(said.String(), "/absent") {
		t.Errorf("%d: %s", code, said.String())
	}
}

// TestOrphans: what others leave is waited for, and none of it is a zombie.
func TestOrphans(t *testing.T) {
	cmd, out := first(t, `
		i=0; while [ $i -lt 20 ]; do (exec sh -c 'sh -c "exit 3" & exit 0'); i=$((i+1)); done
		# Process 1 has waited for all when no line of /proc says Z; it is asked until then.
		while cat /proc/[0-9]*/stat 2>/dev/null | grep -q ') Z '; do :; done
		echo clean; exit 4`)
	if said, code := end(t, cmd, out); said != "clean\n" || code != 4 {
		t.Errorf("%q, %d", said, code)
	}
}

// TestSignals: those from outside reach the child, with what it does about them.
func TestSignals(t *testing.T) {
	for _, s := range []syscall.Signal{unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGUSR1, unix.SIGWINCH} {
		cmd, out := first(t, `trap 'echo got; exit 5' TERM INT HUP USR1 WINCH; echo ready; while :; do :; done`)
		if line, err := out.ReadString('\n'); line != "ready\n" {
			t.Fatalf("%q: %v", line, err)
		}
		if err := cmd.Process.Signal(s); err != nil {
			t.Fatal(err)
		}
		if said, code := end(t, cmd, out); said != "got\n" || code != 5 {
			t.Errorf("%v: %q, %d", s, said, code)
		}
	}
	// Without a handler the child dies of it, and process 1 says so.
	cmd, out := first(t, `echo ready; exec cat /dev/zero >/dev/null`)
	if line, err := out.ReadString('\n'); line != "ready\n" {
		t.Fatalf("%q: %v", line, err)
	}
	if err := cmd.Process.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if _, code := end(t, cmd, out); code != 143 {
		t.Errorf("%d", code)
	}
}

// TestWhatIsLeft: something that goes on after the child ends gets its moment, and
// nothing outlives process 1.
func TestWhatIsLeft(t *testing.T) {
	cmd, out := first(t, `(while kill -0 $$ 2>/dev/null; do :; done; echo put away) & exit 6`)
	if said, code := end(t, cmd, out); code != 6 || said != "put away\n" {
		t.Errorf("%q, %d", said, code)
	}
	begin := time.Now()
	cmd, out = first(t, `sleep 1000 & exit 7`)
	if _, code := end(t, cmd, out); code != 7 || time.Since(begin) < leftTime {
		t.Errorf("%d after %s", code, time.Since(begin))
	}
}
