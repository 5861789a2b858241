package proxyrole

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/policy"
	"github.com/penstock/penstock/sandbox"
	"github.com/penstock/penstock/supervisor/bossctl"
	"github.com/penstock/penstock/supervisor/proxyctl"
)

// TestUnderFloor: what a caller's configuration says and the floor does not
// leave to him is not what the role serves by.
func TestUnderFloor(t *testing.T) {
	own := filepath.Join(t.TempDir(), "corp.pem")
	if err := os.WriteFile(own, []byte("the administrator's"), 0o644); err != nil {
		t.Fatal(err)
	}
	var sh unix.Stat_t
	if err := unix.Stat("/bin/sh", &sh); err != nil {
		t.Fatal(err)
	}
	floor := `version: 1
egress:
  allow: [{host: a.corp.example, process: {exe: /bin/sh}}]
  deny: [{host: x.corp.example}]
  ca: [` + own + `]
limits: {egress: ["*.corp.example"], ca: false, memory: 1GiB, timeout: 1h}
`
	good := sandbox.Limits{Memory: 1 << 30, Wall: time.Hour}
	join := func(client string, asked sandbox.Limits) (*proxyctl.Config, error) {
		t.Helper()
		f, err := policy.Parse("/home/u/p.yaml", policy.User, []byte("version: 1\n"+client))
		if err != nil {
			t.Fatal(err)
		}
		p, err := policy.New([]*policy.File{f})
		if err != nil {
			t.Fatal(err)
		}
		b, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		cfg := &proxyctl.Config{Mode: "audit", Policy: new(policy.Policy), Roots: [][]byte{[]byte("the caller's")}}
		if err := json.Unmarshal(b, cfg.Policy); err != nil {
			t.Fatal(err)
		}
		s := &supervised{assign: &bossctl.Assign{FloorName: "/etc/penstock/policy.yaml", FloorText: []byte(floor), Limits: asked}}
		_, err = s.underFloor(cfg)
		return cfg, err
	}
	cfg, err := join("egress: {allow: [{host: '*.corp.example'}]}", good)
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Mode != "enforce" {
		t.Errorf("mode %s", cfg.Mode)
	}
	if len(cfg.Roots) != 1 || string(cfg.Roots[0]) != "the administrator's" {
		t.Errorf("roots %q", cfg.Roots)
	}
	r, err := policy.ParseRequest("https://x.corp.example/", "")
	if err != nil || cfg.Policy.Decide(r).Action == hooks.Allow {
		t.Errorf("the floor's deny: %v", err)
	}
	if cfg, err = join("", good); err != nil {
		t.Fatal(err)
	}
	if r, err = policy.ParseRequest("https://a.corp.example/", ""); err != nil {
		t.Fatal(err)
	}
	r.Process = &hooks.Process{Exe: hooks.Executable{Dev: sh.Dev, Ino: sh.Ino}}
	if v := cfg.Policy.Decide(r); v.Action != hooks.Allow || v.Rule.Layer != policy.System {
		t.Errorf("the floor's own executable: %+v", v)
	}
	if r.Process = nil; cfg.Policy.Decide(r).Action == hooks.Allow {
		t.Error("the floor's executable without a process")
	}
	for _, tt := range []struct {
		client string
		asked  sandbox.Limits
		want   string
	}{
		{"egress: {allow: [{host: evil.example}]}", good, "the limit at /etc/penstock/policy.yaml:6 (system)"},
		{"egress: {ca: [/x.pem]}", good, "further roots of trust are not allowed"},
		{"", sandbox.Limits{}, "opened with more memory than /etc/penstock/policy.yaml:6 allows"},
		{"", sandbox.Limits{Memory: 2 << 30, Wall: time.Hour}, "more memory"},
		{"", sandbox.Limits{Memory: 1 << 30, Wall: 2 * time.Hour}, "more timeout"},
		{"", sandbox.Limits{Memory: -1, Wall: time.Hour}, "more memory"},
	} {
		if _, err := join(tt.client, tt.asked); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s %+v: %v, want %s", tt.client, tt.asked, err, tt.want)
		}
	}
	floor = "version: 1\negress: {allow: [{host: a.example, process: {exe: /no/such}}]}\n"
	if _, err := join("", good); err == nil || !strings.Contains(err.Error(), "/etc/penstock/policy.yaml:2:18: the executable") {
		t.Errorf("a file of the floor that is not there: %v", err)
	}
	// Without limits.ca the caller's own roots are his affair.
	floor = "version: 1\n"
	if cfg, err := join("", sandbox.Limits{}); err != nil || string(cfg.Roots[0]) != "the caller's" {
		t.Errorf("a floor that leaves roots to callers: %v", err)
	}
}
