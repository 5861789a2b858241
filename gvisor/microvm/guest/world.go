package guest

import (
	"fmt"
	"os"
	"path"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/penstock/penstock/gvisor/microvm/wire"
)

// world makes what the command sees: devices, processes, memory, names, network, time.
func world(cmd *wire.Command) error {
	if err := settings(); err != nil {
		return err
	}
	now := syscall.NsecToTimeval(cmd.Time)
	syscall.Settimeofday(&now) //nolint:errcheck // then it is what the machine's clock says
	if err := unix.Sethostname([]byte(cmd.Hostname)); err != nil {
		return fmt.Errorf("set the host name: %w", err)
	}
	if err := network(cmd.Relay); err != nil {
		return err
	}
	for _, m := range cmd.Tmpfs {
		if err := memory(path.Join(root, m.Path), m.Mode, m.Size); err != nil {
			return err
		}
	}
	if err := devices(path.Join(root, "dev")); err != nil {
		return err
	}
	if err := processes(path.Join(root, "proc")); err != nil {
		return err
	}
	// Nobody has the first root open: it goes below the new one.
	if err := unix.Chdir(root); err != nil {
		return err
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("move the root: %w", err)
	}
	if err := unix.Chroot("."); err != nil {
		return fmt.Errorf("change the root: %w", err)
	}
	return unix.Chdir("/")
}

// settings takes from the kernel what the command has no use for, as the pen does: no
// namespaces of its own, no further modules, no other kernel.
func settings() error {
	for _, s := range [][2]string{
		{"kernel/modules_disabled", "1"}, {"kernel/kexec_load_disabled", "1"},
		{"kernel/unprivileged_bpf_disabled", "2"}, {"kernel/perf_event_paranoid", "3"},
		{"kernel/dmesg_restrict", "1"}, {"kernel/kptr_restrict", "2"}, {"kernel/sysrq", "0"},
		{"user/max_user_namespaces", "0"}, {"vm/unprivileged_userfaultfd", "0"},
	} {
		if err := os.WriteFile("/proc/sys/"+s[0], []byte(s[1]), 0); err != nil && !os.IsNotExist(err) {
			return fmt.Errorf("set %s: %w", s[0], err)
		}
	}
	return nil
}

func memory(target string, mode uint32, size int64) error {
	options := "mode=" + strconv.FormatUint(uint64(mode), 8)
	if size > 0 {
		options += ",size=" + strconv.FormatInt(size, 10)
	}
	if err := unix.Mount("tmpfs", target, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, options); err != nil {
		return fmt.Errorf("put memory at %s: %w", target, err)
	}
	return nil
}

// devices makes /dev as a pen has it.
func devices(dev string) error {
	if err := unix.Mount("tmpfs", dev, "tmpfs", unix.MS_NOSUID, "mode=0755"); err != nil {
		return fmt.Errorf("make /dev: %w", err)
	}
	for name, minor := range map[string]uint32{"null": 3, "zero": 5, "full": 7, "random": 8, "urandom": 9} {
		if err := node(dev+"/"+name, unix.Mkdev(1, minor)); err != nil {
			return err
		}
	}
	if err := node(dev+"/tty", unix.Mkdev(5, 0)); err != nil {
		return err
	}
	for name, text := range map[string]string{
		"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2",
		"core": "/proc/kcore", "ptmx": "pts/ptmx",
	} {
		if err := os.Symlink(text, dev+"/"+name); err != nil {
			return err
		}
	}
	for _, d := range []string{"/shm", "/pts"} {
		if err := os.Mkdir(dev+d, 0o755); err != nil {
			return err
		}
	}
	if err := memory(dev+"/shm", 0o1777, 0); err != nil {
		return err
	}
	if err := unix.Mount("devpts", dev+"/pts", "devpts", unix.MS_NOSUID|unix.MS_NOEXEC, "newinstance,ptmxmode=0666,mode=620"); err != nil {
		return fmt.Errorf("make /dev/pts: %w", err)
	}
	return nil
}

func node(name string, dev uint64) error {
	if err := unix.Mknod(name, unix.S_IFCHR|0o666, int(dev)); err != nil {
		return fmt.Errorf("make %s: %w", name, err)
	}
	return os.Chmod(name, 0o666) // whatever the umask
}

// processes makes /proc, in which a command that is user 0 can't change the kernel.
func processes(proc string) error {
	if err := unix.Mount("proc", proc, "proc", unix.MS_NOSUID|unix.MS_NOEXEC|unix.MS_NODEV, ""); err != nil {
		return fmt.Errorf("make /proc: %w", err)
	}
	for _, name := range []string{"sys", "sysrq-trigger", "irq", "bus", "fs", "acpi", "scsi", "mtrr"} {
		p := proc + "/" + name
		if _, err := os.Lstat(p); err != nil {
			continue
		}
		if err := unix.Mount(p, p, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
			return fmt.Errorf("hold /proc/%s: %w", name, err)
		}
		if err := unix.Mount("", p, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NOEXEC|unix.MS_NODEV, ""); err != nil {
			return fmt.Errorf("hold /proc/%s: %w", name, err)
		}
	}
	for _, name := range []string{"kcore", "kallsyms", "kmsg", "keys", "timer_list", "vmallocinfo", "kpagecount", "kpageflags", "kpagecgroup"} {
		p := proc + "/" + name
		if _, err := os.Lstat(p); err != nil {
			continue
		}
		if err := unix.Mount("/dev/null", p, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("cover /proc/%s: %w", name, err)
		}
		if err := unix.Mount("", p, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY|unix.MS_NODEV, ""); err != nil {
			return fmt.Errorf("cover /proc/%s: %w", name, err)
		}
	}
	return nil
}

// group makes a control group for the command, and returns it; nil without a limit.
func group(pids int64) (*os.File, error) {
	if pids <= 0 {
		return nil, nil
	}
	const top = "/sys/fs/cgroup"
	if err := os.MkdirAll(top, 0o755); err != nil {
		return nil, err
	}
	if err := unix.Mount("cgroup2", top, "cgroup2", 0, ""); err != nil {
		return nil, fmt.Errorf("mount control groups: %w", err)
	}
	if err := os.WriteFile(top+"/cgroup.subtree_control", []byte("+pids"), 0); err != nil {
		return nil, fmt.Errorf("count processes: %w", err)
	}
	dir := top + "/command"
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	if err := os.WriteFile(dir+"/pids.max", strconv.AppendInt(nil, pids, 10), 0); err != nil {
		return nil, fmt.Errorf("limit processes: %w", err)
	}
	return os.Open(dir)
}

// pause waits for what has no other sign.
func pause() { time.Sleep(time.Millisecond) }
