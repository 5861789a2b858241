package posture

import (
	"errors"
	"testing"

	"github.com/penstock/penstock/sandbox"
)

// TestOpen: without a sandbox the network is compared all the same, and what is not
// compared is not said to be enforced.
func TestOpen(t *testing.T) {
	for name, tt := range map[string]struct {
		change  func(e *Expectation, o *Observation)
		control string // "": nothing differs
	}{
		"as declared":      {func(*Expectation, *Observation) {}, ""},
		"the host's files": {func(e *Expectation, o *Observation) { o.Mounts, o.Namespaces.Mnt = nil, e.Ours.Mnt }, ""},
		"the host's others": {func(e *Expectation, o *Observation) {
			o.NSPID, o.Namespaces.PID, o.Seccomp = []int{5000}, e.Ours.PID, 0
		}, ""},
		"the host's network": {func(e *Expectation, o *Observation) {
			o.Namespaces.Net = e.Ours.Net
		}, network},
		"another network":     {func(_ *Expectation, o *Observation) { o.Namespaces.Net = 99 }, network},
		"no network is known": {func(e *Expectation, o *Observation) { o.Namespaces.Net, e.Net = 0, 0 }, network},
		"owner of it":         {func(e *Expectation, o *Observation) { o.Namespaces.User = e.Owner }, network},
		"the host's user":     {func(e *Expectation, o *Observation) { o.Namespaces.User = e.Ours.User }, network},
		"a capability":        {func(_ *Expectation, o *Observation) { o.Caps["CapBnd"] = 1 }, privilege},
		"new privileges":      {func(_ *Expectation, o *Observation) { o.NoNewPrivs = false }, privilege},
		"another user":        {func(_ *Expectation, o *Observation) { o.UID[1] = 0 }, privilege},
		"a descriptor":        {func(_ *Expectation, o *Observation) { o.Files = append(o.Files, File{FD: 9, Name: "x"}) }, descriptors},
	} {
		e, o := good()
		tt.change(e, o)
		err := CheckOpen(e, o)
		var m Mismatch
		if errors.As(err, &m) != (tt.control != "") || tt.control != "" && m[0].Control != tt.control {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, tt := range map[string]struct {
		change  func(e *Expectation, o *Observation)
		control string
	}{
		"as declared":    {func(*Expectation, *Observation) {}, ""},
		"all the host's": {func(e *Expectation, o *Observation) { o.Namespaces, o.UIDMap, o.GIDMap = e.Ours, "", "" }, ""},
		"another user":   {func(_ *Expectation, o *Observation) { o.UID[3] = 0 }, privilege},
		"another group":  {func(_ *Expectation, o *Observation) { o.GID[3] = 0 }, privilege},
		"a capability":   {func(_ *Expectation, o *Observation) { o.Caps["CapAmb"] = 1 }, privilege},
		"new privileges": {func(_ *Expectation, o *Observation) { o.NoNewPrivs = false }, privilege},
		"a descriptor":   {func(_ *Expectation, o *Observation) { o.Files = append(o.Files, File{FD: 9, Name: "x"}) }, descriptors},
	} {
		e, o := good()
		tt.change(e, o)
		err := CheckPlain(e, o)
		var m Mismatch
		if errors.As(err, &m) != (tt.control != "") || tt.control != "" && m[0].Control != tt.control {
			t.Errorf("plain, %s: %v", name, err)
		}
	}
	if c := PlainControls()[0]; c.Control != network || c.State != sandbox.Partial || c.By != "proxy variables" {
		t.Errorf("%+v", c)
	}
	closed := Controls(nil)
	for i, c := range OpenControls() {
		if c.Control != closed[i].Control || c.State == sandbox.Enforced && c.Control != setUserID && c.Control != descriptors {
			t.Errorf("%+v beside %+v", c, closed[i])
		}
	}
}
