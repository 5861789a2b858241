//go:build linux || darwin

package proxyrole

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/penstock/penstock/audit"
	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/netproxy/dns"
)

// TestNames: all names are recorded, and of those that hooks refuse a few are said.
func TestNames(t *testing.T) {
	var noted, said []string
	n := names{
		note: func(e audit.Event) {
			d := e.(*audit.DNS)
			noted = append(noted, d.Name+" "+d.RCode+" "+d.Reason+strings.Repeat(" asked", len(d.Hooks)))
		},
		notice: func(s string) { said = append(said, s) },
	}
	trace := []hooks.Trace{{Hook: "h", Decision: "next"}}
	n.record(dns.Event{Name: "a.example", QType: "A", RCode: "NOERROR", Answer: netip.MustParseAddr("198.18.0.1"), Hooks: trace})
	n.record(dns.Event{Name: "a.invalid", QType: "A", RCode: "NXDOMAIN"})
	for range maxRefusals + 5 {
		n.record(dns.Event{Name: "b.example", QType: "AAAA", RCode: "NXDOMAIN", Reason: "denied by hook h", Hooks: trace})
	}
	if len(noted) != maxRefusals+7 || noted[0] != "a.example NOERROR  asked" || noted[1] != "a.invalid NXDOMAIN " || noted[2] != "b.example NXDOMAIN denied by hook h asked" {
		t.Errorf("recorded %q", noted)
	}
	if len(said) != maxRefusals+1 || said[0] != "no address for b.example (AAAA): denied by hook h" || !strings.Contains(said[maxRefusals], "in the audit only") {
		t.Errorf("said %q", said)
	}
}
