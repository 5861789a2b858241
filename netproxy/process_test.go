package netproxy

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/policy"
)

// TestRulesByProcess: who opened a connection decides about it and about each
// request on it, however it came to the proxy.
func TestRulesByProcess(t *testing.T) {
	inodes := map[string]uint64{"/usr/bin/git": 1, "/usr/bin/curl": 2}
	var who atomic.Pointer[hooks.Process]
	run := func(exe string) {
		who.Store(nil)
		if exe != "" {
			who.Store(&hooks.Process{PID: 1, Exe: hooks.Executable{Path: exe, Dev: 1, Ino: inodes[exe]}})
		}
	}
	const rules = `  allow:
    - {host: api.test, process: {exe: /usr/bin/git}}
    - {host: raw.test, protocol: tcp, ports: [22], process: {exe: /usr/bin/git}}
    - {host: web.test}
  deny:
    - {host: web.test, process: {exe: /usr/bin/curl}}
`
	pn := newPen(t, rules, func(c *Config) {
		var err error
		c.Policy, err = c.Policy.ResolveExecutables(func(path string) ([]hooks.Executable, error) {
			return []hooks.Executable{{Dev: 1, Ino: inodes[path]}}, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		c.Who = func(context.Context, netip.AddrPort, netip.AddrPort) *hooks.Process { return who.Load() }
	})
	pn.origin("api.test:443", http.HandlerFunc(hello))
	pn.origin("web.test:80", http.HandlerFunc(hello))
	l := listen(t)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			io.WriteString(c, "SSH-2.0-test\r\n")
			c.Close()
		}
	}()
	pn.place("raw.test:22", l.Addr().String())
	for _, tt := range []struct {
		exe           string
		api, web, raw bool
	}{
		{"/usr/bin/git", true, true, true},
		{"/usr/bin/curl", false, false, false},
		{"/usr/bin/other", false, true, false},
		{"", false, false, false},
	} {
		run(tt.exe)
		for url, want := range map[string]bool{"https://api.test/": tt.api, "http://web.test/": tt.web} {
			for _, proto := range []string{"h1", "h2"} {
				if proto == "h2" && strings.HasPrefix(url, "http:") {
					proto = "h2c"
				}
				resp, body := get(t, pn.client(proto), url)
				if (resp.StatusCode == 200) != want || !want && !strings.Contains(body, "process") {
					t.Errorf("%q: %s in %s: %s %s", tt.exe, url, proto, resp.Status, body)
				}
			}
		}
		b, _ := io.ReadAll(pn.dial("raw.test:22"))
		if (string(b) == "SSH-2.0-test\r\n") != tt.raw {
			t.Errorf("%q: raw: %q", tt.exe, b)
		}
		// By SOCKS, whose answer says it before any byte.
		c, err := net.Dial("tcp", pn.explicit)
		if err != nil {
			t.Fatal(err)
		}
		c.SetDeadline(time.Now().Add(10 * time.Second))
		io.WriteString(c, "\x05\x01\x00\x05\x01\x00\x03\x08raw.test\x00\x16")
		got := make([]byte, 4)
		if _, err := io.ReadFull(c, got); err != nil || (got[3] == 0) != tt.raw {
			t.Errorf("%q: SOCKS: %q, %v", tt.exe, got, err)
		}
		c.Close()
	}
	// A kept connection stays its opener's; a new one is the new program's.
	run("/usr/bin/git")
	kept := pn.client("h1")
	if resp, body := get(t, kept, "https://api.test/"); resp.StatusCode != 200 {
		t.Fatalf("%s %s", resp.Status, body)
	}
	run("/usr/bin/curl")
	if resp, body := get(t, kept, "https://api.test/"); resp.StatusCode != 200 {
		t.Errorf("on a connection of git's: %s %s", resp.Status, body)
	}
	if resp, _ := get(t, pn.client("h1"), "https://api.test/"); resp.StatusCode == 200 {
		t.Error("on a connection of its own another program is allowed")
	}
	// And a policy that is put in force meanwhile judges by the opener, too.
	q := parsePolicy(t, "version: 1\negress: {allow: [{host: api.test, process: {exe: /usr/bin/curl}}]}")
	q, err := q.ResolveExecutables(policy.Finder(func(path string) ([]hooks.Executable, error) {
		return []hooks.Executable{{Dev: 1, Ino: inodes[path]}}, nil
	}))
	if err != nil {
		t.Fatal(err)
	}
	pn.p.SetPolicy(q)
	if resp, _ := get(t, kept, "https://api.test/"); resp.StatusCode == 200 {
		t.Error("git's connection is allowed by a rule about curl")
	}
}
