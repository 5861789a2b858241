package hostile

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/penstock/penstock/internal/world"
)

// ourOutput gathers what our own commands say about the session, of which the
// tool has written the names and paths.
func (s *scene) ourOutput() {
	for _, args := range [][]string{{"audit", "ls"}, {"audit", "show"}, {"audit", "export", "--format", "csv"}, {"audit", "export", "--format", "jsonl"}, {"audit", "verify"}} {
		r := s.w.Run(s.home, s.o, append([]string{world.Penstock(s.t)}, args...)...)
		if r.Code != 0 {
			s.t.Errorf("penstock %s: %s", strings.Join(args, " "), r)
		}
		s.show += r.Stdout + r.Stderr
	}
	s.show += s.result.Stderr
}

// mark is an attempt's, or its twin's; placeholder is a secret's, and random.
var (
	mark        = regexp.MustCompile(`[qt][0-9]{3}x`)
	placeholder = regexp.MustCompile(`PENSTOCK[0-9A-Za-z]{8,}`)
)

// recorded is what the audit says of each attempt that has its mark in a record: the
// verdicts, rules and reasons, sorted, without what differs between two runs.
func (s *scene) recorded() map[string][]string {
	said := map[string][]string{}
	usual := strings.NewReplacer(s.home.Path, "~", s.hostPort, "PORT", s.openPort, "OPEN")
	for l := range strings.Lines(s.show) {
		var r struct{ Type, Protocol, Method, Host, Path, Verdict, Rule, Reason, Name string }
		if json.Unmarshal([]byte(l), &r) != nil || r.Type != "flow_open" && r.Type != "dns" || strings.HasPrefix(r.Path, "/loot/") {
			continue
		}
		what := placeholder.ReplaceAllString(usual.Replace(fmt.Sprint(r)), "PENSTOCK…")
		if id := mark.FindString(what); id != "" && !slices.Contains(said[id], what) {
			said[id] = append(said[id], what)
		}
	}
	for id, all := range said {
		// A connection that was opened beside another one, for which time decides.
		if others := slices.DeleteFunc(slices.Clone(all), unused); slices.ContainsFunc(others, isFlow) {
			said[id] = others
		}
		slices.Sort(said[id])
	}
	return said
}

func isFlow(what string) bool { return strings.HasPrefix(what, "{flow_open ") }

func unused(what string) bool {
	return isFlow(what) && strings.Contains(what, " it was closed before it sent anything")
}

// byKey counts the real value anywhere but in its header to its host, and the
// placeholder or any trace of the request anywhere at all.
func byKey(s *scene, a *aim) string {
	for _, v := range s.net.visits() {
		v.mu.Lock()
		raw := v.raw.String()
		v.mu.Unlock()
		if strings.Contains(raw, a.id) && (strings.Contains(raw, realValue) || strings.Contains(raw, "HOSTILE_KEY") || strings.Contains(strings.ToLower(raw), "penstock") || strings.Contains(raw, "Basic ")) {
			return fmt.Sprintf("%q at %s", raw[:min(len(raw), 200)], v.to)
		}
	}
	return byReal(s, a)
}

// byReal counts the real value only.
func byReal(s *scene, a *aim) string {
	for _, v := range s.net.visits() {
		v.mu.Lock()
		raw := v.raw.String()
		v.mu.Unlock()
		if strings.Contains(raw, a.id) && strings.Contains(raw, realValue) {
			return fmt.Sprintf("the real value in %q at %s", raw[:min(len(raw), 200)], v.to)
		}
	}
	return ""
}

// byOurs counts the real value in whatever we wrote.
func byOurs(s *scene, a *aim) (found string) {
	if strings.Contains(s.show, realValue) {
		return "our output has the real value"
	}
	if strings.Contains(s.result.Stdout, realValue) {
		return "the tool's output has the real value"
	}
	for _, dir := range []string{".local", ".cache", ".config"} {
		filepath.WalkDir(filepath.Join(s.home.Path, dir), func(p string, d fs.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() {
				if b, _ := os.ReadFile(p); strings.Contains(string(b), realValue) {
					found = "the real value in " + p
				}
			}
			return nil
		})
	}
	if found == "" && s.net.request(func(q request) bool {
		return strings.Contains(q.path, a.id) && q.header.Get("X-Api-Key") == realValue
	}) == "" {
		s.t.Errorf("%03d %s: the control did not arrive: the declared host did not get the real value; report: %s", a.n, a.name, s.report[a.id])
	}
	return found
}

