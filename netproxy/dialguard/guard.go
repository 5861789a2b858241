package dialguard

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/policy"
)

// HostName is the name by which a pen reaches the loopback of the host. It is
// never looked up.
const HostName = policy.HostInternal

// Times of a dial. A caller's context may end it sooner.
const (
	totalTimeout   = 30 * time.Second
	attemptTimeout = 10 * time.Second
	// stagger is RFC 8305's Connection Attempt Delay.
	stagger = 250 * time.Millisecond
	// ownFor is how long the host's own addresses are remembered.
	ownFor = 5 * time.Second
	// maxAnswer bounds the addresses of one answer: more are refused, unread.
	maxAnswer = 256
)

// Resolver looks up the addresses of an absolute name (with a trailing dot).
// *net.Resolver is one.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// Guard dials. Its zero value uses the system's resolver and configuration. It
// must not be copied after its first use, and is safe for concurrent use.
type Guard struct {
	// Resolver replaces the system's resolver.
	Resolver Resolver
	// Hosts answers static names of the policy, before any resolver. May be nil.
	Hosts func(name string) (netip.Addr, bool)
	// Own replaces how the host's own addresses are found. An error of it
	// refuses every dial.
	Own func() ([]netip.Addr, error)

	once   sync.Once
	system net.Resolver

	mu    sync.Mutex
	own   map[netip.Addr]struct{}
	ownAt time.Time
}

// DialAllowed connects to t by TCP. Addresses that are not public are dialled
// only when allowed contains them; a metadata address only when allowed names
// it alone (a /32 or /128), because a broad range was not meant for it. The
// remote address of the result is the one that was checked.
func (g *Guard) DialAllowed(ctx context.Context, t hooks.Target, allowed []netip.Prefix) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, totalTimeout)
	defer cancel()
	addrs, name, err := g.resolve(ctx, t)
	if err != nil {
		return nil, err
	}
	if err := g.check(name, addrs, allowed); err != nil {
		return nil, err
	}
	conn, err := connect(ctx, addrs, t.Port)
	if err != nil {
		return nil, &DialError{Name: t.Name(), Port: t.Port, Tried: addrs, Err: err}
	}
	return conn, nil
}

// resolve returns the candidate addresses, and the name they came from or "".
func (g *Guard) resolve(ctx context.Context, t hooks.Target) ([]netip.Addr, string, error) {
	if t.Host == "" {
		return []netip.Addr{t.Addr.Unmap()}, "", nil
	}
	if t.Host == HostName {
		return []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}, t.Host, nil
	}
	if g.Hosts != nil {
		if a, ok := g.Hosts(t.Host); ok {
			return []netip.Addr{a.Unmap()}, t.Host, nil
		}
	}
	if !plausible(t.Host) {
		return nil, "", &RefusedError{Class: ClassInvalid, Name: t.Host}
	}
	r := g.Resolver
	if r == nil {
		r = g.systemResolver()
	}
	// The trailing dot: an absolute name, to which no search domain of the host
	// is ever appended. One name.
	addrs, err := r.LookupNetIP(ctx, "ip", t.Host+".")
	if err == nil && len(addrs) == 0 {
		err = errors.New("no address")
	}
	if err != nil {
		return nil, "", &ResolveError{Name: t.Host, Err: plain(err)}
	}
	if len(addrs) > maxAnswer {
		return nil, "", &ResolveError{Name: t.Host, Err: errors.New("too many addresses in the answer")}
	}
	for i := range addrs {
		addrs[i] = addrs[i].Unmap()
	}
	return addrs, t.Host, nil
}

// systemResolver is the pure Go one: no cgo, no NSS modules loaded into a role
// that may not map code. It is kept because it joins equal lookups under way.
func (g *Guard) systemResolver() *net.Resolver {
	g.once.Do(func() { g.system.PreferGo = true })
	return &g.system
}

// plausible refuses names whose last label is a number, plain or hexadecimal
// (WHATWG URL, "ends in a number"): some resolver could read them as addresses.
func plausible(name string) bool {
	last := name[strings.LastIndexByte(name, '.')+1:]
	if last == "" || strings.ContainsAny(name, "%:/\\@ \x00") {
		return false
	}
	if h, ok := strings.CutPrefix(last, "0x"); ok {
		return strings.Trim(h, "0123456789abcdefABCDEF") != ""
	}
	return strings.Trim(last, "0123456789") != ""
}

// plain keeps of a resolver's error what is of use to the pen, and not the
// addresses of the host's name servers.
func plain(err error) error {
	var d *net.DNSError
	if !errors.As(err, &d) {
		return err
	}
	switch {
	case d.IsNotFound:
		return errNotFound
	case d.IsTimeout:
		return errTimeout
	}
	return errServer
}

var (
	errNotFound = errors.New("no such host")
	errTimeout  = errors.New("the name server did not answer in time")
	errServer   = errors.New("the name server failed")
)

// check judges every address; the first that is refused refuses all.
func (g *Guard) check(name string, addrs []netip.Addr, allowed []netip.Prefix) error {
	for _, a := range addrs {
		c := Classify(a)
		if c.Free() {
			own, err := g.isOwn(a)
			if err != nil {
				return err
			}
			if own {
				c = ClassHost
			}
		}
		if !permitted(a, c, allowed) {
			return &RefusedError{Class: c, Name: name, Addr: a}
		}
	}
	return nil
}

func permitted(a netip.Addr, c Class, allowed []netip.Prefix) bool {
	if c.Free() {
		return true
	}
	if c == ClassInvalid {
		return false
	}
	for _, p := range allowed {
		if p.Contains(a) && (c != ClassMetadata || p.IsSingleIP()) {
			return true
		}
	}
	return false
}

// isOwn reports whether an address is, or carries, one of the host's interfaces.
func (g *Guard) isOwn(a netip.Addr) (bool, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.own == nil || time.Since(g.ownAt) > ownFor {
		find := g.Own
		if find == nil {
			find = interfaceAddrs
		}
		addrs, err := find()
		if err != nil {
			// Not knowing what is ours is no reason to dial it.
			return false, &OwnError{Err: err}
		}
		g.own = make(map[netip.Addr]struct{}, len(addrs))
		for _, o := range addrs {
			g.own[o] = struct{}{}
		}
		g.ownAt = time.Now()
	}
	if _, ok := g.own[a]; ok {
		return true, nil
	}
	for _, e := range carried(a) {
		if _, ok := g.own[e]; ok {
			return true, nil
		}
	}
	return false, nil
}

func interfaceAddrs() ([]netip.Addr, error) {
	list, err := net.InterfaceAddrs()
	if err != nil {
		return nil, err
	}
	out := make([]netip.Addr, 0, len(list))
	for _, n := range list {
		if ip, ok := n.(*net.IPNet); ok {
			if a, ok := netip.AddrFromSlice(ip.IP); ok {
				out = append(out, a.Unmap())
			}
		}
	}
	return out, nil
}
