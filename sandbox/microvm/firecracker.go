package microvm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/penstock/penstock/sandbox/companion"
)

// Firecracker is a trial of Firecracker as the monitor of the same machine: whether it
// boots here. No session runs in one.
type Firecracker struct {
	o       Options
	host    host
	monitor monitor
}

// monitor is where Firecracker and what it needs are looked for.
type monitor struct {
	programs []string
	jailers  []string
	kvm      string
	root     bool // the caller is
}

// NewFirecracker returns the trial; of the options it takes Self and Cache.
func NewFirecracker(o Options) *Firecracker {
	return &Firecracker{o, machine(), monitor{
		programs: []string{"/usr/bin/firecracker", "/usr/local/bin/firecracker"},
		jailers:  []string{"/usr/bin/jailer", "/usr/local/bin/jailer"},
		kvm:      "/dev/kvm",
		root:     os.Geteuid() == 0,
	}}
}

const firecrackerName = "firecracker"

// Name returns "firecracker".
func (*Firecracker) Name() string { return firecrackerName }

func refuse(fix, format string, args ...any) error {
	return &companion.Error{Tier: firecrackerName, Err: fmt.Errorf(format, args...), Fix: fix}
}

// instead is what works without it.
const instead = "use the tier microvm, by QEMU"

// find finds Firecracker and, for root, its jailer.
func (m *monitor) find() (program, jailer string, err error) {
	if runtime.GOARCH != "amd64" {
		return "", "", refuse("use the tier bwrap or gvisor", "there are machines for amd64 only, and this is %s", runtime.GOARCH)
	}
	if program = first(m.programs); program == "" {
		return "", "", refuse("put a release of Firecracker there, 1.8 or later, or "+instead, "there is no Firecracker: none of %s can be executed", strings.Join(m.programs, ", "))
	}
	// As root it would have all of root's rights.
	if jailer = first(m.jailers); jailer == "" && m.root {
		return "", "", refuse("put the jailer of the same release there, or try it as another user", "Firecracker is not run as root without its jailer: none of %s can be executed", strings.Join(m.jailers, ", "))
	}
	if !m.root {
		jailer = ""
	}
	f, err := os.OpenFile(m.kvm, os.O_RDWR, 0)
	switch {
	case errors.Is(err, os.ErrPermission):
		return "", "", refuse("join the group that may: usermod -aG kvm USER, and log in again; or "+instead, "%s can't be opened: permission denied", m.kvm)
	case err != nil:
		return "", "", refuse("use a machine with KVM, or "+instead, "Firecracker needs KVM, which is not here: %w", err)
	}
	f.Close()
	return program, jailer, nil
}

func first(programs []string) string {
	for _, name := range programs {
		if _, err := exec.LookPath(name); err == nil {
			return name
		}
	}
	return ""
}

// Try boots a machine that has nothing to do, and returns what booted. Without Firecracker
// and KVM nothing is run.
func (f *Firecracker) Try(ctx context.Context) (string, error) {
	program, jailer, err := f.monitor.find()
	if err != nil {
		return "", err
	}
	holder, err := companionOf().Find(f.o.Self)
	if err != nil {
		return "", err
	}
	b := &Backend{o: f.o, program: holder, host: f.host}
	if err := companionOf().Check(b.program); err != nil {
		return "", err
	}
	k, err := b.host.kernel("virtio_mmio", "vmw_vsock_virtio_transport")
	if err != nil {
		return "", err
	}
	image, err := b.image(ctx, k)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, b.program, "try", "-firecracker="+program, "-image="+image, "-memory="+strconv.Itoa(leastMemory))
	if jailer != "" {
		cmd.Args = append(cmd.Args, "-jailer="+jailer)
	}
	cmd.Env = []string{}
	// It ends Firecracker and removes what it made for it.
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	var said, why bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &why
	if err := cmd.Run(); err != nil {
		return "", refuse("try it by hand: "+strings.Join(cmd.Args, " ")+"; or "+instead, "boot a machine: %w", because(err, why.String()))
	}
	return strings.TrimSpace(said.String()), nil
}

// because adds the first line of what the program said to how it ended.
func because(err error, text string) error {
	text = strings.TrimPrefix(strings.TrimSpace(text), "penstock: tier microvm: ")
	if line, _, _ := strings.Cut(text, "\n"); line != "" {
		return fmt.Errorf("%w: %s", err, strconv.QuoteToGraphic(line))
	}
	return err
}
