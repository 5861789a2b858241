package doctor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/penstock/penstock/supervisor/internal/origin"
)

// probeHost is the name that clients ask for.
const probeHost = "probe." + origin.Domain

// Patience with a pen, and with a client in one (a JVM that compiles, on a busy machine).
const (
	penTime    = 15 * time.Second
	clientTime = 60 * time.Second
)

// ward is where the doctor runs pens: a directory and an origin of its own.
type ward struct {
	x      *examination
	dir    string
	origin *origin.Origin
}

// pens runs a trivial command and then each installed client in a real pen.
func (x *examination) pens() error {
	dir, err := os.MkdirTemp("", "penstock-doctor-")
	if err != nil {
		return fmt.Errorf("make the doctor's directory: %w", err)
	}
	defer os.RemoveAll(dir)
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return fmt.Errorf("make the doctor's directory: %w", err)
	}
	org, err := origin.Start(probeHost)
	if err != nil {
		return err
	}
	defer org.Close()
	w := &ward{x: x, dir: dir, origin: org}
	if err := w.prepare(); err != nil {
		return err
	}
	begin := time.Now()
	out, err := w.run(penTime, false, nil, "true")
	if err != nil {
		x.bad(Fail, "session", "penstock run", fmt.Errorf("run true in a pen: %w%s", err, tail(out)), "see the findings above")
		return nil
	}
	x.ok("session", "penstock run", "true ran in a pen in %d ms", time.Since(begin).Milliseconds())
	w.supervised()
	if x.Clients {
		// The administrator may have limited what any policy allows.
		if out, err := w.run(penTime, true, nil, "true"); err != nil {
			x.bad(Warn, "clients", "clients", fmt.Errorf("not tried: a policy that allows %s is refused%s", probeHost, tail(out)), "run the doctor where /etc/penstock/policy.yaml limits less")
			return nil
		}
		for _, c := range clients() {
			w.probe(c)
		}
	}
	return nil
}

// supervised runs a trivial command under the privileged supervisor, if there is
// one: with the caller's own policy, because the doctor's may be outside of the
// administrator's limits.
func (w *ward) supervised() {
	if !w.x.supervised {
		return
	}
	const name = "penstock run --supervised"
	begin := time.Now()
	args := []string{"run", "--quiet", "--no-profile", "--supervised"}
	if w.x.Socket != "" {
		args = append(args, "--socket", w.x.Socket)
	}
	if out, err := w.start(penTime, append(args, "--", "true"), w.x.Host.Environ); err != nil {
		w.x.bad(Fail, "session", name, fmt.Errorf("run true under the supervisor: %w%s", err, tail(out)), "see the supervisor's findings above")
		return
	}
	w.x.ok("session", name, "true ran under the supervisor in %d ms", time.Since(begin).Milliseconds())
}

func (w *ward) prepare() error {
	policy := fmt.Sprintf(`version: 1
egress:
  allow:
    - {host: %[1]s, ports: [%[2]d], addresses: [127.0.0.0/8]}
  hosts: {%[1]s: 127.0.0.1}
  ca: [ca.pem]
`, probeHost, w.origin.HTTPS)
	for name, text := range map[string]string{"ca.pem": string(w.origin.CA), "policy.yaml": policy} {
		if err := os.WriteFile(filepath.Join(w.dir, name), []byte(text), 0o600); err != nil {
			return fmt.Errorf("write the doctor's policy: %w", err)
		}
	}
	if err := os.Mkdir(filepath.Join(w.dir, "work"), 0o700); err != nil {
		return fmt.Errorf("make the doctor's work directory: %w", err)
	}
	return nil
}

// run executes a command in a pen and returns what it printed. The user's own
// authority is used, so that it is what is tried; audit and, for what asks the
// origin, policy are the doctor's.
func (w *ward) run(patience time.Duration, origin bool, env []string, argv ...string) ([]byte, error) {
	args := []string{"run", "--quiet", "--no-profile", "--rootless", "--audit-dir", filepath.Join(w.dir, "audit")}
	if origin {
		args = append(args, "--policy", filepath.Join(w.dir, "policy.yaml"))
	}
	for _, kv := range env {
		args = append(args, "--env", kv)
	}
	var environ []string
	for _, kv := range w.x.Host.Environ {
		if !strings.HasPrefix(kv, "XDG_CONFIG_HOME=") {
			environ = append(environ, kv)
		}
	}
	return w.start(patience, append(append(args, "--"), argv...), append(environ, "XDG_CONFIG_HOME="+filepath.Join(w.dir, "config")))
}

// start runs penstock itself.
func (w *ward) start(patience time.Duration, args, environ []string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(w.x.ctx, patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, w.x.Host.Self, args...)
	cmd.Dir = filepath.Join(w.dir, "work")
	cmd.Env = environ
	cmd.WaitDelay = time.Second
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	if ctx.Err() != nil {
		err = fmt.Errorf("no end after %s", patience)
	}
	return out.Bytes(), err
}

// probe lets one client make a request and believes only what arrived.
func (w *ward) probe(c probe) {
	for _, p := range c.programs {
		if _, err := exec.LookPath(p); err != nil {
			return // not installed: nothing to say
		}
	}
	work := filepath.Join(w.dir, "work")
	for name, text := range c.files {
		if err := os.WriteFile(filepath.Join(work, name), []byte(text), 0o600); err != nil {
			w.x.bad(Warn, "clients", c.name, fmt.Errorf("not tried: %w", err), "")
			return
		}
	}
	w.origin.Arrivals()
	base := fmt.Sprintf("https://%s:%d", probeHost, w.origin.HTTPS)
	var argv []string
	for _, a := range c.argv {
		argv = append(argv, strings.ReplaceAll(a, "URL", base))
	}
	var env []string
	for _, e := range c.env {
		env = append(env, strings.ReplaceAll(e, "URL", base))
	}
	begin := time.Now()
	out, err := w.run(clientTime, true, env, argv...)
	var agent string
	arrived := false
	for _, a := range w.origin.Arrivals() {
		if a.Protocol == "https" && a.Path == c.path {
			arrived, agent = true, a.Agent
		}
	}
	switch {
	case err == nil && arrived:
		w.x.ok("clients", c.name, "request through a pen answered in %d ms (%s)", time.Since(begin).Milliseconds(), oneLine(agent))
	case exitCode(err) == 127:
		w.x.bad(Warn, "clients", c.name, errors.New("installed, but not in the pen's PATH"), "add its directory with --read, or filesystem.read in the policy")
	case err == nil:
		w.x.bad(Fail, "clients", c.name, fmt.Errorf("said that it succeeded, but nothing arrived%s", tail(out)), c.fix)
	default:
		w.x.bad(Fail, "clients", c.name, fmt.Errorf("request through a pen failed: %w%s", err, tail(out)), c.fix)
	}
}

// exitCode returns a command's exit code, -1 if it has none.
func exitCode(err error) int {
	var e *exec.ExitError
	if errors.As(err, &e) {
		return e.ExitCode()
	}
	return -1
}

// tail returns the last line of what a command printed, to go behind an error.
func tail(out []byte) string {
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if last := strings.TrimSpace(lines[len(lines)-1]); last != "" {
		return ": " + last
	}
	return ""
}
