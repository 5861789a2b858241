package policy

import (
	"errors"
	"io/fs"
	"strings"
	"testing"

	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/hooks/cel"
)

// files stands for a pen's file system: what every name is.
var (
	gitFile  = hooks.Executable{Path: "/usr/bin/git", Dev: 8, Ino: 100, SHA256: strings.Repeat("a1", 32)}
	curlFile = hooks.Executable{Path: "/usr/bin/curl", Dev: 8, Ino: 101, SHA256: strings.Repeat("b2", 32)}
)

func findFile(path string) ([]hooks.Executable, error) {
	switch path {
	case "/usr/bin/git":
		return []hooks.Executable{gitFile}, nil
	case "/usr/bin/curl":
		return []hooks.Executable{{Dev: 9, Ino: 101}, curlFile}, nil
	case "/nothing":
		return nil, nil
	case "/strange":
		return []hooks.Executable{{}}, nil
	}
	return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
}

func resolved(t testing.TB, p *Policy) *Policy {
	t.Helper()
	q, err := p.ResolveExecutables(findFile)
	if err == nil {
		q, err = q.CompileConditions(cel.Language{})
	}
	if err != nil {
		t.Fatal(err)
	}
	return q
}

func by(r *hooks.Request, x hooks.Executable) *hooks.Request {
	c := *r
	c.Process = &hooks.Process{PID: 7, Exe: x}
	return &c
}

func TestProcess(t *testing.T) {
	hash := `, sha256: "` + gitFile.SHA256 + `"`
	renamed := gitFile
	renamed.Path = "/tmp/curl"
	posing := hooks.Executable{Path: "/usr/bin/git", Dev: 8, Ino: 999, SHA256: strings.Repeat("c3", 32)}
	copied := hooks.Executable{Path: "/tmp/g", Dev: 8, Ino: 999, SHA256: gitFile.SHA256}
	written := gitFile
	written.SHA256 = posing.SHA256
	unhashed := gitFile
	unhashed.SHA256 = ""
	otherDisk := gitFile
	otherDisk.Dev = 5
	rootless := hooks.Executable{Path: "/usr/bin/git"}
	for _, tt := range []struct {
		who                                    string
		exe                                    hooks.Executable
		allow, allowHash, notDeny, notDenyHash bool
	}{
		{"git", gitFile, true, true, false, false},
		{"git by another name", renamed, true, true, false, false},
		{"another file of that name", posing, false, false, true, true},
		{"a copy", copied, false, false, true, false},
		{"git, written over", written, true, false, false, false},
		{"git, content not known", unhashed, true, false, false, false},
		{"that inode on another disk", otherDisk, false, false, true, false},
		{"a name only", rootless, false, false, false, false},
		{"curl", curlFile, false, false, true, true},
		{"nothing known", hooks.Executable{}, false, false, false, false},
	} {
		for _, c := range []struct {
			what, text string
			want       bool
		}{
			{"allow", "allow: [{host: a.example, process: {exe: /usr/bin/git}}]", tt.allow},
			{"allow by content", "allow: [{host: a.example, process: {exe: /usr/bin/git" + hash + "}}]", tt.allowHash},
			{"deny", "allow: [{host: a.example}], deny: [{host: a.example, process: {exe: /usr/bin/git}}]", tt.notDeny},
			{"deny by content", "allow: [{host: a.example}], deny: [{host: a.example, process: {exe: /usr/bin/git" + hash + "}}]", tt.notDenyHash},
		} {
			p := roundTrip(t, resolved(t, mustPolicy(t, "version: 1\negress: {"+c.text+"}\n")))
			r := by(req(t, "https://a.example/x"), tt.exe)
			if v := p.Decide(r); (v.Action == hooks.Allow) != c.want {
				t.Errorf("%s, %s: %v, %s", tt.who, c.what, v.Action, v.Reason)
			}
			if m := p.ConnectBy(r.Target, r.Process); m.HTTPS != c.want {
				t.Errorf("%s, %s: a connection is possible: %t", tt.who, c.what, m.HTTPS)
			}
			if m, want := p.Connect(r.Target), false; m.HTTPS != want {
				t.Errorf("%s: a connection of nobody known is possible", c.what)
			}
			if tt.exe.Ino == 0 {
				r.Process = nil
				if v := p.Decide(r); (v.Action == hooks.Allow) != c.want {
					t.Errorf("no process, %s: %v", c.what, v)
				}
			}
			shared := *by(req(t, "https://a.example/x"), tt.exe).Process
			shared.Shared = true
			r.Process = &shared
			if v := p.Decide(r); v.Action == hooks.Allow {
				t.Errorf("%s and others, %s: %v, %s", tt.who, c.what, v.Action, v.Reason)
			}
			said := *by(req(t, "https://a.example/x"), tt.exe).Process
			said.SaidBy = "somebody in the pen"
			r.Process = &said
			if v := p.Decide(r); v.Action == hooks.Allow {
				t.Errorf("%s, as the pen says, %s: %v, %s", tt.who, c.what, v.Action, v.Reason)
			}
			if !p.NeedsProcess() || p.NeedsHash() != strings.Contains(c.what, "content") {
				t.Errorf("%s: needs process %t, hash %t", c.what, p.NeedsProcess(), p.NeedsHash())
			}
		}
	}
}

