package microvm

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/penstock/penstock/sandbox"
	"github.com/penstock/penstock/sandbox/companion"
)

// Name is the tier's name in flags and policies.
const Name = "microvm"

// Program is the file name of the program that holds the machine.
const Program = "penstock-microvm"

// Root is where the pen shows what is the command's root.
const Root = "/guest"

// Where the pen sees what the tier needs.
const (
	programPath = "/run/penstock/microvm"
	imagePath   = "/run/penstock/machine"
	filterPath  = "/run/penstock/command.bpf"
)

// Memory in bytes: of a machine for which no limit says how much, of the least one that
// is of use, and what is left of a limit for QEMU and the program: QEMU begins with 180 MiB,
// and each of 128 requests to the shared files may cost it a stack of 1 MiB, each of the
// 64 threads that serve them another.
const (
	defaultMemory = 1 << 30
	leastMemory   = 256 << 20
	ownMemory     = 384 << 20
)

// leastPIDs is the least limit of processes under which QEMU's own threads can run.
const leastPIDs = 96

// Options say what the tier is made with.
type Options struct {
	Self  string // path of the penstock binary
	Cache string // directory of the host in which images are kept
	// Filter is the seccomp program of a pen, which the command has in the machine, too.
	Filter []byte
	// Relay are the ports of the pen's loopback interface at which the proxy listens.
	Relay []uint16
}

// Backend is the tier. It is safe for concurrent use.
type Backend struct {
	pen     sandbox.Backend
	o       Options
	program string
	host    host
}

var _ sandbox.Backend = (*Backend)(nil)

// New finds the program and returns the tier, which runs in pens of another one.
func New(pen sandbox.Backend, o Options) (*Backend, error) {
	program, err := companionOf().Find(o.Self)
	if err != nil {
		return nil, err
	}
	return &Backend{pen: pen, o: o, program: program, host: machine()}, nil
}

func companionOf() *companion.Program {
	return &companion.Program{Tier: Name, Name: Program, Package: "github.com/penstock/penstock/gvisor/microvm", Target: "gvisor"}
}

// Name returns "microvm".
func (*Backend) Name() string { return Name }

// Any returns true.
func (*Backend) Any() bool { return true }

// Programs returns the path of the program: who could replace it would decide what the
// next session is.
func (b *Backend) Programs() []string { return []string{b.program} }

// Anonymous returns true: which program of the command opened a connection can't be
// told from outside.
func (*Backend) Anonymous() bool { return true }

// Unpublished returns true: what listens in the machine is not reached from the pen.
func (*Backend) Unpublished() bool { return true }

// parts are what a machine is made of.
type parts struct{ qemu, image string }

// find finds what a machine is made of, and makes its image where there is none yet.
func (b *Backend) find(ctx context.Context) (*parts, error) {
	if err := companionOf().Check(b.program); err != nil {
		return nil, err
	}
	qemu, err := b.host.emulator()
	if err != nil {
		return nil, err
	}
	k, err := b.host.kernel("9p", "9pnet_virtio", "virtio_net", "virtio_console", "virtio_pci")
	if err != nil {
		return nil, err
	}
	image, err := b.image(ctx, k)
	if err != nil {
		return nil, err
	}
	return &parts{qemu, image}, nil
}

// probeTime bounds a trial.
const probeTime = 90 * time.Second

// Probe tries the pen around, and boots a machine that has nothing to do.
func (b *Backend) Probe(ctx context.Context) ([]sandbox.Capability, error) {
	caps, err := b.pen.Probe(ctx)
	if err != nil {
		return caps, fmt.Errorf("tier microvm: %w", err)
	}
	p, err := b.find(ctx)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, b.program, "try", "-qemu="+p.qemu, "-image="+p.image, "-memory="+strconv.Itoa(leastMemory))
	cmd.Env = []string{}
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, companionOf().Refuse("try it by hand: "+strings.Join(cmd.Args, " "), "boot a machine: %w", because(err, string(out)))
	}
	return over(caps), nil
}

// Capabilities are those of the pen around, and the machine's.
func (b *Backend) Capabilities(landlock int) []sandbox.Capability {
	return over(b.pen.Capabilities(landlock))
}

// over replaces what the pen around has not.
func over(caps []sandbox.Capability) []sandbox.Capability {
	out := []sandbox.Capability{
		{
			Control: "kernel", State: sandbox.Enforced, By: "a virtual machine: QEMU, with an emulated processor",
			Detail: "the command's system calls end in the machine's kernel; QEMU's, filtered, are the host's",
		},
		{
			Control: "attribution", State: sandbox.Partial, By: "the machine as a whole",
			Detail: "which program in it opened a connection can't be told; a rule with process is an error",
		},
	}
	for _, c := range caps {
		if c.Control != "kernel" {
			out = append(out, c)
		}
	}
	return out
}

