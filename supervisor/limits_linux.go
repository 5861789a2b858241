package supervisor

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/penstock/penstock/agent/shim"
	"github.com/penstock/penstock/sandbox"
	"github.com/penstock/penstock/sandbox/bwrap"
)

// defaultOpenFiles is a generous bound where the policy has none; the host's
// hard limit is often a million, which lets one tool exhaust the machine's.
const defaultOpenFiles = 65536

// limits settles the resource limits of the pen, and how each is enforced.
func (s *session) limits() error {
	p := s.cfg.Policy.Sandbox()
	l := sandbox.Limits{Memory: p.Memory.V, CPUs: p.CPUs.V, PIDs: p.PIDs.V, OpenFiles: p.OpenFiles.V, Wall: p.Timeout.V}
	s.spec.Limits = l
	files := l.OpenFiles
	if files == 0 {
		files = defaultOpenFiles
	}
	var hard unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &hard); err != nil {
		return fmt.Errorf("read the limit of open files: %w", err)
	}
	s.rlimits = append(s.rlimits,
		shim.Rlimit{Resource: unix.RLIMIT_NOFILE, Value: min(uint64(files), hard.Max)},
		shim.Rlimit{Resource: unix.RLIMIT_CORE, Value: 0}, // a core holds the environment
	)
	return nil
}

// reportCapabilities says what is enforced, by what.
func (s *session) reportCapabilities(landlock int) {
	s.caps = append([]sandbox.Capability{
		{Control: "network", State: sandbox.Enforced, By: "network namespace without uplink, nftables"},
		{Control: "posture", State: sandbox.Enforced, By: "read back from /proc before release"},
	}, bwrap.Capabilities(landlock)...)
	s.caps = append(s.caps, sandbox.Capability{Control: "open files", State: sandbox.Enforced, By: "rlimit"})
}
