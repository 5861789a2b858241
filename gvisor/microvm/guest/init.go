// Package guest is the first process of the machine: it loads what the kernel needs,
// mounts the root that the machine was given, executes one command in it and reports
// its end.
//
// # Hazards
//
// The command is hostile, and this process is root of the machine: the command gets
// another process's life (stage), without capabilities and under the pen's seccomp
// filter, in a view in which /proc can't be used to change the kernel. After a bug of
// the kernel's it is what this process is; so nothing here is trusted by the host: it
// holds no secret, its network is the pen's, and files are opened by the pen.
package guest

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/penstock/penstock/gvisor/microvm/wire"
)

// Port is the virtio serial port's path in the guest, and Tag what the root is mounted by.
const (
	Port = "/dev/vport0p1"
	Tag  = "root"
)

// Modules is the directory of kernel modules in the initial file system, and Order the
// file that has their names in the order in which they are loaded.
const (
	Modules = "/modules"
	Order   = Modules + "/order"
)

// patience is how long a device may take to come.
const patience = 20 * time.Second

// Main is the first process. It returns when there is nothing more to do, which the
// kernel takes for its end.
func Main() {
	err := run()
	fmt.Fprintf(os.Stderr, "penstock guest: %v\n", err)
	unix.Sync()
	unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF) //nolint:errcheck // then the kernel panics
}

func run() error {
	if err := deaf(); err != nil {
		return err
	}
	if err := prepare(); err != nil {
		return err
	}
	arguments, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return fmt.Errorf("read the kernel's arguments: %w", err)
	}
	vsock, err := vsockPort(string(arguments))
	if err != nil {
		return err
	}
	if vsock != 0 {
		if err := loadAll(VsockOrder); err != nil {
			return err
		}
		return tryVsock(vsock)
	}
	if err := loadAll(Order); err != nil {
		return err
	}
	port, err := openPort()
	if err != nil {
		return err
	}
	if err := mountRoot(); err != nil {
		return err
	}
	c := wire.NewConn(port)
	if err := c.Send(wire.Frame{Kind: wire.Hello}); err != nil {
		return fmt.Errorf("say hello: %w", err)
	}
	f, err := c.Receive()
	if err != nil || f.Kind != wire.Start {
		return fmt.Errorf("wait for the command: kind %d, %w", f.Kind, err)
	}
	cmd := &wire.Command{}
	if err := json.Unmarshal(f.Body, cmd); err != nil {
		return fmt.Errorf("read the command: %w", err)
	}
	// Before the root is the pen's: that has no room for it, and nobody there is to see it.
	g, err := group(cmd.PIDs)
	if err != nil {
		return err
	}
	if err := world(cmd); err != nil {
		return err
	}
	return serve(c, cmd, g)
}

// deaf has this process take no signal that somebody sends: a command of user 0 may send
// any, and the runtime's handlers end the process, which would be the machine's end. Those
// of faults are the kernel's to force (signal(7)), and what this process starts has the
// default of each again, since the runtime sees to the ones that it handles.
func deaf() error {
	ignore := struct{ handler, flags, restorer, mask uintptr }{handler: 1} // SIG_IGN
	for s := unix.Signal(1); s <= 64; s++ {
		switch s {
		case unix.SIGKILL, unix.SIGSTOP: // the kernel keeps them from a first process
		case unix.SIGCHLD: // ends are waited for
		case unix.SIGURG: // the runtime's own, and harmless
		default:
			if _, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(s), uintptr(unsafe.Pointer(&ignore)), 0, 8, 0, 0); errno != 0 {
				return fmt.Errorf("ignore %s: %w", unix.SignalName(s), errno)
			}
		}
	}
	return nil
}

// prepare gives this process what it needs of the kernel.
func prepare() error {
	for _, m := range []struct{ source, target, kind string }{
		{"dev", "/dev", "devtmpfs"}, {"proc", "/proc", "proc"},
	} {
		if err := unix.Mount(m.source, m.target, m.kind, unix.MS_NOSUID|unix.MS_NOEXEC, ""); err != nil {
			return fmt.Errorf("mount %s: %w", m.target, err)
		}
	}
	return nil
}

// loadAll loads the modules of a list, in its order.
func loadAll(list string) error {
	names, err := os.ReadFile(list)
	if err != nil {
		return fmt.Errorf("read what modules there are: %w", err)
	}
	for _, name := range lines(names) {
		if err := load(filepath.Join(Modules, name)); err != nil {
			return err
		}
	}
	return nil
}

func load(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.FinitModule(int(f.Fd()), "", 0); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("load %s: %w", name, err)
	}
	return nil
}

func lines(b []byte) (out []string) {
	at := 0
	for i := range b {
		if b[i] == '\n' {
			out = append(out, string(b[at:i]))
			at = i + 1
		}
	}
	return out
}

// openPort waits for the serial port, which the driver finds on its own time.
func openPort() (*os.File, error) {
	end := time.Now().Add(patience)
	for {
		f, err := os.OpenFile(Port, os.O_RDWR, 0)
		if err == nil || time.Now().After(end) {
			return f, err
		}
		time.Sleep(time.Millisecond)
	}
}

// root is where the root is mounted first.
const root = "/root"

// mountRoot mounts what the pen shows as the root. Nothing is kept here that another
// process of the host might change.
func mountRoot() error {
	err := unix.Mount(Tag, root, "9p", unix.MS_NOSUID|unix.MS_NODEV, "trans=virtio,version=9p2000.L,cache=mmap,msize=512000,access=any")
	if err != nil {
		return fmt.Errorf("mount the root: %w", err)
	}
	return nil
}
