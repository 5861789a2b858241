package dns

import (
	"encoding/binary"
	"net/netip"
	"strconv"
	"strings"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/policy"
)

const (
	headerSize = 12
	// maxQuery bounds a query; what is longer is answered FORMERR.
	maxQuery = 4096
	// plainSize is what a client without EDNS takes over UDP (RFC 1035 section 2.3.4).
	plainSize = 512
	// ourSize is what we take and send with EDNS: no fragments on any path
	// (DNS Flag Day 2020), though there is no path here.
	ourSize = 1232
	// ttl of an answer in seconds. It is true for the whole session; but one that hooks
	// had nothing against is not to be kept: they may have the next time.
	ttl = 300
	// edeBlocked is that a name is refused by who runs the resolver, and edeText what
	// may be said of it (RFC 8914): all of it has room in the least answer.
	optEDE, edeBlocked, edeText = 15, 15, 160

	rcodeBadVersion = 16 // RFC 6891 section 9, in the extended bits

	typeIXFR, typeMAILB, typeMAILA = 251, 253, 254
	typeSVCB, typeHTTPS            = 64, 65
)

// question is what a query turned out to ask, and what it got.
type question struct {
	name   dnsmessage.Name
	kind   dnsmessage.Type
	class  dnsmessage.Class
	asked  bool // the fields above are set
	edns   bool
	size   int // largest answer the client takes over UDP
	rcode  uint16
	answer netip.Addr // A, AAAA
	target string     // PTR, without the dot at the end
	reason string     // why it was refused
	ttl    uint32     // of the answer, in seconds

	judge judge         // who is to be asked before there is an answer; nil: nobody
	host  string        // canonical name that judge is about
	told  []hooks.Trace // what was said
	// blocked: it was refused because of hooks.
	blocked bool
}

// read parses one query and finds its answer, or who is to be asked first. false means
// that it must not be answered at all.
func (s *Server) read(query []byte, q *question) bool {
	if len(query) < headerSize || query[2]&0x80 != 0 {
		// Answering a response would let two resolvers play ping-pong for ever.
		return false
	}
	parse(query, q)
	if q.rcode == 0 {
		s.resolve(q)
	}
	return true
}

// respond appends the answer to a query that was read to out, which it returns.
func (q *question) respond(query, out []byte, udp bool) []byte {
	limit := 0xffff
	if udp {
		limit = q.size
	}
	return q.build(query, out, limit)
}

// parse checks a query and fills q. What is wrong with it is in q.rcode.
func parse(query []byte, q *question) {
	*q = question{size: plainSize, ttl: ttl}
	fault := func(rcode dnsmessage.RCode, reason string) { q.rcode, q.reason = uint16(rcode), reason }
	if query[2]>>3&0xf != 0 {
		fault(dnsmessage.RCodeNotImplemented, "operation code is not QUERY")
		return
	}
	count := func(i int) uint16 { return binary.BigEndian.Uint16(query[4+2*i:]) }
	if len(query) > maxQuery || count(0) != 1 || count(1) != 0 || count(2) != 0 || count(3) > 1 {
		fault(dnsmessage.RCodeFormatError, "not one plain question")
		return
	}
	// A pointer in the first name of a message can only point into the header
	// or to itself.
	for i := headerSize; i < len(query) && query[i] != 0; i += 1 + int(query[i]) {
		if query[i] > 63 {
			fault(dnsmessage.RCodeFormatError, "compressed question")
			return
		}
	}
	var p dnsmessage.Parser
	if _, err := p.Start(query); err != nil {
		fault(dnsmessage.RCodeFormatError, "malformed")
		return
	}
	ask, err := p.Question()
	if err != nil {
		fault(dnsmessage.RCodeFormatError, "malformed question")
		return
	}
	used := headerSize + wireLength(ask.Name) + 4
	q.name, q.kind, q.class, q.asked = ask.Name, ask.Type, ask.Class, true
	if count(3) == 1 {
		more, ok := parseOPT(query[used:], q)
		if !ok {
			fault(dnsmessage.RCodeFormatError, "malformed additional record")
			return
		}
		used += more
	}
	switch {
	case used != len(query):
		fault(dnsmessage.RCodeFormatError, "bytes after the message")
	case q.rcode != 0: // EDNS version
	case q.class != dnsmessage.ClassINET:
		fault(dnsmessage.RCodeRefused, "class is not IN")
	}
}

