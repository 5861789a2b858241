//go:build unix

package darwin

import (
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/penstock/penstock/sandbox"
)

// TestCommand: sandbox-exec gets the profile by a descriptor, becomes the shim, and has
// nothing of the caller's environment.
func TestCommand(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	self := filepath.Join(dir, "penstock")
	for _, name := range []string{self, filepath.Join(dir, "a")} {
		if err := os.WriteFile(name, nil, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	spec := &sandbox.Spec{Penstock: self, Mounts: []sandbox.Mount{bind(self, false), bind(filepath.Join(dir, "a"), true)}}
	line, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer line.Close()
	b := (&Backend{options: Options{Services: []string{"com.example.x"}}}).With(Options{Proxy: 4711})
	c, err := b.Command(spec, line, line)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if want := []string{"sandbox-exec", "-f", "/dev/fd/4", self, "role:shim", "3"}; c.Path != Program || !slices.Equal(c.Argv, want) {
		t.Errorf("%s %q", c.Path, c.Argv)
	}
	if c.FirstFile != 3 || len(c.Files) != 3 || c.Files[0] != line || c.Files[2] != line || len(c.Env) != 1 {
		t.Errorf("%+v", c)
	}
	text, err := io.ReadAll(c.Files[1])
	if err != nil {
		t.Fatal(err)
	}
	p, err := parse(string(text))
	if err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	for want, a := range map[bool]asked{true: {op: "network-outbound", remote: "tcp localhost:4711"}, false: {op: "network-outbound", remote: "tcp localhost:4712"}} {
		if got, err := p.allows(a); got != want || err != nil {
			t.Errorf("%+v: %v, %v", a, got, err)
		}
	}
	if !strings.Contains(string(text), "com.example.x") {
		t.Error("With took the services away")
	}
}

// TestProxyCommand: the proxy role is started under its profile.
func TestProxyCommand(t *testing.T) {
	c, err := ProxyCommand("/usr/local/bin/penstock", "/Users/u", "role:proxy")
	if err != nil {
		t.Fatal(err)
	}
	text, err := ProxyProfile("/usr/local/bin/penstock", "/Users/u")
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"sandbox-exec", "-p", text, "/usr/local/bin/penstock", "role:proxy"}; c.Path != Program || !slices.Equal(c.Args, want) {
		t.Errorf("%s %q", c.Path, c.Args)
	}
}
