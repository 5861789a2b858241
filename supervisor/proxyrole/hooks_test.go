//go:build linux || darwin

package proxyrole

import (
	"testing"

	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/policy"
	"github.com/penstock/penstock/supervisor/proxyctl"
)

// TestAdmitted: a caller under a supervisor can't leave out to ask the hooks about the
// session, nor try until they say yes.
func TestAdmitted(t *testing.T) {
	with := func(on string) *engine {
		f, err := policy.Parse("p.yaml", policy.User, []byte("version: 1\nhooks: [{name: h, on: ["+on+"], cel: '\"next\"'}]\n"))
		if err != nil {
			t.Fatal(err)
		}
		p, err := policy.New([]*policy.File{f})
		if err != nil {
			t.Fatal(err)
		}
		return &engine{cfg: &proxyctl.Config{Policy: p}}
	}
	if err := with("request, session_end").admitted(); err != nil {
		t.Errorf("without a hook about the start: %v", err)
	}
	e := with("session_start")
	if e.admitted() == nil {
		t.Error("served although nobody was asked")
	}
	if e.run = new(hooks.Run); e.admitted() != nil {
		t.Error("not served although nobody denied")
	}
	if e.refused = true; e.admitted() == nil {
		t.Error("served although it was denied")
	}
}
