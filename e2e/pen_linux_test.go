package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/penstock/penstock/internal/world"
)

// pen is one way into `penstock run`: who runs it, from where, under what policy.
type pen struct {
	t    *testing.T
	w    *world.World
	opts world.Options
	home *world.Home

	allow []string          // YAML of rules: {host: …}
	read  []string          // host paths to show read-only
	env   map[string]string // variables in the pen
	flags []string          // further flags of penstock run
	// secrets are YAML entries of the policy's secrets; their values are in opts.Env.
	secrets []string
	hooks   []string // YAML entries of the policy's hooks
	whole   string   // the whole policy, instead of what follows from the rest
	egress  string   // further lines of the egress section
	proxy   bool     // set proxy variables too
	ran     bool     // a session has been run
}

// bare runs clients without a pen, to tell a fault of the rig from one of the pen.
func bare() bool { return os.Getenv("PENSTOCK_BARE") != "" }

func newPen(t *testing.T, w *world.World) *pen {
	t.Helper()
	opts := world.Options{User: os.Getenv("PENSTOCK_E2E_USER") != ""}
	p := &pen{t: t, w: w, opts: opts, home: w.NewHome(opts), env: map[string]string{}}
	tier := os.Getenv("PENSTOCK_E2E_TIER")
	if tier != "" {
		p.flags = []string{"--sandbox", tier}
	}
	// Whatever a case did, its sessions are proven complete afterwards.
	t.Cleanup(func() {
		if !p.ran || t.Failed() {
			return
		}
		if r := w.Run(p.home, p.opts, world.Penstock(t), "audit", "verify"); r.Code != 0 {
			t.Errorf("audit verify: %s", r)
		}
		for _, r := range p.audit() {
			if tier != "" && r.str("type") == "session_start" && r.str("tier") != tier {
				t.Errorf("a session of tier %s", r.str("tier"))
			}
		}
	})
	return p
}

// policy writes the policy file and returns its path.
func (p *pen) policy() string {
	if p.whole != "" {
		return p.home.Write(p.t, "policy.yaml", p.whole)
	}
	var b strings.Builder
	b.WriteString("version: 1\n")
	if len(p.read) > 0 {
		b.WriteString("filesystem:\n  read:\n")
		for _, r := range p.read {
			fmt.Fprintf(&b, "    - %s\n", quoteYAML(r))
		}
	}
	fmt.Fprintf(&b, "environment:\n  proxy_variables: %v\n", p.proxy)
	if len(p.env) > 0 {
		b.WriteString("  set:\n")
		for k, v := range p.env {
			fmt.Fprintf(&b, "    %s: %s\n", k, quoteYAML(v))
		}
	}
	if len(p.secrets) > 0 {
		b.WriteString("secrets:\n")
		for _, s := range p.secrets {
			fmt.Fprintf(&b, "  - %s\n", s)
		}
	}
	if len(p.hooks) > 0 {
		b.WriteString("hooks:\n")
		for _, h := range p.hooks {
			fmt.Fprintf(&b, "  - %s\n", h)
		}
	}
	b.WriteString("egress:\n")
	fmt.Fprintf(&b, "  ca: [%s]\n", quoteYAML(p.w.CA()))
	if len(p.allow) > 0 {
		b.WriteString("  allow:\n")
		for _, r := range p.allow {
			fmt.Fprintf(&b, "    - %s\n", r)
		}
	}
	b.WriteString(p.egress)
	return p.home.Write(p.t, "policy.yaml", b.String())
}

// quoteYAML writes a YAML double-quoted scalar; JSON's is a subset of it.
func quoteYAML(s string) string {
	b, _ := json.Marshal(s)
	return string(b)
}

// run runs a command in the pen.
func (p *pen) run(argv ...string) world.Result {
	p.t.Helper()
	if bare() {
		o := p.opts
		for _, v := range []string{"SSL_CERT_FILE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS", "GIT_SSL_CAINFO", "REQUESTS_CA_BUNDLE", "PIP_CERT", "npm_config_cafile"} {
			o.Env = append(o.Env, v+"="+p.w.CA())
		}
		for k, v := range p.env {
			o.Env = append(o.Env, k+"="+v)
		}
		return p.w.Run(p.home, o, argv...)
	}
	p.ran = true
	args := append([]string{world.Penstock(p.t), "run", "--policy", p.policy()}, p.flags...)
	args = append(append(args, "--"), argv...)
	return p.w.Run(p.home, p.opts, args...)
}

