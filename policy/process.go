package policy

import (
	"errors"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/penstock/penstock/hooks"
)

// maxIdentities bounds what files one executable of a rule can be.
const maxIdentities = 16

// processPattern is the process: of a rule. The path is a name that the rule's
// author uses; what is compared is the file that it stood for when the session
// began, because a process can choose the name by which it is started.
type processPattern struct {
	exe    string             // absolute and clean; ~/ until the file is joined
	sha256 string             // lower-case hexadecimal, or ""
	is     []hooks.Executable // what exe stands for; nil: nobody has looked
}

// matches says whether a process runs the executable. What is not known never
// makes an allow match and always makes a deny match. An allow needs all that
// the rule says, a deny needs one of it: so a copy of a denied program is denied
// by its content, and a denied file whatever is written into it.
func (w *processPattern) matches(p *hooks.Process, deny bool) bool {
	if !certain(p) || len(w.is) == 0 {
		return deny
	}
	file := false
	for i := range w.is {
		if w.is[i].Ino == p.Exe.Ino && w.is[i].Dev == p.Exe.Dev {
			file = true
			break
		}
	}
	switch {
	case w.sha256 == "":
		return file
	case deny:
		return file || p.Exe.SHA256 == "" || p.Exe.SHA256 == w.sha256
	}
	return file && p.Exe.SHA256 == w.sha256
}

// certain says whether it is known which program opened a connection. Where
// several hold it, any of them may have; what somebody in the pen tells is not known.
func certain(p *hooks.Process) bool {
	return p != nil && !p.Shared && p.SaidBy == "" && (p.Exe.Dev != 0 || p.Exe.Ino != 0)
}

// matchProcess says whether the rule's process matches.
func (r *Rule) matchProcess(p *hooks.Process) bool {
	return r.process == nil || r.process.matches(p, r.Deny)
}

// String returns the pattern in YAML.
func (w *processPattern) String() string {
	s := "{exe: " + pathText(w.exe)
	if w.sha256 != "" {
		s += ", sha256: " + quoteYAML(w.sha256)
	}
	return s + "}"
}

// process reads {exe: PATH, sha256: HEX}.
func (p *parser) process(n *yaml.Node) *processPattern {
	w := &processPattern{}
	seen := p.fields(n, "process", []field{
		{"exe", func(n *yaml.Node) {
			s, ok := p.text(n, "exe")
			if !ok {
				return
			}
			if msg, hint := badExe(s); msg != "" {
				p.fail(n, hint, "exe %s %s", quote(s), msg)
			} else if p.lay == System && s[0] == '~' {
				p.fail(n, "write it as an absolute path", "exe %s of the system's policy is in every user's own home", quote(s))
			}
			w.exe = s
		}},
		{"sha256", func(n *yaml.Node) { w.sha256, _ = p.sha256(n) }},
		{"profile", nil},
	})
	if seen != nil && seen["exe"] == nil {
		p.fail(n, "for example process: {exe: /usr/bin/git}", "process has no exe")
	}
	return w
}

// badExe says why a path can't name an executable.
func badExe(s string) (msg, hint string) {
	if msg, hint = badPath(s); msg != "" {
		return msg, hint
	}
	clean := path.Clean(s)
	switch {
	case !strings.HasPrefix(s, "/") && !strings.HasPrefix(s, "~/"):
		return "is not an absolute path", "for example /usr/bin/git: what a tool's PATH finds is the tool's choice"
	case clean != s || s == "/":
		return "is not the plain path of a file", "write " + quote(clean)
	}
	return "", ""
}

// isHash says whether s is a SHA-256 in lower-case hexadecimal.
func isHash(s string) bool {
	if len(s) != 64 {
		return false
	}
	for i := 0; i < len(s); i++ {
		if !('0' <= s[i] && s[i] <= '9' || 'a' <= s[i] && s[i] <= 'f') {
			return false
		}
	}
	return true
}

// AsksProcess says whether the rule asks who opened a connection.
func (r *Rule) AsksProcess() bool { return r.process != nil }

// Attributed returns the policy for a session in which something beside its rules
// asks who opened a connection: NeedsProcess is true.
func (p *Policy) Attributed() (*Policy, error) {
	d := p.d
	d.Attribute = true
	return compile(d)
}

// NeedsProcess says whether any rule asks who opened a connection, so that it
// has to be found out.
func (p *Policy) NeedsProcess() bool { return p.idx.process }

// NeedsProcess is Policy.NeedsProcess for the rules of one file.
func (f *File) NeedsProcess() bool {
	return slices.ContainsFunc(f.rules, func(r *Rule) bool { return r.process != nil })
}

// NeedsHash says whether any rule asks for the content of a process's executable.
func (p *Policy) NeedsHash() bool { return p.idx.content }

// Finder says which files a path names for a process of the pen: several when
// the pen may see one of them at different times. SHA256 may be left out where
// no rule asks for it (NeedsHash). A path that names none is an error.
type Finder func(path string) ([]hooks.Executable, error)

// ResolveExecutables returns the policy with the identity of every executable
// that a rule names. Until then such an allow matches nothing and such a deny
// everything. The error is an *ErrorList that names the rules' lines.
func (p *Policy) ResolveExecutables(find Finder) (*Policy, error) {
	if !p.NeedsProcess() {
		return p, nil
	}
	d := p.d
	var err error
	if d.Rules, err = resolveRules(d.Rules, find); err != nil {
		return nil, err
	}
	return compile(d)
}

