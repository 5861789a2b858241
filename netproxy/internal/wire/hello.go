package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Limits of a ClientHello.
const (
	// MaxHello is the longest handshake message that is read, as in crypto/tls.
	MaxHello = 65536
	// MaxHelloRecords bounds the bytes on the wire that may hold one hello: a
	// fragment of one byte costs a record header of five.
	MaxHelloWire = 2 * MaxHello

	recordHandshake = 22
	maxPlaintext    = 1 << 14 // RFC 8446 section 5.1
	typeClientHello = 1
	extServerName   = 0
	extALPN         = 16
	extVersions     = 43
	extECH          = 0xfe0d // draft-ietf-tls-esni
)

// ClientHello is what the first message of a TLS connection says about where it
// wants to go.
type ClientHello struct {
	// ServerName is the SNI as sent, without any check of its meaning. Empty if absent.
	ServerName string
	ALPN       []string
	// ECH says that an encrypted ClientHello is there: the visible name need
	// not be the one that the server acts on (or it is a GREASE value).
	ECH bool
}

// helloError is a ClientHello that this package refuses to read.
type helloError string

func (e helloError) Error() string { return "read TLS ClientHello: " + string(e) }

// IsTLS reports whether b can begin a TLS connection; short says that more
// bytes are needed to know.
func IsTLS(b []byte) (ok, short bool) {
	if len(b) == 0 {
		return false, true
	}
	if b[0] != recordHandshake || (len(b) > 1 && b[1] != 3) {
		return false, false
	}
	return len(b) > 1, len(b) == 1
}

// ParseClientHello reads the ClientHello at the start of b, in whatever records
// it was split. ErrShort asks for more bytes, any other error is final. Bytes
// after the hello's last record are not looked at.
func ParseClientHello(b []byte) (*ClientHello, error) {
	msg, err := helloMessage(b)
	if err != nil {
		return nil, err
	}
	return parseHello(msg)
}

// helloMessage joins the fragments of the first handshake message.
func helloMessage(b []byte) ([]byte, error) {
	var joined []byte
	need := 4
	for {
		if len(b) < 5 {
			if err := checkRecordStart(b); err != nil {
				return nil, err
			}
			return nil, ErrShort
		}
		if err := checkRecordStart(b); err != nil {
			return nil, err
		}
		n := int(binary.BigEndian.Uint16(b[3:5]))
		if n == 0 {
			return nil, helloError("empty handshake fragment") // RFC 8446 section 5.1
		}
		if n > maxPlaintext {
			return nil, helloError(fmt.Sprintf("record of %d bytes", n))
		}
		b = b[5:]
		part := b
		if len(part) > n {
			part = part[:n]
		}
		whole := len(b) >= n
		if joined == nil && whole && n >= 4 && messageLength(part) == n {
			return part, checkType(part) // the usual case: one record, no copy
		}
		joined = append(joined, part...)
		if len(joined) > 0 {
			if err := checkType(joined); err != nil {
				return nil, err
			}
		}
		if len(joined) >= 4 {
			need = messageLength(joined)
			if need > MaxHello {
				return nil, helloError(fmt.Sprintf("message of %d bytes", need))
			}
			if len(joined) > need {
				return nil, helloError("bytes after the message in its record")
			}
			if len(joined) == need && whole {
				return joined, nil
			}
		}
		if !whole {
			return nil, ErrShort
		}
		b = b[n:]
	}
}

func checkRecordStart(b []byte) error {
	if len(b) > 0 && b[0] != recordHandshake {
		return helloError("not a handshake record")
	}
	if len(b) > 1 && b[1] != 3 {
		return helloError("record version is not TLS")
	}
	return nil
}

func checkType(msg []byte) error {
	if msg[0] != typeClientHello {
		return helloError("first message is not a ClientHello")
	}
	return nil
}

// messageLength is the length of a handshake message with its header.
func messageLength(b []byte) int { return 4 + int(b[1])<<16 + int(b[2])<<8 + int(b[3]) }

// cursor reads length-prefixed vectors; once bad it stays bad.
type cursor struct {
	b   []byte
	bad bool
}

