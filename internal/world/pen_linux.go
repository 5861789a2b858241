package world

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
)

// Pen is one way into `penstock run`: who runs it, from where, under what policy.
type Pen struct {
	T    *testing.T
	W    *World
	Opts Options
	Home *Home

	Allow []string          // YAML of rules: {host: …}
	Read  []string          // host paths to show read-only
	Env   map[string]string // variables in the pen
	Flags []string          // further flags of penstock run
	// Secrets are YAML entries of the policy's Secrets; their values are in opts.Env.
	Secrets []string
	Hooks   []string // YAML entries of the policy's hooks
	Whole   string   // the whole policy, instead of what follows from the rest
	Egress  string   // further lines of the egress section
	Proxy   bool     // set proxy variables too
	Ran     bool     // a session has been run: its records are proven complete at the end
}

// Bare runs clients without a pen, to tell a fault of the rig from one of the pen.
func Bare() bool { return os.Getenv("PENSTOCK_BARE") != "" }

// NewPen makes a pen in a home of its own, for the user and the tier that PENSTOCK_E2E_USER
// and PENSTOCK_E2E_TIER name.
func NewPen(t *testing.T, w *World) *Pen {
	t.Helper()
	opts := Options{User: os.Getenv("PENSTOCK_E2E_USER") != ""}
	p := &Pen{T: t, W: w, Opts: opts, Home: w.NewHome(opts), Env: map[string]string{}}
	tier := os.Getenv("PENSTOCK_E2E_TIER")
	if tier != "" {
		p.Flags = []string{"--sandbox", tier}
	}
	// Whatever a case did, its sessions are proven complete afterwards.
	t.Cleanup(func() {
		if !p.Ran || t.Failed() {
			return
		}
		if r := w.Run(p.Home, p.Opts, Penstock(t), "audit", "verify"); r.Code != 0 {
			t.Errorf("audit verify: %s", r)
		}
		for _, r := range p.Audit() {
			if tier != "" && r.Str("type") == "session_start" && r.Str("tier") != tier {
				t.Errorf("a session of tier %s", r.Str("tier"))
			}
		}
	})
	return p
}

// WritePolicy writes the policy file and returns its path.
func (p *Pen) WritePolicy() string {
	if p.Whole != "" {
		return p.Home.Write(p.T, "policy.yaml", p.Whole)
	}
	var b strings.Builder
	b.WriteString("version: 1\n")
	if len(p.Read) > 0 {
		b.WriteString("filesystem:\n  read:\n")
		for _, r := range p.Read {
			fmt.Fprintf(&b, "    - %s\n", QuoteYAML(r))
		}
	}
	fmt.Fprintf(&b, "environment:\n  proxy_variables: %v\n", p.Proxy)
	if len(p.Env) > 0 {
		b.WriteString("  set:\n")
		for k, v := range p.Env {
			fmt.Fprintf(&b, "    %s: %s\n", k, QuoteYAML(v))
		}
	}
	if len(p.Secrets) > 0 {
		b.WriteString("secrets:\n")
		for _, s := range p.Secrets {
			fmt.Fprintf(&b, "  - %s\n", s)
		}
	}
	if len(p.Hooks) > 0 {
		b.WriteString("hooks:\n")
		for _, h := range p.Hooks {
			fmt.Fprintf(&b, "  - %s\n", h)
		}
	}
	b.WriteString("egress:\n")
	fmt.Fprintf(&b, "  ca: [%s]\n", QuoteYAML(p.W.CA()))
	if len(p.Allow) > 0 {
		b.WriteString("  allow:\n")
		for _, r := range p.Allow {
			fmt.Fprintf(&b, "    - %s\n", r)
		}
	}
	b.WriteString(p.Egress)
	return p.Home.Write(p.T, "policy.yaml", b.String())
}

// QuoteYAML writes a YAML double-quoted scalar; JSON's is a subset of it.
func QuoteYAML(s string) string {
	b, _ := json.Marshal(s)
	return string(b)
}

// Run runs a command in the pen.
func (p *Pen) Run(argv ...string) Result {
	p.T.Helper()
	if Bare() {
		o := p.Opts
		for _, v := range []string{"SSL_CERT_FILE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS", "GIT_SSL_CAINFO", "REQUESTS_CA_BUNDLE", "PIP_CERT", "npm_config_cafile"} {
			o.Env = append(o.Env, v+"="+p.W.CA())
		}
		for k, v := range p.Env {
			o.Env = append(o.Env, k+"="+v)
		}
		return p.W.Run(p.Home, o, argv...)
	}
	p.Ran = true
	args := append([]string{Penstock(p.T), "run", "--policy", p.WritePolicy()}, p.Flags...)
	args = append(append(args, "--"), argv...)
	return p.W.Run(p.Home, p.Opts, args...)
}

