package demo

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/penstock/penstock/supervisor/internal/origin"
)

// Options of a demo.
type Options struct {
	Self    string   // absolute path of the penstock binary
	Environ []string // the caller's
	Out     io.Writer
	Colour  bool
	Keep    bool // leave the demo's directory, with policy and audit
}

// Report is a demo for programs.
type Report struct {
	OK          bool     `json:"ok"`
	Seconds     float64  `json:"seconds"`
	Attempts    []Result `json:"attempts"`
	Arrived     []string `json:"arrived"`               // what reached the origin
	Differences []string `json:"differences,omitempty"` // from what the policy says
}

// Result is one attempt.
type Result struct {
	Attempt string `json:"attempt"`
	Expect  bool   `json:"expect"`  // what the policy says of it
	Allowed bool   `json:"allowed"` // what became of it
	Detail  string `json:"detail"`
}

// MismatchError says that something did not happen as the policy says.
type MismatchError struct{ Differences []string }

func (e *MismatchError) Error() string {
	return "the demo did not behave as its policy says:\n  " + strings.Join(e.Differences, "\n  ")
}

// Hint says where to look.
func (e *MismatchError) Hint() string { return "penstock doctor tells what this machine can enforce" }

// demo is one run.
type demo struct {
	Options
	dir    string
	origin *origin.Origin
	secret string
	report Report
}

// Run shows the main job and returns an error if any part of it did not behave.
// The report is never nil.
func Run(ctx context.Context, o Options) (*Report, error) {
	d := &demo{Options: o}
	err := d.run(ctx)
	d.report.OK = err == nil
	return &d.report, err
}

func (d *demo) run(ctx context.Context) error {
	begin := time.Now()
	dir, err := os.MkdirTemp("", "penstock-demo-")
	if err != nil {
		return fmt.Errorf("make the demo's directory: %w", err)
	}
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return fmt.Errorf("make the demo's directory: %w", err)
	}
	if !d.Keep {
		defer os.RemoveAll(dir)
	}
	org, err := origin.Start(api, paste, db, stranger)
	if err != nil {
		return err
	}
	defer org.Close()
	random := make([]byte, 16)
	rand.Read(random)
	d.dir, d.origin, d.secret = dir, org, "real-"+hex.EncodeToString(random)
	if err := d.prepare(); err != nil {
		return err
	}
	if err := d.attempts(ctx); err != nil {
		return err
	}
	if err := d.audit(ctx); err != nil {
		return err
	}
	d.report.Seconds = time.Since(begin).Seconds()
	if len(d.report.Differences) > 0 {
		return &MismatchError{Differences: d.report.Differences}
	}
	d.say("\nEverything behaved as the policy says (%.1f s).\n", d.report.Seconds)
	if d.Keep {
		d.say("Policy and audit are in %s\n", dir)
	}
	return nil
}

func (d *demo) say(format string, args ...any) { fmt.Fprintf(d.Out, format, args...) }

func (d *demo) mismatch(format string, args ...any) {
	d.report.Differences = append(d.report.Differences, fmt.Sprintf(format, args...))
}

func (d *demo) path(name string) string { return filepath.Join(d.dir, name) }

// policy is the demo's policy file.
func (d *demo) policy() string {
	return fmt.Sprintf(`version: 1
egress:
  allow:
    - host: %[1]s
      ports: [%[5]d]
      methods: [GET, HEAD]
      paths: ["/v1/**"]
      addresses: [127.0.0.0/8]
    - {host: %[2]s, ports: [%[6]d], addresses: [127.0.0.0/8]}
    - {host: %[3]s, ports: [%[7]d], protocol: tcp, addresses: [127.0.0.0/8]}
    - {host: %[3]s, ports: [%[8]d], addresses: [127.0.0.0/8]}
  deny:
    - host: %[2]s
  hosts: {%[1]s: 127.0.0.1, %[2]s: 127.0.0.1, %[3]s: 127.0.0.1, %[4]s: 127.0.0.1}
  ca: [ca.pem]
secrets:
  - {name: %[9]s, from: "env:%[9]s", hosts: [%[1]s], header: authorization}
`, api, paste, db, stranger, d.origin.HTTPS, d.origin.HTTPS, d.origin.TCP, d.origin.HTTP, secretVariable)
}

// prepare writes the policy and makes the directories.
func (d *demo) prepare() error {
	if err := os.Mkdir(d.path("work"), 0o700); err != nil {
		return fmt.Errorf("make the demo's work directory: %w", err)
	}
	if err := os.WriteFile(d.path("ca.pem"), d.origin.CA, 0o600); err != nil {
		return fmt.Errorf("write the demo's authority: %w", err)
	}
	text := d.policy()
	if err := os.WriteFile(d.path("policy.yaml"), []byte(text), 0o600); err != nil {
		return fmt.Errorf("write the demo's policy: %w", err)
	}
	d.say("A server on this machine plays the internet; a program in a pen tries to reach it.\nThe policy:\n\n")
	for line := range strings.Lines(text) {
		d.say("    %s", line)
	}
	return nil
}

