package bwrap

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/penstock/penstock/sandbox"
	"github.com/penstock/penstock/sandbox/confine"
	"github.com/penstock/penstock/sandbox/container"
	"github.com/penstock/penstock/sandbox/posture"
	"golang.org/x/sys/unix"
)

// probeTime bounds the trial run.
const probeTime = 5 * time.Second

// Probe starts a small pen with the same kinds of namespace and filter as a
// real one and reports what held.
func (b *Backend) Probe(ctx context.Context) ([]sandbox.Capability, error) {
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	filter, err := confine.PenFilter(false)
	if err != nil {
		return nil, err
	}
	f, err := memory(filter)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	cmd := exec.CommandContext(ctx, b.path, "--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--hostname", "pen",
		"--disable-userns", "--cap-drop", "ALL", "--seccomp", "3", "--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev",
		"--", "/bin/sh", "-c", "grep -E '^(CapBnd|NoNewPrivs|Seccomp):' /proc/self/status")
	cmd.Env = []string{"PATH=/usr/bin:/bin"}
	cmd.ExtraFiles = []*os.File{f}
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		place := container.Read()
		return nil, explain(err, errs.String(), &place)
	}
	status := strings.Join(strings.Fields(out.String()), " ")
	if status != "CapBnd: 0000000000000000 NoNewPrivs: 1 Seccomp: 2" {
		return nil, &Error{
			Err: fmt.Errorf("try bwrap: a process inside has %q", status),
			Fix: "use the distribution's bubblewrap 0.8.0 or newer",
		}
	}
	return append(posture.Controls(nil), b.Capabilities(confine.LandlockABI())...), nil
}

// Capabilities is what the posture check can't read back: the layer that the shim says
// it entered.
func (*Backend) Capabilities(landlock int) []sandbox.Capability {
	c := []sandbox.Capability{{Control: "kernel", State: sandbox.Unavailable, Detail: "shared with the host: its bugs are outside of this tier"}}
	switch {
	case landlock == 0:
		c = append(c, sandbox.Capability{
			Control: "filesystem-second-layer", State: sandbox.Unavailable,
			Detail: "this kernel has no Landlock, the mounts are the only layer",
			Fix:    "use Linux 5.19 or newer with lsm=…,landlock on its command line",
		})
	case landlock < 6:
		c = append(c, sandbox.Capability{
			Control: "filesystem-second-layer", State: sandbox.Partial, By: fmt.Sprintf("Landlock ABI %d", landlock),
			Detail: "before ABI 6 signals and abstract sockets are bounded by namespaces only",
		})
	default:
		c = append(c, sandbox.Capability{Control: "filesystem-second-layer", State: sandbox.Enforced, By: fmt.Sprintf("Landlock ABI %d", landlock)})
	}
	return c
}

// refusal is what bwrap says of a step that containers refuse.
func refusal(said string) *container.Tried {
	var errno error = unix.EPERM
	switch {
	case strings.HasSuffix(said, unix.EACCES.Error()) || strings.HasSuffix(said, "Permission denied"):
		errno = unix.EACCES
	case strings.HasSuffix(said, "No space left on device"):
		return &container.Tried{} // a limit of the machine's
	}
	switch {
	case strings.Contains(said, "set hostname"):
		return &container.Tried{Hostname: errno}
	case strings.Contains(said, "mount proc"):
		return &container.Tried{Proc: errno}
	case strings.Contains(said, "to creat") || strings.Contains(said, "Creating new namespace failed"):
		return &container.Tried{Namespaces: errno}
	}
	return &container.Tried{}
}

// explain turns what bwrap wrote into a cause and a fix.
func explain(err error, stderr string, p *container.Place) error {
	said := strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(stderr), "bwrap: "))
	if i := strings.IndexByte(said, '\n'); i >= 0 {
		said = said[:i]
	}
	if len(said) > 200 {
		said = said[:200]
	}
	if errors.Is(err, context.DeadlineExceeded) {
		said = "it did not end in " + probeTime.String()
	}
	e := &Error{Err: fmt.Errorf("try bwrap: %w: %q", err, said), Fix: "run bwrap by hand to see more"}
	switch {
	case strings.Contains(said, "unknown option") || strings.Contains(said, "Unknown option"):
		e.Fix = "install bubblewrap 0.8.0 or newer"
	case strings.Contains(said, "setting up uid map") || strings.Contains(said, "loopback"):
		// Ubuntu 24.04: the namespace is made, but without privilege in it.
		e.Fix = "AppArmor restricts user namespaces here: sysctl kernel.apparmor_restrict_unprivileged_userns=0, or install a profile for bwrap that allows userns"
	case strings.Contains(said, "No permissions to creat") || strings.Contains(said, "Creating new namespace failed"):
		e.Fix = "user namespaces are off: sysctl kernel.unprivileged_userns_clone=1 user.max_user_namespaces=15000; in a container, allow them in its seccomp profile"
	case strings.Contains(said, "seccomp"):
		e.Fix = "the kernel needs CONFIG_SECCOMP_FILTER"
	}
	return container.Because(e, p, refusal(said))
}
