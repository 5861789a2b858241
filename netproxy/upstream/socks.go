package upstream

import (
	"errors"
	"io"

	"github.com/penstock/penstock/hooks"
)

// socks asks a SOCKS5 proxy for a connection (RFC 1928). It reads no byte more
// than the answers have, so that the rest is the target's.
func (u *Upstream) socks(c io.ReadWriter, t hooks.Target) error {
	const none, password, noneGood = 0, 2, 0xff
	hello := []byte{5, 1, none}
	if u.cfg.Login != nil {
		hello = []byte{5, 1, password}
	}
	if _, err := c.Write(hello); err != nil {
		return err
	}
	var b [4]byte
	if err := read(c, b[:2]); err != nil {
		return err
	}
	switch {
	case b[0] != 5:
		return errBadAnswer
	case b[1] == noneGood:
		return errSOCKSMethod
	case b[1] != hello[2]:
		return errBadAnswer
	}
	if u.cfg.Login != nil {
		login, err := u.cfg.Login.SOCKS()
		if err != nil {
			return err
		}
		if _, err := c.Write(login); err != nil {
			return err
		}
		if err := read(c, b[:2]); err != nil {
			return err
		}
		if b[1] != 0 { // the first byte is a version that some servers get wrong
			return errSOCKSLogin
		}
	}
	req := []byte{5, 1, 0}
	switch {
	case t.Host != "" && len(t.Host) <= 255:
		req = append(append(req, 3, byte(len(t.Host))), t.Host...)
	case t.Addr.Is4():
		req = append(append(req, 1), t.Addr.AsSlice()...)
	case t.Addr.Is6():
		req = append(append(req, 4), t.Addr.AsSlice()...)
	default:
		return errors.New("the target is neither a name nor an address")
	}
	if _, err := c.Write(append(req, byte(t.Port>>8), byte(t.Port))); err != nil {
		return err
	}
	if err := read(c, b[:]); err != nil {
		return err
	}
	if b[0] != 5 {
		return errBadAnswer
	}
	if b[1] != 0 {
		return SOCKSError(b[1])
	}
	var bound int // the address that the proxy uses, which is of no use here
	switch b[3] {
	case 1:
		bound = 4
	case 4:
		bound = 16
	case 3:
		var n [1]byte
		if err := read(c, n[:]); err != nil {
			return err
		}
		bound = int(n[0])
	default:
		return errBadAnswer
	}
	return read(c, make([]byte, bound+2))
}

// read fills b.
func read(r io.Reader, b []byte) error {
	_, err := io.ReadFull(r, b)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errNoAnswer
	}
	return err
}

// SOCKSError is the reply field of a SOCKS5 answer.
type SOCKSError byte

// Error returns the meaning (RFC 1928 section 6).
func (e SOCKSError) Error() string {
	switch e {
	case 2:
		return "the proxy's rules don't allow it"
	case 3:
		return "the proxy can't reach the network of the target"
	case 4:
		return "the proxy can't reach the target, or does not know its name"
	case 5:
		return "the target refused the connection"
	case 6:
		return "the proxy waited too long for the target"
	case 7, 8:
		return "the proxy does not do this kind of request"
	}
	return "the proxy failed"
}
