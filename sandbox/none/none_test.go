package none

import (
	"slices"
	"testing"

	"github.com/penstock/penstock/sandbox"
)

// TestLimits: a limit is kept by a control group or by nothing, and never for certain.
func TestLimits(t *testing.T) {
	for _, tt := range []struct {
		control   string
		had, want sandbox.Enforcement
	}{
		{"memory", sandbox.Enforced, sandbox.Partial},
		{"memory", sandbox.Partial, sandbox.Unavailable},
		{"pids", sandbox.Partial, sandbox.Unavailable},
		{"cpus", sandbox.Unavailable, sandbox.Unavailable},
		{"io", sandbox.Enforced, sandbox.Partial},
		{"open-files", sandbox.Enforced, sandbox.Enforced},
	} {
		got := Backend{}.Limit(sandbox.Capability{Control: tt.control, State: tt.had, By: "x"})
		if got.State != tt.want || got.State == sandbox.Unavailable && tt.had != got.State && (got.By != "" || got.Fix == "" || got.Detail == "") {
			t.Errorf("%v: %+v", tt, got)
		}
	}
}

// TestNothingOfASandbox: it has no view of its own to give, says so, and is no choice.
func TestNothingOfASandbox(t *testing.T) {
	b := Backend{}
	if b.Any() || b.Prepare(&sandbox.Spec{}) != nil {
		t.Error("auto may take it, or it can't be had")
	}
	for _, s := range []*sandbox.Spec{{Mounts: []sandbox.Mount{{Target: "/x"}}}, {Files: []sandbox.File{{Target: "/x"}}}} {
		if b.Prepare(s) == nil {
			t.Errorf("%+v is taken", s)
		}
	}
	for _, c := range b.Capabilities(7) {
		if c.State != sandbox.Unavailable {
			t.Errorf("%+v", c)
		}
	}
	c, err := b.Command(&sandbox.Spec{Penstock: "/p", UID: 7, GID: 8}, nil, nil)
	if err != nil || c.Path != "/p" || !slices.Equal(c.Argv, []string{"penstock", Role, "7", "8"}) || c.Root != 0 {
		t.Errorf("%+v, %v", c, err)
	}
	if c, err = (Backend{Plain: true}).Command(&sandbox.Spec{Penstock: "/p"}, nil, nil); err != nil || !slices.Equal(c.Argv, []string{"penstock", Role, "0", "0", "plain"}) {
		t.Errorf("%+v, %v", c, err)
	}
}
