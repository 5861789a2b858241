package policy

import (
	"net/netip"
	"strings"
)

// notAPattern recognises what people write for a host pattern that is none, and
// says what to write instead.
func notAPattern(s string) *patternError {
	if s == "" {
		return &patternError{"host is empty", `write a name, or "*" for any name`}
	}
	if i := strings.Index(s, "://"); i >= 0 {
		return urlPattern(s, s[i+3:])
	}
	if strings.Contains(s, "/") {
		if _, err := netip.ParsePrefix(s); err == nil {
			return &patternError{"host " + quote(s) + " is an address range", "write cidr: " + s}
		}
		host, path, _ := strings.Cut(s, "/")
		return &patternError{"host " + quote(s) + " has a path", "write host: " + printable(host) + " with paths: [" + quote("/"+path) + "]"}
	}
	if a, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
		return &patternError{"host " + quote(s) + " is an address", "names are judged as names and addresses as addresses: write cidr: " + a.WithZone("").String()}
	}
	if host, port, ok := strings.Cut(s, ":"); ok {
		if p, err := parsePort(port); err == nil {
			return &patternError{"host " + quote(s) + " has a port", "write host: " + printable(host) + " with ports: [" + utoa(p) + "]"}
		}
		return &patternError{"host " + quote(s) + " has a colon", "write only the name"}
	}
	if name, ok := strings.CutPrefix(s, "."); ok && name != "" {
		return &patternError{"host " + quote(s) + " begins with a dot", "write " + quote("*."+name) + " for what is below it, " + quote(name) + " for the name itself"}
	}
	if i := strings.LastIndex(s, "*"); i > 0 || i == 0 && !strings.HasPrefix(s, "*.") {
		return &patternError{"host " + quote(s) + " has a * that is not a whole first label", `write "*.example.com" (any depth below, not the apex), or "*"`}
	}
	return nil
}

func urlPattern(s, rest string) *patternError {
	host, path, hasPath := strings.Cut(rest, "/")
	hint := "write host: " + printable(host)
	if name, port, ok := strings.Cut(host, ":"); ok {
		hint = "write host: " + printable(name) + " with ports: [" + printable(port) + "]"
	}
	if hasPath && path != "" {
		hint += " and paths: [" + quote("/"+path) + "]"
	}
	return &patternError{"host " + quote(s) + " is a URL", hint}
}