// Limit says of a limit what the machine makes of it: its memory is as large as it is,
// and its own kernel counts the command's processes.
func (*Backend) Limit(c sandbox.Capability) sandbox.Capability {
	if c.Control == "memory" && c.State == sandbox.Partial {
		return sandbox.Capability{Control: c.Control, State: sandbox.Enforced, By: "the machine's memory"}
	}
	return c
}

// makeTime bounds the making of an image.
const makeTime = 2 * time.Minute

// Prepare makes what the pen would show the command's root, and the machine the command.
func (b *Backend) Prepare(s *sandbox.Spec) error {
	memory, err := size(s.Limits)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), makeTime)
	defer cancel()
	p, err := b.find(ctx)
	if err != nil {
		return err
	}
	if err := b.pen.Prepare(s); err != nil {
		return err
	}
	b.guest(s, p, memory)
	return nil
}

// size returns the machine's memory.
func size(l sandbox.Limits) (int64, error) {
	if l.PIDs > 0 && l.PIDs < leastPIDs {
		return 0, companionOf().Refuse(fmt.Sprintf("give sandbox.pids %d or more, or leave it out", leastPIDs), "a limit of %d processes leaves QEMU's own no room", l.PIDs)
	}
	if l.Memory == 0 {
		return defaultMemory, nil
	}
	if l.Memory < leastMemory+ownMemory {
		return 0, companionOf().Refuse(fmt.Sprintf("give sandbox.memory %d MiB or more, or leave it out", (leastMemory+ownMemory)>>20), "a limit of %d MiB of memory is too little for a machine", l.Memory>>20)
	}
	return (l.Memory - ownMemory) &^ (1<<20 - 1), nil
}

// guest is pure. The variables stay: the program hands on its own.
func (b *Backend) guest(s *sandbox.Spec, p *parts, memory int64) {
	own := emulatorMounts(s.Mounts)
	args := []string{
		programPath, "run", "-qemu=" + p.qemu, "-image=" + imagePath, "-root=" + Root,
		"-memory=" + strconv.FormatInt(memory, 10), "-pids=" + strconv.FormatInt(s.Limits.PIDs, 10), "-filter=" + filterPath,
	}
	for _, port := range b.o.Relay {
		args = append(args, "-relay="+strconv.Itoa(int(port)))
	}
	for _, m := range memories(s) {
		args = append(args, fmt.Sprintf("-tmpfs=%o:%d:%s", mode(m), m.Size, m.Target))
	}
	s.Below(Root)
	// Where the machine's kernel shows what only it has.
	for _, dir := range []string{"/proc", "/dev"} {
		s.Mounts = append(s.Mounts, sandbox.Mount{Kind: sandbox.Tmpfs, Target: Root + dir, Size: 4096})
	}
	s.Mounts = append(append(s.Mounts, own...),
		sandbox.Mount{Source: b.program, Target: programPath},
		sandbox.Mount{Source: p.image, Target: imagePath},
	)
	s.Files = append(s.Files, sandbox.File{Target: filterPath, Content: b.o.Filter})
	args = append(args, "-dir="+s.Dir, "-uid="+strconv.Itoa(s.UID), "-gid="+strconv.Itoa(s.GID), "-hostname="+s.Hostname,
		"-terminal="+strconv.FormatBool(s.Terminal), "--")
	s.Argv = append(args, s.Argv...)
	s.Dir = "/"
}

func mode(m sandbox.Mount) uint32 {
	if m.Mode == 0 {
		return 0o755
	}
	return m.Mode
}

// emulatorMounts are those of a pen's mounts that show the system's programs and
// libraries: QEMU is one of them, and what is hidden of them stays hidden from it.
func emulatorMounts(all []sandbox.Mount) (out []sandbox.Mount) {
	for _, m := range all {
		top, _, _ := strings.Cut(strings.TrimPrefix(m.Target, "/"), "/")
		switch top {
		case "usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32":
			m.Write = false
			out = append(out, m)
		}
	}
	return append(out, sandbox.Mount{Source: "/etc/ld.so.cache", Target: "/etc/ld.so.cache", Optional: true})
}

// memories are those of a pen's directories in memory that can be memory of the
// machine's, where they cost it nothing: nothing else is shown below them.
func memories(s *sandbox.Spec) (out []sandbox.Mount) {
	below := func(dir, target string) bool { return strings.HasPrefix(path.Clean(target), dir+"/") }
next:
	for _, m := range s.Mounts {
		if m.Kind != sandbox.Tmpfs || !m.Write || m.Target == "/" {
			continue
		}
		for _, other := range s.Mounts {
			if below(m.Target, other.Target) {
				continue next
			}
		}
		for _, f := range s.Files {
			if below(m.Target, f.Target) {
				continue next
			}
		}
		out = append(out, m)
	}
	return out
}

// Command plans the pen around.
func (b *Backend) Command(s *sandbox.Spec, shim, alive *os.File) (*sandbox.Command, error) {
	return b.pen.Command(s, shim, alive)
}
