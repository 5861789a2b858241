package policy

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Show writes the policy as a policy file, each value with a comment that says
// where it comes from. What it writes parses to a policy with the same verdicts.
// With defaults it also writes what holds where nobody said anything.
func (p *Policy) Show(w io.Writer, defaults bool) error {
	s := &shower{defaults: defaults}
	s.line(0, "version: 1", Source{})
	p.showSandbox(s)
	p.showFilesystem(s)
	p.showEnvironment(s)
	p.showEgress(s)
	p.showSecrets(s)
	p.showHooks(s)
	p.showLimits(s)
	_, err := io.WriteString(w, s.b.String())
	return err
}

// shower collects lines; a section's heading is written with its first line.
type shower struct {
	b        strings.Builder
	defaults bool
	pending  []string
}

func (s *shower) open(depth int, key string) {
	s.pending = append(s.pending[:min(depth, len(s.pending))], strings.Repeat("  ", depth)+key+":")
}

func (s *shower) close() { s.pending = nil }

func (s *shower) line(depth int, text string, from Source) {
	for _, h := range s.pending {
		if h != "" {
			s.b.WriteString(h + "\n")
		}
	}
	for i := range s.pending {
		s.pending[i] = ""
	}
	text = strings.Repeat("  ", depth) + text
	s.b.WriteString(text)
	if ref := from.Ref(); ref != "" {
		fmt.Fprintf(&s.b, "%s # %s (%s)", strings.Repeat(" ", max(0, 40-len(text))), ref, from.Layer)
	}
	s.b.WriteByte('\n')
}

// unset writes what holds where nobody said anything.
func (s *shower) unset(depth int, text string) {
	if s.defaults {
		text = strings.Repeat("  ", depth) + text
		s.line(0, text+strings.Repeat(" ", max(0, 40-len(text)))+" # built in", Source{})
	}
}

// notSet is what Show says of a setting without a value.
const notSet = "not set"

func showValue[T any](s *shower, depth int, key string, v Value[T], text func(T) string, unset string) {
	if v.Set {
		s.line(depth, key+": "+text(v.V), v.From)
	} else if unset == notSet {
		s.unset(depth, "# "+key+": "+unset) // a comment: the language has no word for it
	} else if unset != "" {
		s.unset(depth, key+": "+unset)
	}
}

func plainText(v string) string       { return yamlText(v) }
func countText(v int64) string        { return strconv.FormatInt(v, 10) }
func numberText(v float64) string     { return strconv.FormatFloat(v, 'f', -1, 64) }
func timeText(v time.Duration) string { return quoteYAML(v.String()) }

// sizeText writes bytes in the largest unit without a fraction.
func sizeText(v int64) string {
	for _, u := range []struct {
		n    int64
		name string
	}{{1 << 40, "TiB"}, {1 << 30, "GiB"}, {1 << 20, "MiB"}, {1 << 10, "KiB"}} {
		if v%u.n == 0 {
			return strconv.FormatInt(v/u.n, 10) + u.name
		}
	}
	return strconv.FormatInt(v, 10) + "B"
}

func (p *Policy) showSandbox(s *shower) {
	v := p.d.Sandbox
	s.open(0, "sandbox")
	showValue(s, 1, "tier", v.Tier, plainText, "auto")
	showValue(s, 1, "tiers", v.Tiers, tierNames, notSet)
	showValue(s, 1, "memory", v.Memory, sizeText, notSet)
	showValue(s, 1, "cpus", v.CPUs, numberText, notSet)
	showValue(s, 1, "pids", v.PIDs, countText, notSet)
	showValue(s, 1, "open_files", v.OpenFiles, countText, notSet)
	showValue(s, 1, "read_rate", v.ReadRate, sizeText, notSet)
	showValue(s, 1, "write_rate", v.WriteRate, sizeText, notSet)
	showValue(s, 1, "timeout", v.Timeout, timeText, notSet)
	showValue(s, 1, "idle", v.Idle, timeText, notSet)
	showValue(s, 1, "on_violation", v.OnViolation, plainText, Continue)
	showValue(s, 1, "worktree", v.Worktree, strconv.FormatBool, "false")
	s.close()
}

