package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/penstock/penstock/hooks"
)

// Policy is the effective policy of a session: all layers joined and compiled.
// It is immutable and safe for concurrent use. The zero Policy denies everything.
type Policy struct {
	d    data
	idx  index
	ways routes
	act  hooks.Action // the effective default
	may  Limits       // what may be asked about

	unions *unions
}

// data is what a Policy consists of and what travels as JSON.
type data struct {
	Rules       []*Rule              `json:"rules"` // higher layers first
	Default     Value[string]        `json:"default"`
	Mode        Value[string]        `json:"mode"`
	AskTimeout  Value[time.Duration] `json:"ask_timeout"`
	Via         Value[string]        `json:"via"`
	Upstreams   []Upstream           `json:"upstreams,omitempty"`
	Hosts       []HostEntry          `json:"hosts,omitempty"`
	CA          []PathGrant          `json:"ca,omitempty"`
	Approvers   []Approver           `json:"approvers,omitempty"`
	Sandbox     SandboxSettings      `json:"sandbox"`
	Filesystem  FilesystemSettings   `json:"filesystem"`
	Environment EnvironmentSettings  `json:"environment"`
	Secrets     []Secret             `json:"secrets,omitempty"`
	Hooks       []Hook               `json:"hooks,omitempty"`      // higher layers first
	Limits      []Limits             `json:"limits,omitempty"`     // of each file that has some, higher layers first
	AskWithin   *Limits              `json:"ask_within,omitempty"` // further limits of what is asked about: the caller's own, see UnderFloor
	Warnings    []Warning            `json:"warnings,omitempty"`
	Files       []FileRef            `json:"files,omitempty"`
	Untrusted   *Untrusted           `json:"untrusted,omitempty"`
	Attribute   bool                 `json:"attribute,omitempty"` // see Attributed

	// What ~ and relative paths were resolved against, see UnderFloor. All paths
	// are resolved, so it is no part of what the policy says.
	Home    string `json:"home,omitempty"`
	WorkDir string `json:"workdir,omitempty"`
}

// FileRef is a file that the policy was made from.
type FileRef struct {
	Name   string `json:"name"`
	Layer  Layer  `json:"layer"`
	SHA256 string `json:"sha256"` // in hexadecimal
}

// bucket holds the rules of one host pattern or range.
type bucket struct {
	deny, allow, ask []*Rule
	// Those of allow and ask that have one.
	pins, budgets, captures []*Rule
}

// index finds the rules about a target with one map look-up per label of the
// name, or per prefix length in use for an address.
type index struct {
	names map[string]*node
	any   bucket // host: "*"
	v4    []prefixMap
	v6    []prefixMap
	hosts map[string]netip.Addr
	dials map[string]*Dial // of hosts that are given a special address

	process, content bool // some rule asks who, or what that one's executable holds
	when             bool // some rule has a condition
}

// node is what is said about one name and about what is below it.
type node struct{ exact, below bucket }

type prefixMap struct {
	bits  int
	rules map[netip.Prefix]*bucket
}

func (b *bucket) add(r *Rule) {
	switch {
	case r.Deny:
		b.deny = append(b.deny, r)
		return
	case r.Ask:
		b.ask = append(b.ask, r)
	default:
		b.allow = append(b.allow, r)
	}
	if r.pin != nil {
		b.pins = append(b.pins, r)
	}
	if r.budget != nil {
		b.budgets = append(b.budgets, r)
	}
	if r.capture != nil {
		b.captures = append(b.captures, r)
	}
}

// compile makes the immutable value. The rules must be finished (finishRule).
func compile(d data) (*Policy, error) {
	p := &Policy{d: d, unions: newUnions()}
	p.idx.names, p.idx.process = make(map[string]*node, len(d.Rules)), d.Attribute
	for i, r := range d.Rules {
		r.index = i
		r.Dial = p.unions.intern(r.Dial)
		if r.process != nil {
			p.idx.process = true
			p.idx.content = p.idx.content || r.process.sha256 != ""
		}
		p.idx.when = p.idx.when || r.when != nil
		switch {
		case r.cidr.IsValid():
			p.idx.addPrefix(r)
		case r.host.wild && r.host.name == "":
			p.idx.any.add(r)
		default:
			n := p.idx.names[r.host.name]
			if n == nil {
				n = &node{}
				p.idx.names[r.host.name] = n
			}
			if r.host.wild {
				n.below.add(r)
			} else {
				n.exact.add(r)
			}
		}
	}
	p.idx.hosts = make(map[string]netip.Addr, len(d.Hosts))
	for _, h := range d.Hosts {
		p.idx.hosts[h.Name] = h.Addr
		one := netip.PrefixFrom(h.Addr, h.Addr.BitLen())
		if !isSpecial(one) {
			continue
		}
		if p.idx.dials == nil {
			p.idx.dials = map[string]*Dial{}
		}
		p.idx.dials[h.Name] = p.unions.intern(&Dial{Addresses: []netip.Prefix{one}})
	}
	if err := p.compileRoutes(); err != nil {
		return nil, err
	}
	p.may = p.Limits()
	if w := d.AskWithin; w != nil {
		p.may.narrow(w)
	}
	switch d.Default.V {
	case "", "deny":
	case "ask":
		p.act = hooks.Ask
	case "allow":
		p.act = hooks.Allow
	default:
		return nil, fmt.Errorf("compile policy: default %s is unknown", quote(d.Default.V))
	}
	switch Mode(d.Mode.V) {
	case "", Enforce, asking:
	case Audit:
		p.act = hooks.Allow
	default:
		return nil, fmt.Errorf("compile policy: mode %s is unknown", quote(d.Mode.V))
	}
	return p, nil
}