// forging are attempts to write into the audit, or to have a terminal obey what
// is shown of it.
func forging() []attempt {
	const c = "audit"
	ctl := control{kind: own}
	say := func(target, payload string) []string { return []string{"say", "tcp", target, payload} }
	return []attempt{
		{category: c, name: "escapes of a terminal in a path", do: say("good.example:80", `GET /{c}/%1b[2J%1b]0;owned%07?\x1b[31m HTTP/1.1\r\nHost: good.example\r\nConnection: close\r\n\r\n`), arrived: byEscape, control: without("the next one shows that paths are printed")},
		{category: c, name: "escapes in a path, percent-encoded", do: say("good.example:80", `GET /{c}/%1b%5b2J%0a%0d%e2%80%ae HTTP/1.1\r\nHost: good.example\r\nConnection: close\r\n\r\n`), arrived: byEscape, control: ctl},
		{category: c, name: "a forged line in a path", do: say("good.example:80", `GET /{c}/%22%7d%0a%7b%22type%22:%22flow_open%22,%22verdict%22:%22allow%22,%22host%22:%22forged.example%22%7d HTTP/1.1\r\nHost: good.example\r\nConnection: close\r\n\r\n`), arrived: byForgery, control: ctl},
		{category: c, name: "a forged line in a method", do: say("good.example:80", `G\x22},{ET /{c} HTTP/1.1\r\nHost: good.example\r\nConnection: close\r\n\r\n`), arrived: byForgery, control: without("such a method is refused and named in a reason only")},
		{category: c, name: "escapes in a host name by CONNECT", do: []string{"tunnel", "{proxy}", `CONNECT {c}\x1b[2J\xe2\x80\xae.example:443 HTTP/1.1\r\nHost: x\r\n\r\n`, ""}, arrived: byEscape, control: without("such a name is refused")},
		{category: c, name: "escapes in a host name by SOCKS", do: []string{"tunnel", "{proxy}", `\x05\x01\x00\x03\x0c{c}\x1b[2J\x0a\x0d.\x00\x50`, ""}, arrived: byEscape, control: without("such a name is refused")},
		{category: c, name: "escapes in a server name", do: []string{"saytls", "good.example:443", `{c}\x1b[2J.example`, ""}, arrived: byEscape, control: without("such a name is refused")},
		{category: c, name: "escapes in a DNS name", do: []string{"dns", "udp", "203.0.113.53:53", "1", `{c}\x1b[2J\x0a.example`}, arrived: byEscape, control: without("such a name is refused")},
		{category: c, name: "bytes that are not UTF-8", do: say("good.example:80", `GET /{c}/\xff\xfe\xc0\xaf\x80 HTTP/1.1\r\nHost: good.example\r\nConnection: close\r\n\r\n`), arrived: byEscape, control: without("the next but two shows that paths are printed")},
		{category: c, name: "a path of a spreadsheet's formula", do: say("good.example:80", `GET /{c}?=cmd|'/C%20calc'!A0 HTTP/1.1\r\nHost: good.example\r\nConnection: close\r\n\r\n`), arrived: byEscape, control: ctl},
	}
}

// byEscape counts bytes in our output that a terminal would obey.
func byEscape(s *scene, a *aim) string {
	for l := range strings.Lines(s.show) {
		for _, r := range strings.TrimSuffix(strings.TrimSuffix(l, "\n"), "\r") { // CSV ends lines with both
			if r != '\t' && (unicode.IsControl(r) || r == unicode.ReplacementChar || unicode.Is(unicode.Cf, r)) {
				return fmt.Sprintf("%q in our output", l)
			}
		}
	}
	if a.control.kind == own && !strings.Contains(s.show, a.id) {
		s.t.Errorf("%03d %s: the control did not arrive: our output does not show the request", a.n, a.name)
	}
	return ""
}

// byForgery counts a record that nobody but the tool wrote.
func byForgery(s *scene, a *aim) string {
	for l := range strings.Lines(s.show) {
		if strings.Contains(l, `"host":"forged.example"`) || strings.HasPrefix(strings.TrimSpace(l), "forged.example") {
			return fmt.Sprintf("%q in our output", l)
		}
	}
	return byEscape(s, a)
}

// ports are attempts on the proxy's own ports.
func ports() []attempt {
	const c = "our ports"
	tw := control{kind: twin}
	ok := []string{"tunnel", "{proxy}", connect("{name}:80"), "", asks("{name}")}
	loop := func(target string) []string { return []string{"tunnel", "{proxy}", connect(target), "", asks(target)} }
	return []attempt{
		{category: c, name: "the capture port, directly", do: []string{"sh", `for a in 127.0.0.1:1 '[::1]:1'; do $T act say tcp $a 'GET http://{name}/{c} HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n'; done`}, control: tw, twin: ok},
		{category: c, name: "TLS at the capture port", do: []string{"saytls", "127.0.0.1:1", "good.example", "", asks("good.example")}, control: tw, twin: ok},
		{category: c, name: "the proxy asked for itself", do: loop("127.0.0.1:808"), control: tw, twin: ok},
		{category: c, name: "the proxy asked for itself, in a row", do: []string{"tunnel", "{proxy}", connect("localhost:808"), "", connect("localhost:808"), connect("{name}:80"), asks("{name}")}, control: tw, twin: ok},
		{category: c, name: "the proxy asked for the capture port", do: loop("127.0.0.1:1"), control: tw, twin: ok},
		{category: c, name: "the proxy asked for the pen's own address", do: loop("192.0.0.8:808"), control: tw, twin: ok},
		{category: c, name: "TLS to the proxy port, then another's name", do: []string{"saytls", "{proxy}", "{name}", "", asks("{name}")}, control: tw, twin: ok},
		{category: c, name: "the resolver's port spoken HTTP to", do: []string{"say", "tcp", "good.example:53", asks("{name}")}, control: tw, twin: ok},
		{category: c, name: "the resolver's port spoken TLS to", do: []string{"saytls", "good.example:53", "good.example", "", "{c}"}, control: tw, twin: ok},
		{category: c, name: "SOCKS4, and SOCKS5 with no method", do: []string{"sh", `$T act say tcp {proxy} '\x04\x01\x00\x50\x00\x00\x00\x01u\x00{name}\x00'; $T act say tcp {proxy} '\x05\x00'; $T act say tcp {proxy} '\x05\x01\x02\x01\x01u\x01p\x05\x01\x00\x03'`}, control: tw, twin: ok},
		{category: c, name: "a listener of the tool's on our ports", do: []string{"sh", `python3 - <<'E'
import socket
for port in (1, 53, 80, 443, 808):
    for fam, addr in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::")):
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            s = socket.socket(fam, kind)
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try: s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            except OSError: pass
            try:
                s.bind((addr, port)); print("GOT port", port, addr)
            except OSError as e: print(port, e.errno)
E
true`}, arrived: byGot, control: without("the rig's own servers have these ports")},
	}
}
