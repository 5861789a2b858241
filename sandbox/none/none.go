package none

import (
	"context"
	"errors"
	"os"
	"strconv"

	"github.com/penstock/penstock/sandbox"
)

// Name is what --sandbox calls it. No policy can.
const Name = "none"

// Role is os.Args[1] of the role's process, the caller's user and group id the next.
const Role = "role:none"

// plain is the role's third argument where there are no namespaces: it is started in
// none, makes none, and ends what descends from it.
const plain = "plain"

// The descriptors of the role.
const (
	fdShim  = 3
	fdAlive = 4
)

// exitBroken is the role's exit status when there is no command.
const exitBroken = 125

// environment is that of roles which live for milliseconds, or wait.
func environment() []string { return []string{"GOMAXPROCS=1", "GOGC=off"} }

// Backend starts a command without a sandbox. It is safe for concurrent use.
type Backend struct {
	// Plain leaves out the namespaces, where there can't be any.
	Plain bool
}

var _ sandbox.Backend = Backend{}

// Name returns "none".
func (Backend) Name() string { return Name }

// Any returns false, whatever programs it runs: auto never takes it.
func (Backend) Any() bool { return false }

// Probe finds nothing wrong: the network is tried by who builds it.
func (Backend) Probe(context.Context) ([]sandbox.Capability, error) { return nil, nil }

// Capabilities says what nothing of is read back: the kernel is the host's.
func (Backend) Capabilities(int) []sandbox.Capability {
	return []sandbox.Capability{
		{Control: "kernel", State: sandbox.Unavailable, Detail: "the host's, without a filter"},
		{Control: "filesystem-second-layer", State: sandbox.Unavailable, Detail: "there is no first one"},
	}
}

// Limit says of a limit what is left of it. One of each process's own is none of the
// command: it starts another. And it can leave a control group that is the caller's.
func (Backend) Limit(c sandbox.Capability) sandbox.Capability {
	if c.Control != "memory" && c.Control != "pids" && c.Control != "cpus" && c.Control != "io" {
		return c
	}
	switch c.State {
	case sandbox.Partial:
		c.State, c.By = sandbox.Unavailable, ""
		c.Detail = "without a sandbox a control group has to hold it, and there is none that does"
		if c.Fix == "" {
			c.Fix = "start penstock in a delegated group: systemd-run --user --scope -p Delegate=yes penstock run …"
		}
	case sandbox.Enforced:
		c.State, c.Detail = sandbox.Partial, "without a sandbox the command can move itself to another group of yours"
	}
	return c
}

// Prepare has nothing to add, and refuses a spec that asks for a view of its own.
func (Backend) Prepare(s *sandbox.Spec) error {
	if len(s.Mounts) > 0 || len(s.Files) > 0 {
		return errors.New("tier none: it has the host's files and no others")
	}
	return nil
}

// Command plans the role.
func (b Backend) Command(s *sandbox.Spec, shim, alive *os.File) (*sandbox.Command, error) {
	c := &sandbox.Command{
		Path: s.Penstock, Argv: []string{"penstock", Role, strconv.Itoa(s.UID), strconv.Itoa(s.GID)},
		Env: environment(), Files: []*os.File{shim}, FirstFile: fdShim,
	}
	if b.Plain {
		c.Argv = append(c.Argv, plain)
	}
	if alive != nil {
		c.Files = append(c.Files, alive)
	}
	return c, nil
}
