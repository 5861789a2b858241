package main

import (
	"bytes"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestSupervise(t *testing.T) {
	program := filepath.Join(realBinary(t), "penstock")
	t.Run("options", func(t *testing.T) { testSuperviseOptions(t, program) })
	t.Run("service manager", func(t *testing.T) { testServiceManager(t, program) })
}

// testServiceManager plays systemd: it passes a socket and is told when
// the service is ready and when it stops.
func testServiceManager(t *testing.T, program string) {
	if os.Geteuid() != 0 {
		t.Skip("the supervisor needs root: root's run has this test")
	}
	dir := t.TempDir()
	socket := filepath.Join(dir, "s")
	l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: socket, Net: "unixpacket"})
	if err != nil {
		t.Fatal(err)
	}
	passed, err := l.File()
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	defer passed.Close()
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dir, "notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer manager.Close()
	told := func() string {
		t.Helper()
		manager.SetReadDeadline(time.Now().Add(20 * time.Second))
		b := make([]byte, 100)
		n, err := manager.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		return string(b[:n])
	}
	name := "penstock-test-" + strconv.Itoa(os.Getpid())
	// The process id is known only to the process itself.
	cmd := exec.Command("sh", "-c", `LISTEN_PID=$$ LISTEN_FDS=1 exec "$@"`, "sh", program, "supervise",
		"--state", filepath.Join(dir, "state"), "--policy", filepath.Join(dir, "policy.yaml"), "--config", filepath.Join(dir, "supervise.yaml"), "--name", name)
	cmd.Env = []string{"PATH=/usr/bin:/bin", "NOTIFY_SOCKET=" + filepath.Join(dir, "notify")}
	cmd.ExtraFiles = []*os.File{passed}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
	})
	if got := told(); got != "READY=1" {
		t.Fatalf("it says %q\n%s", got, stderr.String())
	}
	out, err := exec.Command(program, "supervise", "--status", "--socket", socket).CombinedOutput()
	if err != nil || !strings.HasPrefix(string(out), "version ") || !strings.Contains(string(out), "\npolicy ") {
		t.Errorf("%s, %v", out, err)
	}
	out, err = exec.Command(program, "supervise", "--status", "--json", "--socket", socket).Output()
	var status struct {
		Version, Steering string
		Sessions          int
	}
	if err == nil {
		err = json.Unmarshal(out, &status)
	}
	if err != nil || status.Version == "" || status.Steering == "" {
		t.Errorf("%s, %v", out, err)
	}
	cmd.Process.Signal(syscall.SIGTERM)
	if got := told(); got != "STOPPING=1" {
		t.Errorf("it says %q", got)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v\n%s", err, stderr.String())
	}
	if _, err := os.Stat(socket); err != nil {
		t.Errorf("the service manager's socket: %v", err)
	}
	if _, err := os.Stat("/sys/fs/bpf/" + name); err == nil {
		t.Error("pins are left")
	}
	groups := func() []string {
		tops, _ := filepath.Glob("/sys/fs/cgroup/*/" + name)
		if _, err := os.Stat("/sys/fs/cgroup/" + name); err == nil {
			tops = append(tops, "/sys/fs/cgroup/"+name)
		}
		return tops
	}
	// The janitor removes them when it sees that the supervisor is gone.
	for end := time.Now().Add(5 * time.Second); len(groups()) > 0; unix.Poll(nil, 5) {
		if time.Now().After(end) {
			t.Fatalf("control groups are left: %v", groups())
		}
	}
}

// testSuperviseOptions: what can't be is said before anything is touched.
func testSuperviseOptions(t *testing.T, program string) {
	dir := t.TempDir()
	config := filepath.Join(dir, "supervise.yaml")
	if err := os.WriteFile(config, []byte("quota:\n  sesions: 3\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--json"}, "--json needs --status"},
		{[]string{"--status", "--socket", filepath.Join(dir, "none")}, "connect to the supervisor"},
		{[]string{"--config", config}, `supervise.yaml:2: unknown key "sesions"`},
		{[]string{"--group", "no-such-group-here", "--config", filepath.Join(dir, "none"), "--socket", filepath.Join(dir, "s")}, "there is no group"},
		{[]string{"--name", "../x", "--config", filepath.Join(dir, "none")}, "can't be a name"},
		{[]string{"x"}, "takes no argument"},
	} {
		cmd := exec.Command(program, append([]string{"supervise"}, c.args...)...)
		out, err := cmd.CombinedOutput()
		if os.Geteuid() != 0 && strings.Contains(string(out), "by root") {
			continue
		}
		if err == nil || !strings.Contains(string(out), c.want) {
			t.Errorf("%v: %s, %v", c.args, out, err)
		}
	}
}