// ResolveExecutables is Policy.ResolveExecutables for a file by itself: what the
// administrator's rules name is looked up by who reads the administrator's file,
// and not by whom it binds. See UnderFloor.
func (f *File) ResolveExecutables(find Finder) (*File, error) {
	rules, err := resolveRules(f.rules, find)
	if err != nil {
		return nil, err
	}
	c := *f
	c.rules = rules
	return &c, nil
}

// Executables returns the paths that the file's rules name, each once.
func (f *File) Executables() []string {
	var out []string
	for _, r := range f.rules {
		if r.process != nil && !slices.Contains(out, r.process.exe) {
			out = append(out, r.process.exe)
		}
	}
	return out
}

// resolveRules returns copies of the rules with identities.
func resolveRules(rules []*Rule, find Finder) ([]*Rule, error) {
	type answer struct {
		found []hooks.Executable
		err   error
	}
	known := map[string]answer{}
	out := make([]*Rule, len(rules))
	var errs ErrorList
	for i, r := range rules {
		own := *r
		out[i] = &own
		if r.process == nil {
			continue
		}
		a, ok := known[r.process.exe]
		if !ok {
			a.found, a.err = find(r.process.exe)
			if a.err == nil {
				a.err = checkFound(a.found)
			}
			known[r.process.exe] = a
		}
		if a.err != nil {
			errs.add(r.Source, "install it, or remove the rule", "the executable %s of rule %s can't be found: %s", quote(r.process.exe), r.Text, printable(a.err.Error()))
			continue
		}
		w := *r.process
		w.is = nil
		for _, x := range a.found {
			if w.sha256 == "" || x.SHA256 == "" || x.SHA256 == w.sha256 {
				w.is = append(w.is, hooks.Executable{Dev: x.Dev, Ino: x.Ino, SHA256: x.SHA256})
			}
		}
		if w.is == nil {
			errs.add(r.Source, "its sha256 is "+a.found[0].SHA256, "the executable %s has another content than rule %s says", quote(r.process.exe), r.Text)
			continue
		}
		own.process = &w
	}
	return out, errs.err()
}

// checkFound refuses what can't be an identity.
func checkFound(found []hooks.Executable) error {
	if len(found) == 0 {
		return errors.New("there is no such file")
	}
	if len(found) > maxIdentities {
		return errors.New("it names too many files")
	}
	for _, x := range found {
		if x.Dev == 0 && x.Ino == 0 || x.SHA256 != "" && !isHash(x.SHA256) {
			return errors.New("its identity is not known")
		}
	}
	return nil
}

// home resolves "~/" in the rule's executable.
func (r *Rule) home(res *resolver, errs *ErrorList) {
	if r.process == nil || r.process.exe[0] != '~' {
		return
	}
	p, ok := res.path(r.process.exe, "")
	if !ok {
		errs.add(r.Source, "set HOME, or write the absolute path", "path %s: HOME is not set", quote(r.process.exe))
		return
	}
	w := *r.process
	w.exe = filepath.ToSlash(p)
	r.process = &w
	r.Text = ruleText(r)
}

// processWhy says why the rule's process does not match.
func processWhy(w *processPattern, p *hooks.Process) string {
	why := "it is about process " + printable(w.exe)
	switch {
	case p != nil && p.Shared:
		return why + ", and several programs hold the connection"
	case !certain(p):
		return why + ", and who opened the connection is not known"
	case len(w.is) == 0:
		return why + ", and nobody has looked which file that is"
	case p.Exe.Path == w.exe:
		return why + ", and this is another file or has another content"
	case p.Exe.Path == "":
		return why + ", not this one"
	}
	return why + ", not " + printable(clip(p.Exe.Path))
}

func clip(s string) string {
	if len(s) > 200 {
		return s[:200] + "..."
	}
	return s
}

// wireProcess is the process: of a rule as it travels.
type wireProcess struct {
	Exe      string     `json:"exe"`
	SHA256   string     `json:"sha256,omitempty"`
	Resolved []wireFile `json:"resolved,omitempty"`
}

type wireFile struct {
	Dev    uint64 `json:"dev"`
	Ino    uint64 `json:"ino"`
	SHA256 string `json:"sha256,omitempty"`
}

func (w *processPattern) wire() *wireProcess {
	if w == nil {
		return nil
	}
	out := &wireProcess{Exe: w.exe, SHA256: w.sha256}
	for _, x := range w.is {
		out.Resolved = append(out.Resolved, wireFile{x.Dev, x.Ino, x.SHA256})
	}
	return out
}

// pattern checks what travelled.
func (w *wireProcess) pattern() (*processPattern, error) {
	if w == nil {
		return nil, nil
	}
	p := &processPattern{exe: w.Exe, sha256: w.SHA256}
	if msg, _ := badExe(w.Exe); msg != "" {
		return nil, errors.New("read rule: exe " + quote(w.Exe) + " " + msg)
	}
	if w.SHA256 != "" && !isHash(w.SHA256) {
		return nil, errors.New("read rule: " + quote(w.SHA256) + " is not a SHA-256")
	}
	for _, x := range w.Resolved {
		p.is = append(p.is, hooks.Executable{Dev: x.Dev, Ino: x.Ino, SHA256: x.SHA256})
	}
	if p.is != nil {
		if err := checkFound(p.is); err != nil {
			return nil, errors.New("read rule: exe " + quote(w.Exe) + ": " + err.Error())
		}
	}
	return p, nil
}
