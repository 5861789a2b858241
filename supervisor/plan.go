//go:build linux || darwin

package supervisor

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/penstock/penstock/audit"
	"github.com/penstock/penstock/netproxy/ca"
	"github.com/penstock/penstock/netproxy/secrets"
	"github.com/penstock/penstock/policy"
	"github.com/penstock/penstock/sandbox/layout"
	"github.com/penstock/penstock/supervisor/config"
	"github.com/penstock/penstock/supervisor/proxyctl"
)

// planTrust settles what the proxy needs to know beside the policy: authority
// and secrets.
func (s *session) planTrust() error {
	if err := s.openTrust(); err != nil {
		return err
	}
	return s.resolveSecrets()
}

// openTrust opens the authority and makes what the pen trusts it by.
func (s *session) openTrust() error {
	var err error
	if s.cfg.EphemeralCA {
		s.ca, err = ca.Ephemeral()
	} else {
		s.ca, err = ca.LoadOrCreate(filepath.Join(s.cfg.Paths.Data, "ca"))
	}
	if err != nil {
		return err
	}
	s.undo.push(func() { s.ca.Close() })
	s.trust, err = ca.PrepareTrust(ca.TrustOptions{
		Dir: filepath.Join(s.cfg.Paths.Cache, "trust"), Certificate: s.ca.Certificate, Extra: s.cfg.Policy.CAFiles(), Java: true,
	})
	if err == nil && s.cfg.EphemeralCA {
		// Nobody will trust this authority again. After a SIGKILL they stay until
		// they are pruned.
		s.undo.push(func() { os.Remove(s.trust.Bundle); os.Remove(s.trust.Own); os.Remove(s.trust.Java) })
	}
	return err
}

func paths(grants []policy.PathGrant) []string {
	var out []string
	for _, g := range grants {
		out = append(out, g.Path)
	}
	return out
}

// layoutInput is what the pen is asked to be. Of copied, if that is not empty, the pen
// has a copy.
func (s *session) layoutInput(copied string) (layout.Input, error) {
	c, fs := s.cfg, s.cfg.Policy.Filesystem()
	in := layout.Input{
		Work: c.Workdir, Home: c.Host.Home, User: c.Host.User, UID: c.Host.UID, GID: c.Host.GID,
		Write: paths(fs.Write), Read: paths(fs.Read), Hide: paths(fs.Hide), Protect: paths(fs.Protect),
		Path:     filepath.SplitList(c.Host.Getenv("PATH")),
		Hostname: "pen",
	}
	// Whatever is granted, the pen has no business with Penstock's own files.
	in.Hide = append(in.Hide, c.Paths.Config, c.Paths.State, c.Paths.Data, c.Paths.Cache)
	if c.AuditDir != "" {
		in.Hide = append(in.Hide, c.AuditDir)
	}
	for _, u := range c.Policy.Upstreams() {
		for _, file := range []string{valueFile(&c.Host, &u.Origin), u.Client.Key, secrets.CacheFile(&u, c.Host.Lookup)} {
			if file != "" {
				in.Hide = append(in.Hide, file) // a proxy's credentials
			}
		}
	}
	for _, h := range c.Policy.Hooks() {
		files := []string{h.Client().Key}
		if w, ok := h.Asks.(*policy.Webhook); ok {
			files = append(files, valueFile(&c.Host, &w.Key))
		}
		for _, file := range files {
			if file != "" {
				in.Hide = append(in.Hide, file) // with it the pen could answer for the hook
			}
		}
	}
	// A tool that replaced the binary would be the supervisor of the next run. In a
	// copy there is nothing of the host's to replace.
	protect := func(name string) {
		if copied == "" || !within(name, copied) {
			in.Protect = append(in.Protect, name)
		}
	}
	protect(c.Host.Self)
	if own, ok := s.backend.(interface{ Programs() []string }); ok {
		for _, name := range own.Programs() {
			protect(name)
		}
	}
	for _, p := range c.Policy.Files() {
		name := p.Name
		if !filepath.IsAbs(name) {
			// Named as the caller would, from the caller's directory; a rule given
			// by a flag has no file.
			name = filepath.Join(c.Host.Dir, name)
			if _, err := os.Lstat(name); err != nil {
				continue
			}
		}
		protect(name)
	}
	writable := in.Write
	if copied == "" {
		writable = append([]string{c.Workdir}, in.Write...)
	}
	if err := keepOwnFiles(c, writable); err != nil {
		return in, err
	}
	if filepath.IsAbs(c.Command[0]) {
		in.Programs = append(in.Programs, c.Command[0])
	}
	return in, nil
}

// environment settles the variables of the pen, where home and tmp are the command's own.
func (s *session) environment(home, tmp string) {
	env := s.cfg.Policy.Environment()
	in := config.EnvInput{
		Host: s.cfg.Host.Environ, Pass: func(name string) bool { return env.Passes(name) && !holdsKey(s.cfg.Policy, name) },
		Trust:   s.trustEnv(),
		Secrets: s.secrets.Environ(),
		Proxy:   s.proxyVariables(env.ProxyVariables()),
	}
	// An empty PATH would name the directory that the tool stands in.
	path := strings.Join(s.files.Path, ":")
	if path == "" {
		path = defaultPath
	}
	in.Set = append(in.Set, "HOME="+home, "PATH="+path, "USER="+s.cfg.Host.User, "LOGNAME="+s.cfg.Host.User, "PWD="+s.files.Dir, "TMPDIR="+tmp)
	for _, v := range env.Set {
		in.Set = append(in.Set, v.Name+"="+v.Value)
	}
	s.spec.Env, s.withheld = config.Environment(in)
}

// defaultPath is what a caller without a PATH gets; as root's in Debian.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// openAudit creates the session's file and enters it in the ledger.
func (s *session) openAudit() error {
	if s.overseer() != nil {
		return nil // it has opened it
	}
	dir := s.cfg.AuditDir
	if dir == "" {
		dir = filepath.Join(s.cfg.Paths.State, "audit")
	}
	store, err := audit.Open(dir)
	if err != nil {
		return err
	}
	if s.audit, err = store.Create(time.Now()); err != nil {
		return err
	}
	s.id = s.audit.ID
	return nil
}

// readFile reads a small regular file.
func readFile(path string, most int64) ([]byte, error) {
	return readIf(path, most, func(fs.FileInfo) error { return nil })
}

// readIf reads one that is found fit. A tool in another pen may put something else in
// its place at any moment: what was opened is looked at, a pipe waits for nobody.
func readIf(path string, most int64, fit func(fs.FileInfo) error) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	var b []byte
	if fi.Mode().IsRegular() {
		if err := fit(fi); err != nil {
			return nil, err
		}
		if b, err = io.ReadAll(io.LimitReader(f, most+1)); err != nil {
			return nil, err
		}
	}
	if !fi.Mode().IsRegular() || int64(len(b)) > most {
		return nil, fmt.Errorf("%s: not a regular file of at most %d bytes", path, most)
	}
	return b, nil
}

func headOf(sum *proxyctl.Summary) (head [32]byte, err error) {
	b, err := hex.DecodeString(sum.HeadHash)
	if err != nil || len(b) != len(head) {
		return head, errors.New("the proxy's head hash is malformed")
	}
	copy(head[:], b)
	return head, nil
}

func kernelRelease() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return ""
	}
	return unix.ByteSliceToString(u.Release[:])
}