func (x *index) addPrefix(r *Rule) {
	list := &x.v4
	if r.cidr.Addr().Is6() {
		list = &x.v6
	}
	i := slices.IndexFunc(*list, func(m prefixMap) bool { return m.bits == r.cidr.Bits() })
	if i < 0 {
		i = len(*list)
		*list = append(*list, prefixMap{r.cidr.Bits(), map[netip.Prefix]*bucket{}})
	}
	m := (*list)[i].rules
	if m[r.cidr] == nil {
		m[r.cidr] = &bucket{}
	}
	m[r.cidr].add(r)
}

// visit shows s every bucket that is about the target. s is a pointer to a
// struct rather than a closure so that nothing escapes to the heap.
func (x *index) visit(t *hooks.Target, s *search) {
	if t.Host == "" {
		list := x.v4
		if t.Addr.Is6() {
			list = x.v6
		}
		for i := range list {
			if pfx, err := t.Addr.Prefix(list[i].bits); err == nil {
				if b := list[i].rules[pfx]; b != nil {
					s.bucket(b, false)
				}
			}
		}
		s.bucket(&x.any, true)
		return
	}
	internal := t.Host == HostInternal
	if n := x.names[t.Host]; n != nil {
		s.bucket(&n.exact, false)
	}
	for rest := t.Host; ; {
		i := strings.IndexByte(rest, '.')
		if i < 0 {
			break
		}
		rest = rest[i+1:]
		if n := x.names[rest]; n != nil {
			s.bucket(&n.below, internal)
		}
	}
	s.bucket(&x.any, internal)
}

// unions numbers address profiles, so that equal ones have one ID, and joins
// those of several rules that allow the same request.
type unions struct {
	mu    sync.Mutex
	known map[string]*Dial // by the text of their addresses
	made  map[[2]int]*Dial // by the IDs of what was joined
}

func newUnions() *unions {
	return &unions{known: map[string]*Dial{}, made: map[[2]int]*Dial{}}
}

// intern returns the one Dial for these addresses.
func (u *unions) intern(d *Dial) *Dial {
	if d == nil {
		return nil
	}
	key := make([]byte, 0, 64)
	for _, a := range d.Addresses {
		key = append(a.AppendTo(key), ' ')
	}
	if k := u.known[string(key)]; k != nil {
		return k
	}
	n := &Dial{ID: len(u.known) + 1, Addresses: d.Addresses}
	u.known[string(key)] = n
	return n
}

// join returns the Dial that opens what a or b opens. It allocates only the
// first time it sees the pair.
func (p *Policy) join(a, b *Dial) *Dial {
	if a == nil || a == b {
		return b
	}
	if b == nil {
		return a
	}
	u := p.unions
	u.mu.Lock()
	defer u.mu.Unlock()
	key := [2]int{min(a.ID, b.ID), max(a.ID, b.ID)}
	if d := u.made[key]; d != nil {
		return d
	}
	d := u.intern(&Dial{Addresses: normalPrefixes(append(slices.Clone(a.Addresses), b.Addresses...))})
	u.made[key] = d
	return d
}

// normalPrefixes sorts the list and drops what lies in another of its ranges.
func normalPrefixes(list []netip.Prefix) []netip.Prefix {
	slices.SortFunc(list, func(a, b netip.Prefix) int {
		if a.Bits() != b.Bits() {
			return a.Bits() - b.Bits()
		}
		return a.Addr().Compare(b.Addr())
	})
	out := list[:0:0]
	for _, p := range list {
		if !slices.ContainsFunc(out, func(q netip.Prefix) bool { return within(p, q) }) {
			out = append(out, p)
		}
	}
	slices.SortFunc(out, func(a, b netip.Prefix) int {
		if c := a.Addr().Compare(b.Addr()); c != 0 {
			return c
		}
		return a.Bits() - b.Bits()
	})
	return out
}
