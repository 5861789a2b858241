package wire

import (
	"bytes"
	"strconv"
)

// Malformed is a message that is refused with an HTTP status.
type Malformed struct {
	Status int    // 400, 421, 431 or 501
	Reason string // for a person; holds no byte of the message
}

func (e *Malformed) Error() string { return "read HTTP message: " + e.Reason }

func bad(reason string) *Malformed { return &Malformed{Status: 400, Reason: reason} }

// Limits of a message head.
const (
	MaxFields     = 256
	maxMethod     = 32
	maxChunkLine  = 256
	maxTrailer    = 16 << 10
	maxLengthSize = 18 // digits of a Content-Length, below 2^63
)

// Head is what the front must know of one HTTP/1 request head. Its slices are
// valid only while the head is checked.
type Head struct {
	Method, Target, Host []byte // Host is nil if there is none
	// Upgrade is the value of the Upgrade field if Connection nominates it.
	Upgrade []byte
	Minor   int   // HTTP/1.Minor
	Length  int64 // of the body
	Chunked bool
}

// ParseHead reads a whole head, including its empty line, strictly: RFC 9112
// without anything that section 2.2, 3 or 5 lets a lenient reader repair.
func ParseHead(b []byte) (h Head, err *Malformed) {
	err = h.parse(b)
	return h, err
}

func (h *Head) parse(b []byte) *Malformed {
	line, rest, err := cutLine(b)
	if err != nil {
		return err
	}
	if err := h.requestLine(line); err != nil {
		return err
	}
	var connection, upgrade []byte
	upgrades, lengths, fields := 0, 0, 0
	connections := connectionTokens{}
	for {
		if line, rest, err = cutLine(rest); err != nil {
			return err
		}
		if len(line) == 0 {
			break
		}
		if fields++; fields > MaxFields {
			return &Malformed{431, "more than " + strconv.Itoa(MaxFields) + " header fields"}
		}
		name, value, err := field(line)
		if err != nil {
			return err
		}
		switch len(name) { // a cheap first look: most fields are none of these
		case 4:
			if equalFold(name, "host") {
				if h.Host != nil {
					return bad("more than one Host")
				}
				if err := checkHost(value); err != nil {
					return err
				}
				h.Host = value
			}
		case 7:
			if equalFold(name, "upgrade") {
				upgrade, upgrades = value, upgrades+1
			} else if equalFold(name, "trailer") && announcesFraming(value) {
				return bad("Trailer announces a framing or routing field")
			}
		case 10:
			if equalFold(name, "connection") {
				connection = value
				connections.add(connection)
			}
		case 14:
			if equalFold(name, "content-length") {
				if lengths++; lengths > 1 {
					return bad("more than one Content-Length")
				}
				if h.Length, err = contentLength(value); err != nil {
					return err
				}
			} else if equalFold(name, "content_length") {
				return bad("framing field with _ for -") // the same to readers in the way of CGI
			}
		case 17:
			if equalFold(name, "transfer-encoding") {
				if h.Chunked || !equalFold(value, "chunked") {
					return &Malformed{501, "Transfer-Encoding other than one chunked"}
				}
				h.Chunked = true
			} else if equalFold(name, "transfer_encoding") {
				return bad("framing field with _ for -")
			}
		}
	}
	if len(rest) != 0 {
		return bad("bytes after the head")
	}
	return h.whole(upgrade, upgrades, lengths, connections)
}

// whole checks what no single line can show.
func (h *Head) whole(upgrade []byte, upgrades, lengths int, c connectionTokens) *Malformed {
	if h.Chunked && lengths > 0 {
		return bad("Content-Length and Transfer-Encoding together") // RFC 9112 section 6.1
	}
	if h.Chunked && h.Minor == 0 {
		return bad("Transfer-Encoding in HTTP/1.0")
	}
	if h.Host == nil && h.Minor == 1 {
		return bad("no Host")
	}
	if c.nominatesFraming {
		return bad("Connection nominates a framing or routing field")
	}
	if upgrades > 1 {
		return bad("more than one Upgrade")
	}
	if upgrades == 1 && c.upgrade {
		h.Upgrade = upgrade
	}
	return nil
}

// connectionTokens is what the options of Connection ask for.
type connectionTokens struct{ upgrade, nominatesFraming bool }

func (c *connectionTokens) add(value []byte) {
	for len(value) > 0 {
		var tok []byte
		tok, value = token(value)
		switch {
		case equalFold(tok, "upgrade"):
			c.upgrade = true
		case equalFold(tok, "host"), equalFold(tok, "content-length"), equalFold(tok, "transfer-encoding"):
			c.nominatesFraming = true // a hop that obeys would drop what the next one needs
		}
	}
}

// token takes the first element of a list.
func token(list []byte) (tok, rest []byte) {
	tok, rest, _ = bytes.Cut(list, []byte(","))
	return trim(tok), rest
}

