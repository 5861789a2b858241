package gvisor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"time"

	"github.com/penstock/penstock/sandbox"
	"github.com/penstock/penstock/sandbox/companion"
)

// Name is the tier's name in flags and policies.
const Name = "gvisor"

// Program is the file name of the program that holds gVisor.
const Program = "penstock-gvisor"

// Root is where the pen shows what is the command's root.
const Root = "/guest"

// Where the pen sees the program, and what it is to watch. The command sees neither.
const (
	programPath = "/run/penstock/gvisor"
	watchedPath = "/run/penstock/watched"
)

// Backend is the tier. It is safe for concurrent use.
type Backend struct {
	pen     sandbox.Backend
	program string
	// landlock is the ABI of the kernel's. Without it the pen's filter refuses to
	// trace, by which gVisor makes the processes that it runs programs in.
	landlock int
}

var _ sandbox.Backend = (*Backend)(nil)

// New finds the program, beside self (the path of the penstock binary) or where
// packages put it, and returns the tier, which runs in pens of another one.
func New(pen sandbox.Backend, self string, landlock int) (*Backend, error) {
	program, err := companionOf().Find(self)
	if err != nil {
		return nil, err
	}
	return &Backend{pen: pen, program: program, landlock: landlock}, nil
}

func companionOf() *companion.Program {
	return &companion.Program{Tier: Name, Name: Program, Package: "github.com/penstock/penstock/gvisor", Target: "gvisor"}
}

// Name returns "gvisor".
func (*Backend) Name() string { return Name }

// Any returns true.
func (*Backend) Any() bool { return true }

// Programs returns the path of the program: who could replace it would decide what
// the next session is.
func (b *Backend) Programs() []string { return []string{b.program} }

// Traces returns true: gVisor tells what its processes do, in the form that package
// ebpf/events reads. It is the word of a process in the pen.
func (*Backend) Traces() bool { return true }

// Further returns true: the program starts further commands when it is asked to.
func (*Backend) Further() bool { return true }

// Anonymous returns true: which program of the command opened a connection can't be
// told from outside.
func (*Backend) Anonymous() bool { return true }

// probeTime bounds the program's trial.
const probeTime = 5 * time.Second

// Probe tries the pen around, and whether the program can be executed.
func (b *Backend) Probe(ctx context.Context) ([]sandbox.Capability, error) {
	caps, err := b.pen.Probe(ctx)
	if err != nil {
		return caps, fmt.Errorf("tier gvisor: %w", err)
	}
	if err := b.check(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	out, err := exec.CommandContext(ctx, b.program, "version").Output()
	if err == nil && !bytes.HasPrefix(out, []byte(Program+" ")) {
		err = errors.New("it does not say that it is " + Program)
	}
	if err != nil {
		p := companionOf()
		return nil, p.Refuse(p.Remedy(), "try %s: %w", b.program, err)
	}
	return over(caps), nil
}

func (b *Backend) check() error {
	if b.landlock < 2 {
		return companionOf().Refuse("use Linux 5.19 or newer with lsm=…,landlock on its command line", "this kernel has no Landlock, without which the pen refuses to trace")
	}
	return companionOf().Check(b.program)
}

// Capabilities are those of the pen around, and gVisor's.
func (b *Backend) Capabilities(landlock int) []sandbox.Capability {
	return over(b.pen.Capabilities(landlock))
}

// over replaces what the pen around has not.
func over(caps []sandbox.Capability) []sandbox.Capability {
	out := []sandbox.Capability{
		{
			Control: "kernel", State: sandbox.Enforced, By: "gVisor, a kernel in user space without privilege",
			Detail: "the command's system calls end in it; its own, filtered, are the host's",
		},
		{
			Control: "attribution", State: sandbox.Partial, By: "the sandbox as a whole",
			Detail: "which program in it opened a connection is gVisor's own word, for the audit; a rule with process is an error",
		},
	}
	for _, c := range caps {
		if c.Control != "kernel" {
			out = append(out, c)
		}
	}
	return out
}

// Limit says of a limit what is left of it: a limit of each process's own memory does
// not count the file in memory that holds all of the command's.
func (*Backend) Limit(c sandbox.Capability) sandbox.Capability {
	if c.Control == "memory" && c.State == sandbox.Partial {
		c.State, c.By = sandbox.Unavailable, ""
		c.Detail = "gVisor's memory is counted by a control group only, and there is none"
		if c.Fix == "" {
			c.Fix = "start penstock in a delegated group: systemd-run --user --scope -p Delegate=yes penstock run …"
		}
	}
	return c
}

// Prepare makes what the pen would show the command's root, and gVisor the command.
func (b *Backend) Prepare(s *sandbox.Spec) error {
	if err := b.check(); err != nil {
		return err
	}
	if err := b.pen.Prepare(s); err != nil {
		return err
	}
	guest(s, b.program)
	return nil
}

// guest is pure. The variables stay: the program hands on its own.
func guest(s *sandbox.Spec, program string) {
	s.Below(Root)
	s.Mounts = append(s.Mounts, sandbox.Mount{Source: program, Target: programPath})
	run := []string{
		programPath, "run", "-root=" + Root, "-dir=" + s.Dir,
		"-uid=" + strconv.Itoa(s.UID), "-gid=" + strconv.Itoa(s.GID), "-hostname=" + s.Hostname,
		"-terminal=" + strconv.FormatBool(s.Terminal),
	}
	given := sandbox.FirstGiven
	if s.Journal {
		run = append(run, "-trace="+strconv.Itoa(given), "-watch="+watchedPath)
		s.Files = append(s.Files, sandbox.File{Target: watchedPath, Content: watched(s.Watched)})
		given++
	}
	if s.Further {
		run = append(run, "-further="+strconv.Itoa(given))
	}
	s.Argv = append(append(run, "--"), s.Argv...)
	s.Dir = "/"
}

// watched lists paths for the program.
func watched(list []sandbox.Watched) []byte {
	var b []byte
	for _, w := range list {
		how := byte('r')
		if w.Written {
			how = 'w'
		}
		b = append(append(append(b, how), w.Path...), 0)
	}
	return b
}

// Command plans the pen around.
func (b *Backend) Command(s *sandbox.Spec, shim, alive *os.File) (*sandbox.Command, error) {
	return b.pen.Command(s, shim, alive)
}
