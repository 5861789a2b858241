package doctor

import (
	"errors"
	"fmt"
	"os"
	"unsafe"

	"github.com/penstock/penstock/sandbox"
	"github.com/penstock/penstock/sandbox/cgroup"
	"github.com/penstock/penstock/sandbox/container"
	"github.com/penstock/penstock/sandbox/netns"
	"golang.org/x/sys/unix"
)

// system tries what the kernel offers to everybody.
func (x *examination) system() {
	var u unix.Utsname
	if err := unix.Uname(&u); err == nil {
		x.kernelAge(unix.ByteSliceToString(u.Release[:]))
	}
	if m, err := thisMachine(x.Socket); err == nil {
		x.controlGroups(m)
		x.appArmor(m, x.Host.Self)
	}
	x.container(container.Read())
	x.landlock()
	x.seccomp()
	x.pty()
}

// network builds a pen's network and takes it down again.
func (x *examination) network() {
	ipv6, took, err := netns.Probe(x.ctx, x.Host.Self)
	if err != nil {
		x.bad(Fail, "pen", "network", err, "")
		return
	}
	with := "with IPv6"
	if !ipv6 {
		with = "without IPv6, which this kernel has turned off"
	}
	x.ok("pen", "network", "user and network namespace, rules and sockets in %d ms, %s", took.Milliseconds(), with)
}

// limits makes a control group with every limit that a policy can set, and
// removes it again: what is missing falls back to limits per process.
func (x *examination) limits() {
	group, _, caps, err := cgroup.Make(sandbox.Limits{Memory: 1 << 30, CPUs: 1, PIDs: 512, OpenFiles: 1024})
	if group != nil {
		defer group.Close()
	}
	x.capabilities("limit", caps)
	if err != nil {
		x.bad(Warn, "pen", "limits", err, "")
	}
}

// container says in which one this is, if it is one, and what it refuses pens.
func (x *examination) container(p container.Place) {
	if !p.Inside() {
		return
	}
	tried, err := container.Try(x.ctx, x.Host.Self)
	if err != nil {
		x.bad(Warn, "system", "container", err, "")
		return
	}
	if cause, fix := container.Explain(&p, tried); cause != "" {
		x.bad(Fail, "system", "container", errors.New(cause), fix)
		return
	}
	// Owned by the machine's root, whom no capability has to help.
	const dangerous = "/proc/sys/kernel/core_pattern"
	if !p.Nested && p.Engine != "" && unix.Access(dangerous, unix.W_OK) == nil {
		x.bad(Warn, "system", "container", fmt.Errorf("this is %s, and whoever gets to be its root outside of pens can write the machine's %s", &p, dangerous), "start it as another user (--user 1000), or rootless")
		return
	}
	x.ok("system", "container", "this is %s: it lets pens have namespaces, mounts and a /proc of their own", &p)
}

// landlock asks for the ABI by the system call's own means: a null attribute
// with LANDLOCK_CREATE_RULESET_VERSION (landlock_create_ruleset(2)).
func (x *examination) landlock() {
	abi, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	switch {
	case errno == 0:
		x.ok("system", "Landlock", "ABI %d", abi)
	case errors.Is(errno, unix.EOPNOTSUPP):
		x.bad(Warn, "system", "Landlock", errors.New("in the kernel, but turned off at boot"), "add landlock to the kernel's lsm= parameter; the pen's mounts hold without it")
	default:
		x.bad(Warn, "system", "Landlock", fmt.Errorf("not available: %w", errno), "use Linux 5.13 or later; the pen's mounts hold without it")
	}
}

// seccomp asks whether the action that the pen's filter answers with exists.
func (x *examination) seccomp() {
	action := uint32(unix.SECCOMP_RET_ERRNO)
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_GET_ACTION_AVAIL, 0, uintptr(unsafe.Pointer(&action)))
	if errno != 0 {
		x.bad(Fail, "system", "seccomp", fmt.Errorf("filters are not available: %w", errno), "use a kernel with CONFIG_SECCOMP_FILTER")
		return
	}
	x.ok("system", "seccomp", "filters available")
}

// pty opens a pseudo-terminal, as a run on a terminal does.
func (x *examination) pty() {
	f, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		x.bad(Warn, "system", "terminal", fmt.Errorf("open a pseudo-terminal: %w", err), "mount devpts on /dev/pts, with ptmxmode=0666; without it run commands with their streams redirected")
		return
	}
	defer f.Close()
	n, err := unix.IoctlGetInt(int(f.Fd()), unix.TIOCGPTN)
	if err != nil {
		x.bad(Warn, "system", "terminal", fmt.Errorf("open a pseudo-terminal: %w", err), "mount devpts on /dev/pts")
		return
	}
	x.ok("system", "terminal", "pseudo-terminal /dev/pts/%d", n)
}
