package dns

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// ask packs a query for name, with an OPT of the given size if that isn't 0.
func ask(t testing.TB, name string, kind dnsmessage.Type, edns int) []byte {
	t.Helper()
	b := dnsmessage.NewBuilder(nil, dnsmessage.Header{ID: 0x1234, RecursionDesired: true})
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	must(b.StartQuestions())
	must(b.Question(dnsmessage.Question{Name: dnsmessage.MustNewName(name), Type: kind, Class: dnsmessage.ClassINET}))
	if edns > 0 {
		must(b.StartAdditionals())
		var h dnsmessage.ResourceHeader
		must(h.SetEDNS0(edns, 0, true))
		must(b.OPTResource(h, dnsmessage.OPTResource{}))
	}
	msg, err := b.Finish()
	must(err)
	return msg
}

func unpack(t testing.TB, p []byte) dnsmessage.Message {
	t.Helper()
	var m dnsmessage.Message
	if err := m.Unpack(p); err != nil {
		t.Fatalf("answer %x: %v", p, err)
	}
	return m
}

func newServer(t testing.TB, cfg Config) *Server {
	t.Helper()
	if cfg.Table == nil {
		cfg.Table = newTable(t, 0)
	}
	s := NewServer(cfg)
	t.Cleanup(func() { s.Close() })
	return s
}

func exchange(t testing.TB, s *Server, query []byte) dnsmessage.Message {
	t.Helper()
	var q question
	p := s.respond(query, nil, true, &q)
	if p == nil {
		t.Fatal("no answer")
	}
	return unpack(t, p)
}