// sh runs a shell script in the pen.
func (p *pen) sh(script string) world.Result {
	p.t.Helper()
	return p.run("/bin/bash", "-c", script)
}

// record is a line of the audit.
type record map[string]any

func (r record) str(key string) string {
	s, _ := r[key].(string)
	return s
}

// audit returns the records of all sessions run from the pen's home.
func (p *pen) audit() []record {
	p.t.Helper()
	files, err := filepath.Glob(filepath.Join(p.home.Path, ".local/state/penstock/audit/*.jsonl"))
	if err != nil {
		p.t.Fatal(err)
	}
	var out []record
	for _, name := range files {
		if filepath.Base(name) == "ledger.jsonl" {
			continue
		}
		f, err := os.Open(name)
		if err != nil {
			p.t.Fatal(err)
		}
		lines := bufio.NewScanner(f)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			var r record
			if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
				p.t.Fatalf("audit line is not JSON: %v: %s", err, lines.Bytes())
			}
			out = append(out, r)
		}
		f.Close()
	}
	return out
}

// flows returns the recorded decisions about a host.
func (p *pen) flows(host string) []record {
	p.t.Helper()
	var out []record
	for _, r := range p.audit() {
		if r.str("type") == "flow_open" && r.str("host") == host {
			out = append(out, r)
		}
	}
	return out
}

// wantAllowed fails unless the audit has an allowed flow to the host, and no denied one.
func (p *pen) wantAllowed(host string) {
	p.t.Helper()
	if bare() {
		return
	}
	allowed := 0
	for _, f := range p.flows(host) {
		switch {
		case f.str("verdict") == "allow":
			allowed++
		// A connection that the client opened ahead and never used.
		case f.str("protocol") == "tcp" && f.str("reason") == "it was closed before it sent anything":
		default:
			p.t.Errorf("audit: flow to %s: %v", host, f)
		}
	}
	if allowed == 0 {
		p.t.Errorf("audit has no allowed flow to %s", host)
	}
}

// wantDenied fails unless the audit has a denied flow to the origin and nothing
// of it arrived outside: no packet and no DNS question.
func (p *pen) wantDenied(o *world.Origin) {
	p.t.Helper()
	if bare() {
		return
	}
	denied := 0
	for _, f := range p.flows(o.Name) {
		if f.str("verdict") == "deny" {
			denied++
		} else {
			p.t.Errorf("audit: flow to %s: %v", o.Name, f)
		}
	}
	if denied == 0 {
		p.t.Errorf("audit has no denied flow to %s", o.Name)
	}
	if p.w.Reached(o) {
		p.t.Errorf("packets for %s arrived outside: %v", o.Name, p.w.Outside())
	}
	if p.w.Asked(o.Name) {
		p.t.Errorf("the internet's DNS was asked for %s", o.Name)
	}
}

// wantLookupsAllowed fails if the internet's DNS was asked for a name to which
// the audit has no allowed flow.
func (p *pen) wantLookupsAllowed() {
	p.t.Helper()
	allowed := map[string]bool{}
	for _, r := range p.audit() {
		if r.str("type") == "flow_open" && r.str("verdict") == "allow" {
			allowed[r.str("host")] = true
		}
	}
	for _, q := range p.w.Queries() {
		if !allowed[q.Name] {
			p.t.Errorf("the internet's DNS was asked for %s, which no flow was allowed to", q.Name)
		}
	}
}

// wantOutput fails unless the run ended with the code and its output has all of want.
func wantOutput(t *testing.T, r world.Result, code int, want ...string) {
	t.Helper()
	if bare() && code != 0 {
		return // without a pen nothing is denied
	}
	ok := r.Code == code
	for _, s := range want {
		ok = ok && strings.Contains(r.Stdout, s)
	}
	if !ok {
		t.Errorf("want exit %d and %q\n%s", code, want, r)
	}
}

// wantFailure fails unless the run failed in time.
func wantFailure(t *testing.T, r world.Result) {
	t.Helper()
	if bare() {
		return
	}
	if r.Code <= 0 {
		t.Errorf("want a failure\n%s", r)
	}
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// text is a handler that answers with a fixed text.
func text(s string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		io.WriteString(w, s)
	})
}