func (p *Policy) showFilesystem(s *shower) {
	f := p.d.Filesystem
	s.open(0, "filesystem")
	for _, l := range []struct {
		key  string
		list []PathGrant
	}{{"write", f.Write}, {"read", f.Read}, {"hide", f.Hide}, {"protect", f.Protect}} {
		s.open(1, l.key)
		for _, g := range l.list {
			s.line(2, "- "+pathText(g.Path), g.From)
		}
		if len(s.pending) > 1 {
			s.pending = s.pending[:1]
		}
	}
	s.close()
}

// pathText quotes a path where it must be; a path that YAML reads as text and
// that has only usual characters stays bare.
func pathText(p string) string {
	for i := 0; i < len(p); i++ {
		c := p[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("/._-", c) >= 0) {
			return quoteYAML(p)
		}
	}
	if !strings.HasPrefix(p, "/") {
		return quoteYAML(p)
	}
	return p
}

func (p *Policy) showEnvironment(s *shower) {
	e := p.d.Environment
	s.open(0, "environment")
	s.open(1, "pass")
	for _, v := range e.Pass {
		s.line(2, "- "+quoteYAML(v.Pattern), v.From)
	}
	if len(s.pending) > 1 {
		s.pending = s.pending[:1]
	}
	s.open(1, "set")
	for _, v := range e.Set {
		s.line(2, yamlText(v.Name)+": "+quoteYAML(v.Value), v.From)
	}
	if len(s.pending) > 1 {
		s.pending = s.pending[:1]
	}
	showValue(s, 1, "proxy_variables", e.Proxy, strconv.FormatBool, "true")
	s.close()
}

func (p *Policy) showEgress(s *shower) {
	s.open(0, "egress")
	switch {
	case p.d.Mode.V == string(Audit):
		s.line(1, "default: allow", p.d.Mode.From)
	default:
		showValue(s, 1, "default", p.d.Default, plainText, "deny")
	}
	showValue(s, 1, "ask_timeout", p.d.AskTimeout, timeText, timeText(DefaultAskTime))
	showValue(s, 1, "via", p.d.Via, plainText, Direct)
	s.open(1, "upstreams")
	for _, u := range p.d.Upstreams {
		s.line(2, yamlText(u.Name)+": "+u.text(), u.From)
	}
	if len(s.pending) > 1 {
		s.pending = s.pending[:1]
	}
	for _, list := range []string{"allow", "ask", "deny"} {
		s.open(1, list)
		for _, r := range p.d.Rules {
			if r.list() == list {
				s.line(2, "- "+r.Text, r.Source)
			}
		}
		if len(s.pending) > 1 {
			s.pending = s.pending[:1]
		}
	}
	s.open(1, "hosts")
	for _, h := range p.d.Hosts {
		s.line(2, yamlText(h.Name)+": "+quoteYAML(h.Addr.String()), h.From)
	}
	if len(s.pending) > 1 {
		s.pending = s.pending[:1]
	}
	s.open(1, "ca")
	for _, c := range p.d.CA {
		s.line(2, "- "+pathText(c.Path), c.From)
	}
	if len(s.pending) > 1 {
		s.pending = s.pending[:1]
	}
	s.open(1, "approvers")
	for i := range p.d.Approvers {
		s.line(2, p.d.Approvers[i].text(), p.d.Approvers[i].From)
	}
	s.close()
}

func (p *Policy) showSecrets(s *shower) {
	s.open(0, "secrets")
	for _, x := range p.d.Secrets {
		s.line(1, "- "+secretText(&x), x.From)
	}
	s.close()
}

func (p *Policy) showHooks(s *shower) {
	s.open(0, "hooks")
	for i := range p.d.Hooks {
		s.line(1, "- "+hookText(&p.d.Hooks[i]), p.d.Hooks[i].From)
	}
	s.close()
}

func (p *Policy) showLimits(s *shower) {
	s.open(0, "limits")
	l, last := p.Limits(), ""
	l.each(func(key, text string, list bool, from Source) {
		if !list {
			s.line(1, key+": "+text, from)
			return
		}
		if key != last {
			s.line(1, key+":", Source{})
			last = key
		}
		s.line(2, "- "+text, from)
	})
	s.close()
	if !l.set() {
		s.unset(0, "# limits: none")
	}
}

