package containers

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// least is what every container here is started with beside the options that pens need.
func least() []string {
	return []string{"--cap-drop", "ALL", "--security-opt", "no-new-privileges"}
}

// work is a directory for a container's /work: a policy and a module that does nothing.
func work(t *testing.T) []string {
	t.Helper()
	dir := t.TempDir()
	files := map[string]string{
		"policy.yaml": "version: 1\negress:\n  allow:\n    - {host: origin.test, ports: [8080], addresses: [127.0.0.0/8], paths: [/allowed/**]}\n  hosts: {origin.test: 127.0.0.1}\n",
		"module.wasm": "\x00asm\x01\x00\x00\x00\x01\x04\x01\x60\x00\x00\x03\x02\x01\x00\x07\x0a\x01\x06_start\x00\x00\x0a\x04\x01\x02\x00\x0b",
		"allowed/x":   "of the origin\n",
	}
	for name, text := range files {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for d := dir; d != "/" && d != os.TempDir(); d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o777); err != nil { // other users' containers
			t.Fatal(err)
		}
	}
	return []string{"--volume", dir + ":/work"}
}

// session is a shell's script for a container: an origin on its loopback, and a pen of a
// tier in which one request is allowed and one is denied, and both are in the audit.
func session(tier string) string {
	return `httpd -p 127.0.0.1:8080 -h /work
penstock run --sandbox ` + tier + ` --policy /work/policy.yaml -- sh -c '
	wget -q -O - http://origin.test:8080/allowed/x; wget -q -O - http://origin.test:8080/denied; wget -q -O - http://127.0.0.1:8080/allowed/x' || echo "run: $?"
penstock audit verify && penstock logs --json`
}

// TestOptions: with the options of docs/containers.md a session works in each tier, as a
// user without capabilities, and without one of them penstock names it.
func TestOptions(t *testing.T) {
	for _, tc := range []struct {
		name, row string
		engine    func(t *testing.T) *engine
		tiers     []string
	}{
		{"podman with runc", "podman, as root or rootless", func(t *testing.T) *engine { return podman(t, "runc", "") }, []string{"bwrap", "gvisor", "wasm"}},
		{"podman with crun", "podman, as root or rootless", func(t *testing.T) *engine { return podman(t, "crun", "") }, []string{"bwrap"}},
		{"podman, rootless", "podman, as root or rootless", func(t *testing.T) *engine { return podman(t, "crun", "nobody") }, []string{"bwrap"}},
		{"docker", "Docker", docker, []string{"bwrap", "gvisor"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			e, options, dir := tc.engine(t), documented(t, tc.row), work(t)
			if len(options) != 4 {
				t.Fatalf("%q", options)
			}
			with := slices.Concat(least(), dir, options)
			for _, tier := range tc.tiers {
				if tier == "wasm" {
					if out, code := e.start(t, with, "run", "--sandbox", tier, "module.wasm"); code != 0 {
						t.Errorf("%s: %d\n%s", tier, code, out)
					}
					continue
				}
				out, code := e.start(t, append(slices.Clone(with), "--entrypoint", "/bin/sh"), "-c", session(tier))
				for _, want := range []string{"of the origin\n", "403 Forbidden", `"allowed/x`, `/denied`} {
					want = strings.TrimPrefix(want, `"`)
					if !strings.Contains(out, want) {
						t.Errorf("%s: no %q", tier, want)
					}
				}
				if code != 0 || strings.Count(out, "of the origin\n") != 1 || !strings.Contains(out, `"allow"`) || !strings.Contains(out, `"deny"`) {
					t.Errorf("%s: %d\n%s", tier, code, out)
				}
			}
			for i := 0; i < len(options); i += 2 {
				without := slices.Concat(least(), dir, options[:i], options[i+2:])
				missing := strings.Replace(options[i+1], filepath.Dir(options[i+1][strings.Index(options[i+1], "=")+1:])+"/seccomp.json", "penstock-seccomp.json", 1)
				commands := [][]string{{"run", "--", "true"}}
				if len(tc.tiers) == 3 && i == 0 { // all that it tries takes its time
					commands = append(commands, []string{"doctor", "--no-clients"})
				}
				for _, command := range commands {
					out, code := e.start(t, without, command...)
					if code == 0 || command[0] == "run" && code != 125 || !strings.Contains(strings.ReplaceAll(out, "'", ""), "--security-opt "+missing) {
						t.Errorf("without %s: penstock %s: %d\n%s", missing, command[0], code, out)
					}
					if other := options[(i+3)%4]; strings.Contains(out, strings.SplitN(other, "=", 2)[0]+"=") {
						t.Errorf("without %s: it asks for %s, too:\n%s", missing, other, out)
					}
				}
			}
		})
	}
}
