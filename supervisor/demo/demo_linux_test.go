package demo

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
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

// TestDemo runs the demonstration as `penstock demo` does.
func TestDemo(t *testing.T) {
	self := binary(t)
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var out bytes.Buffer
	begin := time.Now()
	report, err := Run(ctx, Options{Self: self, Environ: os.Environ(), Out: &out})
	if err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	if !report.OK || len(report.Attempts) < 15 || len(report.Arrived) != 4 {
		t.Errorf("report: %+v", report)
	}
	if took := time.Since(begin); took > 20*time.Second {
		t.Errorf("the demo took %s", took)
	}
	for _, want := range []string{"allowed", "denied", "Arrived outside: 4 of 4", "0 others", "the pen held a placeholder"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the output does not say %q:\n%s", want, out.String())
		}
	}
	if strings.Contains(out.String(), "real-") {
		t.Error("the real secret is in the output")
	}
	left, err := os.ReadDir(temp)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range left {
		t.Errorf("left behind: %s", e.Name())
	}
}

// TestDemoFailsWithoutAPen: a binary that can't run a pen is no demonstration.
func TestDemoFailsWithoutAPen(t *testing.T) {
	var out bytes.Buffer
	if report, err := Run(context.Background(), Options{Self: "/bin/false", Environ: os.Environ(), Out: &out}); err == nil || report.OK {
		t.Errorf("a demo without a pen succeeded:\n%s", out.String())
	}
}
