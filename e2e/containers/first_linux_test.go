package containers

import (
	"bufio"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/penstock/penstock/internal/world"
)

// TestFirst: penstock is process 1 of a container, without a terminal, with a root that
// can't be written. It waits for orphans, and when the engine stops the container the
// session ends as a session does.
func TestFirst(t *testing.T) {
	t.Parallel()
	e := podman(t, "runc", "")
	options := slices.Concat(least(), work(t), documented(t, "podman, as root or rootless"), []string{"--read-only"})
	state := []string{"--tmpfs", "/home/penstock"}

	// Without a place for what it keeps it says so, and that's all.
	if out, code := e.start(t, options, "run", "--", "true"); code != 125 || !strings.Contains(out, "read-only file system") || !strings.Contains(out, "hint: ") {
		t.Errorf("a root that can't be written: %d\n%s", code, out)
	}
	for script, want := range map[string]int{"exit 7": 7, "kill -TERM $$": 143} {
		if out, code := e.start(t, append(slices.Clone(options), state...), "run", "--", "sh", "-c", script); code != want {
			t.Errorf("%s: %d\n%s", script, code, out)
		}
	}
	// Any user, with files of nobody's.
	if out, code := e.start(t, slices.Concat(options, state, []string{"--user", "4242:4242"}), "run", "--", "id", "-u"); code != 0 || !strings.Contains(out, "4242\n") {
		t.Errorf("another user: %d\n%s", code, out)
	}
	// Root of the container, without a user namespace: the machine's settings are not the pen's.
	if out, code := e.start(t, slices.Concat(options, state, []string{"--user", "0"}), "run", "--", "true"); code != 125 || !strings.Contains(out, "--user 1000") {
		t.Errorf("root without capabilities: %d\n%s", code, out)
	}
	if out, code := e.start(t, slices.Concat(options[len(least()):], state, []string{"--user", "0"}), "run", "--", "sh", "-c", "echo x >/proc/sys/kernel/core_pattern || echo refused"); code != 0 || !strings.Contains(out, "refused") {
		t.Errorf("root: %d\n%s", code, out)
	}

	audit := t.TempDir()
	if err := os.Chmod(audit, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Dir(audit), 0o755); err != nil {
		t.Fatal(err)
	}
	all := slices.Concat(e.argv[1:], []string{"run", "--name", "first"}, e.run, options, state, []string{"--volume", audit + ":/audit", e.image,
		"run", "--audit-dir", "/audit/a", "--", "sh", "-c", "echo up; while :; do sleep 1; done"})
	cmd := exec.CommandContext(t.Context(), e.argv[0], all...)
	cmd.Dir, cmd.Stderr = "/", os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(out)
	if line, err := r.ReadString('\n'); line != "up\n" {
		t.Fatalf("%q: %v", line, err)
	}
	// Five processes whose parents end at once; then it is asked until none is a zombie.
	if said, err := e.do(t.Context(), "exec", "first", "/bin/sh", "-c", `for i in 1 2 3 4 5; do sh -c 'sh -c "exit 3" &'; done
		while cat /proc/[0-9]*/stat 2>/dev/null | grep -q ') Z 1 '; do :; done; tr '\0' ' ' </proc/1/cmdline`); err != nil || !strings.HasPrefix(said, "/usr/bin/penstock run ") {
		t.Errorf("%v: %s", err, said)
	}
	if said, err := e.do(t.Context(), "stop", "--time", "30", "first"); err != nil {
		t.Errorf("%v: %s", err, said)
	}
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 143 {
		t.Errorf("a stopped container ends with %d", code)
	}
	if out, code := e.start(t, slices.Concat(options, []string{"--volume", audit + ":/audit"}), "audit", "verify", "--audit-dir", "/audit/a"); code != 0 {
		t.Errorf("its audit: %d\n%s", code, out)
	}
}

// TestImage: the same files make the same bytes, skopeo reads them, and what they start
// is penstock, as a user.
func TestImage(t *testing.T) {
	t.Parallel()
	needRoot(t, "skopeo")
	first, err := os.ReadFile(image.path)
	if err != nil {
		t.Fatal(err)
	}
	again, err := makeImage(world.Penstock(t), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if second, err := os.ReadFile(again); err != nil || string(second) != string(first) {
		t.Errorf("%d and %d bytes, which differ (%v)", len(first), len(second), err)
	}
	out, err := exec.Command("skopeo", "inspect", "--config", "oci-archive:"+image.path).CombinedOutput()
	var c struct {
		Architecture string
		Config       struct {
			User       string
			Entrypoint []string
			WorkingDir string
		}
	}
	if err != nil || json.Unmarshal(out, &c) != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if c.Architecture != "amd64" || c.Config.User != "1000" || !slices.Equal(c.Config.Entrypoint, []string{"/usr/bin/penstock"}) || c.Config.WorkingDir != "/work" {
		t.Errorf("%+v", c)
	}
}

// TestNested: pens in namespaces that were made by hand, and in pens.
func TestNested(t *testing.T) {
	t.Parallel()
	needRoot(t, "setpriv")
	penstock := world.Penstock(t)
	dir := t.TempDir()
	for d := dir; d != "/" && d != os.TempDir(); d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range []struct {
		name string
		argv []string
		code int
		want string
	}{
		{"with a /proc", []string{"unshare", "-U", "-r", "-m", "-p", "-f", "--mount-proc", penstock, "run", "--", "id", "-u"}, 0, "0\n"},
		{"without", []string{"unshare", "-U", "-r", "-m", "-p", "-f", penstock, "run", "--", "id", "-u"}, 125, "hint: unshare --mount-proc"},
		{"covered", []string{"unshare", "-U", "-r", "-m", "-p", "-f", "--mount-proc", "sh", "-c", "mount -t tmpfs none /proc/fs && exec " + penstock + " run -- true"}, 125, "covers parts of /proc"},
		{"a pen in a pen", []string{penstock, "run", "--read", penstock, "--", penstock, "run", "--", "true"}, 125, "this is a pen already"},
	} {
		args := append([]string{"--reuid", "nobody", "--regid", "nogroup", "--clear-groups", "env", "-i", "HOME=" + dir, "PATH=/usr/sbin:/usr/bin:/sbin:/bin"}, tc.argv...)
		cmd := exec.CommandContext(t.Context(), "setpriv", args...)
		cmd.Dir = filepath.Join(dir, "work")
		if err := os.MkdirAll(cmd.Dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(cmd.Dir, 0o777); err != nil {
			t.Fatal(err)
		}
		out, _ := cmd.CombinedOutput()
		if code := cmd.ProcessState.ExitCode(); code != tc.code || !strings.Contains(string(out), tc.want) {
			t.Errorf("%s: %d\n%s", tc.name, code, out)
		}
	}
}
