//go:build amd64 || arm64

package confine

import (
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// ProxyFilter returns the seccomp program of the proxy role, process pid. On
// top of what the pen may not do, it runs no program, starts no process, sends
// no signal but to its own threads, opens no unix socket, changes no name in
// the file system, listens on nothing new and maps no code.
func ProxyFilter(pid int) ([]byte, error) { return proxyFilter(pid).assemble() }

func proxyFilter(pid int) *filter {
	f := &filter{arch: auditArch, x32: hasX32}
	pen, eperm := penFilter(false), deny(unix.EPERM)
	for _, v := range pen.order {
		f.deny(v, pen.denied[v]...)
	}
	f.deny(eperm, proxyOldCalls()...)
	f.deny(eperm,
		unix.SYS_EXECVE, unix.SYS_EXECVEAT, unix.SYS_UNSHARE, unix.SYS_PERSONALITY,
		unix.SYS_PROCESS_MADVISE, unix.SYS_PIDFD_OPEN, unix.SYS_PIDFD_SEND_SIGNAL,
		unix.SYS_KILL, unix.SYS_TKILL, unix.SYS_RT_SIGQUEUEINFO, unix.SYS_RT_TGSIGQUEUEINFO,
		unix.SYS_SOCKETPAIR, unix.SYS_LISTEN,
		unix.SYS_MKNODAT, unix.SYS_MKDIRAT, unix.SYS_UNLINKAT, unix.SYS_SYMLINKAT, unix.SYS_LINKAT,
		unix.SYS_RENAMEAT2, unix.SYS_FCHMOD, unix.SYS_FCHMODAT, unix.SYS_FCHMODAT2,
		unix.SYS_FCHOWN, unix.SYS_FCHOWNAT, unix.SYS_SETXATTR, unix.SYS_LSETXATTR, unix.SYS_FSETXATTR,
		unix.SYS_SETUID, unix.SYS_SETGID, unix.SYS_SETREUID, unix.SYS_SETREGID, unix.SYS_SETRESUID, unix.SYS_SETRESGID,
		unix.SYS_SETGROUPS, unix.SYS_SETFSUID, unix.SYS_SETFSGID, unix.SYS_CAPSET,
		unix.SYS_SHMGET, unix.SYS_SHMAT, unix.SYS_MSGGET, unix.SYS_SEMGET, unix.SYS_MQ_OPEN,
		unix.SYS_INOTIFY_INIT1, unix.SYS_MEMFD_SECRET, unix.SYS_PKEY_MPROTECT, unix.SYS_SETSID,
	)
	// Threads, not processes: the runtime starts them when it likes.
	f.test(unix.SYS_CLONE,
		arg(0),
		bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: unix.CLONE_THREAD, SkipFalse: 2},
		bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: newNamespaces, SkipTrue: 1},
		ret(allow),
		ret(eperm),
	)
	// The runtime preempts its own threads by signal.
	f.test(unix.SYS_TGKILL, only(0, eperm, uint32(pid))...)
	f.test(unix.SYS_PRLIMIT64, only(0, eperm, 0, uint32(pid))...)
	f.test(unix.SYS_MMAP, refuseBits(2, unix.PROT_EXEC, eperm)...)
	f.test(unix.SYS_MPROTECT, refuseBits(2, unix.PROT_EXEC, eperm)...)
	f.test(unix.SYS_IOCTL, refuseValues(1, eperm, unix.TIOCSTI, unix.TIOCLINUX, unix.TIOCSETD, unix.TIOCSCTTY)...)
	f.test(unix.SYS_SOCKET, append([]bpf.Instruction{
		arg(0),
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.AF_UNIX, SkipFalse: 1},
		ret(deny(unix.EAFNOSUPPORT)),
	}, socketRule()...)...)
	return f
}

// install puts a program on every thread of this process at once.
func install(program []byte) error {
	fprog := unix.SockFprog{
		Len:    uint16(len(program) / 8),
		Filter: (*unix.SockFilter)(unsafe.Pointer(&program[0])),
	}
	tid, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&fprog)))
	if errno != 0 {
		return fmt.Errorf("install seccomp filter: %w", errno)
	}
	if tid != 0 {
		return fmt.Errorf("install seccomp filter: thread %d has one of its own", tid)
	}
	return nil
}

// Proxy locks this process, all of its threads, down to what the proxy role
// needs: the descriptors it already has, new internet sockets, and reading
// below r.ReadPaths. It can't be undone. An error leaves the process partly
// locked: the caller must exit.
func Proxy(r ProxyRules) (Applied, error) {
	var a Applied
	// Not dumpable: no core file with the CA key, and no ptrace or /proc/PID/mem
	// by other processes of the same user.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return a, fmt.Errorf("forbid memory dumps: %w", err)
	}
	each := allThreads{}
	if err := noNewPrivs(each); err != nil {
		return a, err
	}
	if err := dropCapabilities(each); err != nil {
		return a, err
	}
	abi := LandlockABI()
	if abi > 0 {
		rs := ruleset{
			fs:     accessAll,
			net:    unix.LANDLOCK_ACCESS_NET_BIND_TCP,
			scoped: unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET,
		}
		for _, p := range r.ReadPaths {
			rs.rules = append(rs.rules, PathRule{Path: p, Access: Read, Optional: true})
		}
		if err := rs.downgrade(abi).restrict(each); err != nil {
			return a, err
		}
		a.Landlock = abi
	}
	program, err := ProxyFilter(os.Getpid())
	if err != nil {
		return a, err
	}
	if err := install(program); err != nil {
		return a, err
	}
	a.Seccomp = true
	return a, nil
}
