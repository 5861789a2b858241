package layout

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"sort"
	"strings"
	"testing"

	"github.com/penstock/penstock/sandbox"
)

// machineOf is a Host made of a list: "/dir/", "/file", "/file=content",
// "/link -> text", "/socket|". Parents exist.
type machineOf struct {
	nodes    map[string]fs.FileMode
	text     map[string]string
	sockets  []string
	readOnly string // below it nothing is writable
}

func fake(entries ...string) *machineOf {
	m := &machineOf{nodes: map[string]fs.FileMode{"/": fs.ModeDir | 0o755}, text: map[string]string{}}
	for _, e := range entries {
		mode := fs.FileMode(0o644)
		name, content, _ := strings.Cut(e, "=")
		if n, text, ok := strings.Cut(e, " -> "); ok {
			name, content, mode = n, text, fs.ModeSymlink|0o777
		}
		switch {
		case strings.HasSuffix(name, "/"):
			name, mode = strings.TrimSuffix(name, "/"), fs.ModeDir|0o755
		case strings.HasSuffix(name, "|"):
			name, mode = strings.TrimSuffix(name, "|"), fs.ModeSocket|0o777
			m.sockets = append(m.sockets, name)
		}
		m.nodes[name], m.text[name] = mode, content
		for d := path.Dir(name); d != "/"; d = path.Dir(d) {
			if _, ok := m.nodes[d]; !ok {
				m.nodes[d] = fs.ModeDir | 0o755
			}
		}
	}
	return m
}

func (m *machineOf) Lstat(p string) (fs.FileMode, error) {
	if mode, ok := m.nodes[p]; ok {
		return mode, nil
	}
	return 0, fs.ErrNotExist
}
func (m *machineOf) Readlink(p string) (string, error) { return m.text[p], nil }
func (m *machineOf) ReadDir(p string) (out []string, err error) {
	for n := range m.nodes {
		if path.Dir(n) == p && n != "/" {
			out = append(out, path.Base(n))
		}
	}
	sort.Strings(out)
	return out, nil
}
func (m *machineOf) ReadFile(p string) ([]byte, error) {
	if !m.nodes[p].IsRegular() || m.nodes[p] == 0 {
		return nil, fs.ErrNotExist
	}
	return []byte(m.text[p]), nil
}
func (m *machineOf) Private(p string) bool  { return strings.HasSuffix(p, "shadow") }
func (m *machineOf) Writable(p string) bool { return m.readOnly == "" || !within(p, m.readOnly) }
func (m *machineOf) Sockets() []string      { return m.sockets }

// debian is a usual machine with a user's home.
func debian(more ...string) *machineOf {
	return fake(append([]string{
		"/usr/bin/", "/usr/lib/", "/bin -> usr/bin", "/lib -> usr/lib", "/etc/passwd", "/etc/shadow", "/etc/hosts", "/etc/group",
		"/etc/resolv.conf", "/etc/nsswitch.conf=hosts: files dns\n", "/etc/ssl/certs/ca-certificates.crt", "/opt/tool/", "/tmp/", "/run/",
		"/home/u/.ssh/id", "/home/u/.nvm/versions/node/v1/bin/node", "/home/u/.cargo/credentials.toml", "/home/u/.cargo/bin/cargo",
		"/home/u/work/.git/config", "/home/u/work/.git/HEAD", "/home/u/work/.git/hooks/", "/home/u/work/.git/info/exclude=# none\n",
		"/home/u/other/file", "/srv/tools/bin/", "/srv/tools/lib/", "/srv/tools/secret",
		"/home/u/go/pkg/mod/toolchain/bin/go", "/home/u/go/pkg/mod/toolchain/pkg/tool/", "/home/u/go/pkg/mod/toolchain/src/runtime/",
		"/home/u/gopath/bin/x", "/home/u/gopath/pkg/mod/", "/home/u/gopath/src/x",
	}, more...)...)
}

func input() Input {
	return Input{Work: "/home/u/work", Home: "/home/u", User: "u", UID: 1000, GID: 1000}
}

