package policy

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/penstock/penstock/hooks"
)

// Errors of ParseTarget. They are wrapped with the text.
var (
	ErrPort     = errors.New("the port is not a number from 1 to 65535")
	ErrNoPort   = errors.New("a port is needed")
	ErrScheme   = errors.New("the scheme is not http, https, ws, wss, tls or tcp")
	ErrUserinfo = errors.New("the target has a user name or password before the host")
	ErrZone     = errors.New("the address has a zone")
	ErrTarget   = errors.New("this is not HOST[:PORT], [ADDRESS]:PORT or a URL")
)

// ParseTarget reads HOST[:PORT], ADDRESS[:PORT], [ADDRESS]:PORT or a URL (of
// which it keeps the authority). Without port and scheme the port is 443. The
// result is canonical: see CanonicalHost; IPv4-mapped addresses are unmapped.
func ParseTarget(s string) (hooks.Target, error) {
	t, _, _, err := splitTarget(s)
	return t, err
}

// ParseRequest reads what ParseTarget reads as the request that a tool would
// make of it: a URL as GET of its path, HOST[:PORT] as HTTPS (HTTP on port 80).
// The method replaces GET when it is not empty.
func ParseRequest(s, method string) (*hooks.Request, error) {
	t, scheme, rest, err := splitTarget(s)
	if err != nil {
		return nil, err
	}
	r := &hooks.Request{Target: t, Size: -1}
	switch scheme {
	case "tcp":
		r.Protocol = hooks.ProtocolTCP
		return r, nil
	case "tls":
		r.Protocol = hooks.ProtocolTLS
		return r, nil
	case "http", "ws":
		r.Protocol = hooks.ProtocolHTTP
	case "":
		r.Protocol = hooks.ProtocolHTTPS
		if t.Port == 80 {
			r.Protocol = hooks.ProtocolHTTP
		}
	default:
		r.Protocol = hooks.ProtocolHTTPS
	}
	r.Method = "GET"
	if method != "" {
		r.Method = method
	}
	rest, _, _ = strings.Cut(rest, "#")
	path, query, _ := strings.Cut(rest, "?")
	if r.Path, err = CanonicalPath(path); err != nil {
		return nil, err
	}
	r.Query = query
	return r, nil
}

// splitTarget returns the target, the scheme (lower case) and what follows the authority.
func splitTarget(s string) (t hooks.Target, scheme, rest string, err error) {
	auth := s
	if i := strings.Index(s, "://"); i >= 0 {
		scheme, auth = lower(s[:i]), s[i+3:]
		switch scheme {
		case "http", "ws":
			t.Port = 80
		case "https", "wss", "tls":
			t.Port = 443
		case "tcp":
		default:
			return t, "", "", fmt.Errorf("%s: %w", quote(s), ErrScheme)
		}
	} else {
		t.Port = 443
	}
	if i := strings.IndexAny(auth, "/?#"); i >= 0 {
		auth, rest = auth[:i], auth[i:]
		if scheme == "" && rest != "/" {
			// host/path without a scheme is how people write URLs by hand.
			scheme = "https"
		}
	}
	if strings.Contains(auth, "@") {
		return hooks.Target{}, "", "", fmt.Errorf("%s: %w", quote(s), ErrUserinfo)
	}
	if t, err = authority(auth, t.Port); err != nil {
		return hooks.Target{}, "", "", fmt.Errorf("%s: %w", quote(s), err)
	}
	return t, scheme, rest, nil
}

// authority parses HOST[:PORT]; port is the default, 0 for none.
func authority(s string, port uint16) (hooks.Target, error) {
	t := hooks.Target{Port: port}
	host := s
	switch {
	case strings.HasPrefix(s, "["):
		end := strings.IndexByte(s, ']')
		if end < 0 {
			return hooks.Target{}, ErrTarget
		}
		a, err := parseAddr(s[1:end])
		if err != nil {
			return hooks.Target{}, err
		}
		// Brackets are for IPv6 (RFC 3986 section 3.2.2).
		if !strings.Contains(s[1:end], ":") {
			return hooks.Target{}, ErrTarget
		}
		t.Addr, host = a, ""
		if rest := s[end+1:]; rest != "" {
			p, ok := strings.CutPrefix(rest, ":")
			if !ok {
				return hooks.Target{}, ErrTarget
			}
			if t.Port, err = parsePort(p); err != nil {
				return hooks.Target{}, err
			}
		}
	case strings.Count(s, ":") > 1: // a bare IPv6 address
		a, err := parseAddr(s)
		if err != nil {
			return hooks.Target{}, err
		}
		t.Addr, host = a, ""
	default:
		if h, p, ok := strings.Cut(s, ":"); ok {
			n, err := parsePort(p)
			if err != nil {
				return hooks.Target{}, err
			}
			host, t.Port = h, n
		}
	}
	if host != "" {
		if a, err := netip.ParseAddr(host); err == nil {
			t.Addr = a.Unmap()
		} else if t.Host, err = CanonicalHost(host); err != nil {
			return hooks.Target{}, errors.Unwrap(err)
		}
	} else if !t.Addr.IsValid() {
		return hooks.Target{}, ErrHostEmpty
	}
	if t.Port == 0 {
		return hooks.Target{}, ErrNoPort
	}
	return t, nil
}

func parseAddr(s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Addr{}, ErrTarget
	}
	if a.Zone() != "" {
		return netip.Addr{}, ErrZone
	}
	return a.Unmap(), nil
}

// parsePort reads a decimal without sign or leading zero.
func parsePort(s string) (uint16, error) {
	if s == "" || s[0] < '1' || s[0] > '9' {
		return 0, ErrPort
	}
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil {
		return 0, ErrPort
	}
	return uint16(n), nil
}

func utoa(n uint16) string { return strconv.Itoa(int(n)) }
