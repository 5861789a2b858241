//go:build linux || darwin

package supervisor

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/penstock/penstock/audit"
	"github.com/penstock/penstock/internal/text"
	"github.com/penstock/penstock/netproxy/secrets"
	"github.com/penstock/penstock/policy"
	"github.com/penstock/penstock/supervisor/config"
	"github.com/penstock/penstock/supervisor/renewal"
)

// resolveSecrets reads the real values. A secret whose source is empty is left
// out, with a hint: its variable is not in the pen at all.
func (s *session) resolveSecrets() error {
	from := secretSource(context.Background(), &s.cfg.Host, s.cfg.DryRun, s.writable())
	if !s.cfg.EphemeralCA {
		// The same secret has the same placeholder as long as the authority lives:
		// agents ask again for each key that they have not seen.
		seed := sha256.Sum256(s.ca.Certificate)
		from.Seed = seed[:]
	}
	set, missing, err := secrets.Resolve(s.cfg.Policy.Secrets(), from)
	if err != nil {
		return err
	}
	s.secrets = set
	if s.logins, err = secrets.ResolveLogins(s.cfg.Policy.Upstreams(), from); err != nil {
		return err
	}
	if s.certs, err = s.clientCerts(); err != nil {
		return err
	}
	for _, name := range missing {
		s.cfg.Hints = append(s.cfg.Hints, "secret "+name+" has no value here, so the pen has no such variable")
	}
	return nil
}

// writable is where the pen can write.
func (s *session) writable() []string {
	return append(paths(s.cfg.Policy.Filesystem().Write), s.cfg.Workdir)
}

// renewals are the secrets that may change while the session runs. What the pen
// can write to is not read anew: it could lead anywhere.
func (s *session) renewals(ctx context.Context) (list []renewal.Source) {
	from := secretSource(ctx, &s.cfg.Host, false, s.writable())
	for _, d := range s.cfg.Policy.Secrets() {
		for name, o := range d.Origins() {
			first, ok := s.secrets.Current(name)
			if !ok {
				continue // it had no value
			}
			r := renewal.Source{Name: name, First: first, File: valueFile(&s.cfg.Host, o), Every: o.Every, Expires: o.Expires, Read: func() (secrets.Value, error) { return from.Value(o) }}
			if r.File != "" {
				if dir := writableBy(r.File, s.writable()); dir != "" {
					if s.cfg.Verbose {
						s.say.line("secret %s is not read anew: the pen can write to %s", name, escape(dir))
					}
					continue
				}
			} else if r.Every == 0 {
				continue
			}
			list = append(list, r)
		}
	}
	return list
}

// renew keeps the secrets as new as their sources are until the returned function
// is called.
func (s *session) renew(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	list := s.renewals(ctx)
	if len(list) == 0 {
		return cancel
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		renewal.Run(ctx, list, renewed{s})
	}()
	return func() {
		cancel()
		<-done
	}
}

// renewed is what is done with renewed values: the proxy puts them in force and
// records them.
type renewed struct{ s *session }

// Renew implements renewal.Sink.
func (r renewed) Renew(name string, v secrets.Value) error {
	// Not the renewals' context: an answer that is not waited for would be the next
	// call's.
	ctx, cancel := context.WithTimeout(context.Background(), endTimeout)
	defer cancel()
	if v.Empty() {
		r.s.notice("secret " + name + " has expired: it could not be read anew in time")
	}
	return r.s.proxy.client.Renew(ctx, &secrets.Renewal{Name: name, Value: v})
}

// Failed implements renewal.Sink.
func (r renewed) Failed(name string, err error) {
	if !r.s.proxy.running() {
		return // of which there is other news
	}
	r.s.notice("secret " + name + " could not be read anew, so the old value is kept: " + err.Error())
	r.s.record(audit.TypeRenewal, &audit.SecretRenewal{Name: name, Action: "failed", Reason: err.Error()})
}

// holdsKey tells whether a variable has an upstream proxy's credentials or a webhook's
// key, which not even "*" passes.
func holdsKey(p *policy.Policy, name string) bool {
	return slices.ContainsFunc(p.Upstreams(), func(u policy.Upstream) bool { return u.Env == name }) ||
		slices.ContainsFunc(p.Hooks(), func(h policy.Hook) bool {
			w, ok := h.Asks.(*policy.Webhook)
			return ok && w.Key.Env == name
		})
}

