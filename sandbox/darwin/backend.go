package darwin

import (
	"slices"
	"strings"

	"github.com/penstock/penstock/sandbox"
)

// Name is the tier's name in flags and policies.
const Name = "darwin"

// Program is what applies a profile and becomes the command.
const Program = "/usr/bin/sandbox-exec"

// Backend is the tier. It is safe for concurrent use.
type Backend struct {
	options Options
}

var _ sandbox.Backend = (*Backend)(nil)

// With is the tier for one session, whose profile has what o says beside the Spec. The
// services stay.
func (b *Backend) With(o Options) *Backend {
	o.Services = append(slices.Clone(b.options.Services), o.Services...)
	return &Backend{options: o}
}

// Name returns "darwin".
func (*Backend) Name() string { return Name }

// Any returns true.
func (*Backend) Any() bool { return true }

// Anonymous returns true: nothing tells which program opened a connection.
func (*Backend) Anonymous() bool { return true }

// Prepare adds what every program needs, and the shim.
func (b *Backend) Prepare(s *sandbox.Spec) error {
	mounts := System()
	if s.Penstock != "" {
		mounts = append(mounts, sandbox.Mount{Source: s.Penstock, Target: s.Penstock})
	}
	s.Mounts = append(mounts, s.Mounts...)
	return nil
}

// Capabilities are what the profile is written to enforce. Landlock there is none.
func (b *Backend) Capabilities(int) []sandbox.Capability {
	const by = "Seatbelt profile"
	more := "; Mach services: user database, temporary directories, log"
	if extra := slices.Clone(b.options.Services); len(extra) > 0 {
		more += ", and as asked for " + strings.Join(extra, ", ")
	}
	return []sandbox.Capability{
		{Control: "network", State: sandbox.Partial, By: by, Detail: "the host's network, of which TCP to the proxy's port can be reached; what takes no proxy can't connect"},
		{Control: "attribution", State: sandbox.Unavailable, Detail: "which program opened a connection is not told"},
		{Control: "file-reads", State: sandbox.Enforced, By: by},
		{Control: "file-writes", State: sandbox.Enforced, By: by},
		{Control: "own-tmp", State: sandbox.Partial, By: "a directory of the session's own", Detail: "HOME and TMPDIR name it; /tmp is denied"},
		{Control: "processes", State: sandbox.Partial, By: by, Detail: "others can't be signalled or looked into, but the process table is the host's, and who leaves the command's process groups outlives the session" + more},
		{Control: "privilege", State: sandbox.Partial, By: by, Detail: "set-user-id programs don't start; the command has the caller's groups and rights"},
		{Control: "devices", State: sandbox.Enforced, By: by},
		{Control: "syscalls", State: sandbox.Unavailable, Detail: "a profile judges operations, no system call is filtered"},
		{Control: "kernel", State: sandbox.Unavailable, Detail: "shared with the host: its bugs are outside of this tier"},
		{Control: "memory", State: sandbox.Unavailable, Detail: "there are no control groups"},
	}
}
