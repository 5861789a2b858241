package bwrap

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/penstock/penstock/sandbox"
)

var update = flag.Bool("update", false, "write the golden files")

// every has a mount of every kind.
func every(uid int) *sandbox.Spec {
	return &sandbox.Spec{
		UID: uid, GID: uid, Hostname: "pen", Penstock: "/usr/bin/penstock",
		Mounts: []sandbox.Mount{
			{Source: "/usr", Target: "/usr"},
			{Kind: sandbox.Symlink, Source: "usr/bin", Target: "/bin"},
			{Kind: sandbox.Tmpfs, Target: "/tmp", Write: true, Mode: 0o1777, Size: 1 << 20},
			{Kind: sandbox.Tmpfs, Target: "/home/u", Write: true},
			{Source: "/home/u/w", Target: "/home/u/w", Write: true},
			{Source: "/home/u/.nvm", Target: "/home/u/.nvm", Optional: true},
			{Kind: sandbox.Blank, Target: "/home/u/w/secret"},
			{Kind: sandbox.BlankDir, Target: "/home/u/w/.vscode"},
			{Kind: sandbox.Null, Target: "/home/u/w/null"},
		},
		Files: []sandbox.File{{Target: "/etc/hosts", Content: []byte("h")}, {Target: "/run/x", Content: []byte("x"), Mode: 0o400}},
	}
}

func TestGolden(t *testing.T) {
	for name, c := range map[string]struct {
		spec *sandbox.Spec
		f    features
	}{
		"user":          {every(1000), features{disableUserns: true}},
		"root":          {every(0), features{disableUserns: true}},
		"prebuilt":      {every(1000), features{disableUserns: true, prebuilt: true}},
		"prebuilt-root": {every(0), features{disableUserns: true, prebuilt: true}},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := arguments(c.spec, c.f, 1, func(string) bool { return true })
			if err != nil {
				t.Fatal(err)
			}
			// One option per line.
			got := strings.ReplaceAll(strings.Join(p.args, " "), " --", "\n--") + "\n"
			got += fmt.Sprintf("descriptors with contents: %d\n", len(p.data))
			if p.root != nil {
				got += fmt.Sprintf("built before: %d mounts, %d files, %v, devices %v\n", len(p.root.Mounts), len(p.root.Files), p.root.Dirs, p.root.Devices)
			}
			golden := filepath.Join("testdata", name+".txt")
			if *update {
				os.MkdirAll("testdata", 0o755)
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("%s changed:\n%s", golden, got)
			}
		})
	}
}

func TestRefusedSpecs(t *testing.T) {
	for name, change := range map[string]func(*sandbox.Spec){
		"relative target":  func(s *sandbox.Spec) { s.Mounts[0].Target = "usr" },
		"unclean target":   func(s *sandbox.Spec) { s.Mounts[0].Target = "/usr/../etc" },
		"NUL in target":    func(s *sandbox.Spec) { s.Mounts[0].Target = "/usr\x00--bind" },
		"no source":        func(s *sandbox.Spec) { s.Mounts[0].Source = "" },
		"NUL in a link":    func(s *sandbox.Spec) { s.Mounts[1].Source = "a\x00--cap-add\x00ALL" },
		"unknown kind":     func(s *sandbox.Spec) { s.Mounts[0].Kind = 99 },
		"blank root":       func(s *sandbox.Spec) { s.Mounts[0] = sandbox.Mount{Kind: sandbox.BlankDir, Target: "/"} },
		"NUL in a file":    func(s *sandbox.Spec) { s.Files[0].Target = "/etc/\x00" },
		"NUL in host name": func(s *sandbox.Spec) { s.Hostname = "a\x00--share-net" },
		"no host name":     func(s *sandbox.Spec) { s.Hostname = "" },
		"no program":       func(s *sandbox.Spec) { s.Penstock = "" },
		"negative user":    func(s *sandbox.Spec) { s.UID = -1 },
	} {
		s := every(1000)
		change(s)
		if _, err := arguments(s, features{}, 1, func(string) bool { return true }); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

// TestNothingInArguments: other processes of the user read the command line.
func TestNothingInArguments(t *testing.T) {
	b := &Backend{path: "/usr/bin/bwrap"}
	s := every(1000)
	s.Argv, s.Env = []string{"cmd", "--token=secret"}, []string{"TOKEN=secret"}
	shim, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer shim.Close()
	defer w.Close()
	c, err := b.Command(s, shim, w)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	all := strings.Join(append(c.Argv, c.Env...), " ")
	for _, never := range []string{"secret", "/home", "cmd"} {
		if strings.Contains(all, never) {
			t.Errorf("%q shows %s", all, never)
		}
	}
	for i, f := range c.Files {
		if f == nil {
			t.Errorf("descriptor %d is nothing", i)
		}
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

func TestFind(t *testing.T) {
	dir := t.TempDir()
	if _, err := find(dir); err == nil {
		t.Error("found in an empty directory")
	} else if e, ok := err.(*Error); !ok || !strings.Contains(e.Hint(), "apt-get") {
		t.Errorf("%v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "bwrap"), nil, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(dir, "bwrap"), 0o777); err != nil {
		t.Fatal(err)
	}
	if p, err := find(dir); err == nil {
		t.Errorf("took %s out of a directory that others can write above", p)
	}
	if p, err := find("relative:" + dir); err == nil {
		t.Errorf("took %s", p)
	}
}
