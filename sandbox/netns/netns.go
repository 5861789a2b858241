package netns

import (
	"errors"
	"net/netip"
	"os"
)

// Role and ConnectorRole are os.Args[1] of the processes that Start starts from
// its own executable; main calls Main and ConnectorMain for them.
const (
	Role          = "role:netns"
	ConnectorRole = "role:connector"
)

// The pen's ports of ours. They are below 1024 on purpose: the tool has no
// CAP_NET_BIND_SERVICE in the pen's namespace, so it can neither take one of
// them after the proxy has died nor lose a port of its own to us.
const (
	// CapturePort is where redirected connections arrive, on 127.0.0.1 and ::1.
	// A connection made to it directly is refused.
	CapturePort = 1
	// ExplicitPort is where the pen's HTTP and SOCKS proxy listens, on 127.0.0.1 and ::1.
	ExplicitPort = 808
	// DNSPort is where every address of the pen answers DNS, over UDP and TCP.
	DNSPort = 53
)

// OwnAddrs are the pen's own addresses beside loopback; connections to them are
// the tool's with itself. They exist because many programs look for one: the C
// library finds no IPv4 name on a machine that has only loopback (AI_ADDRCONFIG),
// and a framework of many processes tells its peers the source address that the
// kernel would choose towards the internet. 192.0.0.8 is the IPv4 dummy address
// (RFC 7600 section 4.8), the other a unique local one; neither means anybody.
func OwnAddrs() (v4, v6 netip.Addr) {
	return netip.AddrFrom4([4]byte{192, 0, 0, 8}),
		netip.AddrFrom16([16]byte{0xfd, 'p', 'e', 'n', 's', 't', 'o', 'c', 15: 1})
}

// Options of Start. The zero value builds a pen nobody can connect into.
type Options struct {
	// Publish starts the connector, which makes Sockets.Connector.
	Publish bool
	// Steered leaves the redirection of TCP to somebody who can attach an
	// sk_lookup program to the pen's network namespace. See OriginalDst.
	Steered bool
	// Attribute opens Sockets.Diag and Sockets.Track.
	Attribute bool
	// Cgroup, if not nil, is an open cgroup v2 directory that the pen's first
	// process is born in (clone3, CLONE_INTO_CGROUP).
	Cgroup *os.File
	// Ended, if not nil, is called when the pen's first process has ended, before
	// Done and Wait tell of it.
	Ended func()
}

// ErrUnsupported is returned by everything of this package that needs Linux.
var ErrUnsupported = errors.New("build the pen's network: Linux only")

// ErrNotRedirected is returned by OriginalDst for a connection that was made
// to the listener itself. It has no destination to be judged by: refuse it.
var ErrNotRedirected = errors.New("connection was not redirected: no original destination")

// Sockets are the pen's sockets. They belong to the pen's network namespace for
// ever, whichever process holds them. The files of IPv6 are nil where the
// kernel has no IPv6 at all; Connector is nil unless Options.Publish.
//
// The receiver owns the files; Close closes what is left of them. The typed
// constructors (CaptureListeners, DNSPacketConns, …) take over their files.
type Sockets struct {
	Capture4, Capture6   *os.File // TCP listeners, redirected connections
	Explicit4, Explicit6 *os.File // TCP listeners, the pen's proxy variables point here
	DNSUDP4, DNSUDP6     *os.File // UDP, bound to the wildcard address; answer from the asked one
	DNSTCP4, DNSTCP6     *os.File // TCP listeners, wildcard address
	Drops                *os.File // NFLOG netlink socket, see DropReader
	Connector            *os.File // unix seqpacket socket, see Dialer
	// Diag and Track, with Options.Attribute, tell the supervisor about the pen's
	// sockets: sock_diag(7), and the connections of the packet filter. They are
	// not the proxy's; nil where the kernel has no such thing.
	Diag, Track *os.File

	ipv6 bool // Capture6 was there, whoever has it now
}

// slots names every file of s, in a fixed order.
func (s *Sockets) slots() []slot {
	return []slot{
		{"capture4", &s.Capture4}, {"capture6", &s.Capture6},
		{"explicit4", &s.Explicit4}, {"explicit6", &s.Explicit6},
		{"dnsudp4", &s.DNSUDP4}, {"dnsudp6", &s.DNSUDP6},
		{"dnstcp4", &s.DNSTCP4}, {"dnstcp6", &s.DNSTCP6},
		{"drops", &s.Drops}, {"connector", &s.Connector},
		{"diag", &s.Diag}, {"track", &s.Track},
	}
}

type slot struct {
	name string
	file **os.File
}

// IPv6 reports whether the pen has IPv6. Without it the resolver should answer
// no AAAA. It says the same after the sockets have been taken over.
func (s *Sockets) IPv6() bool { return s.ipv6 || s.Capture6 != nil }

// ProxyAddr is the address, inside the pen, of its HTTP and SOCKS proxy.
func (s *Sockets) ProxyAddr() netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), ExplicitPort)
}

// Files returns the files by name, for handing them on (see SocketsFrom).
func (s *Sockets) Files() map[string]*os.File {
	m := make(map[string]*os.File, 10)
	for _, sl := range s.slots() {
		if *sl.file != nil {
			m[sl.name] = *sl.file
		}
	}
	return m
}

// SocketsFrom is the reverse of Files. Unknown names are an error, so is the
// absence of a socket without which a pen would leak or hang.
func SocketsFrom(files map[string]*os.File) (*Sockets, error) {
	s := &Sockets{}
	known := 0
	for _, sl := range s.slots() {
		if f := files[sl.name]; f != nil {
			*sl.file = f
			known++
		}
	}
	if known != len(files) {
		return nil, errors.New("receive the pen's sockets: unknown name")
	}
	if s.Capture4 == nil || s.Explicit4 == nil || s.DNSUDP4 == nil || s.DNSTCP4 == nil || s.Drops == nil {
		return nil, errors.New("receive the pen's sockets: incomplete")
	}
	s.ipv6 = s.Capture6 != nil
	return s, nil
}

// Close closes all files. It may be called twice.
func (s *Sockets) Close() error {
	var err error
	for _, sl := range s.slots() {
		if *sl.file != nil {
			err = errors.Join(err, (*sl.file).Close())
			*sl.file = nil
		}
	}
	return err
}