func TestAnswers(t *testing.T) {
	s := newServer(t, Config{})
	a4, _ := s.cfg.Table.Address("api.example.com", false)
	a6, _ := s.cfg.Table.Address("api.example.com", true)
	arpa4 := func(a netip.Addr) string {
		b := a.As4()
		return netip.AddrFrom4([4]byte{b[3], b[2], b[1], b[0]}).String() + ".in-addr.arpa."
	}
	arpa6 := func(a netip.Addr) string {
		var sb strings.Builder
		b := a.As16()
		for i := 15; i >= 0; i-- {
			sb.WriteByte("0123456789abcdef"[b[i]&15])
			sb.WriteByte('.')
			sb.WriteByte("0123456789abcdef"[b[i]>>4])
			sb.WriteByte('.')
		}
		return sb.String() + "ip6.arpa."
	}
	long := strings.Repeat("a.", 126) + "b."
	for _, tc := range []struct {
		name  string
		kind  dnsmessage.Type
		rcode dnsmessage.RCode
		want  string // "" is an empty answer, "*" any synthetic address
	}{
		{"api.example.com.", dnsmessage.TypeA, 0, a4.String()},
		{"API.Example.COM.", dnsmessage.TypeA, 0, a4.String()},
		{"api.example.com.", dnsmessage.TypeAAAA, 0, a6.String()},
		{"gitlab.", dnsmessage.TypeA, 0, "*"},
		{"my_host.example.", dnsmessage.TypeA, 0, "*"},
		{"xn--bcher-kva.example.", dnsmessage.TypeA, 0, "*"},
		{"169.254.169.254.nip.example.", dnsmessage.TypeA, 0, "*"},
		{"localhost.", dnsmessage.TypeA, 0, "127.0.0.1"},
		{"LOCALHOST.", dnsmessage.TypeAAAA, 0, "::1"},
		{"app.localhost.", dnsmessage.TypeA, 0, "127.0.0.1"},
		{"notlocalhost.", dnsmessage.TypeA, 0, "*"},
		{long[len(long)-254:], dnsmessage.TypeA, 0, "*"},

		{"api.example.com.", dnsmessage.Type(65), 0, ""},
		{"api.example.com.", dnsmessage.Type(64), 0, ""},
		{"api.example.com.", dnsmessage.TypeTXT, 0, ""},
		{"api.example.com.", dnsmessage.TypeMX, 0, ""},
		{"api.example.com.", dnsmessage.TypeNS, 0, ""},
		{"api.example.com.", dnsmessage.TypeALL, 0, ""},
		{"api.example.com.", dnsmessage.Type(4711), 0, ""},
		{"_ldap._tcp.example.com.", dnsmessage.TypeSRV, 0, ""},
		{".", dnsmessage.TypeNS, 0, ""},
		{".", dnsmessage.TypeA, 0, ""},
		{"localhost.", dnsmessage.TypeMX, 0, ""},
		{"1.0.0.127.in-addr.arpa.", dnsmessage.TypeA, 0, ""},

		{arpa4(a4), dnsmessage.TypePTR, 0, "api.example.com."},
		{arpa6(a6), dnsmessage.TypePTR, 0, "api.example.com."},
		{strings.ToUpper(arpa6(a6)), dnsmessage.TypePTR, 0, "api.example.com."},
		{"1.0.0.127.in-addr.arpa.", dnsmessage.TypePTR, 0, "localhost."},
		{arpa6(netip.IPv6Loopback()), dnsmessage.TypePTR, 0, "localhost."},
		{"8.8.8.8.in-addr.arpa.", dnsmessage.TypePTR, dnsmessage.RCodeNameError, ""},
		{"08.8.8.8.in-addr.arpa.", dnsmessage.TypePTR, dnsmessage.RCodeNameError, ""},
		{"256.8.8.8.in-addr.arpa.", dnsmessage.TypePTR, dnsmessage.RCodeNameError, ""},
		{"8.8.8.in-addr.arpa.", dnsmessage.TypePTR, dnsmessage.RCodeNameError, ""},
		{"1.8.8.8.8.in-addr.arpa.", dnsmessage.TypePTR, dnsmessage.RCodeNameError, ""},
		{"x.ip6.arpa.", dnsmessage.TypePTR, dnsmessage.RCodeNameError, ""},
		{"example.com.", dnsmessage.TypePTR, 0, ""},

		{"what.invalid.", dnsmessage.TypeA, dnsmessage.RCodeNameError, ""},
		{"abc.onion.", dnsmessage.TypeA, dnsmessage.RCodeNameError, ""},
		{"1.2.3.4.", dnsmessage.TypeA, dnsmessage.RCodeNameError, ""},
		{"127.1.", dnsmessage.TypeA, dnsmessage.RCodeNameError, ""},
		{"0x7f000001.", dnsmessage.TypeA, dnsmessage.RCodeNameError, ""},
		{"-a.example.", dnsmessage.TypeA, dnsmessage.RCodeNameError, ""},
		{"a b.example.", dnsmessage.TypeA, dnsmessage.RCodeNameError, ""},
		{"a\x00.example.", dnsmessage.TypeA, dnsmessage.RCodeNameError, ""},
		{"a\x1b[2J.example.", dnsmessage.TypeA, dnsmessage.RCodeNameError, ""},
		{"b\xc3\xbccher.example.", dnsmessage.TypeA, dnsmessage.RCodeNameError, ""},
		{"a/b.example.", dnsmessage.TypeA, dnsmessage.RCodeNameError, ""},
		{"xn--zzzzz-zzzzz99.example.", dnsmessage.TypeA, dnsmessage.RCodeNameError, ""},

		{"example.com.", dnsmessage.TypeAXFR, dnsmessage.RCodeRefused, ""},
		{"example.com.", dnsmessage.Type(251), dnsmessage.RCodeRefused, ""},
	} {
		t.Run(tc.name+typeName(tc.kind), func(t *testing.T) {
			m := exchange(t, s, ask(t, tc.name, tc.kind, 0))
			if m.RCode != tc.rcode || !m.Response || m.ID != 0x1234 || !m.RecursionDesired || !m.RecursionAvailable || m.Truncated {
				t.Fatalf("header %#v, want %v", m.Header, tc.rcode)
			}
			if len(m.Questions) != 1 || m.Questions[0].Name.String() != tc.name {
				t.Fatalf("question is not echoed as it was: %v", m.Questions)
			}
			if tc.want == "" {
				if len(m.Answers) != 0 {
					t.Fatalf("answer %v, want none", m.Answers)
				}
				return
			}
			if len(m.Answers) != 1 || m.Answers[0].Header.Name.String() != tc.name || m.Answers[0].Header.TTL != ttl {
				t.Fatalf("answers %v", m.Answers)
			}
			got := ""
			switch r := m.Answers[0].Body.(type) {
			case *dnsmessage.AResource:
				got = netip.AddrFrom4(r.A).String()
			case *dnsmessage.AAAAResource:
				got = netip.AddrFrom16(r.AAAA).String()
			case *dnsmessage.PTRResource:
				got = r.PTR.String()
			}
			if tc.want == "*" {
				a := netip.MustParseAddr(got)
				if name, ok := s.cfg.Table.Lookup(a); !ok || name+"." != strings.ToLower(tc.name) {
					t.Fatalf("%v stands for %q", a, name)
				}
			} else if got != tc.want {
				t.Fatalf("got %s, want %s", got, tc.want)
			}
		})
	}
}

