package policy

import (
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// join makes one policy of the files, which may come in any order within a
// layer. resolve makes paths absolute.
func join(files []*File, resolve *resolver) (*Policy, error) {
	m, err := merged(files, resolve)
	if err != nil {
		return nil, err
	}
	return compile(m.d)
}

// merged joins the files without compiling them.
func merged(files []*File, resolve *resolver) (*merge, error) {
	files = slices.Clone(files)
	slices.SortStableFunc(files, func(a, b *File) int { return int(a.Layer) - int(b.Layer) })
	m := &merge{files: files}
	m.d.Home, m.d.WorkDir = resolve.home, resolve.work
	for i, f := range files {
		files[i] = resolve.clone(f, &m.errs)
	}
	m.rules()
	m.hosts()
	m.approvers()
	m.defaults()
	m.sandbox()
	m.filesystem()
	m.environment()
	m.upstreams()
	m.secrets()
	m.pins()
	m.hooks()
	m.hookVariables()
	for _, f := range files {
		m.d.Warnings = append(m.d.Warnings, f.warnings...)
		if f.limits.set() && !f.joined {
			m.d.Limits = append(m.d.Limits, f.limits)
		}
		if f.SHA256 != "" {
			m.d.Files = append(m.d.Files, FileRef{f.Name, f.Layer, f.SHA256})
		}
	}
	m.unasked()
	m.loosening()
	m.bound()
	if err := m.errs.err(); err != nil {
		return nil, err
	}
	return m, nil
}

// merge is the joining of layers in progress.
type merge struct {
	files []*File // the highest layer first
	d     data
	errs  ErrorList
}

func (m *merge) warn(s Source, loosens bool, msg string) {
	m.d.Warnings = append(m.d.Warnings, Warning{s, msg, loosens})
}

// rules, allow and deny alike, add up.
func (m *merge) rules() {
	for _, f := range m.files {
		m.d.Rules = append(m.d.Rules, f.rules...)
		m.d.CA = append(m.d.CA, f.ca...)
	}
}

// hosts add up; two addresses for one name are a mistake, not a choice.
func (m *merge) hosts() {
	seen := map[string]HostEntry{}
	for _, f := range m.files {
		for _, h := range f.hosts {
			first, ok := seen[h.Name]
			switch {
			case !ok:
				seen[h.Name] = h
				m.d.Hosts = append(m.d.Hosts, h)
			case first.Addr != h.Addr:
				m.errs.add(h.From, "remove one of them", "%s is %s here and %s at %s", h.Name, h.Addr, first.Addr, first.From.Ref())
			}
		}
	}
}

// defaults: of what files say the strictest holds, because a deny of a higher
// layer is not undone by a lower one. --mode is the word of the person who owns
// the user's and the trusted project's file, and yields to the system's only.
func (m *merge) defaults() {
	strict := func(s string) int { return slices.Index([]string{"deny", "ask", "allow"}, s) }
	for _, f := range m.files {
		if !f.def.Set {
			continue
		}
		cur := &m.d.Default
		switch {
		case !cur.Set:
			*cur = f.def
		case strict(f.def.V) < strict(cur.V):
			m.warn(cur.From, false, "default: "+cur.V+" has no effect: "+f.def.From.Ref()+" says "+f.def.V)
			*cur = f.def
		case strict(f.def.V) > strict(cur.V):
			m.warn(f.def.From, false, "default: "+f.def.V+" has no effect: "+cur.From.Ref()+" says "+cur.V)
		}
	}
	m.d.AskTimeout = pick(m.files, func(f *File) Value[time.Duration] { return f.askTime })
	for _, f := range m.files {
		if !f.mode.Set {
			continue
		}
		m.d.Mode = f.mode
		def := "allow"
		switch Mode(f.mode.V) {
		case Audit:
		case asking:
			def = "ask"
			m.d.Default = Value[string]{V: def, From: f.mode.From, Set: true}
		default:
			if m.d.Default.V == "allow" {
				m.d.Default = Value[string]{V: "deny", From: f.mode.From, Set: true}
			}
			continue
		}
		for _, g := range m.files {
			if g.Layer == System && g.def.Set && strict(g.def.V) < strict(def) {
				m.errs.add(f.mode.From, "the administrator decides", "mode %s is not allowed: %s says default: %s", f.mode.V, g.def.From.Ref(), g.def.V)
			}
		}
	}
}

// unasked: audit mode asks nobody, so that it can't be had where a higher layer
// has something asked about.
func (m *merge) unasked() {
	for _, r := range m.d.Rules {
		if !r.Ask || m.d.Default.V != "allow" && m.d.Mode.V != string(Audit) {
			continue
		}
		switch by, mode := m.d.Default.From, m.d.Mode.From; {
		case m.d.Mode.V == string(Audit) && r.Layer == System:
			m.errs.add(mode, "the administrator decides", "mode audit is not allowed: rule %s at %s asks", r.Text, r.Ref())
		case m.d.Default.V == "allow" && r.Layer < by.Layer:
			m.errs.add(by, "leave it out, or ask who wrote "+r.Ref()+" ("+r.Layer.String()+")", "default: allow lets out what rule %s at %s asks about", r.Text, r.Ref())
		default:
			m.warn(r.Source, false, "rule "+r.Text+" asks nobody in audit mode")
		}
	}
}

// pick returns the most specific layer's value.
func pick[T any](files []*File, get func(*File) Value[T]) Value[T] {
	var v Value[T]
	for _, f := range files {
		if w := get(f); w.Set && (!v.Set || f.Layer.rank() >= v.From.Layer.rank()) {
			v = w
		}
	}
	return v
}

func (m *merge) environment() {
	e := &m.d.Environment
	at := map[string]int{}
	for _, f := range m.files {
		for _, p := range f.env.Pass {
			if !slices.ContainsFunc(e.Pass, func(q EnvPattern) bool { return q.Pattern == p.Pattern }) {
				e.Pass = append(e.Pass, p)
			}
		}
		for _, v := range f.env.Set {
			i, ok := at[v.Name]
			switch {
			case !ok:
				at[v.Name] = len(e.Set)
				e.Set = append(e.Set, v)
			case v.From.Layer.rank() >= e.Set[i].From.Layer.rank():
				e.Set[i] = v
			}
		}
	}
	e.Proxy = pick(m.files, func(f *File) Value[bool] { return f.env.Proxy })
}

// secrets add up. One name is one secret: where two layers disagree about it,
// nobody could say which value goes where. A profile's suggestion just yields.
func (m *merge) secrets() {
	for _, f := range m.files {
		for _, s := range f.secrets {
			i := slices.IndexFunc(m.d.Secrets, func(t Secret) bool { return t.Name == s.Name })
			if i < 0 {
				m.d.Secrets = append(m.d.Secrets, s)
				continue
			}
			if t := m.d.Secrets[i]; f.Layer != Profile && !sameSecret(s, t) {
				m.errs.add(s.From, "give each secret one entry with all its hosts", "secret %s is here and at %s, and they differ", s.Name, t.From.Ref())
			}
		}
	}
	m.ties()
	for _, s := range m.d.Secrets {
		for _, p := range m.d.Environment.Pass {
			if slices.Contains(s.Variables(), p.Pattern) {
				m.errs.add(p.From, "remove it: a secret gets a placeholder by itself", "%s is a secret (%s), so its value can't be passed to the pen", s.Name, s.From.Ref())
			}
		}
		for _, v := range m.d.Environment.Set {
			if slices.Contains(s.Variables(), v.Name) {
				m.errs.add(v.From, "remove it: a secret gets a placeholder by itself", "%s is a secret (%s), so it can't be set", s.Name, s.From.Ref())
			}
		}
	}
}

// ties finds secrets of which nobody could say which one goes into a request. Of
// such two the profile's yields here too.
func (m *merge) ties() {
	var yields []string
	for i, b := range m.d.Secrets {
		for _, a := range m.d.Secrets[:i] {
			for _, v := range b.Variables() {
				if slices.Contains(a.Variables(), v) {
					m.errs.add(b.From, "give one of them another name", "secrets %s and %s (%s) are both variable %s", b.Name, a.Name, a.From.Ref(), v)
				}
			}
			host := a.tiedWith(&b)
			switch {
			case host == "":
			case a.From.Layer == Profile:
				yields = append(yields, a.Name)
			case b.From.Layer == Profile:
				yields = append(yields, b.Name)
			default:
				m.errs.add(b.From, "leave one of them out, declare it in another place, or for other hosts: a longer pattern goes before a shorter one",
					"secrets %s and %s (%s) both go in %s to %s", b.Name, a.Name, a.From.Ref(), b.place(), quote(host))
			}
		}
	}
	m.d.Secrets = slices.DeleteFunc(m.d.Secrets, func(s Secret) bool { return slices.Contains(yields, s.Name) })
}

func sameSecret(a, b Secret) bool {
	ah, bh := slices.Clone(a.Hosts), slices.Clone(b.Hosts)
	slices.Sort(ah)
	slices.Sort(bh)
	return a.fromText() == b.fromText() && a.placeText() == b.placeText() && slices.Equal(ah, bh)
}

func (m *merge) filesystem() {
	fs := &m.d.Filesystem
	addPath := func(to *[]PathGrant, list []PathGrant) {
		for _, g := range list {
			if !slices.ContainsFunc(*to, func(h PathGrant) bool { return h.Path == g.Path }) {
				*to = append(*to, g)
			}
		}
	}
	for _, f := range m.files {
		addPath(&fs.Write, f.fs.Write)
		addPath(&fs.Read, f.fs.Read)
		addPath(&fs.Hide, f.limits.Hide)
		addPath(&fs.Hide, f.fs.Hide)
		addPath(&fs.Protect, f.fs.Protect)
	}
	for _, list := range [][]PathGrant{fs.Write, fs.Read} {
		for _, g := range list {
			for _, h := range fs.Hide {
				if below(g.Path, h.Path) {
					m.warn(g.From, false, "the grant of "+quote(g.Given)+" has no effect: "+h.From.Ref()+" hides "+quote(h.Given))
				}
			}
		}
	}
}

// below says whether an absolute clean path is dir or in it.
func below(path, dir string) bool {
	if path == dir {
		return true
	}
	if !strings.HasSuffix(dir, string(filepath.Separator)) {
		dir += string(filepath.Separator)
	}
	return strings.HasPrefix(path, dir)
}

// loosening warns of what is legal and opens much.
func (m *merge) loosening() {
	if d := m.d.Default; d.V == "allow" {
		m.warn(d.From, true, "default: allow lets out everything that no rule denies (audit mode)")
	}
	if md := m.d.Mode; md.V == string(Audit) {
		m.warn(md.From, true, "mode audit lets out everything that no rule denies")
	}
	for _, r := range m.d.Rules {
		if r.Deny {
			continue
		}
		for _, msg := range looseRule(r) {
			m.warn(r.Source, true, msg)
		}
		if r.process != nil && r.process.sha256 == "" && m.writable(r.process.exe) {
			m.warn(r.Source, true, "the pen can write to "+printable(r.process.exe)+" and so put any program in its place: sha256 would notice")
		}
	}
	for _, h := range m.d.Hosts {
		if h.Addr.IsLoopback() || metadataRange().Contains(h.Addr) {
			m.warn(h.From, true, h.Name+" is given "+h.Addr.String()+", an address of the host itself or of its cloud")
		}
	}
	for _, s := range m.d.Secrets {
		for _, r := range m.d.Rules {
			if !r.Deny && !r.Inspects() && slices.ContainsFunc(s.Hosts, func(h string) bool {
				p, err := parseHostPattern(h)
				return err == nil && !r.cidr.IsValid() && r.host.covers(p)
			}) {
				m.warn(s.From, false, "secret "+s.Name+" can't be put in where "+r.Ref()+" lets bytes through unread")
			}
		}
	}
}

// writable says whether a path lies where the pen may write.
func (m *merge) writable(path string) bool {
	return m.d.WorkDir != "" && below(path, m.d.WorkDir) ||
		slices.ContainsFunc(m.d.Filesystem.Write, func(g PathGrant) bool { return below(path, g.Path) })
}

// looseRule says what is remarkable about an allow rule.
func looseRule(r *Rule) (out []string) {
	about := r.about()
	switch {
	case r.host.wild && r.host.name == "":
		out = append(out, `host "*" allows every name`)
	case r.host.wild && !strings.Contains(r.host.name, "."):
		out = append(out, "host "+about+" allows every name of a top-level domain")
	case r.cidr.IsValid() && r.cidr.Bits() <= 8 && dialOf(r) == nil:
		out = append(out, "cidr "+about+" allows a great part of the internet")
	}
	if r.Dial != nil && r.host.name != HostInternal {
		for _, a := range r.Dial.Addresses {
			switch {
			case a.Overlaps(metadataRange()):
				out = append(out, "addresses of "+about+" include link-local ones, where clouds keep their credentials")
			case a.Addr().IsLoopback() || a.Bits() <= 7:
				out = append(out, "addresses of "+about+" include the host's own loopback")
			}
		}
	}
	return out
}