// penstock runs the binary as a user would, with directories of the demo's own,
// so that neither the user's policies nor their audit are touched.
func (d *demo) penstock(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, d.Self, args...)
	cmd.Dir = d.path("work")
	for _, kv := range d.Environ {
		if !strings.HasPrefix(kv, "XDG_") {
			cmd.Env = append(cmd.Env, kv)
		}
	}
	for _, v := range []string{"CONFIG_HOME", "STATE_HOME", "DATA_HOME", "CACHE_HOME"} {
		cmd.Env = append(cmd.Env, "XDG_"+v+"="+d.path(strings.ToLower(v)))
	}
	cmd.Env = append(cmd.Env, secretVariable+"="+d.secret)
	return cmd
}

// attempts runs the client in the pen and compares what it saw, and what
// arrived outside, with what the policy says.
func (d *demo) attempts(ctx context.Context) error {
	ports := Ports{HTTPS: d.origin.HTTPS, HTTP: d.origin.HTTP, TCP: d.origin.TCP, UDP: d.origin.UDP}
	encoded, err := json.Marshal(ports)
	if err != nil {
		return fmt.Errorf("encode the demo's ports: %w", err)
	}
	args := []string{"run", "--policy", d.path("policy.yaml"), "--audit-dir", d.path("audit"),
		"--read", d.Self, "--", d.Self, "role:democlient", string(encoded)}
	d.say("\n$ penstock run --policy policy.yaml -- client\n\n")
	cmd := d.penstock(ctx, args...)
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	err = cmd.Run()
	if err != nil {
		return fmt.Errorf("run the client in a pen: %w\n%s", err, strings.TrimSpace(stderr.String()))
	}
	d.compare(attempts(ports), out.Bytes())
	d.say("\n")
	for line := range strings.Lines(stderr.String()) {
		d.say("    %s", strings.ReplaceAll(line, d.dir+"/", ""))
	}
	return nil
}

// compare prints each attempt with its verdict and notes every difference.
func (d *demo) compare(list []attempt, out []byte) {
	dec := json.NewDecoder(bytes.NewReader(out))
	var due []string
	for _, a := range list {
		var got outcome
		if err := dec.Decode(&got); err != nil || got.Attempt != a.what {
			d.mismatch("%s: the client did not report it", a.what)
			return
		}
		detail := printable(strings.ReplaceAll(got.Detail, d.dir+"/", ""))
		d.report.Attempts = append(d.report.Attempts, Result{Attempt: a.what, Expect: a.allowed, Allowed: got.Allowed, Detail: detail})
		d.say("  %s %s\n          %s\n", d.verdict(got.Allowed), a.what, detail)
		if got.Allowed != a.allowed {
			d.mismatch("%s: allowed=%t, the policy says %t", a.what, got.Allowed, a.allowed)
		}
		if a.allowed {
			due = append(due, a.arrives)
		}
	}
	d.arrivals(due)
}

// arrivals compares what reached the origin with what was due there.
func (d *demo) arrivals(due []string) {
	arrived := d.origin.Arrivals()
	var tokens int
	var seen []string
	for _, a := range arrived {
		seen = append(seen, a.String())
		if a.Token == "Bearer "+d.secret {
			tokens++
		} else if a.Token != "" {
			d.mismatch("a placeholder arrived outside")
		}
	}
	if tokens != 1 {
		d.mismatch("the real token arrived %d times, not once", tokens)
	}
	slices.Sort(seen)
	slices.Sort(due)
	d.report.Arrived = seen
	if !slices.Equal(seen, due) {
		d.mismatch("arrived outside: %q, allowed were: %q", seen, due)
	}
	d.say("\n  Arrived outside: %d of %d requests and connections that were allowed, %d others.\n",
		min(len(seen), len(due)), len(due), max(0, len(seen)-len(due)))
	d.say("  The real token arrived at %s; the pen held a placeholder.\n", api)
}

// audit verifies the chain of the session that just ended.
func (d *demo) audit(ctx context.Context) error {
	d.say("\n$ penstock audit verify\n\n")
	out, err := d.penstock(ctx, "audit", "verify", "--audit-dir", d.path("audit")).CombinedOutput()
	for line := range strings.Lines(string(out)) {
		d.say("    %s", line)
	}
	if err != nil {
		return fmt.Errorf("verify the audit: %w", err)
	}
	return nil
}

func (d *demo) verdict(allowed bool) string {
	text, colour := "denied ", "31"
	if allowed {
		text, colour = "allowed", "32"
	}
	if d.Colour {
		return "\x1b[" + colour + "m" + text + "\x1b[0m"
	}
	return text
}

// printable keeps one line of text from an answer fit for a terminal.
func printable(s string) string {
	const most = 240
	var b strings.Builder
	for _, r := range s {
		if b.Len() >= most {
			b.WriteString("...")
			break
		}
		if r < 0x20 || r > 0x7e {
			r = '?'
		}
		b.WriteRune(r)
	}
	return b.String()
}
