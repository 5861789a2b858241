package hostile

import "strings"

// oneName are attempts to have one name judged and another served.
func oneName() []attempt {
	const c = "one name"
	tlsTo := func(target, sni string, payload ...string) []string {
		return append([]string{"saytls", target, sni, ""}, payload...)
	}
	viaProxy := func(target, sni string, payload ...string) []string {
		return append([]string{"tunnel", "{proxy}", connect(target), sni}, payload...)
	}
	proxyOK := viaProxy("{name}:443", "{name}", asks("{name}"))
	const keep = `GET /ok HTTP/1.1\r\nHost: good.example\r\n\r\n`
	stream := func(authority, more string) string {
		return ":method=GET|:scheme=https|:authority=" + authority + "|:path=/{c}" + more
	}
	const first = ":method=GET|:scheme=https|:authority=good.example|:path=/ok"
	return []attempt{
		{category: c, name: "Host of another on an allowed connection", do: tlsTo("good.example:443", "good.example", asks("{name}"))},
		{category: c, name: "Host of another on the second request", do: tlsTo("good.example:443", "good.example", keep, asks("{name}"))},
		{category: c, name: "Host of another on the fifth request", do: tlsTo("good.example:443", "good.example", keep, keep, keep, keep, asks("{name}"))},
		{category: c, name: "Host of another in clear text", do: []string{"say", "tcp", "good.example:80", asks("{name}")}},
		{category: c, name: "Host of another on the second request, in clear text", do: []string{"say", "tcp", "good.example:80", keep, asks("{name}")}},
		{category: c, name: "an absolute URL of another", do: tlsTo("good.example:443", "good.example", `GET https://{name}/{c} HTTP/1.1\r\nHost: good.example\r\nConnection: close\r\n\r\n`)},
		{category: c, name: "an absolute URL of ours with the Host of another", do: []string{"say", "tcp", "good.example:80", `GET http://good.example/ok HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n`}},
		{category: c, name: "the server name of another", do: tlsTo("good.example:443", "{name}", asks("good.example")),
			arrived: func(s *scene, a *aim) string { return s.net.with(a.own) }},
		{category: c, name: "an allowed server name at another's address", do: tlsTo("{addr}:443", "good.example", asks("good.example"))},
		{category: c, name: "no server name, Host of an allowed one, at another's address", do: tlsTo("{addr}:443", "-", asks("good.example"))},
		{category: c, name: "no server name, Host of another", do: tlsTo("good.example:443", "-", asks("{name}"))},
		{category: c, name: "an allowed server name and Host behind another's name", do: tlsTo("{name}:443", "good.example", asks("good.example"))},
		{category: c, name: "CONNECT to an allowed name, server name of another", do: viaProxy("good.example:443", "{name}", asks("{name}")), control: control{kind: twin}, twin: proxyOK},
		{category: c, name: "CONNECT to an allowed name, Host of another inside", do: viaProxy("good.example:443", "good.example", asks("{name}")), control: control{kind: twin}, twin: proxyOK},
		{category: c, name: "CONNECT to an allowed name, Host of another in clear text inside", do: viaProxy("good.example:80", "", asks("{name}")), control: control{kind: twin}, twin: proxyOK},
		{category: c, name: "CONNECT with the Host of an allowed name", do: []string{"tunnel", "{proxy}", `CONNECT {name}:443 HTTP/1.1\r\nHost: good.example:443\r\n\r\n`, "good.example", asks("good.example")}, control: control{kind: twin}, twin: proxyOK},
		{category: c, name: "SOCKS to an allowed name, server name of another", do: []string{"tunnel", "{proxy}", socks("good.example", 443), "{name}", asks("{name}")}, control: control{kind: twin}, twin: proxyOK},
		{category: c, name: "absolute URLs of two names on one proxy connection", do: []string{"say", "tcp", "{proxy}", `GET http://good.example/ok HTTP/1.1\r\nHost: good.example\r\n\r\n`, `GET http://{name}/{c} HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n`}, control: control{kind: twin}},
		{category: c, name: ":authority of another", do: []string{"h2", "good.example:443", "good.example", stream("{name}", "")}, control: control{kind: twin}, twin: []string{"h2", "{name}:443", "{name}", stream("{name}", "")}},
		{category: c, name: ":authority of another on the second stream", do: []string{"h2", "good.example:443", "good.example", first, stream("{name}", "")}, control: control{kind: twin}, twin: []string{"h2", "{name}:443", "{name}", first, stream("{name}", "")}, arrived: orTwinH2},
		{category: c, name: "a host field of another beside :authority", do: []string{"h2", "good.example:443", "good.example", stream("good.example", "|host={name}")}, control: control{kind: twin}, twin: []string{"h2", "{name}:443", "{name}", stream("{name}", "")}, arrived: byHostField},
		{category: c, name: "two :authority fields", do: []string{"h2", "good.example:443", "good.example", ":authority=good.example|" + stream("{name}", "")}, control: control{kind: twin}, twin: []string{"h2", "{name}:443", "{name}", stream("{name}", "")}},
		{category: c, name: "an absolute URL of another as :path", do: []string{"h2", "good.example:443", "good.example", ":method=GET|:scheme=https|:authority=good.example|:path=https://{name}/{c}"}, control: control{kind: twin}, twin: []string{"h2", "{name}:443", "{name}", stream("{name}", "")}},
		{category: c, name: "a request line inside a field value (HTTP/2 to HTTP/1.1)", do: []string{"h2", "good.example:443", "good.example", `:method=GET|:scheme=https|:authority=good.example|:path=/ok|x=y\r\n\r\nGET /{c} HTTP/1.1\r\nHost: {name}\r\n\r\n`}, control: control{kind: twin}, twin: []string{"h2", "{name}:443", "{name}", stream("{name}", "")}},
		{category: c, name: "a request line inside :path (HTTP/2 to HTTP/1.1)", do: []string{"h2", "good.example:443", "good.example", `:method=GET|:scheme=https|:authority=good.example|:path=/ok HTTP/1.1\r\nHost: {name}\r\n\r\nGET /{c}`}, control: control{kind: twin}, twin: []string{"h2", "{name}:443", "{name}", stream("{name}", "")}},
		{category: c, name: "HTTP/2 CONNECT to another", do: []string{"h2", "good.example:443", "good.example", ":method=CONNECT|:authority={name}:443"}, control: control{kind: twin}, twin: []string{"h2", "{name}:443", "{name}", stream("{name}", "")}},
		{category: c, name: "HTTP/2 in clear text with the name of another", do: []string{"h2", "good.example:80", "clear", ":method=GET|:scheme=http|:authority={name}|:path=/{c}"}, control: control{kind: twin}, twin: []string{"h2", "{name}:80", "clear", ":method=GET|:scheme=http|:authority={name}|:path=/{c}"}},
		{category: c, name: "pass-through with the server name of another", do: tlsTo("pass.example:443", "{name}", asks("{name}"))},
		{category: c, name: "pass-through without a server name", do: tlsTo("pass.example:443", "-", asks("{name}"))},
		{category: c, name: "pass-through in clear text", do: []string{"say", "tcp", "pass.example:443", `\x16\x03\x01 {c}`}},
		{category: c, name: "pass-through, two server names in one extension", do: []string{"twonames", "pass.example:443", "list", "pass.example", "{name}"}, arrived: orPieces},
		{category: c, name: "pass-through, two extensions with a server name", do: []string{"twonames", "pass.example:443", "extensions", "pass.example", "{name}"}, arrived: orPieces},
		{category: c, name: "pass-through, a server name of an unknown type before it", do: []string{"twonames", "pass.example:443", "list-other-type", "pass.example", "{name}"}, arrived: orPieces},
		{category: c, name: "pass-through, a second server name behind the list", do: []string{"twonames", "pass.example:443", "trailing", "pass.example", "{name}"}, arrived: orPieces},
		{category: c, name: "pass-through, a server name behind 60 kB of padding", do: []string{"twonames", "pass.example:443", "late", "pass.example", "{name}"}, arrived: orPieces},
		{category: c, name: "pass-through, a server name in records of one byte", do: []string{"twonames", "pass.example:443", "bytes", "pass.example", "{name}"}, arrived: orPieces},
		{category: c, name: "a server name that is encrypted (ECH)", do: []string{"ech", "good.example:443", "good.example", "{name}", asks("{name}")}, control: control{kind: twin}, twin: []string{"saytls", "{name}:443", "{name}", "", asks("{name}")}},
		{category: c, name: "a raw protocol at an HTTPS port", do: []string{"say", "tcp", "good.example:443", `SSH-2.0-{c}\r\n`}},
		{category: c, name: "clear text at the port for TLS", do: viaProxy("good.example:443", "", asks("good.example:443")), control: control{kind: twin}, twin: viaProxy("good.example:443", "good.example", asks("good.example"))},
		{category: c, name: "TLS at the port for clear text", do: viaProxy("good.example:80", "good.example", asks("good.example:80")), control: control{kind: twin}, twin: viaProxy("good.example:80", "", asks("good.example"))},
		{category: c, name: "an allowed name at a port of no rule", do: []string{"get", "GET", "http://good.example:8080/{c}"}},
		{category: c, name: "an allowed address with the Host of another", do: []string{"say", "tcp", "198.51.101.9:80", asks("{name}")}},
		{category: c, name: "an allowed address with the server name of another", do: tlsTo("198.51.101.9:443", "{name}", asks("{name}"))},
		{category: c, name: "an allowed address with a denied Host", do: []string{"say", "tcp", "198.51.101.250:80", asks("no.good.example")}},
		{category: c, name: "raw TCP to a denied name of an allowed wildcard", do: []string{"say", "tcp", "no.good.example:7000", `{c}\r\n`}},
		{category: c, name: "raw TCP to an allowed port by an allowed range of another protocol", do: []string{"say", "tcp", "198.51.101.9:7000", `{c}\r\n`}},
		{category: c, name: "raw TCP at a port of no rule", do: []string{"say", "tcp", "good.example:22", `SSH-2.0-{c}\r\n`}, control: control{kind: twin}, twin: []string{"say", "tcp", "raw.example:7000", `SSH-2.0-{c}\r\n`}},
		{category: c, name: "raw TCP of an allowed port at another's name", do: []string{"say", "tcp", "{name}:7000", `{c}\r\n`}},
		{category: c, name: "raw TCP of an allowed port at a literal address", do: []string{"say", "tcp", "{addr}:7000", `{c}\r\n`}},
	}
}

