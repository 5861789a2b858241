package bwrap

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/penstock/penstock/sandbox/layout"
)

// A hostile tool. It runs as the command of a pen, which is this binary again
// ("hostile"), tries everything in attempts and prints what worked. What it is
// told about the host comes by the environment.

// hostileArg is the command's first argument.
const hostileArg = "hostile"

// try is one attempt: it returns nil if it got what it wanted.
type try struct {
	name string
	f    func() error
}

func raw(nr uintptr, args ...uintptr) error {
	var a [6]uintptr
	copy(a[:], args)
	if _, _, errno := unix.Syscall6(nr, a[0], a[1], a[2], a[3], a[4], a[5]); errno != 0 {
		return errno
	}
	return nil
}

func cstr(s string) uintptr {
	p, _ := unix.BytePtrFromString(s)
	return uintptr(unsafe.Pointer(p))
}

func socket(family, kind, proto int) func() error {
	return func() error { return raw(unix.SYS_SOCKET, uintptr(family), uintptr(kind), uintptr(proto)) }
}

func write(p string) func() error {
	return func() error {
		f, err := os.OpenFile(p, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		return f.Close()
	}
}

func create(p string) func() error {
	return func() error {
		f, err := os.OpenFile(p, os.O_WRONLY|os.O_CREATE, 0o600)
		if err != nil {
			return err
		}
		return f.Close()
	}
}

func read(p string) func() error {
	return func() error {
		b, err := os.ReadFile(p)
		if err == nil && len(b) == 0 {
			return errors.New("empty")
		}
		return err
	}
}

func thread(f func() error) func() error {
	return func() error {
		done := make(chan error)
		go func() { runtime.LockOSThread(); done <- f() }()
		return <-done
	}
}

func unixConnect(addr string) func() error {
	return func() error {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return unix.Connect(fd, &unix.SockaddrUnix{Name: addr})
	}
}

func firstNonEmptyProc(names ...string) func() error {
	return func() error {
		for _, n := range names {
			if err := read(n)(); err == nil {
				return nil
			}
		}
		return errors.New("none")
	}
}

// attempts are grouped: devices and kernel, namespaces, files, processes,
// sockets, terminal, privileges.
func attempts() []try {
	work, home, abstract := os.Getenv("WORK"), os.Getenv("HOME"), os.Getenv("ABSTRACT")
	hostPID, _ := strconv.Atoi(os.Getenv("HOSTPID"))
	shm, _ := strconv.Atoi(os.Getenv("SHM"))
	in := func(p string) string { return filepath.Join(work, p) }
	var list []try
	add := func(name string, f func() error) { list = append(list, try{name, f}) }

	for _, d := range []string{"/dev/mem", "/dev/kmem", "/dev/port", "/dev/kmsg", "/dev/fuse", "/dev/kvm", "/dev/net/tun", "/dev/vda", "/dev/sda", "/dev/loop-control", "/dev/vsock", "/dev/uinput"} {
		add("open "+d, write(d))
	}
	add("mknod memory", func() error { return unix.Mknod(in("mem"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 1))) })
	add("mknod disk", func() error { return unix.Mknod("/tmp/disk", unix.S_IFBLK|0o666, int(unix.Mkdev(254, 0))) })
	for _, p := range []string{"/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe", "/proc/sys/vm/overcommit_memory", "/proc/sys/net/ipv4/ip_forward", "/proc/sysrq-trigger", "/proc/sys/kernel/hostname", "/proc/sys/fs/binfmt_misc/register", "/proc/mtrr", "/proc/scsi/scsi", "/proc/irq/default_smp_affinity", "/proc/sys/user/max_user_namespaces", "/proc/acpi/wakeup"} {
		add("write "+p, write(p))
	}
	add("write anything else in /proc", func() error {
		var found []string
		filepath.WalkDir("/proc", func(p string, d os.DirEntry, err error) error {
			name := strings.TrimPrefix(p, "/proc/")
			if name != "" && (name[0] >= '0' && name[0] <= '9' || name == "self" || name == "thread-self") {
				return filepath.SkipDir
			}
			if err == nil && d.Type().IsRegular() && write(p)() == nil {
				found = append(found, p)
			}
			return nil
		})
		if len(found) == 0 {
			return errors.New("none")
		}
		fmt.Println(found)
		return nil
	})
	add("read kernel memory", read("/proc/kcore"))
	add("read page counts", read("/proc/kpagecount"))
	add("read kernel log", read("/proc/kmsg"))
	add("kernel log by syscall", func() error { _, err := unix.Klogctl(unix.SYSLOG_ACTION_READ_ALL, make([]byte, 100)); return err })
	add("bpf", func() error { return raw(unix.SYS_BPF, 5, 0, 0) })
	add("perf_event_open", func() error { return raw(unix.SYS_PERF_EVENT_OPEN, 0, 0, 0, 0, 0) })
	add("userfaultfd", func() error { return raw(unix.SYS_USERFAULTFD, 0) })
	add("io_uring", func() error { var p [120]byte; return raw(unix.SYS_IO_URING_SETUP, 4, uintptr(unsafe.Pointer(&p[0]))) })
	add("add_key", func() error {
		_, err := unix.AddKey("user", "penstock", []byte("x"), unix.KEY_SPEC_SESSION_KEYRING)
		return err
	})
	add("keyctl", func() error { _, err := unix.KeyctlGetKeyringID(unix.KEY_SPEC_USER_KEYRING, false); return err })
	add("request_key", func() error { return raw(unix.SYS_REQUEST_KEY, cstr("user"), cstr("x"), 0, 0) })
	add("load module", func() error { return raw(unix.SYS_FINIT_MODULE, 0, cstr(""), 0) })
	add("kexec", func() error { return raw(unix.SYS_KEXEC_LOAD, 0, 0, 0, 0) })
	add("reboot", func() error { return raw(unix.SYS_REBOOT, 0xfee1dead, 672274793, 0x89abcdef) }) // ctrl-alt-del off: harmless if it worked
	add("set time", func() error { var tv unix.Timeval; unix.Gettimeofday(&tv); return unix.Settimeofday(&tv) })
	add("swapon", func() error { return raw(unix.SYS_SWAPON, cstr(in("file")), 0) })
	add("acct", func() error { return unix.Acct(in("file")) })
	add("quotactl", func() error { return raw(unix.SYS_QUOTACTL, 0x800001<<8, cstr("/dev/vda"), 0, 0) })
	add("personality", func() error { return raw(unix.SYS_PERSONALITY, 0x0400000) })
	add("set host name", func() error { return unix.Sethostname([]byte("x")) })

	for name, flag := range map[string]int{"user": unix.CLONE_NEWUSER, "net": unix.CLONE_NEWNET, "mount": unix.CLONE_NEWNS, "pid": unix.CLONE_NEWPID, "ipc": unix.CLONE_NEWIPC, "uts": unix.CLONE_NEWUTS, "cgroup": unix.CLONE_NEWCGROUP, "time": unix.CLONE_NEWTIME} {
		add("unshare "+name, thread(func() error { return unix.Unshare(flag) }))
	}
	add("clone a user namespace", func() error {
		// On success there are two of us; the child leaves at once.
		pid, _, errno := unix.RawSyscall6(unix.SYS_CLONE, unix.CLONE_NEWUSER|uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
		if errno != 0 {
			return errno
		}
		if pid == 0 {
			unix.RawSyscall(unix.SYS_EXIT, 0, 0, 0)
		}
		return nil
	})
	add("clone3", func() error { var a [88]byte; return raw(unix.SYS_CLONE3, uintptr(unsafe.Pointer(&a)), 88) })
	for _, ns := range []string{"user", "net", "mnt", "pid"} {
		add("setns "+ns, thread(func() error {
			fd, err := unix.Open("/proc/1/ns/"+ns, unix.O_RDONLY|unix.O_CLOEXEC, 0)
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			return unix.Setns(fd, 0)
		}))
	}
	add("mount", func() error { return unix.Mount("x", "/tmp", "tmpfs", 0, "") })
	add("remount", func() error { return unix.Mount("", "/usr", "", unix.MS_REMOUNT|unix.MS_BIND, "") })
	add("bind", func() error { return unix.Mount("/usr", "/tmp", "", unix.MS_BIND, "") })
	add("umount", func() error { return unix.Unmount(in(".git/hooks"), unix.MNT_DETACH) })
	add("pivot_root", func() error { return unix.PivotRoot("/tmp", "/tmp") })
	add("chroot", func() error { return unix.Chroot("/tmp") })
	add("fsopen", func() error { _, err := unix.Fsopen("tmpfs", 0); return err })
	add("open_tree", func() error { _, err := unix.OpenTree(unix.AT_FDCWD, "/usr", unix.OPEN_TREE_CLONE); return err })
	add("move_mount", func() error { return unix.MoveMount(unix.AT_FDCWD, "/usr", unix.AT_FDCWD, "/tmp", 0) })
	add("mount_setattr", func() error {
		return unix.MountSetattr(unix.AT_FDCWD, "/usr", 0, &unix.MountAttr{Attr_clr: unix.MOUNT_ATTR_RDONLY})
	})

	for _, p := range []string{"/x", "/usr/x", "/etc/x", "/bin/x", "/opt/x", "/run/penstock/x"} {
		if p != "/run/penstock/x" {
			add("create "+p, create(p))
		}
	}
	add("read the ssh key", read(filepath.Join(home, ".ssh/id_ed25519")))
	add("read the cloud key", read(filepath.Join(home, ".aws/credentials")))
	add("read another project", read(filepath.Join(home, "other/file")))
	add("read the host's shadow", read("/etc/shadow"))
	add("read the host's ssh key", read("/etc/ssh/ssh_host_ed25519_key"))
	add("read through a link in the work directory", func() error {
		os.Symlink(filepath.Join(home, ".ssh/id_ed25519"), in("link"))
		return read(in("link"))()
	})
	add("read through a planted link", read(in("planted")))
	add("hard link out", func() error { return os.Link("/etc/hostname", in("hard")) })
	add("hard link of a protected file", func() error { return os.Link(in(".git/config"), in("config2")) })
	add("walk up by descriptor", func() error {
		fd, err := unix.Open(work, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		f, err := unix.Openat(fd, "../other/file", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err == nil {
			unix.Close(f)
		}
		return err
	})
	add("open by handle", func() error {
		h := unix.NewFileHandle(1, make([]byte, 8))
		_, err := unix.OpenByHandleAt(unix.AT_FDCWD, h, unix.O_RDONLY)
		return err
	})
	for _, p := range []string{".git/config", ".git/hooks/pre-commit", ".penstock.yaml", ".vscode/tasks.json", ".husky/pre-commit", ".claude/settings.json", ".git/commondir", ".git/config.lock/../config"} {
		add("write "+p, func() error {
			if err := os.MkdirAll(filepath.Dir(in(p)), 0o755); err != nil {
				return err
			}
			return create(in(p))()
		})
		add("replace "+p, func() error {
			os.WriteFile(in("evil"), []byte("evil"), 0o755)
			return os.Rename(in("evil"), in(p))
		})
		add("remove "+p, func() error {
			if _, err := os.Lstat(in(p)); err != nil {
				return err
			}
			return os.RemoveAll(in(p))
		})
	}
	for _, p := range []string{".git", ".vscode", ".git/hooks", ".penstock.yaml"} {
		add("rename "+p, func() error { return os.Rename(in(p), in("moved")) })
		add("exchange "+p, func() error {
			os.Mkdir(in("evildir"), 0o755)
			return unix.Renameat2(unix.AT_FDCWD, in("evildir"), unix.AT_FDCWD, in(p), unix.RENAME_EXCHANGE)
		})
		add("link over "+p, func() error { return os.Symlink("/tmp", in(p)) })
	}
	add("rename the work directory", func() error { return os.Rename(work, work+"2") })
	add("truncate a protected file", func() error { return os.Truncate(in(".git/config"), 0) })
	add("make a protected file executable", func() error { return os.Chmod(in(".git/config"), 0o777) })
	add("setuid file", func() error {
		if err := create(in("suid"))(); err != nil {
			return nil
		}
		return unix.Chmod(in("suid"), 0o4755)
	})
	add("setuid file at birth", func() error {
		fd, err := unix.Open(in("suid2"), unix.O_CREAT|unix.O_WRONLY|unix.O_CLOEXEC, 0o4755)
		if err == nil {
			unix.Close(fd)
		}
		return err
	})
	add("setgid by fchmod", func() error {
		f, err := os.Create(in("sgid"))
		if err != nil {
			return nil
		}
		defer f.Close()
		return unix.Fchmod(int(f.Fd()), 0o2755)
	})
	add("file capabilities", func() error { return unix.Setxattr(in("file"), "security.capability", make([]byte, 20), 0) })
	add("give a file away", func() error { return os.Chown(in("file"), 12345, 12345) })
	add("overwrite the shim", write("/run/penstock/penstock"))
	add("overwrite itself", write("/proc/self/exe"))
	add("overwrite bwrap by the first process", write("/proc/1/exe"))
	add("read bwrap by the first process", read("/proc/1/exe"))

	add("root of the first process", func() error { _, err := os.ReadDir("/proc/1/root/home"); return err })
	add("directory of the first process", func() error { _, err := os.ReadDir("/proc/1/cwd/"); return err })
	add("memory of the first process", write("/proc/1/mem"))
	add("descriptors of the first process", func() error {
		for fd := range 64 {
			if _, err := os.Readlink(fmt.Sprintf("/proc/1/fd/%d", fd)); err == nil {
				return nil
			}
		}
		return errors.New("none")
	})
	add("environment of the first process", read("/proc/1/environ"))
	add("trace the first process", thread(func() error { return unix.PtraceSeize(1) }))
	add("attach to the first process", thread(func() error { return unix.PtraceAttach(1) }))
	add("write into the first process", func() error {
		b := []byte{0}
		_, err := unix.ProcessVMWritev(1, []unix.Iovec{{Base: &b[0], Len: 1}}, []unix.RemoteIovec{{Base: 0x1000, Len: 1}}, 0)
		return err
	})
	add("take a descriptor of the first process", func() error {
		fd, err := unix.PidfdOpen(1, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		_, err = unix.PidfdGetfd(fd, 0, 0)
		return err
	})
	add("kill the first process", func() error { return unix.Kill(1, 0) })
	add("signal a process of the host", func() error { return unix.Kill(hostPID, 0) })
	add("see a process of the host", func() error { _, err := os.Stat(fmt.Sprintf("/proc/%d/status", hostPID)); return err })
	add("limits of a process of the host", func() error { var l unix.Rlimit; return unix.Prlimit(hostPID, unix.RLIMIT_NOFILE, nil, &l) })
	add("priority", func() error { return unix.Setpriority(unix.PRIO_PROCESS, 0, -5) })
	add("real time", func() error {
		var p int32 = 10
		return raw(unix.SYS_SCHED_SETSCHEDULER, 0, 1, uintptr(unsafe.Pointer(&p)))
	})
	add("leaked descriptors", func() error {
		for fd := 3; fd < 1024; fd++ {
			link, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
			if err == nil && !strings.HasPrefix(link, "anon_inode:[event") && !strings.Contains(link, "/proc/") {
				return nil // one that the runtime did not make
			}
		}
		return errors.New("none")
	})
	add("shared memory of the host", func() error { return raw(unix.SYS_SHMAT, uintptr(shm), 0, unix.SHM_RDONLY) })

	families := map[string]int{"vsock": unix.AF_VSOCK, "packet": unix.AF_PACKET, "alg": unix.AF_ALG, "bluetooth": unix.AF_BLUETOOTH, "can": unix.AF_CAN, "tipc": unix.AF_TIPC, "xdp": unix.AF_XDP, "key": unix.AF_KEY, "rds": unix.AF_RDS, "qipcrtr": unix.AF_QIPCRTR, "smc": unix.AF_SMC, "nfc": unix.AF_NFC, "kcm": unix.AF_KCM, "pppox": unix.AF_PPPOX, "x25": unix.AF_X25, "phonet": unix.AF_PHONET, "mctp": 45}
	for name, family := range families {
		for _, kind := range []int{unix.SOCK_STREAM, unix.SOCK_DGRAM, unix.SOCK_RAW, unix.SOCK_SEQPACKET} {
			add(fmt.Sprintf("socket of family %s, type %d", name, kind), socket(family, kind, 0))
		}
	}
	for _, p := range []int{unix.NETLINK_GENERIC, unix.NETLINK_NETFILTER, unix.NETLINK_AUDIT, unix.NETLINK_KOBJECT_UEVENT, unix.NETLINK_XFRM, unix.NETLINK_SOCK_DIAG, unix.NETLINK_CONNECTOR} {
		add(fmt.Sprintf("netlink %d", p), socket(unix.AF_NETLINK, unix.SOCK_RAW, p))
	}
	add("raw socket", socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP))
	add("raw socket 6", socket(unix.AF_INET6, unix.SOCK_RAW, unix.IPPROTO_RAW))
	add("ping socket", socket(unix.AF_INET, unix.SOCK_DGRAM, unix.IPPROTO_ICMP))
	add("sctp", socket(unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_SCTP))
	add("dccp", socket(unix.AF_INET, unix.SOCK_DCCP, 33))
	add("pair of family tipc", func() error {
		var p [2]int32
		return raw(unix.SYS_SOCKETPAIR, unix.AF_TIPC, unix.SOCK_STREAM, 0, uintptr(unsafe.Pointer(&p)))
	})
	add("change the network", func() error {
		fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
		if err != nil {
			return nil // that must work
		}
		defer unix.Close(fd)
		// RTM_NEWLINK on lo, index 1, flags down.
		m := make([]byte, 32)
		m[0], m[4], m[6] = 32, unix.RTM_SETLINK, unix.NLM_F_REQUEST|unix.NLM_F_ACK
		m[16+4] = 1
		m[16+12] = 1
		if err := unix.Sendto(fd, m, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
			return err
		}
		n, _, err := unix.Recvfrom(fd, m[:32], 0)
		if err != nil {
			return err
		}
		if n >= 20 {
			if code := *(*int32)(unsafe.Pointer(&m[16])); code != 0 {
				return unix.Errno(-code)
			}
		}
		return nil
	})
	add("abstract socket of the host", unixConnect("@"+abstract))
	add("socket in the work directory", unixConnect(in("agent.sock")))
	add("socket in the host's /tmp", unixConnect(os.Getenv("TMPSOCK")))
	for _, p := range []string{"/run/docker.sock", "/var/run/docker.sock", "/run/containerd/containerd.sock", "/run/dbus/system_bus_socket", "/run/systemd/private", "/tmp/.X11-unix/X0", "/run/user/0/bus", "/run/user/1000/bus"} {
		add("socket "+p, unixConnect(p))
	}

	add("x32 numbers", func() error { return raw(0x40000000|39, 0) })
	add("type into the terminal", func() error { c := byte('x'); return raw(unix.SYS_IOCTL, 0, unix.TIOCSTI, uintptr(unsafe.Pointer(&c))) })
	add("type with an upper bit", func() error {
		c := byte('x')
		return raw(unix.SYS_IOCTL, 0, unix.TIOCSTI|1<<32, uintptr(unsafe.Pointer(&c)))
	})
	add("paste", func() error { c := byte(3); return raw(unix.SYS_IOCTL, 0, unix.TIOCLINUX, uintptr(unsafe.Pointer(&c))) })
	add("line discipline", func() error { c := int32(1); return raw(unix.SYS_IOCTL, 0, unix.TIOCSETD, uintptr(unsafe.Pointer(&c))) })

	add("setuid to another", func() error { return raw(unix.SYS_SETUID, uintptr(os.Getuid()+1)) })
	add("setgroups", func() error { return raw(unix.SYS_SETGROUPS, 0, 0) })
	add("raise capabilities", func() error {
		h := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		d := [2]unix.CapUserData{{Effective: 1 << unix.CAP_SYS_ADMIN, Permitted: 1 << unix.CAP_SYS_ADMIN}}
		return unix.Capset(&h, &d[0])
	})
	add("write a uid map", func() error { return os.WriteFile("/proc/self/uid_map", []byte("0 0 1"), 0) })
	add("lower the oom score", func() error { return os.WriteFile("/proc/self/oom_score_adj", []byte("-900"), 0) })
	add("cgroup files", firstNonEmptyProc("/sys/fs/cgroup/cgroup.procs", "/sys/fs/cgroup/unified/cgroup.procs"))
	add("own mounts allow setuid", func() error {
		b, err := os.ReadFile("/proc/self/mountinfo")
		if err != nil {
			return err
		}
		for _, line := range strings.Split(strings.TrimSpace(string(b)), "\n") {
			if f := strings.Fields(line); f[4] != "/" && !strings.Contains(f[5], "nosuid") {
				return nil
			}
		}
		return errors.New("none")
	})
	return list
}

// hostile is the tool's main: it prints a line per attempt that worked.
func hostile() int {
	list := attempts()
	for _, a := range list {
		if err := a.f(); err == nil {
			fmt.Printf("WORKED %s\n", a.name)
		}
	}
	fmt.Printf("tried %d\n", len(list))
	return 0
}

// tree lists what is below a directory, with contents, to compare the host
// before and after.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.Walk(dir, func(p string, st os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		v := st.Mode().String()
		if st.Mode().IsRegular() {
			b, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			v += " " + string(b)
		}
		out[strings.TrimPrefix(p, dir)] = v
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func listenUnix(t *testing.T, addr string) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: addr}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(fd, 5); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
}

// TestHostileTool runs it as shipped, with every mount made by bwrap, and on
// what a kernel without Landlock leaves, where the mounts and the filter are alone.
func TestHostileTool(t *testing.T) {
	t.Run("with Landlock", func(t *testing.T) { hostileTool(t) })
	t.Run("mounts by bwrap", func(t *testing.T) { hostileTool(t, withoutBuilder) })
	t.Run("without Landlock", func(t *testing.T) { hostileTool(t, withoutLandlock) })
}

func hostileTool(t *testing.T, env ...string) {
	home, work := homeWith(t, ".ssh/id_ed25519", ".aws/credentials", "other/file", "project/.git/config", "project/.git/HEAD", "project/.git/objects/x")
	if err := os.Symlink("../.ssh/id_ed25519", filepath.Join(work, "planted")); err != nil {
		t.Fatal(err)
	}
	abstract := fmt.Sprintf("penstock-test-%d", os.Getpid())
	listenUnix(t, "@"+abstract)
	listenUnix(t, filepath.Join(work, "agent.sock"))
	tmpsock := filepath.Join(t.TempDir(), "s")
	listenUnix(t, tmpsock)
	shm, _, errno := unix.Syscall(unix.SYS_SHMGET, unix.IPC_PRIVATE, 4096, 0o666)
	if errno != 0 {
		t.Fatal(errno)
	}
	defer unix.Syscall(unix.SYS_SHMCTL, shm, unix.IPC_RMID, 0)
	before := tree(t, home)

	s := laid(t, home, work, nil, "/run/penstock/penstock", hostileArg)
	s.Env = append(s.Env, env...)
	s.Env = append(s.Env, "WORK="+work, "ABSTRACT="+abstract, "TMPSOCK="+tmpsock,
		fmt.Sprintf("HOSTPID=%d", os.Getpid()), fmt.Sprintf("SHM=%d", shm))
	_, out, errs := run(t, s)
	if !strings.Contains(out, "tried ") {
		t.Errorf("it did not end\n%s%s", out, errs)
	}
	for _, line := range strings.Split(out, "\n") {
		name, worked := strings.CutPrefix(line, "WORKED ")
		if !worked {
			continue
		}
		if slices.Contains(env, withoutLandlock) && (strings.HasSuffix(name, " of the first process") || name == "kill the first process" || name == "read bwrap by the first process") {
			// Without Landlock the pen's first process is within reach. It has the
			// command's own filter, namespaces and no capability: nothing is won.
			continue
		}
		t.Errorf("worked: %s", name)
	}
	t.Logf("%s", out)

	// What arrived outside.
	after := tree(t, home)
	for p, v := range after {
		switch {
		case before[p] == v, p == "", p == "/project", p == "/project/.git":
		case strings.HasPrefix(p, "/project/.git"), strings.HasPrefix(p, "/project/."), !strings.HasPrefix(p, "/project/"):
			if claimed(s.Mounts, filepath.Join(home, p)) {
				continue // a placeholder: released when the test ends
			}
			t.Errorf("%s is %q on the host, was %q", p, v, before[p])
		case strings.HasPrefix(v, "u"), strings.HasPrefix(v, "g"), strings.HasPrefix(v, "D"):
			t.Errorf("%s is %q on the host", p, v)
		}
	}
	for p, v := range before {
		if after[p] == "" {
			t.Errorf("%s (%q) is gone from the host", p, v)
		}
	}
}

// TestHomeAsWork: the worst choice of a work directory still hides credentials
// and protects what a login runs.
func TestHomeAsWork(t *testing.T) {
	home, _ := homeWith(t, ".ssh/id_ed25519", ".bashrc", ".config/gh/hosts.yml", "x")
	for _, c := range []struct {
		script string
		ok     bool
	}{
		{"cat x", true},
		{"cat .ssh/id_ed25519", false},
		{"cat .config/gh/hosts.yml", false},
		{"echo evil >> .bashrc", false},
		{"mv .bashrc y", false},
		{"mkdir -p .config/autostart/x", false},
		{"echo evil > .zshrc", false},
		{"echo evil > z; mv z .profile", false},
		{"mv .config c2", false},
	} {
		if code, out, errs := run(t, laid(t, home, home, func(in *layout.Input) {}, "sh", "-c", c.script)); (code == 0) != c.ok {
			t.Errorf("%s: %d\n%s%s", c.script, code, out, errs)
		}
	}
	if b, err := os.ReadFile(filepath.Join(home, ".zshrc")); err == nil && len(b) > 0 {
		t.Errorf(".zshrc is %q", b)
	}
	if b, _ := os.ReadFile(filepath.Join(home, ".bashrc")); string(b) != "content of .bashrc\n" {
		t.Errorf(".bashrc is %q", b)
	}
}