// TestProcessUnresolved: as long as nobody has looked which file a rule means,
// its allow allows nobody and its deny denies everybody.
func TestProcessUnresolved(t *testing.T) {
	for text, request := range map[string]string{
		"allow: [{host: a.example, process: {exe: /usr/bin/git}}]":                                 "https://a.example/",
		"allow: [{host: a.example}], deny: [{host: '*', process: {exe: /usr/bin/git}}]":            "https://a.example/",
		"default: allow, deny: [{host: b.example, methods: [PUT], process: {exe: /usr/bin/curl}}]": "tcp://b.example:22",
	} {
		p := roundTrip(t, mustPolicy(t, "version: 1\negress: {"+text+"}\n"))
		for _, x := range []hooks.Executable{gitFile, {}, {Dev: 1, Ino: 1}} {
			if v := p.Decide(by(req(t, request), x)); v.Action == hooks.Allow {
				t.Errorf("%s: allowed to %+v", text, x)
			}
		}
	}
	if p := mustPolicy(t, example); p.NeedsProcess() || p.NeedsHash() {
		t.Error("a policy without process asks for it")
	}
}

func TestResolveExecutables(t *testing.T) {
	for _, tt := range []struct{ process, want string }{
		{"{exe: /usr/bin/gti}", `p.yaml:3:5: the executable "/usr/bin/gti" of rule {host: a.example, process: {exe: /usr/bin/gti}} can't be found: open /usr/bin/gti: file does not exist; install it, or remove the rule`},
		{"{exe: /nothing}", "there is no such file"},
		{"{exe: /strange}", "its identity is not known"},
		{`{exe: /usr/bin/git, sha256: "` + strings.Repeat("00", 32) + `"}`, "has another content than rule"},
	} {
		p := mustPolicy(t, "version: 1\negress: {allow: [\n    {host: a.example, process: "+tt.process+"}]}\n")
		q, err := p.ResolveExecutables(findFile)
		var list *ErrorList
		if q != nil || !errors.As(err, &list) || !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), "p.yaml:3:5: ") {
			t.Errorf("%s: %v", tt.process, err)
		}
	}
	asked := 0
	p, err := mustPolicy(t, "version: 1\negress: {allow: [{host: a.example, process: {exe: /usr/bin/git}}, {host: b.example, process: {exe: /usr/bin/git}}, {host: c.example}]}\n").
		ResolveExecutables(func(path string) ([]hooks.Executable, error) { asked++; return findFile(path) })
	if err != nil || asked != 1 {
		t.Errorf("asked %d times: %v", asked, err)
	}
	if v := p.Decide(by(req(t, "https://b.example/"), gitFile)); v.Action != hooks.Allow {
		t.Error(v)
	}
	for _, wire := range []string{
		`{"exe":"git"}`, `{"exe":"/a/../b"}`, `{"exe":"/a","sha256":"x"}`, `{"exe":"/a","resolved":[{"dev":0,"ino":0}]}`,
		`{"exe":"/a","resolved":[{"dev":1,"ino":1,"sha256":"no"}]}`, `{"exe":"/a","resolved":[` + strings.Repeat(`{"dev":1,"ino":1},`, 20) + `{"dev":1,"ino":1}]}`, `{}`,
	} {
		var r Rule
		if err := r.UnmarshalJSON([]byte(`{"from":{"file":"f","line":1,"column":1,"layer":"user"},"host":"a.example","process":` + wire + `}`)); err == nil {
			t.Errorf("%s travels", wire)
		}
	}
}

