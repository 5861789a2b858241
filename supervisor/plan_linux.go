package supervisor

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/penstock/penstock/agent/profile"
	"github.com/penstock/penstock/agent/shim"
	"github.com/penstock/penstock/audit"
	"github.com/penstock/penstock/netproxy/ca"
	"github.com/penstock/penstock/sandbox"
	"github.com/penstock/penstock/sandbox/bwrap"
	"github.com/penstock/penstock/sandbox/confine"
	"github.com/penstock/penstock/sandbox/layout"
	"github.com/penstock/penstock/sandbox/netns"
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

// planPen settles the pen's files and environment.
func (s *session) planPen() error {
	if s.bare() {
		s.layOutBare()
	} else if err := s.layOut(); err != nil {
		return err
	}
	s.environment()
	s.shown = s.spec.Mounts
	return s.backend.Prepare(s.spec)
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

// ownPath is where the pen sees the authority and the policy's further roots.
const ownPath = "/run/penstock/authority.pem"

// agentState mounts the state of a known agent: directories that Penstock keeps
// for its pens, so that what a pen writes there is never read by the agent that
// runs on the host, and some of the host's files, read-only.
func (s *session) agentState(home string) error {
	if s.cfg.Profile == nil {
		return nil
	}
	base := filepath.Join(s.cfg.Paths.State, "agents", s.cfg.Profile.Name)
	for _, st := range s.cfg.Profile.State {
		target := filepath.Join(home, filepath.FromSlash(st.Path))
		if st.Mode == profile.ReadOnly {
			s.spec.Mounts = append(s.spec.Mounts, sandbox.Mount{Source: filepath.Join(s.cfg.Host.Home, filepath.FromSlash(st.Path)), Target: target, Optional: true})
			continue
		}
		dir := filepath.Join(base, filepath.FromSlash(st.Path))
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("make the agent's state directory: %w", err)
		}
		s.spec.Mounts = append(s.spec.Mounts, sandbox.Mount{Source: dir, Target: target, Write: true})
	}
	return nil
}

// environment settles the variables of the pen.
func (s *session) environment() {
	env := s.cfg.Policy.Environment()
	in := config.EnvInput{
		Host: s.cfg.Host.Environ, Pass: func(name string) bool { return env.Passes(name) && !holdsKey(s.cfg.Policy, name) },
		Trust:   s.trustEnv(),
		Secrets: s.secrets.Environ(),
	}
	switch {
	case s.explicit != nil:
		in.Proxy = s.explicit.variables()
	case env.ProxyVariables():
		in.Proxy = proxyVariables()
	}
	// An empty PATH would name the directory that the tool stands in.
	path := strings.Join(s.files.Path, ":")
	if path == "" {
		path = defaultPath
	}
	in.Set = append(in.Set, "HOME="+s.files.Home, "PATH="+path, "USER="+s.cfg.Host.User, "LOGNAME="+s.cfg.Host.User, "PWD="+s.files.Dir, "TMPDIR=/tmp")
	for _, v := range env.Set {
		in.Set = append(in.Set, v.Name+"="+v.Value)
	}
	s.spec.Env, s.withheld = config.Environment(in)
}

// trustEnv are the variables by which programs trust the authority, where the command
// sees it.
func (s *session) trustEnv() []string {
	if s.bare() {
		return ca.TrustEnv(s.trust.Bundle, s.trust.Own)
	}
	return ca.TrustEnv(layout.BundlePath, ownPath)
}

// defaultPath is what a caller without a PATH gets; as root's in Debian.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// proxyVariables point at the pen's own proxy port. Nothing depends on them:
// what ignores them is captured.
func proxyVariables() []string {
	addr := fmt.Sprintf("127.0.0.1:%d", netns.ExplicitPort)
	return proxyEnv("http://"+addr, "socks5h://"+addr, "localhost,127.0.0.1,::1")
}

// shimConfig is what the first process in the pen is told.
func (s *session) shimConfig() *shim.Config {
	c := &shim.Config{
		Argv: s.spec.Argv, Env: s.spec.Env, Dir: s.spec.Dir, Umask: -1, Terminal: s.spec.Terminal,
		Rlimits: s.rlimits, Rules: bwrap.Rules(s.spec),
	}
	if s.bare() {
		c.Rules = confine.PenRules{Off: true} // there is no view that they could stand behind
	}
	return c
}

// openAudit creates the session's file and enters it in the ledger.
func (s *session) openAudit() error {
	if s.daemon != nil {
		return nil // see open
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

// listenPublished opens a host port, whose listener is donated to the proxy.
func listenPublished(p config.Publish) (*os.File, netip.AddrPort, error) {
	// The family is named: "tcp" would listen at :: too when asked for 0.0.0.0.
	family := "tcp4"
	if p.Listen.Addr().Is6() {
		family = "tcp6"
	}
	l, err := net.ListenTCP(family, net.TCPAddrFromAddrPort(p.Listen))
	if err != nil {
		return nil, netip.AddrPort{}, &config.FlagError{Flag: "--publish", Value: p.Listen.String(), Why: "the port can't be had: " + cause(err), Fix: publishHint(p, err)}
	}
	defer l.Close()
	f, err := l.File()
	return f, l.Addr().(*net.TCPAddr).AddrPort(), err
}

func publishHint(p config.Publish, err error) string {
	switch {
	case errors.Is(err, unix.EADDRNOTAVAIL):
		return p.Listen.Addr().String() + " is no address of this machine"
	case errors.Is(err, unix.EACCES):
		return fmt.Sprintf("ports below 1024 are root's; choose a higher one, e.g. --publish %d:%d", 8000+int(p.Listen.Port())%1000, p.Port)
	}
	return fmt.Sprintf("choose another port, e.g. --publish 0:%d for any that is free", p.Port)
}

func cause(err error) string {
	var errno unix.Errno
	if errors.As(err, &errno) {
		return errno.Error()
	}
	return err.Error()
}

// memory is a sealed in-memory file, to hand bytes to a role.
func memory(name string, b []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make %s: %w", name, err)
	}
	f := os.NewFile(uintptr(fd), name)
	if _, err = f.Write(b); err == nil {
		_, err = f.Seek(0, 0)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("make %s: %w", name, err)
	}
	return f, nil
}

// readFile reads a small regular file. A tool in another pen may put something else
// in its place at any moment: what was opened is looked at, a pipe waits for nobody.
func readFile(path string, most int64) ([]byte, error) {
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
