package policy

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/net/idna"
)

// HostInternal is the name of the host's loopback inside a pen. Only a rule that
// names it literally, with its ports, allows it.
const HostInternal = "host.penstock.internal"

// Errors of CanonicalHost. They are wrapped with the name.
var (
	ErrHostEmpty   = errors.New("the host name is empty")
	ErrHostLong    = errors.New("the host name is longer than 253 bytes")
	ErrHostLabel   = errors.New("a label of the host name is empty or longer than 63 bytes")
	ErrHostChar    = errors.New("the host name has a character that names can't have")
	ErrHostHyphen  = errors.New("a label of the host name begins or ends with a hyphen")
	ErrHostAddress = errors.New("the host name is, or may be read as, an address")
	ErrHostIDNA    = errors.New("the host name is not a valid internationalised name")
)

// CanonicalHost returns the one spelling of a host name under which it is
// judged: ASCII in lower case, A-labels (RFC 5891, mapped as UTS 46 non-
// transitional), no trailing dot. Underscores are names in practice and are
// kept. A name that could be read as an address by some resolver (127.1,
// 0x7f000001, 2130706433) is refused: addresses are judged as addresses.
func CanonicalHost(s string) (string, error) {
	if len(s) > 1024 { // far more than any U-label form of 253 bytes
		return "", fmt.Errorf("%s: %w", quote(s), ErrHostLong)
	}
	name := strings.TrimSuffix(s, ".")
	if !isASCII(name) || hasALabel(name) {
		ascii, err := toASCII(name)
		if err != nil {
			return "", fmt.Errorf("%s: %w", quote(s), err)
		}
		// Mapping may have turned U+3002 into a dot at the end.
		name = strings.TrimSuffix(ascii, ".")
	}
	name = lower(name)
	if err := checkHost(name); err != nil {
		return "", fmt.Errorf("%s: %w", quote(s), err)
	}
	return name, nil
}

// toASCII maps a name with other than ASCII letters, or with A-labels, strictly.
func toASCII(name string) (string, error) {
	// Built at each use: these names are rare and a package-level value would
	// cost every process start.
	p := idna.New(idna.MapForLookup(), idna.BidiRule(), idna.CheckJoiners(true),
		idna.Transitional(false), idna.StrictDomainName(false))
	ascii, err := p.ToASCII(name)
	if err != nil {
		return "", fmt.Errorf("%w: %s", ErrHostIDNA, printable(err.Error()))
	}
	// An A-label has exactly one U-label; what does not come back is a second
	// spelling of some other name.
	uni, err := p.ToUnicode(ascii)
	if err != nil {
		return "", fmt.Errorf("%w: %s", ErrHostIDNA, printable(err.Error()))
	}
	if back, err := p.ToASCII(uni); err != nil || back != ascii {
		return "", ErrHostIDNA
	}
	return ascii, nil
}

// checkHost checks a name that is already in lower-case ASCII.
func checkHost(name string) error {
	switch {
	case name == "":
		return ErrHostEmpty
	case len(name) > 253:
		return ErrHostLong
	}
	start := 0
	for i := 0; i <= len(name); i++ {
		if i < len(name) && name[i] != '.' {
			if !hostByte(name[i]) {
				return ErrHostChar
			}
			continue
		}
		label := name[start:i]
		if label == "" || len(label) > 63 {
			return ErrHostLabel
		}
		if label[0] == '-' || label[len(label)-1] == '-' {
			return ErrHostHyphen
		}
		if i == len(name) && numeric(label) {
			return ErrHostAddress
		}
		start = i + 1
	}
	return nil
}

// isCanonicalHost says whether s is what CanonicalHost would return for it, but
// for the validity of its A-labels. It does not allocate.
func isCanonicalHost(s string) bool {
	if s == "" || len(s) > 253 {
		return false
	}
	n := 0
	for i := 0; i < len(s); i++ {
		if s[i] == '.' {
			if n == 0 {
				return false
			}
			n = 0
			continue
		}
		if n++; n > 63 || !hostByte(s[i]) {
			return false
		}
	}
	return n > 0
}

func hostByte(c byte) bool {
	return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '_'
}

// numeric says whether a last label makes the name an IPv4 address for
// inet_aton(3) or the WHATWG URL parser: all digits, or 0x and hexadecimals.
func numeric(label string) bool {
	digits := true
	for i := 0; i < len(label); i++ {
		if label[i] < '0' || label[i] > '9' {
			digits = false
			break
		}
	}
	if digits {
		return true
	}
	hex, ok := strings.CutPrefix(label, "0x")
	if !ok {
		return false
	}
	for i := 0; i < len(hex); i++ {
		if unhex(hex[i]) < 0 {
			return false
		}
	}
	return true
}

func isASCII(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// hasALabel says whether any label begins with xn-- in any case.
func hasALabel(s string) bool {
	for i := 0; i+4 <= len(s); i++ {
		if (i == 0 || s[i-1] == '.') && s[i]|0x20 == 'x' && s[i+1]|0x20 == 'n' && s[i+2:i+4] == "--" {
			return true
		}
	}
	return false
}

// lower is strings.ToLower for ASCII, without a copy when nothing changes.
func lower(s string) string {
	for i := 0; i < len(s); i++ {
		if 'A' <= s[i] && s[i] <= 'Z' {
			b := []byte(s)
			for j := i; j < len(b); j++ {
				if 'A' <= b[j] && b[j] <= 'Z' {
					b[j] += 'a' - 'A'
				}
			}
			return string(b)
		}
	}
	return s
}

// hostPattern is "name", "*.name" or "*".
type hostPattern struct {
	name string // canonical; "" for "*"
	wild bool   // "*.name", or "*" when name is empty
}

func (p hostPattern) String() string {
	switch {
	case !p.wild:
		return p.name
	case p.name == "":
		return "*"
	}
	return "*." + p.name
}

// matches says whether the pattern covers a canonical name.
func (p hostPattern) matches(name string) bool {
	if !p.wild {
		return name == p.name
	}
	if name == HostInternal {
		return false
	}
	if p.name == "" {
		return true
	}
	return len(name) > len(p.name)+1 && strings.HasSuffix(name, p.name) && name[len(name)-len(p.name)-1] == '.'
}

// covers says whether every name that q matches is matched by p.
func (p hostPattern) covers(q hostPattern) bool {
	if !q.wild {
		return p.matches(q.name)
	}
	if !p.wild {
		return false
	}
	if p.name == "" || p.name == q.name {
		return true
	}
	return q.name != "" && p.matches(q.name)
}

// patternError is why a text is not a host pattern, and what to write instead.
type patternError struct{ msg, hint string }

func (e *patternError) Error() string { return e.msg }

// parseHostPattern parses "name", "*.name" or "*".
func parseHostPattern(s string) (hostPattern, error) {
	if s == "*" {
		return hostPattern{wild: true}, nil
	}
	if e := notAPattern(s); e != nil {
		return hostPattern{}, e
	}
	rest, wild := strings.CutPrefix(s, "*.")
	name, err := CanonicalHost(rest)
	if err != nil {
		return hostPattern{}, &patternError{"host " + quote(s) + " is not a host name: " + cause(err), ""}
	}
	return hostPattern{name: name, wild: wild}, nil
}

// cause is the innermost message of an error of CanonicalHost, without the name.
func cause(err error) string {
	if u := errors.Unwrap(err); u != nil {
		return u.Error()
	}
	return err.Error()
}
