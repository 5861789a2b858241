// Package hooks is the vocabulary of every decision that Penstock takes: what
// a pen asked for (Request, Target) and what was answered (Decision).
//
// Its hazard is meaning: the zero value of every type must be the safe one, so
// that a forgotten field, an error or a half-filled struct is a deny. It holds
// values only, does no I/O and imports no other package of this module.
package hooks

import (
	"net/http"
	"net/netip"
	"strconv"
)

// Action is what a decision says is to be done. The zero value is Deny.
type Action uint8

// The actions. Anything that is not Allow is handled as Deny by every caller
// that does not know it. Next, Reply and Route are a Hook's only. Of a hook Ask leaves it to
// a person what becomes of a request that the policy allows.
const (
	Deny Action = iota
	Allow
	Ask
	Next  // the hook has nothing against it: what comes after it decides
	Reply // the hook answers itself, and nothing leaves
	Route // Next, and by Via
)

// String returns the action's name as it stands in policies and in the audit.
func (a Action) String() string {
	switch a {
	case Allow:
		return "allow"
	case Ask:
		return "ask"
	case Next:
		return "next"
	case Reply:
		return "reply"
	case Route:
		return "route"
	default:
		return "deny"
	}
}

// Protocol is how a flow speaks on the wire, as far as the proxy can know it.
type Protocol uint8

// The protocols. Unknown never matches an allow rule.
const (
	ProtocolUnknown Protocol = iota
	ProtocolHTTP             // HTTP/1.x or HTTP/2 in clear
	ProtocolHTTPS            // HTTP/1.x or HTTP/2 in TLS that the proxy terminates
	ProtocolTLS              // TLS passed through unread (inspect: false)
	ProtocolTCP              // raw TCP
	ProtocolUDP              // never allowed; recorded only
)

// String returns the protocol's name as it stands in policies and in the audit.
func (p Protocol) String() string {
	switch p {
	case ProtocolHTTP:
		return "http"
	case ProtocolHTTPS:
		return "https"
	case ProtocolTLS:
		return "tls"
	case ProtocolTCP:
		return "tcp"
	case ProtocolUDP:
		return "udp"
	default:
		return "unknown"
	}
}

// Target is the one canonical destination of a flow or request. Exactly one of
// Host and Addr is set.
type Target struct {
	// Host is the canonical ASCII name: lower case, A-labels (RFC 5891), no
	// trailing dot, at most 253 bytes. Empty when the pen used a literal address.
	Host string
	// Addr is the literal address that the pen connected to: never IPv4-mapped,
	// never with a zone. Invalid when Host is set.
	Addr netip.Addr
	// Port is the destination port, never 0 in a bound target.
	Port uint16
}

// Name returns the host name, or the literal address in its usual text form.
func (t Target) Name() string {
	if t.Host != "" {
		return t.Host
	}
	if t.Addr.IsValid() {
		return t.Addr.String()
	}
	return ""
}

// String returns host:port, with brackets round an IPv6 address.
func (t Target) String() string {
	n := t.Name()
	if t.Host == "" && t.Addr.Is6() {
		n = "[" + n + "]"
	}
	return n + ":" + strconv.Itoa(int(t.Port))
}

// Request is what is judged. It is filled once by the proxy's front, from one
// bound target, and is read-only afterwards.
type Request struct {
	Session  string // session id
	Flow     uint64 // number of the flow in the session, from 1
	Protocol Protocol
	Target   Target
	Process  *Process // who opened the connection; nil: not known

	// The rest is set for ProtocolHTTP and ProtocolHTTPS only.

	Method string // as sent, always upper case ASCII letters in what is allowed
	Path   string // canonical path (see policy.CanonicalPath): what is judged is what is forwarded
	Query  string // raw query without '?', forwarded as it is
	Header http.Header
	Size   int64 // declared body length in bytes; -1 if unknown

	Point    Point     // what a Hook is asked about
	Response *Response // where Point.Answered
	Body     *Body     // where Point.Bodied
	Message  *Message  // where Point.Spoken
	Run      *Run      // where Point.Sessional; there is no flow, protocol and target then
	Tool     *Tool     // where Point.Called
	Lookup   *Lookup   // where Point.Named; there is no protocol and port then, and of a resolver's question no flow
}

// Decision is the answer to a Request. The zero value is a deny without reason.
type Decision struct {
	Action Action
	Reason string  // one line for a person, ASCII, no bytes from the pen unescaped
	Rule   string  // "file:line" of what decided, or "" when nothing matched (default)
	Answer *Answer // of Reply: what the pen gets
	Change *Change // of Next: what the hook makes of the request, or of a body; nil: nothing
	Via    string  // of Route: the upstream by which it is to leave, or "direct"; of a Chain's, "" for none
}