func build(t *testing.T, in Input, h Host) *Plan {
	t.Helper()
	p, err := Build(in, h)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// seen says what the pen sees at p: "host", "host rw", "own" or "nothing".
func seen(p *Plan, target string) string {
	best, what := "", "nothing"
	for _, m := range p.Mounts {
		if !within(target, m.Target) || len(m.Target) < len(best) {
			continue
		}
		best = m.Target
		switch {
		case m.Kind == sandbox.Bind && m.Write:
			what = "host rw"
		case m.Kind == sandbox.Bind:
			what = "host"
		case m.Kind == sandbox.Blank, m.Kind == sandbox.BlankDir:
			what = "blank"
		default:
			what = "own"
		}
	}
	return what
}

func TestSeen(t *testing.T) {
	all := input()
	all.Read = []string{"/home/u"}
	named := input()
	named.Read = []string{"/home/u/.ssh"}
	tools := input()
	tools.Path = []string{"/usr/bin", "/srv/tools/bin", "relative", "/home/u/.nvm/versions/node/v1/bin", "/nonexistent", "/tmp", "/home/u",
		"/home/u/go/pkg/mod/toolchain/bin", "/home/u/gopath/bin"}
	write := input()
	write.Write = []string{"/home/u/other"}
	write.Hide = []string{"/home/u/other/file", "/opt"}
	work := input()
	work.Work = "/home/u"
	for _, c := range []struct {
		name string
		in   Input
		want map[string]string
	}{
		{"default", input(), map[string]string{
			"/usr/bin/sh": "host", "/bin": "own", "/etc/passwd": "host", "/etc/shadow": "blank", "/opt/tool": "host",
			"/tmp/x": "own", "/run/docker.sock": "own", "/var/run": "own", "/srv": "nothing", "/root": "nothing", "/sys/x": "nothing", "/home/v": "nothing",
			"/home/u": "own", "/home/u/.ssh/id": "own", "/home/u/other/file": "own", "/home/u/.nvm/x": "host", "/home/u/.cargo/bin/cargo": "host", "/home/u/.cargo/credentials.toml": "own",
			"/home/u/work/file": "host rw", "/home/u/work/.git": "host rw", "/home/u/work/.git/index": "host rw",
			"/home/u/work/.git/config": "host", "/home/u/work/.git/hooks/pre-commit": "host", "/home/u/work/.vscode/x": "blank", "/home/u/work/.penstock.yaml": "blank",
		}},
		{"home readable", all, map[string]string{
			"/home/u/other/file": "host", "/home/u/.ssh/id": "blank", "/home/u/.cargo/credentials.toml": "blank", "/home/u/work/x": "host rw",
		}},
		{"credential by name", named, map[string]string{"/home/u/.ssh/id": "host"}},
		{"search path", tools, map[string]string{"/srv/tools/bin/x": "host", "/srv/tools/lib/x": "host", "/srv/tools/secret": "nothing", "/home/u/other/file": "own", "/tmp/x": "own",
			"/home/u/go/pkg/mod/toolchain/go.env": "host", "/home/u/go/pkg/mod/x": "own", "/home/u/gopath/bin/x": "host", "/home/u/gopath/src/x": "own"}},
		{"write and hide", write, map[string]string{"/home/u/other/x": "host rw", "/home/u/other/file": "blank", "/opt/tool": "blank"}},
		{"home as work", work, map[string]string{
			"/home/u/other/file": "host rw", "/home/u/.ssh/id": "blank", "/home/u/.cargo/credentials.toml": "blank", "/home/u/.cargo/bin/x": "host",
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := build(t, c.in, debian())
			for target, want := range c.want {
				if got := seen(p, target); got != want {
					t.Errorf("%s: %s, want %s", target, got, want)
				}
			}
			order(t, p)
		})
	}
}

// order: a mount comes after each that it is in, and targets are unique.
func order(t *testing.T, p *Plan) {
	t.Helper()
	done := map[string]bool{}
	for _, m := range p.Mounts {
		if done[m.Target] {
			t.Errorf("%s is mounted twice", m.Target)
		}
		for d := range done {
			if d != m.Target && within(d, m.Target) {
				t.Errorf("%s comes after %s", m.Target, d)
			}
		}
		done[m.Target] = true
	}
}

func TestRefused(t *testing.T) {
	for name, change := range map[string]func(*Input){
		"no work":         func(in *Input) { in.Work = "" },
		"relative":        func(in *Input) { in.Work = "work" },
		"root":            func(in *Input) { in.Work = "/" },
		"etc":             func(in *Input) { in.Work = "/etc" },
		"home of all":     func(in *Input) { in.Work = "/home" },
		"file":            func(in *Input) { in.Work = "/etc/passwd" },
		"missing":         func(in *Input) { in.Read = []string{"/nonexistent"} },
		"proc":            func(in *Input) { in.Read = []string{"/proc"} },
		"dev":             func(in *Input) { in.Write = []string{"/dev"} },
		"run":             func(in *Input) { in.Write = []string{"/run"} },
		"docker's socket": func(in *Input) { in.Write = []string{"/srv/docker.sock"} },
		"link to run":     func(in *Input) { in.Read = []string{"/home/u/run"} },
	} {
		in := input()
		change(&in)
		_, err := Build(in, debian("/srv/docker.sock|", "/proc/", "/dev/", "/home/u/run -> /run"))
		var e *Error
		if !errors.As(err, &e) || e.Hint() == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestPlantedLinks(t *testing.T) {
	// Links that an earlier session left in the work directory name no source.
	h := debian("/home/u/work/.vscode -> ../.ssh", "/home/u/work/.idea -> /home/u/other", "/home/u/work/.claude/settings.json", "/home/u/work/.cursor -> conf", "/home/u/work/conf/x")
	p := build(t, input(), h)
	for _, m := range p.Mounts {
		if m.Kind != sandbox.Bind {
			continue
		}
		if m.Source != m.Target {
			t.Errorf("%s is mounted at %s", m.Source, m.Target)
		}
		if strings.Contains(m.Source, ".ssh") || strings.Contains(m.Source, "other") || strings.HasSuffix(m.Source, ".vscode") {
			t.Errorf("a link pulled in %s", m.Source)
		}
	}
	if len(p.Links) != 3 || len(p.Changed(h)) != 0 {
		t.Errorf("%v", p.Links)
	}
	h.text["/home/u/work/.vscode"] = "evil"
	delete(h.nodes, "/home/u/work/.idea")
	if got := p.Changed(h); len(got) != 2 {
		t.Errorf("%v", got)
	}
	h.nodes["/home/u/work/.idea"], h.text["/home/u/work/.vscode"] = fs.ModeSymlink, "../.ssh"
	if got := seen(p, "/home/u/work/conf/x"); got != "host" {
		t.Errorf("what a protected link leads to is %s", got)
	}
}

func TestSocketsAreCovered(t *testing.T) {
	p := build(t, input(), debian("/home/u/work/agent.sock|", "/home/u/.gnupg/S.gpg-agent|"))
	if got := seen(p, "/home/u/work/agent.sock"); got != "blank" {
		t.Error(got)
	}
	for _, m := range p.Mounts {
		if strings.Contains(m.Target, "S.gpg-agent") {
			t.Error("covered what is not visible")
		}
	}
}

func TestReadOnlyWorkNeedsNoPlaceholders(t *testing.T) {
	h := debian()
	h.readOnly = "/home/u/work"
	if p := build(t, input(), h); len(p.Placeholders) != 0 {
		t.Errorf("%v", p.Placeholders)
	}
}

func TestUnprotect(t *testing.T) {
	h := debian("/home/u/new/")
	in := input()
	in.Work = "/home/u/new"
	has := func(p *Plan, name string) bool {
		for _, x := range p.Placeholders {
			if path.Base(x.Path) == name {
				return true
			}
		}
		return false
	}
	if p := build(t, in, h); !has(p, ".git") || !has(p, "HEAD") {
		t.Error("a new repository could be made")
	}
	in.Unprotect = []string{"/home/u/new/.git"}
	if p := build(t, in, h); has(p, ".git") || has(p, "HEAD") || !has(p, ".vscode") {
		t.Error("no repository can be made")
	}
}

func TestProtectWhatIsShaped(t *testing.T) {
	in := input()
	in.Protect = []string{"/home/u/work/.git"}
	p := build(t, in, debian())
	if got := seen(p, "/home/u/work/.git/index"); got != "host" {
		t.Error(got)
	}
}

func TestGitConfiguration(t *testing.T) {
	config := "[core]\n\thooksPath = scripts/hooks\n[include]\n\tpath = ../shared.gitconfig\n\tpath = /etc/gitconfig\n\tpath = ../../outside\n"
	p := build(t, input(), debian("/home/u/work/.git/config="+config, "/home/u/work/scripts/hooks/pre-commit", "/home/u/work/shared.gitconfig",
		"/home/u/work/.git/modules/a/b/HEAD", "/home/u/work/.git/modules/a/b/config", "/home/u/work/.git/modules/a/b/hooks/", "/home/u/work/.git/worktrees/w/gitdir"))
	for _, want := range []string{"scripts/hooks/pre-commit", "shared.gitconfig", ".git/modules/a/b/config", ".git/modules/a/b/hooks/x", ".git/worktrees/w/gitdir"} {
		if got := seen(p, "/home/u/work/"+want); got != "host" {
			t.Errorf("%s: %s", want, got)
		}
	}
	// And none of the directories above them can be renamed.
	for _, want := range []string{"scripts", ".git/modules", ".git/modules/a", ".git/modules/a/b", ".git/worktrees/w"} {
		found := false
		for _, m := range p.Mounts {
			found = found || m.Target == "/home/u/work/"+want
		}
		if !found {
			t.Errorf("%s is no mount point", want)
		}
	}
}

func TestResolvConfIntoRun(t *testing.T) {
	h := debian("/etc/resolv.conf -> ../run/systemd/resolve/stub-resolv.conf", "/etc/nsswitch.conf=hosts: mymachines resolve files\n")
	p := build(t, input(), h)
	var targets []string
	for _, f := range p.Files {
		targets = append(targets, f.Target)
	}
	got := strings.Join(targets, " ")
	if !strings.Contains(got, "/run/systemd/resolve/stub-resolv.conf") || !strings.Contains(got, "/etc/nsswitch.conf") || strings.Contains(got, "/etc/resolv.conf") {
		t.Error(got)
	}
}

func TestBundleCoversTheSystems(t *testing.T) {
	in := input()
	in.Bundle = "/home/u/.cache/penstock/bundle.pem"
	p := build(t, in, debian())
	found := 0
	for _, m := range p.Mounts {
		if m.Source == in.Bundle && (m.Target == BundlePath || m.Target == "/etc/ssl/certs/ca-certificates.crt") {
			found++
		}
	}
	if found != 2 {
		t.Errorf("%d places", found)
	}
}

func TestSocketPaths(t *testing.T) {
	table := "Num       RefCount Protocol Flags    Type St Inode Path\n" +
		"0000000000000000: 00000002 00000000 00010000 0001 01 20917 /run/a b.sock\n" +
		"0000000000000000: 00000002 00000000 00010000 0001 01 20918 @abstract/x\n" +
		"0000000000000000: 00000003 00000000 00000000 0001 03 20919\n"
	if got := fmt.Sprint(socketPaths(table)); got != "[/run/a b.sock]" {
		t.Error(got)
	}
}

func FuzzGitFiles(f *testing.F) {
	f.Add("gitdir: /home/u/main/.git/worktrees/w\n", "[core]\n\thooksPath = x\n")
	f.Add("gitdir: ../../../..", "path==\nhooksPath=/\nhooksPath=..")
	f.Fuzz(func(t *testing.T, link, config string) {
		for _, h := range []*machineOf{debian("/home/u/wt/.git=" + link), debian("/home/u/wt/.git/config=" + config)} {
			in := input()
			in.Work = "/home/u/wt"
			p, err := Build(in, h)
			if err != nil {
				t.Fatal(err)
			}
			order(t, p)
			for _, m := range p.Mounts {
				if m.Kind == sandbox.Bind && m.Write && !within(m.Target, "/home/u/wt") {
					t.Errorf("%q %q made %s writable", link, config, m.Target)
				}
			}
			for _, x := range p.Placeholders {
				if !within(x.Path, "/home/u/wt") {
					t.Errorf("%q %q wants a placeholder at %s", link, config, x.Path)
				}
			}
		}
	})
}

func ExampleBuild() {
	plan, err := Build(Input{Work: "/home/u/work", Home: "/home/u"}, debian())
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, m := range plan.Mounts {
		if m.Write && m.Kind == sandbox.Bind {
			fmt.Println("writable:", m.Target)
		}
	}
	// Output:
	// writable: /home/u/work
	// writable: /home/u/work/.git
}
