package rootfs

import (
	"fmt"
	"testing"

	"github.com/penstock/penstock/sandbox"
)

func example() *Root {
	return &Root{Mounts: []sandbox.Mount{
		{Source: "/usr", Target: "/usr"},
		{Kind: sandbox.Symlink, Source: "usr/bin", Target: "/bin"},
		{Kind: sandbox.Tmpfs, Target: "/home/u"},
		{Source: "/home/u/w", Target: "/home/u/w", Write: true},
		{Source: "/home/u/w/.git", Target: "/home/u/w/.git", Write: true},
		{Source: "/home/u/w/.git/hooks", Target: "/home/u/w/.git/hooks"},
		{Source: "/home/u/.nvm", Target: "/home/u/.nvm"},
		{Kind: sandbox.BlankDir, Target: "/home/u/w/.vscode"},
	}}
}

// TestInMemory: a mount point is made only where the pen's own memory is.
func TestInMemory(t *testing.T) {
	r := example()
	for p, want := range map[string]bool{
		"/x": true, "/run/penstock/penstock": true, "/home/v": true, "/home/u/new": true, "/home/u/w": true, "/home/u/.config/a/b": true,
		"/usr/x": false, "/usr/share/x/y": false, "/home/u/w/x": false, "/home/u/w/.git/x": false, "/home/u/.nvm/x": false, "/home/u/w/.git/hooks/x": false,
		"/home/u/w/.vscode/x": true, "/usrx": true, "/home/u/w2": true,
	} {
		if got := r.inMemory(p, len(r.Mounts)); got != want {
			t.Errorf("%s: %v, want %v", p, got, want)
		}
	}
	if !r.inMemory("/home/u/w/x", 2) {
		t.Error("a mount that is not there yet counts")
	}
}

// TestStrict: links are refused on the way to what a tool can write.
func TestStrict(t *testing.T) {
	r := example()
	want := []bool{false, false, false, false, true, true, false, false}
	for i, m := range r.Mounts {
		if m.Kind == sandbox.Bind && r.strict(i) != want[i] {
			t.Errorf("%s: %v", m.Source, r.strict(i))
		}
	}
}

func ExampleRoot() {
	r := Root{
		Mounts: []sandbox.Mount{{Source: "/usr", Target: "/usr"}, {Kind: sandbox.Tmpfs, Target: "/tmp", Write: true}},
		Files:  []sandbox.File{{Target: "/tmp/hello", Content: []byte("hello\n")}},
		Dirs:   []string{"/proc"},
	}
	fmt.Println(len(r.Mounts), len(r.Files), r.Dirs)
	// Output: 2 1 [/proc]
}