func TestNoIPv6(t *testing.T) {
	s := newServer(t, Config{NoIPv6: true})
	for _, name := range []string{"a.example.", "a.example.", "localhost."} {
		if m := exchange(t, s, ask(t, name, dnsmessage.TypeA, 0)); len(m.Answers) != 1 {
			t.Errorf("%s A: %v", name, m.Answers)
		}
		if m := exchange(t, s, ask(t, name, dnsmessage.TypeAAAA, 0)); len(m.Answers) != 0 || m.RCode != 0 {
			t.Errorf("%s AAAA: %v %v", name, m.RCode, m.Answers)
		}
	}
}

func TestFullTable(t *testing.T) {
	s := newServer(t, Config{Table: newTable(t, 1)})
	if m := exchange(t, s, ask(t, "one.example.", dnsmessage.TypeA, 0)); len(m.Answers) != 1 {
		t.Fatal(m)
	}
	if m := exchange(t, s, ask(t, "two.example.", dnsmessage.TypeA, 0)); m.RCode != dnsmessage.RCodeServerFailure {
		t.Fatal(m)
	}
	if m := exchange(t, s, ask(t, "one.example.", dnsmessage.TypeAAAA, 0)); len(m.Answers) != 1 {
		t.Fatal(m)
	}
}

// edit returns a copy of p with the bytes from at replaced.
func edit(p []byte, at int, b ...byte) []byte {
	p = bytes.Clone(p)
	copy(p[at:], b)
	return p
}

