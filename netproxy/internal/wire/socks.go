package wire

import (
	"encoding/binary"
	"net/netip"
)

// Replies of RFC 1928 section 6.
const (
	SOCKSSucceeded          = 0
	SOCKSFailure            = 1
	SOCKSDenied             = 2 // not allowed by ruleset
	SOCKSHostUnreachable    = 4
	SOCKSCommandUnsupported = 7
	SOCKSAddressUnsupported = 8
)

// MaxSOCKS is the longest greeting plus request that can be valid.
const MaxSOCKS = 2 + 255 + 4 + 1 + 255 + 2

// socksError is a SOCKS message that this package refuses to read.
type socksError string

func (e socksError) Error() string { return "read SOCKS message: " + string(e) }

// Methods of RFC 1928 section 3.
const (
	SOCKSOpen     = 0 // no authentication
	SOCKSPassword = 2 // RFC 1929
)

// SOCKSGreeting reads a client's list of methods. ok says that the wanted one is
// among them; n is how many bytes it took.
func SOCKSGreeting(b []byte, want byte) (ok bool, n int, err error) {
	if len(b) > 0 && b[0] != 5 {
		return false, 0, socksError("version is not 5")
	}
	if len(b) < 2 {
		return false, 0, ErrShort
	}
	if b[1] == 0 {
		return false, 0, socksError("no method offered")
	}
	n = 2 + int(b[1])
	if len(b) < n {
		return false, 0, ErrShort
	}
	for _, m := range b[2:n] {
		if m == want {
			ok = true
		}
	}
	return ok, n, nil
}

// ParseSOCKSLogin reads a user and a password (RFC 1929); n is how many bytes they took.
func ParseSOCKSLogin(b []byte) (user, password string, n int, err error) {
	if len(b) > 0 && b[0] != 1 {
		return "", "", 0, socksError("version of the login is not 1")
	}
	if len(b) < 2 {
		return "", "", 0, ErrShort
	}
	at := 2 + int(b[1])
	if len(b) <= at {
		return "", "", 0, ErrShort
	}
	n = at + 1 + int(b[at])
	if len(b) < n {
		return "", "", 0, ErrShort
	}
	return string(b[2:at]), string(b[at+1 : n]), n, nil
}

// SOCKSRequest is where a client wants to go. One of Name and Addr is set.
type SOCKSRequest struct {
	Connect bool // false: BIND or UDP ASSOCIATE
	Name    string
	Addr    netip.Addr
	Port    uint16
}

// ParseSOCKSRequest reads a request; n is how many bytes it took.
func ParseSOCKSRequest(b []byte) (r SOCKSRequest, n int, err error) {
	if len(b) > 0 && b[0] != 5 {
		return r, 0, socksError("version is not 5")
	}
	if len(b) > 1 && (b[1] == 0 || b[1] > 3) {
		return r, 0, socksError("unknown command")
	}
	if len(b) > 2 && b[2] != 0 {
		return r, 0, socksError("reserved byte is not zero")
	}
	if len(b) < 5 {
		return r, 0, ErrShort
	}
	addr := b[4:]
	var size int
	switch b[3] {
	case 1:
		size = 4
	case 3:
		size = 1 + int(b[4])
		if size == 1 {
			return r, 0, socksError("empty name")
		}
	case 4:
		size = 16
	default:
		return r, 0, socksError("unknown address type")
	}
	n = 4 + size + 2
	if len(b) < n {
		return r, 0, ErrShort
	}
	if b[3] == 3 {
		for _, c := range addr[1:size] {
			if c <= ' ' || c == 0x7f {
				return r, 0, socksError("control byte in name")
			}
		}
		r.Name = string(addr[1:size])
	} else {
		a, _ := netip.AddrFromSlice(addr[:size])
		r.Addr = a.Unmap()
	}
	r.Connect = b[1] == 1
	r.Port = binary.BigEndian.Uint16(b[n-2:])
	if r.Port == 0 {
		return r, 0, socksError("port 0")
	}
	return r, n, nil
}

// SOCKSReply is the answer to a request, with no bound address to tell.
func SOCKSReply(code byte) []byte { return []byte{5, code, 0, 1, 0, 0, 0, 0, 0, 0} }