// announcesFraming reports whether a Trailer names what no trailer may be:
// net/http refuses some of these by itself, without a record.
func announcesFraming(value []byte) bool {
	for len(value) > 0 {
		var tok []byte
		if tok, value = token(value); neverTrailer(tok) {
			return true
		}
	}
	return false
}

func (h *Head) requestLine(line []byte) *Malformed {
	i := bytes.IndexByte(line, ' ')
	j := bytes.LastIndexByte(line, ' ')
	if i <= 0 || j <= i+1 {
		return bad("request line is not METHOD TARGET VERSION")
	}
	h.Method, h.Target = line[:i], line[i+1:j]
	switch string(line[j+1:]) {
	case "HTTP/1.1":
		h.Minor = 1
	case "HTTP/1.0":
	default:
		return bad("HTTP version is not 1.0 or 1.1")
	}
	if len(h.Method) > maxMethod {
		return bad("method is too long")
	}
	for _, c := range h.Method {
		// Methods are case-sensitive (RFC 9110 section 9.1) but origins exist
		// that fold them: "post" must not slip past a rule about POST.
		if (c < 'A' || c > 'Z') && c != '-' && c != '_' {
			return bad("method is not upper case letters")
		}
	}
	for _, c := range h.Target {
		if c <= ' ' || c == 0x7f || c == '#' {
			return bad("request target holds a space, control byte or fragment")
		}
	}
	if !escapesOK(h.Target) {
		return bad("request target has a % without two hexadecimal digits")
	}
	if c := h.Target[0]; c != '/' && !h.Connect() && !h.Absolute() && !(c == '*' && len(h.Target) == 1) {
		return bad("request target is neither a path nor a URL")
	}
	return nil
}

// escapesOK checks the escapes of a path; in a query % may stand for itself.
func escapesOK(b []byte) bool {
	for {
		i := bytes.IndexAny(b, "%?")
		if i < 0 || b[i] == '?' {
			return true
		}
		if i+2 >= len(b) || !isHex(b[i+1]) || !isHex(b[i+2]) {
			return false
		}
		b = b[i+3:]
	}
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

// Connect reports whether the request asks for a tunnel.
func (h *Head) Connect() bool { return string(h.Method) == "CONNECT" }

// Absolute reports whether the target is a URL.
func (h *Head) Absolute() bool { return bytes.Contains(h.Target, []byte("://")) && h.Target[0] != '/' }

// Authority returns what stands between "//" and the path of an absolute target.
func (h *Head) Authority() []byte {
	_, rest, ok := bytes.Cut(h.Target, []byte("://"))
	if !ok {
		return nil
	}
	if i := bytes.IndexAny(rest, "/?"); i >= 0 {
		rest = rest[:i]
	}
	return rest
}

// cutLine takes one line that ends in CRLF and holds no other control byte but HTAB.
func cutLine(b []byte) (line, rest []byte, err *Malformed) {
	i := bytes.IndexByte(b, '\n')
	if i < 1 || b[i-1] != '\r' {
		return nil, nil, bad("line does not end in CR LF")
	}
	line = b[:i-1]
	for _, c := range line {
		if c < ' ' && c != '\t' || c == 0x7f {
			return nil, nil, bad("control byte in the head")
		}
	}
	return line, b[i+1:], nil
}

func field(line []byte) (name, value []byte, err *Malformed) {
	if line[0] == ' ' || line[0] == '\t' {
		return nil, nil, bad("folded header line") // RFC 9112 section 5.2
	}
	i := bytes.IndexByte(line, ':')
	if i <= 0 {
		return nil, nil, bad("header line without a name")
	}
	name = line[:i]
	for _, c := range name {
		if !isToken(c) {
			return nil, nil, bad("header name is not a token") // also "Name :"
		}
	}
	return name, trim(line[i+1:]), nil
}

func contentLength(v []byte) (int64, *Malformed) {
	if len(v) == 0 || len(v) > maxLengthSize {
		return 0, bad("Content-Length is not a number")
	}
	var n int64
	for _, c := range v {
		if c < '0' || c > '9' {
			return 0, bad("Content-Length is not a number")
		}
		n = n*10 + int64(c-'0')
	}
	return n, nil
}

// checkHost allows the bytes of a host with port; what they mean is judged later.
func checkHost(v []byte) *Malformed {
	if len(v) == 0 || len(v) > 300 {
		return bad("Host is empty or too long")
	}
	for _, c := range v {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		case c == '.', c == '-', c == '_', c == ':', c == '[', c == ']':
		default:
			return bad("Host holds a byte that no host has")
		}
	}
	return nil
}

func isToken(c byte) bool {
	switch {
	case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '_':
		return true
	}
	switch c {
	case '!', '#', '$', '%', '&', '\'', '*', '+', '.', '^', '`', '|', '~':
		return true
	}
	return false
}

func trim(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	for len(b) > 0 && (b[len(b)-1] == ' ' || b[len(b)-1] == '\t') {
		b = b[:len(b)-1]
	}
	return b
}

// equalFold compares ASCII; lower is lower case.
func equalFold(b []byte, lower string) bool {
	if len(b) != len(lower) {
		return false
	}
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}
