package policy

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/penstock/penstock/hooks"
)

func write(t testing.TB, path, text string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func allowing(p *Policy, t testing.TB, host string) bool {
	return p.Decide(req(t, "https://"+host+"/")).Action == hooks.Allow
}

func TestLoadNothing(t *testing.T) {
	dir := t.TempDir()
	p, err := Load(LoadOptions{System: dir + "/none", User: dir + "/none", Project: dir + "/none", TrustStore: dir + "/none"})
	if err != nil {
		t.Fatal(err)
	}
	if allowing(p, t, "a.example") || p.Untrusted() != nil || len(p.Files()) != 0 {
		t.Error("an empty policy is not empty")
	}
	var zero Policy
	if allowing(&zero, t, "a.example") || zero.Mode() != Enforce {
		t.Error("the zero policy allows something")
	}
	if _, err := Load(LoadOptions{Named: []string{dir + "/none"}}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a named file that is not there: %v", err)
	}
}

func TestLoadLayers(t *testing.T) {
	dir := t.TempDir()
	rule := func(h string) string { return "version: 1\negress: {allow: [{host: " + h + "}]}\n" }
	o := LoadOptions{
		System: write(t, dir+"/etc/policy.yaml", rule("s.example")), User: write(t, dir+"/conf/policy.yaml", rule("u.example")),
		Project: write(t, dir+"/work/.penstock.yaml", rule("p.example")+"filesystem: {write: [out, ~/x]}\n"), TrustProject: true,
		Named:    []string{write(t, dir+"/ci.yaml", rule("n.example")+"egress2: 1\n")},
		Profiles: []Text{{"profile:test", rule("f.example")}},
		Inline:   []Inline{{"--deny", "u.example"}}, WorkDir: dir + "/work/sub",
		Environ: func(string) string { return "/home/x" },
	}
	if _, err := Load(o); err == nil || !strings.Contains(err.Error(), "ci.yaml:3:1: unknown key") {
		t.Fatalf("error of a named file: %v", err)
	}
	write(t, dir+"/ci.yaml", rule("n.example"))
	p, err := Load(o)
	if err != nil {
		t.Fatal(err)
	}
	for h, want := range map[string]bool{"s": true, "u": false, "p": true, "n": true, "f": true, "x": false} {
		if allowing(p, t, h+".example") != want {
			t.Errorf("%s.example: not %v", h, want)
		}
	}
	w := p.Filesystem().Write
	if len(w) != 2 || w[0].Path != dir+"/work/out" || w[1].Path != "/home/x/x" {
		t.Errorf("paths: %+v", w)
	}
	if len(p.Files()) != 5 {
		t.Errorf("files: %v", p.Files())
	}
	o.Environ = func(string) string { return "" }
	if _, err := Load(o); err == nil || !strings.Contains(err.Error(), "HOME is not set") {
		t.Errorf("without HOME: %v", err)
	}
}

// TestInvariant11Trust: a project's policy file is hostile until its content is approved.
func TestInvariant11Trust(t *testing.T) {
	dir := t.TempDir()
	text := "version: 1\negress: {allow: [{host: p.example}]}\n"
	o := LoadOptions{Project: write(t, dir+"/work/.penstock.yaml", text), TrustStore: dir + "/state/penstock/trust.json"}
	load := func() *Policy {
		t.Helper()
		p, err := Load(o)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	p := load()
	if u := p.Untrusted(); allowing(p, t, "p.example") || u == nil || u.Changed || u.SHA256 != hexSum([]byte(text)) {
		t.Fatalf("an unknown project file counts: %+v", u)
	}
	if !strings.Contains(p.Untrusted().String(), "penstock policy trust") {
		t.Error("no hint")
	}
	// Even a broken one must not stop the run, nor be parsed at all.
	write(t, o.Project, "{{{{\x00")
	load()
	write(t, o.Project, text)
	if err := Trust(o.TrustStore, o.Project, []byte(text)); err != nil {
		t.Fatal(err)
	}
	if p := load(); !allowing(p, t, "p.example") || p.Untrusted() != nil {
		t.Error("a trusted project file does not count")
	}
	write(t, o.Project, text+"# changed\n")
	if p := load(); allowing(p, t, "p.example") || p.Untrusted() == nil || !p.Untrusted().Changed {
		t.Error("a changed project file counts")
	}
	// The same bytes in another place are another file.
	other := o
	other.Project = write(t, dir+"/other/.penstock.yaml", text)
	if p, err := Load(other); err != nil || allowing(p, t, "p.example") {
		t.Error("trust moves with the bytes")
	}
	// What is approved is what was shown, not what the path holds by then.
	if err := Trust(o.TrustStore, o.Project, []byte(text)); err != nil {
		t.Fatal(err)
	}
	if p := load(); allowing(p, t, "p.example") {
		t.Error("bytes that were not shown are approved")
	}
	write(t, o.Project, text)
	if err := Distrust(o.TrustStore, o.Project); err != nil {
		t.Fatal(err)
	}
	if p := load(); allowing(p, t, "p.example") {
		t.Error("trust can't be taken back")
	}
	// The same file under another name of its directory.
	if err := os.Symlink(dir+"/work", dir+"/link"); err != nil {
		t.Fatal(err)
	}
	if err := Trust(o.TrustStore, dir+"/link/.penstock.yaml", []byte(text)); err != nil {
		t.Fatal(err)
	}
	if p := load(); !allowing(p, t, "p.example") {
		t.Error("trust is bound to a symbolic link")
	}
	o.TrustStore = ""
	if p := load(); allowing(p, t, "p.example") {
		t.Error("a project file counts without a trust store")
	}
}

func TestTrustStore(t *testing.T) {
	dir := t.TempDir()
	store := dir + "/state/trust.json"
	var wg sync.WaitGroup
	for i := range 20 {
		path := write(t, filepath.Join(dir, "p", string(rune('a'+i)), ProjectFile), "x")
		wg.Go(func() {
			if err := Trust(store, path, []byte("x")); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	b, err := os.ReadFile(store)
	if err != nil {
		t.Fatal(err)
	}
	var s trustStore
	if err := json.Unmarshal(b, &s); err != nil || len(s.Files) != 20 {
		t.Errorf("%d of 20 approvals are left: %v", len(s.Files), err)
	}
	entries, err := os.ReadDir(filepath.Dir(store))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		fi, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		if fi.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", e.Name(), fi.Mode())
		}
		if e.Name() != "trust.json" && e.Name() != "trust.json.lock" {
			t.Errorf("left behind: %s", e.Name())
		}
	}
	project := write(t, dir+"/w/"+ProjectFile, "version: 1\n")
	for _, bad := range []string{"{", "[]", `{"version":2}`, strings.Repeat(" ", maxTrustStore+1)} {
		write(t, store, bad)
		if _, err := Load(LoadOptions{Project: project, TrustStore: store}); err == nil {
			t.Errorf("a damaged trust store (%.10q) is not an error", bad)
		}
	}
}

func TestReadPolicyIsCareful(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no modes here")
	}
	dir := t.TempDir()
	path := write(t, dir+"/policy.yaml", "version: 1\n")
	if err := os.Chmod(path, 0o666); err != nil {
		t.Fatal(err)
	}
	for _, o := range []LoadOptions{{System: path}, {User: path}} {
		if _, err := Load(o); err == nil || !strings.Contains(err.Error(), "everyone can write it") {
			t.Errorf("a policy that everyone can write: %v", err)
		}
	}
	if _, err := Load(LoadOptions{Project: dir, TrustProject: true}); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("a directory: %v", err)
	}
	if _, err := Load(LoadOptions{Named: []string{"/dev/zero"}}); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("a device: %v", err)
	}
	big := write(t, dir+"/big.yaml", strings.Repeat("#", MaxFileSize+10))
	if _, err := Load(LoadOptions{Named: []string{big}}); err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("a huge file: %v", err)
	}
}

func TestFindProject(t *testing.T) {
	dir := t.TempDir()
	home := dir + "/home"
	want := write(t, home+"/proj/"+ProjectFile, "")
	for _, d := range []string{"/proj", "/proj/a/b"} {
		if got := FindProject(home+d, home); got != want {
			t.Errorf("%s: %q", d, got)
		}
	}
	write(t, dir+"/"+ProjectFile, "")
	if got := FindProject(home+"/other", home); got != "" {
		t.Errorf("found above home: %q", got)
	}
	inner := write(t, home+"/proj/a/"+ProjectFile, "")
	if got := FindProject(home+"/proj/a/b", home); got != inner {
		t.Errorf("not the nearest: %q", got)
	}
}