// parseOPT reads the one additional record that a query may have, an OPT
// (RFC 6891 section 6.1.2), and returns its length. Its options are of no
// interest.
func parseOPT(p []byte, q *question) (int, bool) {
	const fixed = 11
	if len(p) < fixed || p[0] != 0 || dnsmessage.Type(binary.BigEndian.Uint16(p[1:])) != dnsmessage.TypeOPT {
		return 0, false
	}
	size := fixed + int(binary.BigEndian.Uint16(p[9:]))
	if size > len(p) {
		return 0, false
	}
	for o := p[fixed:size]; len(o) > 0; {
		if len(o) < 4 || 4+int(binary.BigEndian.Uint16(o[2:])) > len(o) {
			return 0, false
		}
		o = o[4+int(binary.BigEndian.Uint16(o[2:])):]
	}
	q.edns = true
	q.size = min(max(int(binary.BigEndian.Uint16(p[3:])), plainSize), ourSize)
	if p[6] != 0 {
		q.rcode, q.reason = rcodeBadVersion, "EDNS version is not 0"
	}
	return size, true
}

// wireLength is the uncompressed length of a parsed name.
func wireLength(n dnsmessage.Name) int {
	if n.Length == 1 {
		return 1 // the root: "." is one zero byte
	}
	return int(n.Length) + 1 // a length byte for each dot, and the zero at the end
}

// resolve decides what a well-formed question gets.
func (s *Server) resolve(q *question) {
	fault := func(rcode dnsmessage.RCode, reason string) { q.rcode, q.reason = uint16(rcode), reason }
	var lowered [255]byte
	name := lowered[:copy(lowered[:], q.name.Data[:q.name.Length])]
	name = name[:len(name)-1] // the dot at the end
	for i, c := range name {
		switch {
		case c >= 'A' && c <= 'Z':
			name[i] = c + 'a' - 'A'
		case c <= ' ' || c >= 0x7f:
			// A resolver's name is A-labels; a raw U-label would be a second spelling.
			fault(dnsmessage.RCodeNameError, "name has bytes that no host name has")
			return
		}
	}
	switch q.kind {
	case dnsmessage.TypeA, dnsmessage.TypeAAAA, dnsmessage.TypePTR:
	case dnsmessage.TypeAXFR, typeIXFR, typeMAILA, typeMAILB:
		fault(dnsmessage.RCodeRefused, "no zones here")
		return
	}
	v6 := q.kind == dnsmessage.TypeAAAA
	if q.kind == dnsmessage.TypeA || v6 && !s.cfg.NoIPv6 {
		if host, a, ok := s.cfg.Table.known(name, v6); ok {
			if !s.asks(q, host) {
				q.answer = a
			}
			return
		}
	}
	text := string(name)
	switch {
	case text == "", within(text, "in-addr.arpa"), within(text, "ip6.arpa"):
		if q.kind == dnsmessage.TypePTR && text != "" {
			s.reverse(text, q)
		}
		return
	case within(text, "invalid"), within(text, "onion"):
		// RFC 6761 section 6.4, RFC 7686 section 2: never to be resolved.
		fault(dnsmessage.RCodeNameError, "")
		return
	case within(text, "localhost"):
		// RFC 6761 section 6.3: the tool's own.
		switch {
		case q.kind == dnsmessage.TypeA:
			q.answer = netip.AddrFrom4([4]byte{127, 0, 0, 1})
		case v6 && !s.cfg.NoIPv6:
			q.answer = netip.IPv6Loopback()
		}
		return
	}
	canonical, err := policy.CanonicalHost(text)
	if err != nil {
		fault(dnsmessage.RCodeNameError, err.Error())
		return
	}
	if q.kind != dnsmessage.TypeA && !v6 || v6 && s.cfg.NoIPv6 {
		// HTTPS and SVCB above all: no ECH keys, no h3 hints, no addresses of
		// somebody else's choice (RFC 9460). An empty answer means "use A".
		return
	}
	if !s.asks(q, canonical) {
		s.give(q, canonical)
	}
}

// give answers with the name's address.
func (s *Server) give(q *question, canonical string) {
	a, err := s.cfg.Table.Address(canonical, q.kind == dnsmessage.TypeAAAA)
	if err != nil {
		q.rcode, q.reason = uint16(dnsmessage.RCodeServerFailure), err.Error()
		return
	}
	q.answer = a
}

