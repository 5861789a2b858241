package netproxy

import (
	"context"
	"net/http"
	"net/netip"
	"testing"

	"github.com/penstock/penstock/audit"
	"github.com/penstock/penstock/hooks"
)

// TestToldIsForRecords: what somebody in the pen says of a process is in the records,
// and no rule believes it, whatever it says.
func TestToldIsForRecords(t *testing.T) {
	git := hooks.Executable{Path: "/usr/bin/git", Dev: 1, Ino: 1}
	sentry := &hooks.Process{PID: 900, Exe: hooks.Executable{Path: "/run/kernel", Dev: 1, Ino: 9}}
	shell := &hooks.Process{PID: 1, Exe: hooks.Executable{Path: "/bin/sh"}, SaidBy: "kernel"}
	told := &hooks.Process{PID: 7, TID: 8, Exe: git, Args: []string{"git", "fetch"}, SaidBy: "kernel", Parent: shell}
	for name, seen := range map[string]*hooks.Process{"seen": sentry, "not seen": nil} {
		t.Run(name, func(t *testing.T) {
			pn := newPen(t, "  allow:\n    - {host: api.test, process: {exe: /usr/bin/git}}\n    - {host: web.test}\n", func(c *Config) {
				var err error
				if c.Policy, err = c.Policy.ResolveExecutables(func(string) ([]hooks.Executable, error) { return []hooks.Executable{git}, nil }); err != nil {
					t.Fatal(err)
				}
				c.Who = func(context.Context, netip.AddrPort, netip.AddrPort) *hooks.Process { return seen }
				c.Told = func(context.Context, netip.AddrPort, netip.AddrPort) *hooks.Process { return told }
			})
			pn.origin("api.test:443", http.HandlerFunc(hello))
			pn.origin("web.test:443", http.HandlerFunc(hello))
			if resp, _ := get(t, pn.client("h1"), "https://api.test/"); resp.StatusCode == 200 {
				t.Error("a rule with process believes the pen")
			}
			if resp, body := get(t, pn.client("h1"), "https://web.test/"); resp.StatusCode != 200 {
				t.Errorf("%s %s", resp.Status, body)
			}
			for _, host := range []string{"api.test", "web.test"} {
				o := wait(t, pn.records, func(o *audit.FlowOpen) bool { return o.Target.Host == host })
				if o.PID != 7 || o.TID != 8 || o.Exe != git.Path || o.SaidBy != "kernel" || o.Process != 2 {
					t.Errorf("%+v", o)
				}
			}
			p := wait(t, pn.records, func(p *audit.Process) bool { return p.Number == 2 })
			if p.SaidBy != "kernel" || p.Parent != 1 || p.PID != 7 || p.Action != "seen" {
				t.Errorf("%+v", p)
			}
		})
	}
	// A deny by a program that is not seen for certain denies.
	pn := newPen(t, "  allow:\n    - {host: web.test}\n  deny:\n    - {host: web.test, process: {exe: /usr/bin/curl}}\n", func(c *Config) {
		var err error
		if c.Policy, err = c.Policy.ResolveExecutables(func(string) ([]hooks.Executable, error) { return []hooks.Executable{{Dev: 1, Ino: 2}}, nil }); err != nil {
			t.Fatal(err)
		}
		c.Told = func(context.Context, netip.AddrPort, netip.AddrPort) *hooks.Process { return told }
	})
	pn.origin("web.test:443", http.HandlerFunc(hello))
	if resp, _ := get(t, pn.client("h1"), "https://web.test/"); resp.StatusCode == 200 {
		t.Error("the pen's word that it is another program was believed")
	}
}
