package dialguard

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/policy"
)

// zone is a real DNS server on the loopback; answer gets how often the name was
// asked for before.
type zone struct {
	t      testing.TB
	addr   string
	mu     sync.Mutex
	asked  []string
	answer func(name string, v6 bool, n int) []netip.Addr
}

func serveDNS(t testing.TB, answer func(name string, v6 bool, n int) []netip.Addr) *zone {
	t.Helper()
	pc, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	z := &zone{t: t, addr: pc.LocalAddr().String(), answer: answer}
	t.Cleanup(func() { pc.Close() })
	counts := map[string]int{}
	go func() {
		buf := make([]byte, 4096)
		for {
			n, from, err := pc.ReadFrom(buf)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if m.Unpack(buf[:n]) != nil || len(m.Questions) != 1 {
				continue
			}
			q := m.Questions[0]
			name := strings.TrimSuffix(q.Name.String(), ".")
			key := fmt.Sprint(name, q.Type)
			z.mu.Lock()
			z.asked = append(z.asked, name)
			k := counts[key]
			counts[key]++
			z.mu.Unlock()
			r := dnsmessage.Message{Header: dnsmessage.Header{ID: m.ID, Response: true, RecursionAvailable: true}, Questions: m.Questions}
			for _, a := range answer(name, q.Type == dnsmessage.TypeAAAA, k) {
				h := dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class, TTL: 0}
				if a.Is4() {
					r.Answers = append(r.Answers, dnsmessage.Resource{Header: h, Body: &dnsmessage.AResource{A: a.As4()}})
				} else {
					r.Answers = append(r.Answers, dnsmessage.Resource{Header: h, Body: &dnsmessage.AAAAResource{AAAA: a.As16()}})
				}
			}
			if name == "missing.example" {
				r.RCode = dnsmessage.RCodeNameError
			}
			if out, err := r.Pack(); err == nil {
				pc.WriteTo(out, from)
			}
		}
	}()
	return z
}

// names returns what was asked for so far.
func (z *zone) names() []string {
	z.mu.Lock()
	defer z.mu.Unlock()
	return slices.Clone(z.asked)
}

// resolver is Go's, asking the zone.
func (z *zone) resolver() Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "udp", z.addr)
	}}
}

// fixed answers a name with the addresses of its family in table.
func fixed(table map[string][]string) func(string, bool, int) []netip.Addr {
	return func(name string, v6 bool, _ int) (out []netip.Addr) {
		for _, s := range table[name] {
			if a := netip.MustParseAddr(s); a.Is6() == v6 {
				out = append(out, a)
			}
		}
		return out
	}
}

func listen(t testing.TB, addr string) (port uint16, hits func() int) {
	t.Helper()
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	var mu sync.Mutex
	n := 0
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			n++
			mu.Unlock()
			c.Close()
		}
	}()
	return uint16(ln.Addr().(*net.TCPAddr).Port), func() int { mu.Lock(); defer mu.Unlock(); return n }
}

