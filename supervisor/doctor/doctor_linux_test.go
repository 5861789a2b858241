package doctor

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/penstock/penstock/supervisor/config"
)

// binary returns the whole penstock: a pen starts it again in other roles.
func binary(t *testing.T) string {
	t.Helper()
	if _, err := exec.LookPath("bwrap"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("bwrap is missing: apt-get install bubblewrap")
		}
		t.Skip("bwrap is missing: apt-get install bubblewrap")
	}
	if p := os.Getenv("PENSTOCK_BIN"); p != "" {
		return p
	}
	out := filepath.Join(t.TempDir(), "penstock")
	cmd := exec.Command("go", "build", "-buildvcs=false", "-o", out, "github.com/penstock/penstock/cmd/penstock")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if msg, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build penstock: %v\n%s", err, msg)
	}
	return out
}

// environ is the environment with directories of the test's own for what
// Penstock keeps on the host.
func environ(t *testing.T) []string {
	t.Helper()
	env := os.Environ()
	for _, v := range []string{"CONFIG", "STATE", "DATA", "CACHE"} {
		env = append(env, "XDG_"+v+"_HOME="+t.TempDir())
	}
	return env
}

// TestPensAndClients runs the part of the examination that needs pens, as
// `penstock doctor` does, and holds every installed client to success.
func TestPensAndClients(t *testing.T) {
	host, err := config.NewHost(os.Getuid(), os.Getgid(), t.TempDir(), binary(t), environ(t))
	if err != nil {
		t.Fatal(err)
	}
	x := &examination{ctx: t.Context(), Options: Options{Host: host, Clients: true, Report: func(f Finding) { t.Logf("%+v", f) }}}
	if err := x.pens(); err != nil {
		t.Fatal(err)
	}
	if len(x.findings) < 2 {
		t.Errorf("only %d findings: no client was tried", len(x.findings))
	}
	if Failed(x.findings) {
		t.Error("a client that is installed here does not work through a pen")
	}
}

// TestABrokenBinaryFails: the doctor does not say ok of what it could not run.
func TestABrokenBinaryFails(t *testing.T) {
	host, err := config.NewHost(os.Getuid(), os.Getgid(), t.TempDir(), "/bin/false", environ(t))
	if err != nil {
		t.Fatal(err)
	}
	x := &examination{ctx: t.Context(), Options: Options{Host: host, Clients: true}}
	if err := x.pens(); err != nil {
		t.Fatal(err)
	}
	if !Failed(x.findings) || len(x.findings) != 1 {
		t.Errorf("findings of a binary that always fails: %+v", x.findings)
	}
}
