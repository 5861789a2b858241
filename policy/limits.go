package policy

import (
	"encoding/json"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// set says whether the file has any limit.
func (l *Limits) set() bool {
	return l.Egress.Set || l.Via.Set || l.Protocols.Set || l.Tier.Set || l.Hide != nil || l.Write.Set || l.Modes.Set || l.CA.Set || l.Approvers.Set || l.Memory.Set ||
		l.CPUs.Set || l.PIDs.Set || l.OpenFiles.Set || l.ReadRate.Set || l.WriteRate.Set || l.Timeout.Set || l.Idle.Set || l.OnViolation.Set
}

// from says whether the limits are a layer's. They are of one file.
func (l *Limits) from(layer Layer) bool {
	ok := false
	l.each(func(_, _ string, _ bool, from Source) { ok = from.Layer == layer })
	return ok
}

// covers says whether all that q allows is allowed by p.
func (p LimitPattern) covers(q LimitPattern) bool {
	if p.cidr.IsValid() != q.cidr.IsValid() {
		return false
	}
	if p.cidr.IsValid() {
		return p.cidr.Addr().Is4() == q.cidr.Addr().Is4() && within(q.cidr, p.cidr)
	}
	return p.host.covers(q.host)
}

type wireLimit struct {
	Pattern string `json:"pattern"`
	From    Source `json:"from"`
}

// MarshalJSON writes the pattern as it was written.
func (p LimitPattern) MarshalJSON() ([]byte, error) {
	return json.Marshal(wireLimit{p.String(), p.From})
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (p *LimitPattern) UnmarshalJSON(b []byte) error {
	var w wireLimit
	if err := strictJSON(b, &w); err != nil {
		return err
	}
	*p = LimitPattern{From: w.From}
	var e *patternError
	if p.cidr, e = parseCIDR(w.Pattern); e == nil {
		return nil
	}
	var err error
	p.cidr = netip.Prefix{}
	p.host, err = parseHostPattern(w.Pattern)
	return err
}

// narrowed returns what both lists allow. Patterns are nested or have nothing in
// common, and so are directories.
func narrowed[T any](a, b Value[[]T], covers func(T, T) bool) Value[[]T] {
	if !a.Set || !b.Set {
		if b.Set {
			return b
		}
		return a
	}
	out := Value[[]T]{V: []T{}, From: b.From, Set: true}
	add := func(x T) {
		if !slices.ContainsFunc(out.V, func(y T) bool { return covers(y, x) && covers(x, y) }) {
			out.V = append(out.V, x)
		}
	}
	for _, x := range a.V {
		for _, y := range b.V {
			switch {
			case covers(y, x):
				add(x)
			case covers(x, y):
				add(y)
			}
		}
	}
	return out
}

// stricter returns the value that binds more.
func stricter[T any](a, b Value[T], more func(a, b T) bool) Value[T] {
	if !a.Set || b.Set && more(b.V, a.V) {
		return b
	}
	return a
}

// narrow cuts the lists of what may be reached to what m has too.
func (l *Limits) narrow(m *Limits) {
	same := func(a, b string) bool { return a == b }
	l.Egress = narrowed(l.Egress, m.Egress, LimitPattern.covers)
	l.Protocols = narrowed(l.Protocols, m.Protocols, same)
	l.Via = narrowed(l.Via, m.Via, same)
	l.Modes = narrowed(l.Modes, m.Modes, same)
}

// Limits returns what binds a layer below all that set limits, each value with
// the place that it is from.
func (p *Policy) Limits() Limits {
	var out Limits
	for _, l := range p.d.Limits {
		out.narrow(&l)
		out.Write = narrowed(out.Write, l.Write, func(a, b PathGrant) bool { return below(b.Path, a.Path) })
		for _, h := range l.Hide {
			if !slices.ContainsFunc(out.Hide, func(g PathGrant) bool { return g.Path == h.Path }) {
				out.Hide = append(out.Hide, h)
			}
		}
		out.Tier = stricter(out.Tier, l.Tier, func(a, b string) bool { return strength(a) > strength(b) })
		forbids := func(a, b bool) bool { return !a && b }
		out.CA = stricter(out.CA, l.CA, forbids)
		out.Approvers = stricter(out.Approvers, l.Approvers, forbids)
		out.Memory = stricter(out.Memory, l.Memory, less[int64])
		out.CPUs = stricter(out.CPUs, l.CPUs, less[float64])
		out.PIDs = stricter(out.PIDs, l.PIDs, less[int64])
		out.OpenFiles = stricter(out.OpenFiles, l.OpenFiles, less[int64])
		out.ReadRate = stricter(out.ReadRate, l.ReadRate, less[int64])
		out.WriteRate = stricter(out.WriteRate, l.WriteRate, less[int64])
		out.Timeout = stricter(out.Timeout, l.Timeout, less[time.Duration])
		out.Idle = stricter(out.Idle, l.Idle, less[time.Duration])
		out.OnViolation = stricter(out.OnViolation, l.OnViolation, func(a, b string) bool { return strictness(a) > strictness(b) })
	}
	return out
}

func less[T int64 | float64 | time.Duration](a, b T) bool { return a < b }

// each calls do with everything that is limited: the key, one entry of it (for
// a list), in YAML, and where it is from. An empty list has one entry, "[]"; one
// entry in two spellings comes once.
func (l *Limits) each(to func(key, text string, list bool, from Source)) {
	seen := map[string]bool{}
	do := func(key, text string, list bool, from Source) {
		if !seen[key+" "+text] {
			seen[key+" "+text] = true
			to(key, text, list, from)
		}
	}
	if l.Egress.Set {
		for _, e := range l.Egress.V {
			do("egress", quotedIf(e.String()), true, e.From)
		}
		if len(l.Egress.V) == 0 {
			do("egress", "[]", false, l.Egress.From)
		}
	}
	for _, w := range []struct {
		key string
		v   Value[[]string]
	}{{"protocols", l.Protocols}, {"via", l.Via}, {"modes", l.Modes}} {
		if w.v.Set {
			do(w.key, "["+strings.Join(w.v.V, ", ")+"]", false, w.v.From)
		}
	}
	for _, h := range l.Hide {
		do("hide", pathText(h.Path), true, h.From)
	}
	if l.Write.Set {
		for _, g := range l.Write.V {
			do("write", pathText(g.Path), true, g.From)
		}
		if len(l.Write.V) == 0 {
			do("write", "[]", false, l.Write.From)
		}
	}
	limit(do, "tier", l.Tier, plainText)
	limit(do, "ca", l.CA, strconv.FormatBool)
	limit(do, "approvers", l.Approvers, strconv.FormatBool)
	limit(do, "memory", l.Memory, sizeText)
	limit(do, "cpus", l.CPUs, numberText)
	limit(do, "pids", l.PIDs, countText)
	limit(do, "open_files", l.OpenFiles, countText)
	limit(do, "read_rate", l.ReadRate, sizeText)
	limit(do, "write_rate", l.WriteRate, sizeText)
	limit(do, "timeout", l.Timeout, timeText)
	limit(do, "idle", l.Idle, timeText)
	limit(do, "on_violation", l.OnViolation, plainText)
}

func limit[T any](do func(string, string, bool, Source), key string, v Value[T], text func(T) string) {
	if v.Set {
		do(key, text(v.V), false, v.From)
	}
}

// quotedIf quotes what YAML would not read as text.
func quotedIf(s string) string {
	if strings.ContainsAny(s, "*:") {
		return quoteYAML(s)
	}
	return yamlText(s)
}
