package pac

import (
	"net/netip"
	"strconv"
	"strings"
)

const (
	maxResult = 2048
	maxWays   = 16
)

// Way is one entry of a result: a proxy, or nothing between.
type Way struct {
	Scheme string // http, https or socks5; "" is DIRECT
	Host   string // a name, or an address without brackets
	Port   uint16
}

// String returns SCHEME://HOST:PORT, or DIRECT.
func (w Way) String() string {
	if w.Scheme == "" {
		return "DIRECT"
	}
	host := w.Host
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return w.Scheme + "://" + host + ":" + strconv.Itoa(int(w.Port))
}

// Result reads what FindProxyForURL has returned, in the order in which the ways
// are tried. An entry that is not understood is an error, and so is no entry.
func Result(s string) ([]Way, error) {
	bad := func(what string) ([]Way, error) {
		return nil, &Error{What: "its result " + what}
	}
	var ways []Way
	for entry := range strings.SplitSeq(s, ";") {
		words := strings.FieldsFunc(entry, func(r rune) bool { return r == ' ' || r == '\t' })
		if len(words) == 0 {
			continue
		}
		if len(ways) == maxWays {
			return bad("has too many entries")
		}
		var w Way
		port := ""
		switch strings.ToUpper(words[0]) {
		case "DIRECT":
			if len(words) != 1 {
				return bad("has something behind DIRECT")
			}
			ways = append(ways, w)
			continue
		case "PROXY", "HTTP":
			w.Scheme, port = "http", "80"
		case "HTTPS":
			w.Scheme, port = "https", "443"
		case "SOCKS", "SOCKS5":
			w.Scheme, port = "socks5", "1080"
		default:
			return bad("has an entry that is none of DIRECT, PROXY, HTTP, HTTPS, SOCKS and SOCKS5")
		}
		if len(words) != 2 {
			return bad("has a proxy that is not HOST:PORT")
		}
		host := words[1]
		if i := strings.LastIndexByte(host, ':'); i >= 0 && !strings.HasSuffix(host, "]") {
			host, port = host[:i], host[i+1:]
		}
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 || strconv.FormatUint(n, 10) != port {
			return bad("has a proxy without a port from 1 to 65535")
		}
		w.Port = uint16(n)
		if six, ok := strings.CutPrefix(host, "["); ok {
			a, err := netip.ParseAddr(strings.TrimSuffix(six, "]"))
			if err != nil || !a.Is6() || a.Zone() != "" || !strings.HasSuffix(six, "]") {
				return bad("has a proxy that is not HOST:PORT")
			}
			host = a.String()
		} else if host == "" || len(host) > 253 || strings.Trim(strings.ToLower(host), "abcdefghijklmnopqrstuvwxyz0123456789-_.") != "" {
			return bad("has a proxy that is not HOST:PORT")
		}
		if w.Host = strings.ToLower(strings.TrimSuffix(host, ".")); w.Host == "" || strings.HasSuffix(w.Host, ".") {
			return bad("has a proxy that is not HOST:PORT")
		}
		ways = append(ways, w)
	}
	if len(ways) == 0 {
		return bad("has no entry")
	}
	return ways, nil
}
