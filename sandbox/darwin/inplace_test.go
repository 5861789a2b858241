package darwin

import (
	"io/fs"
	"path"
	"slices"
	"testing"

	"github.com/penstock/penstock/sandbox"
	"github.com/penstock/penstock/sandbox/layout"
)

// planner is the machine as a plan asks for it.
type planner struct{ *mac }

func (planner) ReadFile(string) ([]byte, error) { return nil, fs.ErrNotExist }
func (planner) Private(string) bool             { return false }
func (planner) Writable(string) bool            { return true }
func (planner) Sockets() []string               { return nil }

// profileOf plans a session in place and reads what its profile allows.
func profileOf(t *testing.T, in layout.Input, m *mac) (*layout.Plan, *profile) {
	t.Helper()
	plan, err := layout.InPlace(in, planner{m})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range plan.Placeholders { // as Claim makes them
		m.nodes[p.Path] = 0
		if p.Dir {
			m.nodes[p.Path] = fs.ModeDir
		}
	}
	s := &sandbox.Spec{Penstock: "/usr/local/bin/penstock", Mounts: plan.Mounts, Files: plan.Files}
	if err := new(Backend).Prepare(s); err != nil {
		t.Fatal(err)
	}
	text, err := Profile(s, Options{Proxy: 15080}, m)
	if err != nil {
		t.Fatal(err)
	}
	p, err := parse(text)
	if err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return plan, p
}

// TestInPlace: a plan without mounts becomes a profile that keeps it: the work directory
// is the command's, but for what the host obeys, and nothing of the home that was not
// granted.
func TestInPlace(t *testing.T) {
	in := layout.Input{
		Work: "/Users/u/work", Home: "/Users/u", Path: []string{"/usr/local/bin", "/usr/bin", "/Users/u/.nvm"},
		Write: []string{"/tmp/pen"}, Hide: []string{"/Users/u/work/src/secret"},
	}
	plan, p := profileOf(t, in, usual("/Users/u/work/src/secret/key", "/Users/u/.nvm/bin/node"))
	for _, m := range plan.Mounts {
		if m.Kind == sandbox.Symlink || m.Kind == sandbox.Bind && m.Source != m.Target {
			t.Errorf("%+v is not in place", m)
		}
	}
	if plan.Dir != "/Users/u/work" || !slices.Contains(plan.Path, "/usr/local/bin") {
		t.Errorf("%+v", plan)
	}
	const read, write, create = "file-read-data", "file-write-data", "file-write-create"
	for _, tt := range []struct {
		want bool
		asked
	}{
		{true, asked{op: read, path: "/Users/u/work/src/a"}}, {true, asked{op: write, path: "/Users/u/work/src/a"}}, {true, asked{op: create, path: "/Users/u/work/new"}},
		{true, asked{op: create, path: "/private/tmp/pen/x"}}, {false, asked{op: create, path: "/private/tmp/x"}},
		{true, asked{op: read, path: "/Users/u/work/.git/hooks/x"}}, {false, asked{op: create, path: "/Users/u/work/.git/hooks/x"}},
		{false, asked{op: write, path: "/Users/u/work/.git/config"}}, {false, asked{op: "file-write-unlink", path: "/Users/u/work/.git"}},
		{false, asked{op: write, path: "/Users/u/work/.vscode/x"}}, {false, asked{op: create, path: "/Users/u/work/.husky/x"}},
		{false, asked{op: read, path: "/Users/u/work/src/secret/key"}}, {false, asked{op: "file-write-unlink", path: "/Users/u/work/src"}},
		{false, asked{op: read, path: "/Users/u/.ssh/id"}}, {false, asked{op: read, path: "/Users/u/other/x"}}, {false, asked{op: create, path: "/Users/u/x"}},
		{true, asked{op: read, path: "/Users/u/.nvm/bin/node"}}, {false, asked{op: write, path: "/Users/u/.nvm/bin/node"}},
		{true, asked{op: read, path: "/usr/local/bin/penstock"}}, {false, asked{op: write, path: "/usr/local/bin/penstock"}},
	} {
		if got, err := p.allows(tt.asked); err != nil || got != tt.want {
			t.Errorf("%+v: %v, %v", tt.asked, got, err)
		}
	}
}

// TestInPlaceHome: of a home that is granted whole the usual credentials stay hidden,
// those of macOS among them, and what a login obeys can't be changed.
func TestInPlaceHome(t *testing.T) {
	m := usual("/Users/u/Library/Keychains/login.keychain-db", "/Users/u/Library/Application Support/Google/Chrome/Cookies", "/Users/u/.zshrc", "/Users/u/a")
	plan, p := profileOf(t, layout.Input{Work: "/Users/u", Home: "/Users/u"}, m)
	if len(plan.Warnings) == 0 {
		t.Error("nobody is told that it is the whole home")
	}
	for path, want := range map[string][2]bool{ // read, write
		"/Users/u/a": {true, true}, "/Users/u/.ssh/id": {}, "/Users/u/.zshrc": {true, false},
		"/Users/u/Library/Keychains/login.keychain-db": {}, "/Users/u/Library/Application Support/Google/Chrome/Cookies": {},
	} {
		for i, op := range []string{"file-read-data", "file-write-data"} {
			if got, err := p.allows(asked{op: op, path: path}); err != nil || got != want[i] {
				t.Errorf("%s %s: %v, %v", op, path, got, err)
			}
		}
	}
}

// TestInPlaceRefused: what belongs to everybody is no work directory.
func TestInPlaceRefused(t *testing.T) {
	for _, in := range []layout.Input{
		{Work: "/Users", Home: "/Users/u"}, {Work: "/tmp", Home: "/Users/u"}, {Work: "/System", Home: "/Users/u"}, {Work: "/Users/u/work", Home: "/"},
		{Work: "/Users/u/work", Home: "/Users/nobody"}, {Home: "/Users/u"}, {Work: "/Users/u/.ssh/id", Home: "/Users/u"},
	} {
		if plan, err := layout.InPlace(in, planner{usual()}); err == nil {
			t.Errorf("%s in %s: %+v", in.Work, path.Clean(in.Home), plan)
		}
	}
}