func TestMalformed(t *testing.T) {
	plain := ask(t, "a.example.", dnsmessage.TypeA, 0)
	opt := ask(t, "a.example.", dnsmessage.TypeA, 1232)
	at := len(plain) // of the OPT
	s := newServer(t, Config{})
	for _, tc := range []struct {
		name  string
		query []byte
		rcode int // -1: no answer
	}{
		{"empty", nil, -1},
		{"one byte", []byte{1}, -1},
		{"short header", plain[:11], -1},
		{"a response", edit(plain, 2, 0x80), -1},
		{"header only", plain[:12], 1},
		{"no question", edit(plain[:12], 4, 0, 0), 1},
		{"two questions", edit(plain, 4, 0, 2), 1},
		{"65535 questions", edit(plain, 4, 0xff, 0xff), 1},
		{"an answer in a query", edit(plain, 6, 0, 1), 1},
		{"an authority in a query", edit(plain, 8, 0, 1), 1},
		{"two additionals", edit(opt, 10, 0, 2), 1},
		{"cut name", plain[:14], 1},
		{"cut type", plain[:len(plain)-3], 1},
		{"trailing byte", append(bytes.Clone(plain), 0), 1},
		{"pointer to itself", append(bytes.Clone(plain[:12]), 0xc0, 12, 0, 1, 0, 1), 1},
		{"pointer to header", append(bytes.Clone(plain[:12]), 0xc0, 0, 0, 1, 0, 1), 1},
		{"label then loop", append(bytes.Clone(plain[:12]), 1, 'a', 0xc0, 12, 0, 1, 0, 1), 1},
		{"reserved label type", append(bytes.Clone(plain[:12]), 0x41, 'a', 0, 0, 1, 0, 1), 1},
		{"dot in a label", append(bytes.Clone(plain[:12]), 3, 'a', '.', 'b', 0, 0, 1, 0, 1), 1},
		{"name of 256 bytes", append(append(bytes.Clone(plain[:12]), bytes.Repeat([]byte{1, 'a'}, 128)...), 0, 0, 1, 0, 1), 1},
		{"over-long message", append(bytes.Clone(plain), make([]byte, maxQuery)...), 1},
		{"status", edit(plain, 2, 2<<3), 4},
		{"notify", edit(plain, 2, 4<<3), 4},
		{"update", edit(plain, 2, 5<<3), 4},
		{"class CHAOS", edit(plain, at-2, 0, 3), 5},
		{"class ANY", edit(plain, at-2, 0, 255), 5},
		{"OPT", opt, 0},
		{"OPT with an owner", edit(opt, at, 1), 1},
		{"not an OPT", edit(opt, at+2, 1), 1},
		{"EDNS version 1", edit(opt, at+6, 1), 16},
		{"cut OPT", opt[:len(opt)-1], 1},
		{"OPT with options too long", edit(opt, at+9, 0, 1), 1},
		{"OPT with a broken option", append(edit(opt, at+9, 0, 4), 0, 10, 0, 9), 1},
		{"OPT with a cookie", append(edit(opt, at+9, 0, 12), 0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8), 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var q question
			p := s.respond(tc.query, nil, true, &q)
			if p == nil {
				if tc.rcode != -1 {
					t.Fatalf("no answer, want %d", tc.rcode)
				}
				return
			}
			m := unpack(t, p)
			rcode := m.RCode
			for _, a := range m.Additionals {
				rcode = a.Header.ExtendedRCode(rcode)
			}
			if int(rcode) != tc.rcode {
				t.Fatalf("%v, want %d", rcode, tc.rcode)
			}
			if tc.rcode != 0 && len(m.Answers) > 0 {
				t.Fatalf("%v with answers", rcode)
			}
		})
	}
}

func TestEDNSAndTruncation(t *testing.T) {
	s := newServer(t, Config{})
	m := exchange(t, s, ask(t, "a.example.", dnsmessage.TypeA, 4096))
	if len(m.Additionals) != 1 || m.Additionals[0].Header.Type != dnsmessage.TypeOPT || int(m.Additionals[0].Header.Class) != ourSize {
		t.Fatalf("OPT is not answered: %v", m.Additionals)
	}
	if m := exchange(t, s, ask(t, "a.example.", dnsmessage.TypeA, 0)); len(m.Additionals) != 0 {
		t.Fatalf("OPT where none was sent: %v", m.Additionals)
	}
	// The longest answer that there is fits without EDNS.
	long := strings.Repeat(strings.Repeat("a", 63)+".", 3) + strings.Repeat("a", 61)
	a6, err := s.cfg.Table.Address(long, true)
	if err != nil {
		t.Fatal(err)
	}
	var arpa []byte
	for _, b := range a6.As16() {
		arpa = append([]byte{"0123456789abcdef"[b&15], '.', "0123456789abcdef"[b>>4], '.'}, arpa...)
	}
	query := ask(t, string(arpa)+"ip6.arpa.", dnsmessage.TypePTR, 512)
	var q question
	p := s.respond(query, nil, true, &q)
	if m := unpack(t, p); len(m.Answers) != 1 || len(p) > plainSize {
		t.Fatalf("%d bytes, answers %v", len(p), m.Answers)
	}
	// Were it longer, it would be cut to the question.
	p = q.build(query, []byte{0xaa, 0xbb}, 200)
	if m := unpack(t, p[2:]); !m.Truncated || len(m.Answers) != 0 || len(m.Questions) != 1 || len(m.Additionals) != 1 {
		t.Fatalf("not cut: %v", m)
	}
}

