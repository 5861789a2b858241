package darwin

import (
	"io/fs"
	"path"
	"strings"
	"testing"

	"github.com/penstock/penstock/sandbox"
)

// everywhere is a machine on which there is whatever is asked for.
type everywhere struct{ base string }

func (everywhere) Lstat(string) (fs.FileMode, error)  { return fs.ModeDir, nil }
func (everywhere) Readlink(string) (string, error)    { return "", fs.ErrInvalid }
func (a everywhere) ReadDir(string) ([]string, error) { return strings.Split(a.base, "/"), nil }

// FuzzProfile: whatever a path has in it, the profile is either refused or has one rule
// more, about this path and no other.
func FuzzProfile(f *testing.F) {
	for _, s := range []string{"/a", `/a"b`, `/a\`, `/a\"`, "/a)(allow default)", "/a\n", "/\x00", "/żółw", "/a;b", `/#"x"`, "/" + strings.Repeat("x", 1030), "/a/../b", "/tmp/ x "} {
		f.Add(s, "com.apple.x", true)
	}
	f.Fuzz(func(t *testing.T, p, service string, write bool) {
		s := &sandbox.Spec{Mounts: []sandbox.Mount{{Source: p, Target: p, Write: write}}}
		text, err := Profile(s, Options{Proxy: 1, Services: []string{service}}, everywhere{p})
		if err != nil {
			if text != "" {
				t.Fatal("a profile beside an error")
			}
			return
		}
		pr, err := parse(text)
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		empty, err := Profile(&sandbox.Spec{}, Options{Proxy: 1, Services: []string{service}}, everywhere{p})
		if err != nil {
			t.Fatal(err)
		}
		none, err := parse(empty)
		if err != nil {
			t.Fatal(err)
		}
		// Rules of the place, those of what is around it, and those of what is fixed.
		if more := len(pr.rules) - len(none.rules); more < 1 || more > 3 {
			t.Fatalf("%d more rules\n%s", more, text)
		}
		for _, a := range []asked{
			{op: "file-read-data", path: p}, {op: "file-read-data", path: p + "/x"}, {op: "file-write-data", path: p + "/x"},
			{op: "file-read-data", path: p + "x"}, {op: "file-write-data", path: "/other"}, {op: "file-read-data", path: path.Dir(p) + "/other"},
			{op: "network-outbound", remote: "tcp example.com:1"}, {op: "mach-lookup", service: "com.apple.pasteboard.1"},
		} {
			want := within(a.path, p) && (write || a.op == "file-read-data") ||
				a.service != "" && a.service == service
			if got, err := pr.allows(a); err != nil || got != want {
				t.Fatalf("%+v: %t, want %t, %v\n%s", a, got, want, err, text)
			}
		}
	})
}