func (c *cursor) take(n int) []byte {
	if c.bad || n > len(c.b) {
		c.bad = true
		return nil
	}
	v := c.b[:n]
	c.b = c.b[n:]
	return v
}

func (c *cursor) uint8() int {
	if v := c.take(1); v != nil {
		return int(v[0])
	}
	return 0
}

func (c *cursor) uint16() int {
	if v := c.take(2); v != nil {
		return int(binary.BigEndian.Uint16(v))
	}
	return 0
}

func (c *cursor) vector8() cursor  { n := c.uint8(); return cursor{b: c.take(n), bad: c.bad} }
func (c *cursor) vector16() cursor { n := c.uint16(); return cursor{b: c.take(n), bad: c.bad} }

var errHelloSyntax error = helloError("malformed")

func parseHello(msg []byte) (*ClientHello, error) {
	c := cursor{b: msg[4:]}
	if v := c.uint16(); v>>8 != 3 {
		return nil, helloError("client version is not TLS")
	}
	c.take(32) // random
	if id := c.vector8(); len(id.b) > 32 {
		return nil, errHelloSyntax
	}
	if suites := c.vector16(); len(suites.b) == 0 || len(suites.b)%2 != 0 {
		return nil, errHelloSyntax
	}
	if methods := c.vector8(); len(methods.b) == 0 {
		return nil, errHelloSyntax
	}
	if c.bad {
		return nil, errHelloSyntax
	}
	h := &ClientHello{}
	if len(c.b) == 0 {
		return h, nil // no extensions: TLS 1.2 or older
	}
	exts := c.vector16()
	if c.bad || len(c.b) != 0 {
		return nil, errHelloSyntax
	}
	return h, h.extensions(exts)
}

func (h *ClientHello) extensions(exts cursor) error {
	var seen [64]int // extension types; more than these are refused
	n := 0
	for len(exts.b) > 0 {
		typ := exts.uint16()
		data := exts.vector16()
		if exts.bad {
			return errHelloSyntax
		}
		for _, s := range seen[:n] {
			if s == typ {
				return helloError("extension given twice") // two readers could take either
			}
		}
		if n == len(seen) {
			return helloError("too many extensions")
		}
		seen[n] = typ
		n++
		var err error
		switch typ {
		case extServerName:
			err = h.serverName(data)
		case extALPN:
			err = h.protocols(data)
		case extECH:
			h.ECH = true
		case extVersions:
			// crypto/tls and the origin negotiate; only the syntax matters here.
			if v := data.vector8(); data.bad || len(data.b) != 0 || len(v.b) == 0 || len(v.b)%2 != 0 {
				err = errHelloSyntax
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// serverName reads RFC 6066 section 3, with exactly one host_name in the list.
func (h *ClientHello) serverName(data cursor) error {
	list := data.vector16()
	if data.bad || len(data.b) != 0 {
		return errHelloSyntax
	}
	typ := list.uint8()
	name := list.vector16()
	if list.bad || len(list.b) != 0 || typ != 0 || len(name.b) == 0 || len(name.b) > 255 {
		return helloError("server name is not one host name")
	}
	for _, b := range name.b {
		if b <= ' ' || b >= 0x7f {
			return helloError("server name is not ASCII")
		}
	}
	if name.b[len(name.b)-1] == '.' {
		return helloError("server name ends in a dot") // forbidden by RFC 6066
	}
	h.ServerName = string(name.b)
	return nil
}

func (h *ClientHello) protocols(data cursor) error {
	list := data.vector16()
	if data.bad || len(data.b) != 0 || len(list.b) == 0 {
		return errHelloSyntax
	}
	for len(list.b) > 0 {
		p := list.vector8()
		if list.bad || len(p.b) == 0 {
			return errHelloSyntax
		}
		if len(h.ALPN) == 32 {
			return helloError("too many protocols")
		}
		h.ALPN = append(h.ALPN, string(p.b))
	}
	return nil
}

// IsHelloError reports whether err says that a ClientHello was malformed.
func IsHelloError(err error) bool {
	var h helloError
	return errors.As(err, &h)
}
