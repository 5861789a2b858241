package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestResolveProcess: a run knows which files its rules mean, or does not start.
func TestResolveProcess(t *testing.T) {
	dir := t.TempDir()
	h := &Host{Home: dir, Dir: dir, Environ: []string{"HOME=" + dir}}
	file := filepath.Join(dir, "p.yaml")
	for exe, want := range map[string]string{"/bin/sh": "", "/no/such": "p.yaml:2:18: the executable \"/no/such\" of rule"} {
		if err := os.WriteFile(file, []byte("version: 1\negress: {allow: [{host: a.example, process: {exe: "+exe+"}}]}\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := Resolve(&Options{Command: []string{"true"}, Policies: []string{file}}, h)
		if want != "" {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v", exe, err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := c.Policy.MarshalJSON()
		if err != nil || !strings.Contains(string(b), `"resolved":[{"dev":`) {
			t.Errorf("%s: %s, %v", exe, b, err)
		}
	}
}
