//go:build amd64 || arm64

package confine

import (
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// newNamespaces are the clone flags that make a namespace. CLONE_NEWTIME is not
// among them: in clone(2) its bit is part of the exit signal.
const newNamespaces = unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC |
	unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNET

// setIDs are the mode bits that turn a file in the work directory into a door
// for another user of the host.
const setIDs = unix.S_ISUID | unix.S_ISGID

// PenFilter returns the seccomp program of the pen as an array of struct
// sock_filter: what bwrap's --seccomp reads. It refuses by name and allows the
// rest, because agents bring every runtime there is.
//
// trace allows debuggers (ptrace, process_vm_*). Without Landlock it must be
// false: the pen's first process, bwrap's, is then not above the command's
// domain, and who traces it holds descriptors and a view of bwrap's.
//
// Refusals are EPERM, except where callers probe for a new call and take ENOSYS
// as "do without" (clone3, io_uring, openat2).
func PenFilter(trace bool) ([]byte, error) { return penFilter(trace).assemble() }

func penFilter(trace bool) *filter {
	f := &filter{arch: auditArch, x32: hasX32}
	eperm, enosys := deny(unix.EPERM), deny(unix.ENOSYS)

	f.deny(eperm,
		// Kernel objects that namespaces do not contain.
		unix.SYS_BPF, unix.SYS_PERF_EVENT_OPEN, unix.SYS_USERFAULTFD,
		unix.SYS_ADD_KEY, unix.SYS_REQUEST_KEY, unix.SYS_KEYCTL, unix.SYS_FANOTIFY_INIT,
		unix.SYS_SYSLOG, unix.SYS_LOOKUP_DCOOKIE, unix.SYS_NFSSERVCTL, unix.SYS_LSM_SET_SELF_ATTR,
		// The view of the file system is the supervisor's.
		unix.SYS_MOUNT, unix.SYS_UMOUNT2, unix.SYS_PIVOT_ROOT, unix.SYS_CHROOT,
		unix.SYS_FSOPEN, unix.SYS_FSCONFIG, unix.SYS_FSMOUNT, unix.SYS_FSPICK,
		unix.SYS_OPEN_TREE, unix.SYS_OPEN_TREE_ATTR, unix.SYS_MOVE_MOUNT, unix.SYS_MOUNT_SETATTR,
		unix.SYS_OPEN_BY_HANDLE_AT, unix.SYS_QUOTACTL, unix.SYS_QUOTACTL_FD,
		unix.SYS_SWAPON, unix.SYS_SWAPOFF, unix.SYS_ACCT,
		unix.SYS_SETNS,
		// The machine.
		unix.SYS_REBOOT, unix.SYS_KEXEC_LOAD, unix.SYS_KEXEC_FILE_LOAD,
		unix.SYS_INIT_MODULE, unix.SYS_FINIT_MODULE, unix.SYS_DELETE_MODULE,
		unix.SYS_SETTIMEOFDAY, unix.SYS_CLOCK_SETTIME, unix.SYS_SETHOSTNAME, unix.SYS_SETDOMAINNAME,
		unix.SYS_VHANGUP,
	)
	f.deny(eperm, oldCalls()...)
	if !trace {
		f.deny(eperm, unix.SYS_PTRACE, unix.SYS_PROCESS_VM_READV, unix.SYS_PROCESS_VM_WRITEV, unix.SYS_PIDFD_GETFD, unix.SYS_KCMP)
	}
	f.deny(enosys,
		// A ring makes system calls that no filter sees.
		unix.SYS_IO_URING_SETUP, unix.SYS_IO_URING_ENTER, unix.SYS_IO_URING_REGISTER,
		// Flags in memory, which a filter can't read; libc falls back to clone.
		unix.SYS_CLONE3,
		// Mode in memory; setuid bits would pass. Callers fall back to openat.
		unix.SYS_OPENAT2,
	)

	f.test(unix.SYS_CLONE, refuseBits(0, newNamespaces, eperm)...)
	f.test(unix.SYS_UNSHARE, refuseBits(0, newNamespaces|unix.CLONE_NEWTIME, eperm)...)
	f.test(unix.SYS_SOCKET, socketRule()...)
	// TIPC and others make pairs too.
	f.test(unix.SYS_SOCKETPAIR, only(0, deny(unix.EAFNOSUPPORT), unix.AF_UNIX)...)
	// Typing into the terminal of whoever started us (CVE-2017-5226), pasting a
	// selection, changing the line discipline.
	f.test(unix.SYS_IOCTL, refuseValues(1, eperm, unix.TIOCSTI, unix.TIOCLINUX, unix.TIOCSETD)...)
	// 0xffffffff asks; 8 and 0x20000 change what uname says. Others weaken the
	// address space (READ_IMPLIES_EXEC, ADDR_NO_RANDOMIZE).
	f.test(unix.SYS_PERSONALITY, only(0, eperm, 0, 8, 0x20000, 0x20008, 0xffffffff)...)
	f.test(unix.SYS_MKNODAT, nodeRule(2, eperm)...)
	f.test(unix.SYS_FCHMOD, refuseBits(1, setIDs, eperm)...)
	f.test(unix.SYS_FCHMODAT, refuseBits(2, setIDs, eperm)...)
	f.test(unix.SYS_FCHMODAT2, refuseBits(2, setIDs, eperm)...)
	f.test(unix.SYS_OPENAT, refuseBitsIf(2, unix.O_CREAT|oTmpfile, 3, setIDs, eperm)...)
	oldTests(f, eperm)
	return f
}

// oTmpfile is the bit of O_TMPFILE that is not O_DIRECTORY.
const oTmpfile = unix.O_TMPFILE &^ unix.O_DIRECTORY

// sockType is the part of socket's second argument that is the type.
const sockType = 0xf

// socketRule allows what has meaning in the pen: streams and datagrams over
// IPv4 and IPv6, unix sockets, and the route family of netlink, by which every
// runtime lists interfaces. Everything else is refused as if the kernel had not
// been built with it; AF_VSOCK and its like would be uplinks.
func socketRule() []bpf.Instruction {
	no, eperm := ret(deny(unix.EAFNOSUPPORT)), ret(deny(unix.EPERM))
	inet := []bpf.Instruction{
		arg(1),
		bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: sockType},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.SOCK_STREAM, SkipFalse: 5},
		arg(2),
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.IPPROTO_IP, SkipTrue: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.IPPROTO_TCP, SkipTrue: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.IPPROTO_MPTCP, SkipFalse: 6},
		ret(allow),
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.SOCK_DGRAM, SkipFalse: 4},
		arg(2),
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.IPPROTO_IP, SkipTrue: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.IPPROTO_UDP, SkipFalse: 1},
		ret(allow),
		eperm, // raw, SCTP, DCCP, ICMP
	}
	netlink := []bpf.Instruction{
		arg(2),
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.NETLINK_ROUTE, SkipFalse: 1},
		ret(allow),
		no,
	}
	out := []bpf.Instruction{
		arg(0),
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.AF_UNIX, SkipFalse: 1},
		ret(allow),
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.AF_INET, SkipTrue: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.AF_INET6, SkipFalse: uint8(len(inet))},
	}
	out = append(out, inet...)
	out = append(out, bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.AF_NETLINK, SkipFalse: uint8(len(netlink))})
	out = append(out, netlink...)
	return append(out, no)
}

// nodeRule allows mknod of files, pipes and sockets without set-id bits: no devices.
func nodeRule(i int, v verdict) []bpf.Instruction {
	return []bpf.Instruction{
		arg(i),
		bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: setIDs, SkipTrue: 5},
		bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: unix.S_IFMT},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 0, SkipTrue: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.S_IFREG, SkipTrue: 3},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.S_IFIFO, SkipTrue: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.S_IFSOCK, SkipTrue: 1},
		ret(v),
		ret(allow),
	}
}
