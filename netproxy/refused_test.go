package netproxy

import (
	"net/netip"
	"testing"

	"github.com/penstock/penstock/audit"
	"github.com/penstock/penstock/hooks"
)

// TestRefused: what was refused before us is recorded as the policy has it, with who
// it was, and what the policy does not deny by a rule is not put down to it.
func TestRefused(t *testing.T) {
	pn := newPen(t, "  allow: [{cidr: 203.0.113.7/32}]\n  deny: [{cidr: 203.0.113.0/28}]\n")
	who := &hooks.Process{PID: 7, TID: 8, Start: 9, Exe: hooks.Executable{Path: "/bin/sh"}, Args: []string{"sh"}}
	target := func(s string) hooks.Target { return hooks.Target{Addr: netip.MustParseAddr(s), Port: 80} }
	if !pn.p.Refused(target("203.0.113.7"), who) || !pn.p.Refused(target("203.0.113.7"), nil) {
		t.Error("what a rule denies is not recorded")
	}
	for _, s := range []string{"203.0.113.99", "2001:db8::1"} { // no rule, which nobody else refuses for
		if pn.p.Refused(target(s), who) {
			t.Errorf("%s is taken for denied by a rule", s)
		}
	}
	var open []*audit.FlowOpen
	closed := 0
	for _, e := range pn.records.all() {
		switch e := e.(type) {
		case *audit.FlowOpen:
			open = append(open, e)
		case *audit.FlowClose:
			if closed++; e.Class != "denied" || e.Error != string(errKernel) {
				t.Errorf("%+v", e)
			}
		}
	}
	if len(open) != 2 || closed != 2 {
		t.Fatalf("%d flows begin and %d end", len(open), closed)
	}
	if f := open[0]; f.Verdict != hooks.Deny || f.Rule == "" || f.Mode != "enforce" || f.PID != 7 || f.TID != 8 || f.Process != 1 || f.Exe != "/bin/sh" || f.Original.String() != "203.0.113.7:80" {
		t.Errorf("%+v", f)
	}
	if f := open[1]; f.Verdict != hooks.Deny || f.Process != 0 || f.Flow == open[0].Flow {
		t.Errorf("%+v", f)
	}
	if st := pn.p.Stats(); st.Denied != 2 || st.Allowed != 0 {
		t.Errorf("%+v", st)
	}
	if e := pn.p.Exit(who); e.Number != 1 || e.Action != "exit" {
		t.Errorf("%+v", e)
	}
}
