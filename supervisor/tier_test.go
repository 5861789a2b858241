//go:build linux || darwin

package supervisor

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/penstock/penstock/policy"
	"github.com/penstock/penstock/sandbox"
	"github.com/penstock/penstock/sandbox/bwrap"
	"github.com/penstock/penstock/sandbox/gvisor"
	"github.com/penstock/penstock/sandbox/wasm"
	"github.com/penstock/penstock/supervisor/config"
)

// TestTierChoice: auto takes the strongest of a list that was tried with success, says
// what it passed over, and never takes what the list or a limit doesn't have.
func TestTierChoice(t *testing.T) {
	pen, err := bwrap.New("")
	if err == nil {
		_, err = pen.Probe(t.Context())
	}
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	good := &stronger{pen, nil}
	bad := &stronger{pen, errors.New("tier gvisor: try /p: it does not start")}
	module := wasm.New(pen, "http://127.0.0.1:1", "/ca.pem")

	for _, tt := range []struct {
		policy   string
		backends []sandbox.Backend
		want     string
		warning  []string
		err      []string
	}{
		{policy: "sandbox: {tiers: [bwrap, gvisor]}", backends: []sandbox.Backend{pen, good, module}, want: "gvisor"},
		{policy: "sandbox: {tiers: [bwrap]}", backends: []sandbox.Backend{pen, good, module}, want: "bwrap"},
		{
			policy: "sandbox: {tiers: [bwrap, gvisor]}", backends: []sandbox.Backend{pen, bad, module}, want: "bwrap",
			warning: []string{"p.yaml:2: tier gvisor can't be had: try /", "so that auto took tier bwrap"},
		},
		{
			policy: "sandbox: {tiers: [wasm, firecracker, bwrap]}", backends: []sandbox.Backend{pen, good, module}, want: "bwrap",
			warning: []string{"tier wasm can't be had: auto never takes it", "tier firecracker can't be had: this build has no such tier"},
		},
		{
			policy: "sandbox: {tiers: [gvisor, firecracker]}", backends: []sandbox.Backend{pen, bad, module},
			err: []string{"p.yaml:2: no tier of sandbox.tiers runs here: ", "firecracker can't be had: this build has no such tier", "; tier gvisor can't be had: try /"},
		},
		{policy: "sandbox: {tiers: [gvisor, bwrap]}\nlimits: {tier: gvisor}", backends: []sandbox.Backend{pen, bad}, err: []string{"gvisor can't be had"}},
		{policy: "sandbox: {tiers: [gvisor]}", backends: nil, err: []string{"gvisor can't be had: this build has no such tier"}},
		{policy: "sandbox: {tier: gvisor, tiers: [gvisor, bwrap]}", backends: []sandbox.Backend{pen, bad}, want: "gvisor"}, // and its start will say why not
		{policy: "limits: {tier: gvisor}", backends: []sandbox.Backend{pen, good}, want: "gvisor"},
		{policy: "limits: {tier: gvisor}", backends: []sandbox.Backend{pen}, err: []string{"p.yaml:2 asks for at least: sandbox tier \"gvisor\" is not available"}},
		{policy: "", backends: []sandbox.Backend{pen, good}, want: "bwrap"},
	} {
		p := onePolicy(t, tt.policy)
		cfg := &config.Config{Policy: p, Tier: "auto"}
		if s := p.Sandbox().Tier; s.Set {
			cfg.Tier = s.V
		}
		b, warnings, err := chooseBackend(t.Context(), cfg, tt.backends)
		if tt.want == "" {
			for _, want := range tt.err {
				if err == nil || !strings.Contains(err.Error(), want) || b != nil {
					t.Errorf("%s: got %v, error %v, want %s", tt.policy, b, err, want)
				}
			}
			var hint interface{ Hint() string }
			if !errors.As(err, &hint) || hint.Hint() == "" {
				t.Errorf("%s: %v has no hint", tt.policy, err)
			}
			continue
		}
		if err != nil || b.Name() != tt.want {
			t.Errorf("%s: got %v, %v", tt.policy, b, err)
		}
		all := strings.Join(warnings, "\n")
		if (all == "") != (tt.warning == nil) {
			t.Errorf("%s: warnings %q", tt.policy, warnings)
		}
		for _, want := range tt.warning {
			if !strings.Contains(all, want) {
				t.Errorf("%s: warnings %q, want %s", tt.policy, warnings, want)
			}
		}
	}

	// Who interrupts the trial gets no weaker tier for it.
	p := onePolicy(t, "sandbox: {tiers: [gvisor, bwrap]}")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if b, _, err := chooseBackend(ctx, &config.Config{Policy: p, Tier: "auto"}, []sandbox.Backend{pen, good}); b != nil || err != context.Canceled {
		t.Errorf("interrupted: %v, %v", b, err)
	}
}

// stronger is a real tier under the name of a stronger one, and what its trial finds.
type stronger struct {
	sandbox.Backend
	err error
}

func (*stronger) Name() string { return gvisor.Name }

func (s *stronger) Probe(ctx context.Context) ([]sandbox.Capability, error) {
	caps, err := s.Backend.Probe(ctx)
	return caps, errors.Join(err, s.err)
}

// onePolicy loads a policy of one file, p.yaml.
func onePolicy(t *testing.T, text string) *policy.Policy {
	t.Helper()
	dir := t.TempDir()
	name := filepath.Join(dir, "p.yaml")
	if err := os.WriteFile(name, []byte("version: 1\n"+text), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := policy.Load(policy.LoadOptions{Named: []string{name}, WorkDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	return p
}
