package config

import (
	"crypto/ed25519"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/penstock/penstock/policy"
	"github.com/penstock/penstock/policy/approval"
)

// TestApprovals: a run has the tokens that it was given, and says so; with one that
// can't be used it does not start.
func TestApprovals(t *testing.T) {
	dir := t.TempDir()
	work := filepath.Join(dir, "work")
	if err := os.Mkdir(work, 0o700); err != nil {
		t.Fatal(err)
	}
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	token := func(rule, audience string) string {
		t.Helper()
		s, err := approval.Sign(key, &approval.Statement{ID: approval.NewID(), Answer: "allow", Rule: rule, Audience: audience,
			From: time.Now().Unix(), Until: time.Now().Add(time.Hour).Unix(), Max: 2})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	file := func(name, content string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	p := file("p.yaml", "version: 1\negress: {default: ask, approvers: {desk: '"+policy.KeyText(key.Public().(ed25519.PublicKey))+"'}}\n")
	one, two := token("{host: a.example}", approval.Any), token("{host: b.example, process: {exe: /bin/sh}}", "job")
	resolve := func(env string, o Options) (*Config, error) {
		o.Command, o.Policies = []string{"true"}, []string{p}
		h := &Host{Home: dir, Dir: work, Environ: []string{"HOME=" + dir}}
		if env != "" {
			h.Environ = append(h.Environ, ApprovalsVariable+"="+env)
		}
		return Resolve(&o, h)
	}
	c, err := resolve(one, Options{Approvals: []string{file("two", "# two\n"+two+"\n")}, Audience: "job"})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(c.Approvals.Tokens, []string{two, one}) || c.Approvals.Audience != "job" || len(c.Approvals.Executables["/bin/sh"]) == 0 || !c.Policy.NeedsProcess() {
		t.Errorf("%+v", c.Approvals)
	}
	if all := strings.Join(c.Warnings, "\n"); !strings.Contains(all, "answers yes to {host: a.example}, at most 2 times in this session") || strings.Contains(all, "work directory") || strings.Contains(all, "penstock-approval") {
		t.Errorf("%s", all)
	}
	if c, err = resolve("", Options{Approvals: []string{file("work/one", one)}}); err != nil || !strings.Contains(strings.Join(c.Warnings, "\n"), "work/one lies in the work directory") || c.Policy.NeedsProcess() {
		t.Errorf("%v, %v", c, err)
	}
	if c, err = resolve("", Options{}); err != nil || c.Approvals != nil {
		t.Errorf("%+v, %v", c.Approvals, err)
	}
	for name, f := range map[string]func() (*Config, error){
		"audience": func() (*Config, error) { return resolve(two, Options{}) },
		"process": func() (*Config, error) {
			return resolve(token("{host: b.example, process: {exe: /no/such}}", approval.Any), Options{})
		},
		"blank":         func() (*Config, error) { return resolve(" \n", Options{}) },
		"rubbish":       func() (*Config, error) { return resolve(one+" x", Options{}) },
		"both":          func() (*Config, error) { return resolve(one, Options{Approvals: []string{file("one", one)}}) },
		"no file":       func() (*Config, error) { return resolve("", Options{Approvals: []string{filepath.Join(dir, "none")}}) },
		"any as a name": func() (*Config, error) { return resolve("", Options{Audience: approval.Any}) },
	} {
		_, err := f()
		if h, ok := err.(interface{ Hint() string }); !ok || h.Hint() == "" || strings.Contains(err.Error(), "penstock-approval.v1.") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestApprovalsNeverPassed: no source of the pen's environment has the tokens.
func TestApprovalsNeverPassed(t *testing.T) {
	kv := ApprovalsVariable + "=token"
	env, withheld := Environment(EnvInput{Host: []string{kv}, Pass: func(string) bool { return true }, Set: []string{kv}})
	if strings.Contains(strings.Join(env, " "), "token") || !slices.Equal(withheld, []string{ApprovalsVariable}) {
		t.Errorf("%q, withheld %q", env, withheld)
	}
}
