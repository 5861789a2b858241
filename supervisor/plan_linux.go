package supervisor

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/penstock/penstock/agent/profile"
	"github.com/penstock/penstock/agent/shim"
	"github.com/penstock/penstock/netproxy/ca"
	"github.com/penstock/penstock/sandbox"
	"github.com/penstock/penstock/sandbox/bwrap"
	"github.com/penstock/penstock/sandbox/confine"
	"github.com/penstock/penstock/sandbox/layout"
	"github.com/penstock/penstock/sandbox/netns"
	"github.com/penstock/penstock/supervisor/config"
	"golang.org/x/sys/unix"
)

// planPen settles the pen's files and environment.
func (s *session) planPen() error {
	if s.bare() {
		s.layOutBare()
	} else if err := s.layOut(); err != nil {
		return err
	}
	s.environment(s.files.Home, "/tmp")
	s.shown = s.spec.Mounts
	return s.backend.Prepare(s.spec)
}

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

// ownPath is where the pen sees the authority and the policy's further roots.
const ownPath = "/run/penstock/authority.pem"

// trustEnv are the variables by which programs trust the authority, where the command
// sees it.
func (s *session) trustEnv() []string {
	if s.bare() {
		return ca.TrustEnv(s.trust.Bundle, s.trust.Own)
	}
	return ca.TrustEnv(layout.BundlePath, ownPath)
}

// proxyVariables are those of the command: of the host's port, if there is one. The
// pen's own is there if they are wanted; nothing depends on them, since what ignores
// them is captured.
func (s *session) proxyVariables(wanted bool) []string {
	switch {
	case s.explicit != nil:
		return s.explicit.variables()
	case !wanted:
		return nil
	}
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