// orTwinH2 counts the mark; an earlier, allowed stream has none.
func orTwinH2(s *scene, a *aim) string {
	return s.net.request(func(q request) bool { return q.host == a.own || q.path == "/"+a.id })
}

// byHostField counts a request that says the other's name anywhere: its path
// may pass, since its :authority is allowed.
func byHostField(s *scene, a *aim) string {
	if got := s.net.with(a.own); got != "" {
		return got
	}
	return ""
}

// orPieces also counts a name that arrived with a record's head between any two
// of its bytes.
func orPieces(s *scene, a *aim) string {
	if got := byCanary(s, a); got != "" {
		return got
	}
	for _, v := range s.net.visits() {
		v.mu.Lock()
		hello := strings.ReplaceAll(v.hello, "\x16\x03\x01\x00\x01", "")
		v.mu.Unlock()
		if strings.Contains(hello, a.own) {
			return "a greeting in pieces at " + v.to.String()
		}
	}
	return ""
}

// framing are attempts to hide a request from us that a server sees. The hidden
// one is for a path that no rule allows.
func framing() []attempt {
	const c = "framing"
	hidden := `GET /{c} HTTP/1.1\r\nHost: paths.example\r\n\r\n`
	to := func(parts ...string) []string { return append([]string{"say", "tcp", "paths.example:80"}, parts...) }
	// What a server of ours makes of it without a pen is its own affair: the
	// bytes count there.
	post := func(head, body string) []string {
		return to(`POST /ok/x HTTP/1.1\r\nHost: paths.example\r\n` + head + `\r\n` + body)
	}
	ok := []string{"say", "tcp", "paths.example:80", `GET /ok/{c} HTTP/1.1\r\nHost: paths.example\r\nConnection: close\r\n\r\n`}
	tw := control{kind: twin}
	return []attempt{
		{category: c, name: "Content-Length and Transfer-Encoding", do: post(`Content-Length: 4\r\nTransfer-Encoding: chunked\r\n`, `0\r\n\r\n`+hidden), arrived: orTwinRequest, control: tw, twin: ok},
		{category: c, name: "Transfer-Encoding and Content-Length, the other way", do: post(`Transfer-Encoding: chunked\r\nContent-Length: 90\r\n`, `0\r\n\r\n`+hidden), arrived: orTwinRequest, control: tw, twin: ok},
		{category: c, name: "two Transfer-Encodings", do: post(`Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n`, `0\r\n\r\n`+hidden), arrived: orTwinRequest, control: tw, twin: ok},
		{category: c, name: "an obscured Transfer-Encoding", do: []string{"sh", `for h in 'Transfer-Encoding : chunked' 'Transfer-Encoding: xchunked' 'Transfer-Encoding:\tchunked\x0b' 'Transfer-Encoding: chunked, identity' 'X: y\r\n Transfer-Encoding: chunked' 'Transfer_Encoding: chunked'; do $T act say tcp paths.example:80 "POST /ok/x HTTP/1.1\r\nHost: paths.example\r\nContent-Length: 5\r\n$h\r\n\r\n0\r\n\r\n` + hidden + `"; done`}, arrived: orTwinRequest, control: tw, twin: ok},
		{category: c, name: "two Content-Lengths", do: post(`Content-Length: 0\r\nContent-Length: 70\r\n`, hidden), arrived: orTwinRequest, control: tw, twin: ok},
		{category: c, name: "odd Content-Lengths", do: []string{"sh", `for l in '+0' '-1' '0x0' '0,0' '0 0' ' ' '18446744073709551616'; do $T act say tcp paths.example:80 "POST /ok/x HTTP/1.1\r\nHost: paths.example\r\nContent-Length: $l\r\n\r\n` + hidden + `"; done`}, arrived: orTwinRequest, control: tw, twin: ok},
		{category: c, name: "a folded header line", do: to(`GET /ok/x HTTP/1.1\r\nHost: paths.example\r\nX: a\r\n ` + hidden)},
		{category: c, name: "bare line feeds", do: to(`GET /ok/x HTTP/1.1\nHost: paths.example\nX: a\n\n` + hidden), arrived: orTwinRequest, control: tw, twin: ok},
		{category: c, name: "a bare carriage return in a header", do: to(`GET /ok/x HTTP/1.1\r\nHost: paths.example\r\nX: a\rGET /{c} HTTP/1.1\r\n\r\n`), control: tw, twin: ok},
		{category: c, name: "two Host headers", do: to(`GET /ok/x HTTP/1.1\r\nHost: paths.example\r\nHost: {name}\r\n\r\n`)},
		{category: c, name: "a space before the colon of Host", do: to(`GET /ok/x HTTP/1.1\r\nHost: paths.example\r\nHost : {name}\r\n\r\n`)},
		{category: c, name: "chunk sizes that overflow or end oddly", do: []string{"sh", `for z in '10000000000000000' '0x0' '0;a=b\n' '-0' '0\n' '00000000000000000000'; do $T act say tcp paths.example:80 "POST /ok/x HTTP/1.1\r\nHost: paths.example\r\nTransfer-Encoding: chunked\r\n\r\n$z\r\n\r\n` + hidden + `"; done`}, arrived: orTwinRequest, control: tw, twin: ok},
		{category: c, name: "a trailer that frames", do: post(`Transfer-Encoding: chunked\r\nTrailer: Content-Length, Host\r\n`, `0\r\nContent-Length: 70\r\nHost: {name}\r\n\r\n`), control: tw, twin: ok},
		{category: c, name: "a pipelined request for a path of no rule", do: to(`GET /ok/x HTTP/1.1\r\nHost: paths.example\r\n\r\n` + hidden)},
		{category: c, name: "a request after Connection: close", do: to(`GET /ok/x HTTP/1.1\r\nHost: paths.example\r\nConnection: close\r\n\r\n` + hidden), arrived: orTwinRequest, control: tw, twin: ok},
		{category: c, name: "a request in the body of GET", do: to(`GET /ok/x HTTP/1.1\r\nHost: paths.example\r\nContent-Length: 0\r\n\r\n` + hidden)},
		{category: c, name: "an upgrade to h2c, then a path of no rule", do: to(`GET /ok/x HTTP/1.1\r\nHost: paths.example\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n`, `PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n{c}`)},
		{category: c, name: "an upgrade to something unknown, then raw bytes", do: to(`GET /ok/x HTTP/1.1\r\nHost: paths.example\r\nConnection: Upgrade\r\nUpgrade: raw\r\n\r\n`, hidden)},
		{category: c, name: "a websocket that the server declines, then raw bytes", do: to(`GET /ok/x HTTP/1.1\r\nHost: paths.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n` + hidden)},
		{category: c, name: "CONNECT inside a tunnel", do: []string{"tunnel", "{proxy}", connect("good.example:80"), "", connect("{name}:80"), asks("{name}")}, control: tw, twin: []string{"tunnel", "{proxy}", connect("good.example:80"), "", `GET /{c} HTTP/1.1\r\nHost: good.example\r\nConnection: close\r\n\r\n`}},
		{category: c, name: "HTTP/0.9", do: to(`GET /{c}\r\n`)},
		{category: c, name: "an HTTP version of our own", do: to(`GET /{c} HTTP/9.9\r\nHost: paths.example\r\n\r\n`)},
		{category: c, name: "methods that reflect or open: TRACE, CONNECT, PRI", do: []string{"sh", `for m in 'TRACE /{c}' 'CONNECT {name}:80' 'PRI *' 'OPTIONS *'; do $T act say tcp good.example:80 "$m HTTP/1.1\r\nHost: good.example\r\nX: {c}\r\nConnection: close\r\n\r\n"; done`}},
		{category: c, name: "a method of no rule", do: []string{"sh", `for m in PUT get DELETE 'GET\t' 'G\x00ET'; do $T act say tcp paths.example:80 "$m /ok/{c} HTTP/1.1\r\nHost: paths.example\r\nConnection: close\r\n\r\n"; done`}},
		{category: c, name: "a hop-by-hop header that takes Host away", do: to(`GET /ok/x HTTP/1.1\r\nHost: paths.example\r\nConnection: close, Host, Content-Length, Transfer-Encoding\r\nX-Forwarded-Host: y\r\n\r\n` + hidden), arrived: orTwinRequest, control: tw, twin: ok},
		{category: c, name: "a proxy's own headers passed on", do: to(`GET /ok/x HTTP/1.1\r\nHost: paths.example\r\nProxy-Connection: keep-alive\r\nProxy-Authorization: Basic {c}\r\nConnection: close\r\n\r\n`)},
		{category: c, name: "an endless header", do: []string{"endless", "good.example:80", "good.example", "3000000", "{c}"}},
	}
}

