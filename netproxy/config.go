package netproxy

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/netip"
	"time"

	"github.com/penstock/penstock/audit"
	"github.com/penstock/penstock/audit/capture"
	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/hooks/chain"
	"github.com/penstock/penstock/hooks/exec"
	"github.com/penstock/penstock/netproxy/desk"
	"github.com/penstock/penstock/netproxy/pac"
	"github.com/penstock/penstock/netproxy/secrets"
	"github.com/penstock/penstock/netproxy/upstream"
	"github.com/penstock/penstock/policy"
)

// Recorder takes the events of flows. Append returns after the event is in the
// file, or an error; Note does not wait. *audit.Writer is one.
type Recorder interface {
	Append(audit.Event) error
	Note(audit.Event)
}

// Names tells the name that stands behind a synthetic address. *dns.Table is one.
type Names interface {
	Lookup(netip.Addr) (name string, ok bool)
}

// Dialer resolves a target, checks every address and dials what it checked.
// *dialguard.Guard is one. A nil *policy.Dial allows public addresses only.
type Dialer interface {
	Dial(ctx context.Context, t hooks.Target, d *policy.Dial) (net.Conn, error)
	// Delegate returns what is asked of an upstream proxy that is to reach t, or
	// an error if that may not be.
	Delegate(t hooks.Target, d *policy.Dial) (hooks.Target, error)
}

// Leaves gives the certificate for a canonical name or a literal address.
// *ca.Authority is one.
type Leaves interface {
	Leaf(name string) (*tls.Certificate, error)
}

// Config is what a Proxy is made of. Policy, Record, Dialer and Leaves are needed.
type Config struct {
	Session string
	// Permissive lets through what no rule of the policy decides and records what
	// it would have said (run --mode audit). A rule that denies still does.
	Permissive bool
	Policy     *policy.Policy
	Record     Recorder
	Login      Login // of the proxy port
	Names      Names // nil: no synthetic addresses
	Dialer     Dialer
	Leaves     Leaves
	Secrets    *secrets.Set    // nil: none
	Logins     *secrets.Logins // for upstream proxies; nil: none
	// PACs are the files of upstreams that choose among others, by their names, but for
	// those that are got from a URL, see Proxy.GetPACs.
	PACs map[string]*pac.Program
	// ClientCerts are shown to upstream proxies and webhooks; nil: none.
	ClientCerts *secrets.ClientCerts
	// Desk is where a person is asked; nil: nobody is, and what the policy would ask
	// about is denied.
	Desk *desk.Desk
	// Hooks are asked about requests that the policy allows, after the policy's own.
	Hooks []chain.Entry
	// HookKeys are what the questions to the policy's webhooks are signed with, by
	// the hooks' names. They are never shown.
	HookKeys map[string][]byte
	// HookModules ask the modules of the policy's hooks, by the hooks' names. They are
	// the caller's, who closes them after the proxy.
	HookModules map[string]hooks.Hook
	// HookProcess starts a process of the policy's hook of that name, see exec.Start.
	// Nil: hooks that are processes can't be asked, and everything is denied.
	HookProcess func(ctx context.Context, hook string) (*exec.Process, error)
	// Roots returns the certificates that upstreams are verified against; nil
	// is the system's. It is called once, at the first upstream TLS connection.
	Roots func() (*x509.CertPool, error)
	// OriginalDst returns where a captured connection wanted to go. Nil uses
	// the connection's local address, as it is under TPROXY and sk_lookup.
	OriginalDst func(*net.TCPConn) (netip.AddrPort, error)
	// Who tells which process opened a connection: client is its end in the pen,
	// server the address that it was made to. It is asked once for each accepted
	// connection, from a goroutine of its own, and returns nil for unknown, at the
	// latest when ctx is done. The same process should be the same pointer. Nil:
	// nobody knows.
	Who func(ctx context.Context, client, server netip.AddrPort) *hooks.Process
	// Told is Who by the word of somebody in the pen, for the records alone: no verdict
	// and no hook gets to see it. It is asked after Who. Nil: nobody tells.
	Told func(ctx context.Context, client, server netip.AddrPort) *hooks.Process
	// Still tells whether who, who opened the connection between the two addresses,
	// executes what it did then. It is asked for each request when a rule names a
	// process. Nil: what Who says stays so.
	Still func(ctx context.Context, who *hooks.Process, client, server netip.AddrPort) bool
	// Capture keeps what rules with capture: ask for. The proxy does not close it. Nil:
	// what they ask for is lost, and said to be.
	Capture *capture.Writer
	// Notice is called with lines for the user, each kind once per host. They
	// may hold bytes of the pen. Nil drops them. It must not block.
	Notice func(string)
	Limits Limits
}

// Limits bound what a pen can hold. Zero values are replaced by the defaults.
type Limits struct {
	Connections   int           // open connections of the pen; 4096
	FirstByte     time.Duration // wait for the first byte; 30 s
	Refused       time.Duration // the same where nothing can be allowed; 2 s
	Handshake     time.Duration // wait for a whole ClientHello or SOCKS request; 15 s
	Header        time.Duration // wait for a TLS handshake or a whole request header; 30 s
	Idle          time.Duration // HTTP connection between requests; 5 min
	Raw           time.Duration // raw and passed-through connection without a byte either way; 2 h
	HeaderBytes   int           // request header; 64 KiB
	Streams       int           // concurrent HTTP/2 streams per connection; 250
	BodyBytes     int64         // of bodies that are kept back for hooks, together; 64 MiB
	UpstreamIdle  time.Duration // unused upstream connection; 90 s
	UpstreamReply time.Duration // upstream TLS handshake; 15 s
	UpstreamProxy time.Duration // wait for an upstream proxy to connect; 65 s
	Who           time.Duration // wait for who opened a connection; 10 s
}

func or[T int | int64 | time.Duration](v, def T) T {
	if v <= 0 {
		return def
	}
	return v
}

func (l Limits) withDefaults() Limits {
	return Limits{
		Connections:   or(l.Connections, 4096),
		FirstByte:     or(l.FirstByte, 30*time.Second),
		Refused:       or(l.Refused, 2*time.Second),
		Handshake:     or(l.Handshake, 15*time.Second),
		Header:        or(l.Header, 30*time.Second),
		Idle:          or(l.Idle, 5*time.Minute),
		Raw:           or(l.Raw, 2*time.Hour),
		HeaderBytes:   or(l.HeaderBytes, 64<<10),
		Streams:       or(l.Streams, 250),
		BodyBytes:     or(l.BodyBytes, 64<<20),
		UpstreamIdle:  or(l.UpstreamIdle, 90*time.Second),
		UpstreamReply: or(l.UpstreamReply, 15*time.Second),
		UpstreamProxy: or(l.UpstreamProxy, upstream.DefaultAnswer),
		Who:           or(l.Who, 10*time.Second),
	}
}