// FuzzQuery holds for any bytes: no crash, an answer that parses, with the
// query's id, at most 512 bytes or what EDNS allows, and no address but a
// synthetic or a loopback one.
func FuzzQuery(f *testing.F) {
	f.Add(ask(f, "a.example.", dnsmessage.TypeA, 0))
	f.Add(ask(f, "A.eXample.", dnsmessage.TypeAAAA, 1232))
	f.Add(ask(f, "_http._tcp.a.example.", dnsmessage.TypeSRV, 512))
	f.Add(ask(f, "1.0.18.198.in-addr.arpa.", dnsmessage.TypePTR, 4096))
	f.Add(ask(f, "localhost.", dnsmessage.TypeALL, 0))
	f.Add([]byte("\x00\x01\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\xc0\x0c\x00\x01\x00\x01"))
	f.Add([]byte("\x00\x01\x28\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x00\x00\x06\x00\x01"))
	f.Add([]byte("\x00\x01\x01\x00\x00\x01\x00\x00\x00\x00\x00\x01\x01a\x00\x00\x01\x00\x01\x00\x00\x29\x02\x00\x00\x01\x00\x00\x00\x00"))
	s := newServer(f, Config{Table: newTable(f, 1000)})
	f.Fuzz(func(t *testing.T, query []byte) {
		var q question
		p := s.respond(query, nil, true, &q)
		if p == nil {
			if len(query) >= headerSize && query[2]&0x80 == 0 {
				t.Fatal("a query without an answer")
			}
			return
		}
		m := unpack(t, p)
		if m.ID != binary.BigEndian.Uint16(query) || !m.Response || len(p) > ourSize || len(p) > plainSize && !q.edns {
			t.Fatalf("%d bytes: %v", len(p), m)
		}
		if len(m.Answers) > 1 || m.RCode != 0 && len(m.Answers) > 0 {
			t.Fatalf("%v", m)
		}
		for _, a := range m.Answers {
			var addr netip.Addr
			switch r := a.Body.(type) {
			case *dnsmessage.AResource:
				addr = netip.AddrFrom4(r.A)
			case *dnsmessage.AAAAResource:
				addr = netip.AddrFrom16(r.AAAA)
			case *dnsmessage.PTRResource:
				continue
			default:
				t.Fatalf("answer of type %T", r)
			}
			name, ok := s.cfg.Table.Lookup(addr)
			if !addr.IsLoopback() && (!ok || !strings.EqualFold(name+".", a.Header.Name.String())) {
				t.Fatalf("%v for %v stands for %q", addr, a.Header.Name, name)
			}
		}
	})
}

func BenchmarkRespond(b *testing.B) {
	s := newServer(b, Config{Record: func(Event) {}})
	query := ask(b, "api.example.com.", dnsmessage.TypeA, 1232)
	out := make([]byte, 0, ourSize)
	var q question
	b.ReportAllocs()
	for b.Loop() {
		if s.handle(query, out, "udp", netip.AddrPort{}, &q) == nil {
			b.Fatal("no answer")
		}
	}
}

func BenchmarkRespondNew(b *testing.B) {
	s := newServer(b, Config{Record: func(Event) {}})
	query := ask(b, "aaaaaaaa.example.com.", dnsmessage.TypeA, 0)
	out := make([]byte, 0, ourSize)
	var q question
	i := uint64(0)
	b.ReportAllocs()
	for b.Loop() {
		if i%DefaultNames == 0 {
			s.cfg.Table = newTable(b, 0)
		}
		for j, v := 0, i; j < 8; j, v = j+1, v/26 {
			query[headerSize+1+j] = byte('a' + v%26)
		}
		i++
		if s.handle(query, out, "udp", netip.AddrPort{}, &q) == nil || q.rcode != 0 {
			b.Fatal("no answer")
		}
	}
}

// respond reads a query and answers it.
func (s *Server) respond(query, out []byte, udp bool, q *question) []byte {
	if !s.read(query, q) {
		return nil
	}
	return q.respond(query, out, udp)
}