func orTwinRequest(s *scene, a *aim) string { return byRequest(s, a) }

// paths are spellings of a path that a server could read as one of no rule.
func paths() []attempt {
	var list []attempt
	for _, p := range []string{
		"/ok/../{c}", "/ok/%2e%2e/{c}", "/ok/.%2E/{c}", "/ok/..%2f{c}", "/ok%2f..%2f{c}", `/ok/..%5c{c}`, "/ok/..;/{c}", "/ok/..;x=y/{c}", "//{c}", "/./{c}", "/ok/..//{c}",
		"/ok/%00/../{c}", "/%6fk/../{c}", "/OK/{c}", "/okay/{c}", "/ok%3f/../{c}", "/ok/x/../../{c}",
	} {
		score, ctl := byPath, control{kind: bare}
		if p == `/ok/..%5c{c}` || p == "/ok/%00/../{c}" {
			ctl = control{kind: twin}
		}
		list = append(list, attempt{category: "paths", name: "a path of no rule as " + p, arrived: orTwinPath(score), control: ctl,
			do:   []string{"say", "tcp", "paths.example:80", `GET ` + p + ` HTTP/1.1\r\nHost: paths.example\r\nConnection: close\r\n\r\n`},
			twin: []string{"say", "tcp", "paths.example:80", `GET /ok/{c} HTTP/1.1\r\nHost: paths.example\r\nConnection: close\r\n\r\n`}})
	}
	return list
}

func orTwinPath(f func(*scene, *aim) string) func(*scene, *aim) string {
	return func(s *scene, a *aim) string {
		if a.id[0] == 't' {
			return byRequest(s, a)
		}
		return f(s, a)
	}
}