// within says whether name is zone or below it.
func within(name, zone string) bool {
	head, ok := strings.CutSuffix(name, zone)
	return ok && (head == "" || head[len(head)-1] == '.')
}

// reverse answers PTR for our own addresses.
func (s *Server) reverse(name string, q *question) {
	a, ok := parseReverse(name)
	if ok && a.IsLoopback() {
		q.target = "localhost"
		return
	}
	if ok {
		if q.target, ok = s.cfg.Table.Lookup(a); ok {
			return
		}
	}
	q.rcode = uint16(dnsmessage.RCodeNameError)
}

// parseReverse reads d.c.b.a.in-addr.arpa and its IPv6 form (RFC 1035 section
// 3.5, RFC 3596 section 2.5).
func parseReverse(name string) (netip.Addr, bool) {
	if head, ok := strings.CutSuffix(name, ".in-addr.arpa"); ok {
		var a [4]byte
		for i := range a {
			label, rest, more := strings.Cut(head, ".")
			n, err := strconv.ParseUint(label, 10, 8)
			if err != nil || len(label) > 1 && label[0] == '0' || more != (i < 3) {
				return netip.Addr{}, false
			}
			a[3-i], head = byte(n), rest
		}
		return netip.AddrFrom4(a), true
	}
	head, ok := strings.CutSuffix(name, ".ip6.arpa")
	if !ok || len(head) != 63 {
		return netip.Addr{}, false
	}
	var a [16]byte
	for i := range 32 {
		n := strings.IndexByte("0123456789abcdef", head[2*i])
		if n < 0 || i < 31 && head[2*i+1] != '.' {
			return netip.Addr{}, false
		}
		a[15-i/2] |= byte(n) << (4 * (i % 2))
	}
	return netip.AddrFrom16(a), true
}

// build appends the answer to out. An answer beyond limit bytes is cut to its
// question, with TC set (RFC 2181 section 9).
func (q *question) build(query, out []byte, limit int) []byte {
	msg := q.append(query, out, true)
	if len(msg)-len(out) > limit {
		msg = q.append(query, out, false)
		msg[len(out)+2] |= 0x02
	}
	return msg
}

// append never fails: what goes into the message was parsed from one, or is a
// canonical name.
func (q *question) append(query, out []byte, answers bool) []byte {
	h := dnsmessage.Header{
		ID:                 binary.BigEndian.Uint16(query),
		Response:           true,
		OpCode:             dnsmessage.OpCode(query[2] >> 3 & 0xf),
		RecursionDesired:   query[2]&1 != 0,
		RecursionAvailable: true, // or stub resolvers take us for a lame server
		CheckingDisabled:   query[3]&0x10 != 0,
		RCode:              dnsmessage.RCode(q.rcode & 0xf),
	}
	b := dnsmessage.NewBuilder(out, h)
	b.EnableCompression()
	if q.asked {
		// As it was sent, letter by letter: clients compare (draft-vixie-dnsext-dns0x20).
		_ = b.StartQuestions()
		_ = b.Question(dnsmessage.Question{Name: q.name, Type: q.kind, Class: q.class})
	}
	if answers && q.rcode == 0 {
		_ = b.StartAnswers()
		rh := dnsmessage.ResourceHeader{Name: q.name, Class: dnsmessage.ClassINET, TTL: q.ttl}
		switch {
		case q.answer.Is4():
			_ = b.AResource(rh, dnsmessage.AResource{A: q.answer.As4()})
		case q.answer.Is6():
			_ = b.AAAAResource(rh, dnsmessage.AAAAResource{AAAA: q.answer.As16()})
		case q.target != "":
			if name, err := dnsmessage.NewName(q.target + "."); err == nil {
				_ = b.PTRResource(rh, dnsmessage.PTRResource{PTR: name})
			}
		}
	}
	if q.edns {
		_ = b.StartAdditionals()
		var rh dnsmessage.ResourceHeader
		if rh.SetEDNS0(ourSize, dnsmessage.RCode(q.rcode), false) == nil {
			_ = b.OPTResource(rh, q.options())
		}
	}
	msg, err := b.Finish()
	if err != nil {
		return failure(query, out)
	}
	return msg
}

// failure is a bare SERVFAIL.
func failure(query, out []byte) []byte {
	return append(out, query[0], query[1], 0x80|query[2]&0x79, 0x80|byte(dnsmessage.RCodeServerFailure), 0, 0, 0, 0, 0, 0, 0, 0)
}