func prefixes(list ...string) (out []netip.Prefix) {
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

func noOwn() ([]netip.Addr, error) { return nil, nil }

// TestDialChecks goes through what a name may resolve to and what a rule says.
func TestDialChecks(t *testing.T) {
	z := serveDNS(t, fixed(map[string][]string{
		"loop.example": {"127.0.0.1"}, "loop6.example": {"::1"}, "corp.example": {"10.1.2.3"}, "meta.example": {"169.254.169.254"},
		"mixed.example": {"203.0.113.7", "127.0.0.1"}, "mixed6.example": {"203.0.113.7", "::ffff:10.0.0.1", "fe80::1"},
		"nat64.example": {"64:ff9b::a00:1"}, "own.example": {"203.0.113.99"}, "own64.example": {"64:ff9b::cb00:7163"}, "none.example": nil,
	}))
	static := map[string]string{"git.corp.example": "10.9.9.9", "pub.example": "203.0.113.8"}
	g := &Guard{
		Resolver: z.resolver(),
		Hosts: func(n string) (netip.Addr, bool) {
			a, err := netip.ParseAddr(static[n])
			return a, err == nil
		},
		Own: func() ([]netip.Addr, error) { return []netip.Addr{netip.MustParseAddr("203.0.113.99")}, nil },
	}
	lit := func(s string) hooks.Target { return hooks.Target{Addr: netip.MustParseAddr(s), Port: 1} }
	for _, tt := range []struct {
		name    string
		target  hooks.Target
		allowed []netip.Prefix
		class   Class // "": the check passes, and the dial then fails or not
	}{
		{"loopback", hooks.Target{Host: "loop.example"}, nil, ClassLoopback},
		{"loopback, IPv6", hooks.Target{Host: "loop6.example"}, nil, ClassLoopback},
		{"private", hooks.Target{Host: "corp.example"}, nil, ClassPrivate},
		{"private, another range allowed", hooks.Target{Host: "corp.example"}, prefixes("10.2.0.0/16", "fd00::/8"), ClassPrivate},
		{"metadata", hooks.Target{Host: "meta.example"}, nil, ClassMetadata},
		{"metadata, its network allowed", hooks.Target{Host: "meta.example"}, prefixes("169.254.0.0/16", "0.0.0.0/0"), ClassMetadata},
		{"public and loopback", hooks.Target{Host: "mixed.example"}, nil, ClassLoopback},
		{"public and mapped private", hooks.Target{Host: "mixed6.example"}, prefixes("fe80::/10"), ClassPrivate},
		{"NAT64 of private", hooks.Target{Host: "nat64.example"}, nil, ClassPrivate},
		{"NAT64 of private, the IPv4 range allowed", hooks.Target{Host: "nat64.example"}, prefixes("10.0.0.0/8"), ClassPrivate},
		{"the host's own", hooks.Target{Host: "own.example"}, nil, ClassHost},
		{"the host's own by NAT64", hooks.Target{Host: "own64.example"}, nil, ClassHost},
		{"static, private", hooks.Target{Host: "git.corp.example"}, nil, ClassPrivate},
		{"host name without a rule", hooks.Target{Host: HostName}, nil, ClassLoopback},
		{"host name, IPv4 only", hooks.Target{Host: HostName}, prefixes("127.0.0.1/32"), ClassLoopback},
		{"a number as a name", hooks.Target{Host: "2130706433"}, nil, ClassInvalid},
		{"hexadecimal", hooks.Target{Host: "0x7f000001"}, nil, ClassInvalid},
		{"dotted hexadecimal", hooks.Target{Host: "0x7f.0.0.0x1"}, nil, ClassInvalid},
		{"short dotted", hooks.Target{Host: "127.1"}, nil, ClassInvalid},
		{"an address as a name", hooks.Target{Host: "127.0.0.1"}, nil, ClassInvalid},
		{"IPv6 as a name", hooks.Target{Host: "::1"}, nil, ClassInvalid},
		{"literal loopback", lit("127.0.0.1"), nil, ClassLoopback},
		{"literal mapped", lit("::ffff:127.0.0.1"), nil, ClassLoopback},
		{"literal zoned", lit("fe80::1%lo"), prefixes("fe80::/10"), ClassInvalid},
		{"literal own", lit("203.0.113.99"), nil, ClassHost},
		{"nothing", hooks.Target{}, prefixes("0.0.0.0/0", "::/0"), ClassInvalid},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.target.Port == 0 {
				tt.target.Port = 1
			}
			c, err := g.DialAllowed(t.Context(), tt.target, tt.allowed)
			var r *RefusedError
			if c != nil || !errors.As(err, &r) || r.Class != tt.class {
				t.Fatalf("got %v, want a refusal for %s", err, tt.class)
			}
			if strings.Contains(err.Error(), "\n") {
				t.Error("more than one line")
			}
			if r.Class != ClassInvalid && r.Hint() == "" {
				t.Error("no hint")
			}
		})
	}
	for _, name := range []string{"none.example", "missing.example"} {
		_, err := g.DialAllowed(t.Context(), hooks.Target{Host: name, Port: 1}, nil)
		var r *ResolveError
		if !errors.As(err, &r) || strings.Contains(err.Error(), z.addr) {
			t.Errorf("%s: %v", name, err)
		}
	}
	g.Own = func() ([]netip.Addr, error) { return nil, errors.New("no netlink") }
	g.own = nil
	var own *OwnError
	if _, err := g.DialAllowed(t.Context(), hooks.Target{Host: "pub.example", Port: 1}, nil); !errors.As(err, &own) {
		t.Errorf("own addresses unknown: %v", err)
	}
}