func TestProcessHome(t *testing.T) {
	f, err := Parse("p.yaml", User, []byte("version: 1\negress: {allow: [{host: a.example, process: {exe: ~/bin/x}}]}\n"))
	if err != nil {
		t.Fatal(err)
	}
	p, err := join([]*File{f}, &resolver{home: "/home/u", work: "/w"})
	if err != nil || p.Rules()[0].Text != "{host: a.example, process: {exe: /home/u/bin/x}}" {
		t.Errorf("%v, %v", p.Rules()[0].Text, err)
	}
	if _, err := join([]*File{f}, &resolver{work: "/w"}); err == nil {
		t.Error("a home that is not known is resolved")
	}
	if _, err := Parse("s.yaml", System, []byte("version: 1\negress: {allow: [{host: a.example, process: {exe: ~/bin/x}}]}\n")); err == nil {
		t.Error("the system's policy names a file in a home")
	}
	if got := f.Executables(); len(got) != 1 || got[0] != "~/bin/x" {
		t.Errorf("executables %q", got)
	}
	// What the pen can write to, it can put another program into.
	for exe, warn := range map[string]bool{"/w/tool": true, "/srv/x": true, "/usr/bin/git": false, "/worse/x": false} {
		f, err := Parse("p.yaml", User, []byte("version: 1\nfilesystem: {write: [/srv]}\negress: {allow: [{host: a.example, process: {exe: "+exe+"}}], deny: [{host: b.example, process: {exe: "+exe+"}}]}\n"))
		if err != nil {
			t.Fatal(err)
		}
		p, err := join([]*File{f}, &resolver{work: "/w"})
		if err != nil {
			t.Fatal(err)
		}
		if ws := p.Warnings(); (len(ws) == 1 && ws[0].Loosens && strings.Contains(ws[0].Message, "sha256")) != warn || !warn && len(ws) > 0 {
			t.Errorf("%s: %v", exe, ws)
		}
	}
}

func TestProcessExplain(t *testing.T) {
	p := resolved(t, mustPolicy(t, "version: 1\negress: {allow: [{host: a.example, process: {exe: /usr/bin/git}}, {host: b.example}], deny: [{host: b.example, process: {exe: /usr/bin/curl}}]}\n"))
	for _, tt := range []struct {
		request *hooks.Request
		want    string
	}{
		{by(req(t, "https://a.example/"), curlFile), "p.yaml:2 does not match: it is about process /usr/bin/git, not /usr/bin/curl"},
		{req(t, "https://a.example/"), "it is about process /usr/bin/git, and who opened the connection is not known"},
		{by(req(t, "https://a.example/"), hooks.Executable{Path: "/usr/bin/git", Dev: 1, Ino: 1}), "and this is another file or has another content"},
		{by(req(t, "https://a.example/"), hooks.Executable{Path: "/tmp/\x1b[2J", Dev: 1, Ino: 1}), `not "/tmp/\x1b[2J"`},
		{req(t, "https://b.example/"), "which is about a process: who opened the connection is not known"},
		{by(req(t, "https://b.example/"), curlFile), "denied by p.yaml:2"},
	} {
		if e := p.Explain(tt.request); e.Action != "deny" || !strings.Contains(e.Reason, tt.want) || !isPrintableASCII(e.Reason) {
			t.Errorf("%s: %s", tt.want, e.Reason)
		}
	}
	e := mustPolicy(t, "version: 1\negress: {allow: [{host: a.example, process: {exe: /usr/bin/git}}]}\n").Explain(by(req(t, "https://a.example/"), gitFile))
	if !strings.Contains(e.Reason, "nobody has looked") {
		t.Error(e.Reason)
	}
}