// valueFile is the file that a value is in, "" if it is in none.
func valueFile(h *config.Host, o *policy.Origin) string {
	if dir := h.Getenv("CREDENTIALS_DIRECTORY"); o.Credential != "" && filepath.IsAbs(dir) { // systemd.exec(5)
		return filepath.Join(dir, o.Credential)
	}
	return o.File
}

// Bounds of what a secret comes from.
const (
	maxSecret     = 64 << 10    // bytes of a file or of a command's output
	secretCommand = time.Minute // a password store may ask its user first
)

// Values is where the user of a host has values, for who looks whether they are there:
// commands are not executed.
func Values(ctx context.Context, h *config.Host) secrets.Source {
	from := secretSource(ctx, h, false, nil)
	from.Run = notExecuted
	return from
}

// notExecuted stands for the output of a command that nobody needs.
func notExecuted([]string) ([]byte, error) { return []byte("not:executed"), nil }

// secretSource is where the session's user has values. writable is what the pen can
// write to.
func secretSource(ctx context.Context, h *config.Host, dryRun bool, writable []string) secrets.Source {
	run := func(argv []string) ([]byte, error) { return runForSecret(ctx, h, argv, writable) }
	if dryRun {
		run = notExecuted // the value is not used
	}
	return secrets.Source{
		Lookup: h.Lookup,
		Read:   func(path string) ([]byte, error) { return readFile(path, maxSecret) },
		Credential: func(name string) ([]byte, bool, error) {
			file := valueFile(h, &policy.Origin{Credential: name})
			if file == "" {
				return nil, false, nil
			}
			b, err := readFile(file, maxSecret)
			if errors.Is(err, fs.ErrNotExist) {
				return nil, false, nil
			}
			return b, err == nil, err
		},
		Keyring: func(item policy.KeyringItem) ([]byte, bool, error) {
			if dryRun {
				return []byte("not:read"), true, nil // the value is not used
			}
			return readKeyring(ctx, h, item, writable)
		},
		Run: run,
	}
}

// runForSecret executes a command as the caller, outside the pen, and returns its
// output. Not in the work directory, where a program could wait for it that the
// pen has written, and nothing of what a pen can write: neither the program, wherever
// PATH finds it, nor an argument that names a file. What it says on its standard error is dropped: it may hold a
// part of the value.
func runForSecret(ctx context.Context, h *config.Host, argv, writable []string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, secretCommand)
	defer cancel()
	fail := func(err error) ([]byte, error) {
		return nil, fmt.Errorf("execute %s: %w; try it by itself", text.Escape(argv[0]), err)
	}
	path, err := exec.LookPath(argv[0])
	if err != nil {
		return fail(err)
	}
	if !filepath.IsAbs(path) {
		return fail(exec.ErrDot)
	}
	for _, name := range append([]string{path}, argv[1:]...) {
		if dir := writableBy(name, writable); dir != "" {
			return fail(fmt.Errorf("%s is in %s, where a tool in a pen can change it", text.Escape(name), text.Escape(dir)))
		}
	}
	cmd := exec.CommandContext(ctx, path, argv[1:]...)
	cmd.Env, cmd.Dir = h.Environ, h.Home
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second // for children that keep the pipe
	out := &bounded{most: maxSecret}
	cmd.Stdout = out
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = fmt.Errorf("it took longer than %s", secretCommand)
		}
		return fail(err)
	}
	if out.over {
		return fail(fmt.Errorf("it wrote more than %d bytes", maxSecret))
	}
	return out.Bytes(), nil
}

// writableBy returns which of the directories an absolute path, or what it leads to,
// is in.
func writableBy(name string, dirs []string) string {
	if !filepath.IsAbs(name) {
		return ""
	}
	names := []string{filepath.Clean(name)}
	if real, err := filepath.EvalSymlinks(name); err == nil {
		names = append(names, real)
	}
	for _, dir := range dirs {
		for _, d := range []string{dir, realPath(dir)} {
			if slices.ContainsFunc(names, func(n string) bool { return within(n, d) }) {
				return dir
			}
		}
	}
	return ""
}

func realPath(name string) string {
	if real, err := filepath.EvalSymlinks(name); err == nil {
		return real
	}
	return name
}

// bounded keeps the first bytes written.
type bounded struct {
	bytes.Buffer
	most int
	over bool
}

func (b *bounded) Write(p []byte) (int, error) {
	n := min(len(p), b.most-b.Len())
	b.over = b.over || n < len(p)
	b.Buffer.Write(p[:n])
	return len(p), nil
}