func TestDialConnects(t *testing.T) {
	port, hits := listen(t, "127.0.0.2:0")
	z := serveDNS(t, fixed(map[string][]string{"svc.example": {"127.0.0.2"}, "two.example": {"127.0.0.3", "127.0.0.2"}}))
	g := &Guard{Resolver: z.resolver(), Own: noOwn, Hosts: func(n string) (netip.Addr, bool) {
		return netip.MustParseAddr("127.0.0.2"), n == "static.example"
	}}
	d := &policy.Dial{ID: 1, Addresses: prefixes("127.0.0.0/8")}
	n := 0
	// Nobody listens on 127.0.0.3: the next address is tried at once.
	for _, target := range []hooks.Target{{Host: "svc.example"}, {Host: "static.example"}, {Host: "two.example"}, {Addr: netip.MustParseAddr("127.0.0.2")}, {Addr: netip.MustParseAddr("::ffff:127.0.0.2")}} {
		target.Port = port
		c, err := g.Dial(t.Context(), target, d)
		if err != nil {
			t.Errorf("%s: %v", target, err)
			continue
		}
		if _, ok := c.(*net.TCPConn); !ok {
			t.Errorf("%s: a %T can't be spliced", target, c)
		}
		if got := c.RemoteAddr().String(); got != fmt.Sprintf("127.0.0.2:%d", port) {
			t.Errorf("%s: connected to %s", target, got)
		}
		buf := make([]byte, 1)
		c.Read(buf) // the listener closes: it has counted
		c.Close()
		n++
		if hits() != n {
			t.Errorf("%s: %d connections, want %d", target, hits(), n)
		}
	}
	for _, name := range z.names() {
		if name == "static.example" {
			t.Error("a static name was looked up")
		}
	}
	_, err := g.Dial(t.Context(), hooks.Target{Host: "two.example", Port: 1}, d)
	var de *DialError
	if !errors.As(err, &de) || len(de.Tried) != 2 || !strings.Contains(err.Error(), "refused") {
		t.Errorf("nobody there: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := g.Dial(ctx, hooks.Target{Host: "svc.example", Port: port}, d); err == nil {
		t.Error("cancelled: no error")
	}
}

// TestSearchListIsNotUsed: the name asked for is the one decided, whatever the
// host's resolv.conf says.
func TestNameAskedIsNameDecided(t *testing.T) {
	z := serveDNS(t, fixed(nil))
	g := &Guard{Resolver: z.resolver(), Own: noOwn}
	g.DialAllowed(t.Context(), hooks.Target{Host: "intranet", Port: 1}, nil)
	g.DialAllowed(t.Context(), hooks.Target{Host: "a.example", Port: 1}, nil)
	for _, n := range z.names() {
		if n != "intranet" && n != "a.example" {
			t.Errorf("asked for %q", n)
		}
	}
	if len(z.names()) == 0 {
		t.Error("nothing was asked")
	}
}

// TestRebinding: the answer changes with each query, from an address that the
// rule allows to the service on the loopback that it must not reach.
func TestRebinding(t *testing.T) {
	// One port on both: others may have it on the second.
	var port uint16
	var evil net.Listener
	for range 50 {
		var err error
		port, _ = listen(t, "127.0.0.2:0")
		if evil, err = net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			break
		}
	}
	if evil == nil {
		t.Fatal("no port is free on 127.0.0.1 and 127.0.0.2")
	}
	defer evil.Close()
	reached := make(chan struct{}, 1)
	go func() {
		if _, err := evil.Accept(); err == nil {
			reached <- struct{}{}
		}
	}()
	z := serveDNS(t, func(_ string, v6 bool, n int) []netip.Addr {
		switch {
		case v6:
			return nil
		case n%2 == 0:
			return []netip.Addr{netip.MustParseAddr("127.0.0.2")}
		default:
			return []netip.Addr{netip.MustParseAddr("127.0.0.1")}
		}
	})
	g := &Guard{Resolver: z.resolver(), Own: noOwn}
	connected, refused := 0, 0
	for range 100 {
		c, err := g.DialAllowed(t.Context(), hooks.Target{Host: "rebind.example", Port: port}, prefixes("127.0.0.2/32"))
		var r *RefusedError
		switch {
		case err == nil:
			connected++
			c.Close()
		case errors.As(err, &r):
			refused++
		default:
			t.Fatal(err)
		}
	}
	if connected != 50 || refused != 50 {
		t.Errorf("%d connected, %d refused, want 50 of each", connected, refused)
	}
	select {
	case <-reached:
		t.Error("the service on the loopback was reached")
	default:
	}
}

func ExampleRefusedError() {
	err := &RefusedError{Class: ClassPrivate, Name: "git.corp.example", Addr: netip.MustParseAddr("10.1.2.3")}
	fmt.Println(err)
	fmt.Println(err.Hint())
	// Output:
	// dial "git.corp.example": refused: it resolves to 10.1.2.3, a private address
	// addresses: ["10.1.2.3/32"] in the rule for this name would allow it
}

func BenchmarkDialStatic(b *testing.B) {
	port, _ := listen(b, "127.0.0.2:0")
	g := &Guard{Own: noOwn, Hosts: func(string) (netip.Addr, bool) { return netip.MustParseAddr("127.0.0.2"), true }}
	allowed := prefixes("127.0.0.0/8")
	b.ReportAllocs()
	for b.Loop() {
		c, err := g.DialAllowed(context.Background(), hooks.Target{Host: "a.example", Port: port}, allowed)
		if err != nil {
			b.Fatal(err)
		}
		c.Close()
	}
}