func secretText(x *Secret) string {
	hosts := make([]string, len(x.Hosts))
	for i, h := range x.Hosts {
		hosts[i] = quoteYAML(h)
	}
	from := ", from: " + x.fromText()
	if x.AWS != nil {
		from = ""
	}
	return "{name: " + yamlText(x.Name) + from + ", hosts: [" + strings.Join(hosts, ", ") + "], " + x.placeText() + "}"
}

// Grant is one thing that a policy gives or takes, in words.
type Grant struct {
	Text string `json:"text"` // safe for a terminal
	From Source `json:"from"`
}

// Grants lists everything that the policy says, for a comparison.
func (p *Policy) Grants() []Grant {
	var out []Grant
	add := func(from Source, format string, args ...any) {
		out = append(out, Grant{fmt.Sprintf(format, args...), from})
	}
	d := &p.d
	if d.Default.Set {
		add(d.Default.From, "default: %s", d.Default.V)
	}
	if d.Mode.Set {
		add(d.Mode.From, "mode: %s", d.Mode.V)
	}
	if d.AskTimeout.Set {
		add(d.AskTimeout.From, "ask_timeout: %s", d.AskTimeout.V)
	}
	if d.Via.Set {
		add(d.Via.From, "via: %s", d.Via.V)
	}
	for _, u := range d.Upstreams {
		add(u.From, "upstream %s %s", u.Name, u.text())
	}
	for _, r := range d.Rules {
		add(r.Source, "%s %s", r.list(), r.Text)
	}
	for _, s := range d.Secrets {
		add(s.From, "secret %s", secretText(&s))
	}
	for i := range d.Hooks {
		add(d.Hooks[i].From, "hook %s", hookText(&d.Hooks[i]))
	}
	for _, l := range []struct {
		what string
		list []PathGrant
	}{{"write", d.Filesystem.Write}, {"read", d.Filesystem.Read}, {"hide", d.Filesystem.Hide}, {"protect", d.Filesystem.Protect}, {"root certificates in", d.CA}} {
		for _, g := range l.list {
			add(g.From, "%s %s", l.what, printable(g.Path))
		}
	}
	for _, v := range d.Environment.Pass {
		add(v.From, "pass variable %s", v.Pattern)
	}
	for _, v := range d.Environment.Set {
		add(v.From, "set %s=%s", v.Name, quoteYAML(v.Value))
	}
	if v := d.Environment.Proxy; v.Set {
		add(v.From, "proxy_variables: %t", v.V)
	}
	for _, h := range d.Hosts {
		add(h.From, "host %s is %s", h.Name, h.Addr)
	}
	for i := range d.Approvers {
		add(d.Approvers[i].From, "answers by %s", d.Approvers[i].text())
	}
	s := &d.Sandbox
	grantValue(&out, "tier", s.Tier, plainText)
	grantValue(&out, "tiers", s.Tiers, tierNames)
	grantValue(&out, "memory", s.Memory, sizeText)
	grantValue(&out, "cpus", s.CPUs, numberText)
	grantValue(&out, "pids", s.PIDs, countText)
	grantValue(&out, "open_files", s.OpenFiles, countText)
	grantValue(&out, "read_rate", s.ReadRate, sizeText)
	grantValue(&out, "write_rate", s.WriteRate, sizeText)
	grantValue(&out, "timeout", s.Timeout, timeText)
	grantValue(&out, "idle", s.Idle, timeText)
	grantValue(&out, "on_violation", s.OnViolation, plainText)
	grantValue(&out, "worktree", s.Worktree, strconv.FormatBool)
	l := p.Limits()
	l.each(func(key, text string, _ bool, from Source) { add(from, "limit %s: %s", key, text) })
	return out
}

func grantValue[T any](out *[]Grant, key string, v Value[T], text func(T) string) {
	if v.Set {
		*out = append(*out, Grant{"sandbox " + key + ": " + text(v.V), v.From})
	}
}

// Diff returns what p says and q does not, and the reverse.
func Diff(p, q *Policy) (more, less []Grant) {
	pg, qg := p.Grants(), q.Grants()
	missing := func(a, b []Grant) (out []Grant) {
		for _, g := range a {
			if !slices.ContainsFunc(b, func(h Grant) bool { return h.Text == g.Text }) {
				out = append(out, g)
			}
		}
		return out
	}
	return missing(pg, qg), missing(qg, pg)
}