// Sh runs a shell script in the pen.
func (p *Pen) Sh(script string) Result {
	p.T.Helper()
	return p.Run("/bin/bash", "-c", script)
}

// Record is a line of the audit.
type Record map[string]any

// Str is a field that is a text, or "".
func (r Record) Str(key string) string {
	s, _ := r[key].(string)
	return s
}

// Num is a field that is a number, or 0.
func (r Record) Num(key string) int {
	n, _ := r[key].(float64)
	return int(n)
}

// Args is the field argv.
func (r Record) Args() (out []string) {
	list, _ := r["argv"].([]any)
	for _, a := range list {
		s, _ := a.(string)
		out = append(out, s)
	}
	return out
}

// Audit returns the records of all sessions run from the pen's home.
func (p *Pen) Audit() []Record {
	p.T.Helper()
	files, err := filepath.Glob(filepath.Join(p.Home.Path, ".local/state/penstock/audit/*.jsonl"))
	if err != nil {
		p.T.Fatal(err)
	}
	var out []Record
	for _, name := range files {
		if filepath.Base(name) == "ledger.jsonl" {
			continue
		}
		f, err := os.Open(name)
		if err != nil {
			p.T.Fatal(err)
		}
		lines := bufio.NewScanner(f)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			var r Record
			if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
				p.T.Fatalf("audit line is not JSON: %v: %s", err, lines.Bytes())
			}
			out = append(out, r)
		}
		f.Close()
	}
	return out
}

// Flows returns the recorded decisions about a host.
func (p *Pen) Flows(host string) []Record {
	p.T.Helper()
	var out []Record
	for _, r := range p.Audit() {
		if r.Str("type") == "flow_open" && r.Str("host") == host {
			out = append(out, r)
		}
	}
	return out
}

// WantAllowed fails unless the audit has an allowed flow to the host, and no denied one.
func (p *Pen) WantAllowed(host string) {
	p.T.Helper()
	if Bare() {
		return
	}
	allowed := 0
	for _, f := range p.Flows(host) {
		switch {
		case f.Str("verdict") == "allow":
			allowed++
		// A connection that the client opened ahead and never used.
		case f.Str("protocol") == "tcp" && f.Str("reason") == "it was closed before it sent anything":
		default:
			p.T.Errorf("audit: flow to %s: %v", host, f)
		}
	}
	if allowed == 0 {
		p.T.Errorf("audit has no allowed flow to %s", host)
	}
}

// WantDenied fails unless the audit has a denied flow to the origin and nothing
// of it arrived outside: no packet and no DNS question.
func (p *Pen) WantDenied(o *Origin) {
	p.T.Helper()
	if Bare() {
		return
	}
	denied := 0
	for _, f := range p.Flows(o.Name) {
		if f.Str("verdict") == "deny" {
			denied++
		} else {
			p.T.Errorf("audit: flow to %s: %v", o.Name, f)
		}
	}
	if denied == 0 {
		p.T.Errorf("audit has no denied flow to %s", o.Name)
	}
	if p.W.Reached(o) {
		p.T.Errorf("packets for %s arrived outside: %v", o.Name, p.W.Outside())
	}
	if p.W.Asked(o.Name) {
		p.T.Errorf("the internet's DNS was asked for %s", o.Name)
	}
}

// WantLookupsAllowed fails if the internet's DNS was asked for a name to which
// the audit has no allowed flow.
func (p *Pen) WantLookupsAllowed() {
	p.T.Helper()
	allowed := map[string]bool{}
	for _, r := range p.Audit() {
		if r.Str("type") == "flow_open" && r.Str("verdict") == "allow" {
			allowed[r.Str("host")] = true
		}
	}
	for _, q := range p.W.Queries() {
		if !allowed[q.Name] {
			p.T.Errorf("the internet's DNS was asked for %s, which no flow was allowed to", q.Name)
		}
	}
}

// WantOutput fails unless the run ended with the code and its output has all of want.
func WantOutput(t *testing.T, r Result, code int, want ...string) {
	t.Helper()
	if Bare() && code != 0 {
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

// WantFailure fails unless the run failed in time.
func WantFailure(t *testing.T, r Result) {
	t.Helper()
	if Bare() {
		return
	}
	if r.Code <= 0 {
		t.Errorf("want a failure\n%s", r)
	}
}

// ReadFile returns what is in a file.
func ReadFile(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// Text is a handler that answers with a fixed text.
func Text(s string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		io.WriteString(w, s)
	})
}
