//go:build amd64 || arm64

package confine

import (
	"bytes"
	"encoding/binary"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

var update = flag.Bool("update", false, "write the golden files")

// judge runs a filter on one system call, as the kernel would. The virtual
// machine reads big-endian words, so that is how the words are laid out; the
// filter only knows offsets.
func judge(t *testing.T, f *filter, arch, nr uint32, args ...uint64) verdict {
	t.Helper()
	vm, err := bpf.NewVM(f.instructions())
	if err != nil {
		t.Fatal(err)
	}
	var data [64]byte
	binary.BigEndian.PutUint32(data[offNr:], nr)
	binary.BigEndian.PutUint32(data[offArch:], arch)
	for i, a := range args {
		binary.BigEndian.PutUint32(data[offArgs+8*i:], uint32(a))
		binary.BigEndian.PutUint32(data[offArgs+8*i+4:], uint32(a>>32))
	}
	v, err := vm.Run(data[:])
	if err != nil {
		t.Fatal(err)
	}
	return verdict(v)
}

const high = 1 << 32 // a bit that the kernel ignores in an int

type call struct {
	name string
	nr   uint32
	args []uint64
	want verdict
}

func penCalls() []call {
	eperm, enosys, noFamily := deny(unix.EPERM), deny(unix.ENOSYS), deny(unix.EAFNOSUPPORT)
	a := func(args ...uint64) []uint64 { return args }
	return []call{
		{"read", unix.SYS_READ, nil, allow},
		{"execve", unix.SYS_EXECVE, nil, allow},
		{"thread", unix.SYS_CLONE, a(unix.CLONE_VM | unix.CLONE_THREAD | unix.CLONE_SIGHAND), allow},
		{"fork", unix.SYS_CLONE, a(uint64(unix.SIGCHLD)), allow},
		{"fork with the bit of a time namespace", unix.SYS_CLONE, a(0x80), allow},
		{"clone user", unix.SYS_CLONE, a(unix.CLONE_NEWUSER), eperm},
		{"clone net among others", unix.SYS_CLONE, a(unix.CLONE_VM | unix.CLONE_NEWNET), eperm},
		{"clone3", unix.SYS_CLONE3, nil, enosys},
		{"unshare files", unix.SYS_UNSHARE, a(unix.CLONE_FILES), allow},
		{"unshare mounts", unix.SYS_UNSHARE, a(unix.CLONE_NEWNS), eperm},
		{"unshare time", unix.SYS_UNSHARE, a(unix.CLONE_NEWTIME), eperm},
		{"setns", unix.SYS_SETNS, nil, eperm},
		{"mount", unix.SYS_MOUNT, nil, eperm},
		{"fsopen", unix.SYS_FSOPEN, nil, eperm},
		{"open_tree_attr", unix.SYS_OPEN_TREE_ATTR, nil, eperm},
		{"io_uring", unix.SYS_IO_URING_SETUP, nil, enosys},
		{"bpf", unix.SYS_BPF, nil, eperm},
		{"keyctl", unix.SYS_KEYCTL, nil, eperm},
		{"ptrace", unix.SYS_PTRACE, nil, allow},
		{"seccomp", unix.SYS_SECCOMP, nil, allow},
		{"landlock", unix.SYS_LANDLOCK_RESTRICT_SELF, nil, allow},

		{"tcp", unix.SYS_SOCKET, a(unix.AF_INET, unix.SOCK_STREAM, 0), allow},
		{"tcp non-blocking", unix.SYS_SOCKET, a(unix.AF_INET6, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP), allow},
		{"mptcp", unix.SYS_SOCKET, a(unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_MPTCP), allow},
		{"udp", unix.SYS_SOCKET, a(unix.AF_INET, unix.SOCK_DGRAM, unix.IPPROTO_UDP), allow},
		{"unix", unix.SYS_SOCKET, a(unix.AF_UNIX, unix.SOCK_SEQPACKET, 0), allow},
		{"netlink route", unix.SYS_SOCKET, a(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_ROUTE), allow},
		{"netlink generic", unix.SYS_SOCKET, a(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_GENERIC), noFamily},
		{"netlink netfilter", unix.SYS_SOCKET, a(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_NETFILTER), noFamily},
		{"raw", unix.SYS_SOCKET, a(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP), eperm},
		{"raw with flags", unix.SYS_SOCKET, a(unix.AF_INET6, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW), eperm},
		{"ping", unix.SYS_SOCKET, a(unix.AF_INET, unix.SOCK_DGRAM, unix.IPPROTO_ICMP), eperm},
		{"sctp", unix.SYS_SOCKET, a(unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_SCTP), eperm},
		{"seqpacket", unix.SYS_SOCKET, a(unix.AF_INET, unix.SOCK_SEQPACKET, 0), eperm},
		{"obsolete packet type", unix.SYS_SOCKET, a(unix.AF_INET, unix.SOCK_PACKET, 0), eperm},
		{"vsock", unix.SYS_SOCKET, a(unix.AF_VSOCK, unix.SOCK_STREAM, 0), noFamily},
		{"vsock with an upper bit", unix.SYS_SOCKET, a(unix.AF_VSOCK|high, unix.SOCK_STREAM, 0), noFamily},
		{"packet", unix.SYS_SOCKET, a(unix.AF_PACKET, unix.SOCK_RAW, 0), noFamily},
		{"alg", unix.SYS_SOCKET, a(unix.AF_ALG, unix.SOCK_SEQPACKET, 0), noFamily},
		{"xdp", unix.SYS_SOCKET, a(unix.AF_XDP, unix.SOCK_RAW, 0), noFamily},
		{"no family", unix.SYS_SOCKET, a(0, 0, 0), noFamily},
		{"unix pair", unix.SYS_SOCKETPAIR, a(unix.AF_UNIX), allow},
		{"tipc pair", unix.SYS_SOCKETPAIR, a(unix.AF_TIPC), noFamily},

		{"window size", unix.SYS_IOCTL, a(0, unix.TIOCGWINSZ), allow},
		{"type into a terminal", unix.SYS_IOCTL, a(0, unix.TIOCSTI), eperm},
		{"type with an upper bit", unix.SYS_IOCTL, a(0, unix.TIOCSTI|high), eperm},
		{"paste", unix.SYS_IOCTL, a(0, unix.TIOCLINUX), eperm},
		{"line discipline", unix.SYS_IOCTL, a(0, unix.TIOCSETD), eperm},

		{"ask personality", unix.SYS_PERSONALITY, a(0xffffffff), allow},
		{"read implies exec", unix.SYS_PERSONALITY, a(0x0400000), eperm},
		{"fifo", unix.SYS_MKNODAT, a(0, 0, unix.S_IFIFO|0o644), allow},
		{"file by mknod", unix.SYS_MKNODAT, a(0, 0, 0o644), allow},
		{"char device", unix.SYS_MKNODAT, a(0, 0, unix.S_IFCHR|0o644), eperm},
		{"block device", unix.SYS_MKNODAT, a(0, 0, unix.S_IFBLK|0o644), eperm},
		{"setuid file by mknod", unix.SYS_MKNODAT, a(0, 0, unix.S_IFREG|0o4755), eperm},
		{"chmod", unix.SYS_FCHMODAT, a(0, 0, 0o1777), allow},
		{"chmod setuid", unix.SYS_FCHMODAT, a(0, 0, 0o4755), eperm},
		{"chmod setgid", unix.SYS_FCHMOD, a(0, 0o2755), eperm},
		{"chmod setuid new", unix.SYS_FCHMODAT2, a(0, 0, 0o4755), eperm},
		{"create", unix.SYS_OPENAT, a(0, 0, unix.O_CREAT|unix.O_WRONLY, 0o644), allow},
		{"open with garbage mode", unix.SYS_OPENAT, a(0, 0, unix.O_RDONLY, 0o7777), allow},
		{"open a directory with garbage mode", unix.SYS_OPENAT, a(0, 0, unix.O_DIRECTORY, 0o7777), allow},
		{"create setuid", unix.SYS_OPENAT, a(0, 0, unix.O_CREAT|unix.O_WRONLY, 0o4755), eperm},
		{"temporary setuid", unix.SYS_OPENAT, a(0, 0, unix.O_TMPFILE|unix.O_WRONLY, 0o4755), eperm},
		{"openat2", unix.SYS_OPENAT2, nil, enosys},
	}
}

func TestPenFilter(t *testing.T) {
	f := penFilter(true)
	for _, c := range penCalls() {
		if got := judge(t, f, auditArch, c.nr, c.args...); got != c.want {
			t.Errorf("%s: %#x, want %#x", c.name, uint32(got), uint32(c.want))
		}
	}
}

func TestProxyFilter(t *testing.T) {
	f := proxyFilter(77)
	eperm := deny(unix.EPERM)
	a := func(args ...uint64) []uint64 { return args }
	for _, c := range []call{
		{"read", unix.SYS_READ, nil, allow},
		{"accept", unix.SYS_ACCEPT4, nil, allow},
		{"splice", unix.SYS_SPLICE, nil, allow},
		{"thread", unix.SYS_CLONE, a(unix.CLONE_VM | unix.CLONE_THREAD), allow},
		{"process", unix.SYS_CLONE, a(uint64(unix.SIGCHLD)), eperm},
		{"process like vfork", unix.SYS_CLONE, a(unix.CLONE_VM | unix.CLONE_VFORK | uint64(unix.SIGCHLD)), eperm},
		{"thread in a namespace", unix.SYS_CLONE, a(unix.CLONE_THREAD | unix.CLONE_NEWUSER), eperm},
		{"exec", unix.SYS_EXECVE, nil, eperm},
		{"execat", unix.SYS_EXECVEAT, nil, eperm},
		{"ptrace", unix.SYS_PTRACE, nil, eperm},
		{"memory of others", unix.SYS_PROCESS_VM_READV, nil, eperm},
		{"signal itself", unix.SYS_TGKILL, a(77, 78), allow},
		{"signal another", unix.SYS_TGKILL, a(76, 76), eperm},
		{"kill", unix.SYS_KILL, a(77), eperm},
		{"tcp", unix.SYS_SOCKET, a(unix.AF_INET, unix.SOCK_STREAM), allow},
		{"udp", unix.SYS_SOCKET, a(unix.AF_INET6, unix.SOCK_DGRAM), allow},
		{"own addresses", unix.SYS_SOCKET, a(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_ROUTE), allow},
		{"unix", unix.SYS_SOCKET, a(unix.AF_UNIX, unix.SOCK_STREAM), deny(unix.EAFNOSUPPORT)},
		{"vsock", unix.SYS_SOCKET, a(unix.AF_VSOCK, unix.SOCK_STREAM), deny(unix.EAFNOSUPPORT)},
		{"listen", unix.SYS_LISTEN, nil, eperm},
		{"code", unix.SYS_MMAP, a(0, 4096, unix.PROT_READ|unix.PROT_EXEC), eperm},
		{"data to code", unix.SYS_MPROTECT, a(0, 4096, unix.PROT_EXEC), eperm},
		{"heap", unix.SYS_MMAP, a(0, 4096, unix.PROT_READ|unix.PROT_WRITE), allow},
		{"unlink", unix.SYS_UNLINKAT, nil, eperm},
		{"rename", unix.SYS_RENAMEAT2, nil, eperm},
		{"chmod", unix.SYS_FCHMODAT, nil, eperm},
		{"own limits", unix.SYS_PRLIMIT64, a(0), allow},
		{"limits of another", unix.SYS_PRLIMIT64, a(1), eperm},
		{"mount", unix.SYS_MOUNT, nil, eperm},
		{"io_uring", unix.SYS_IO_URING_SETUP, nil, deny(unix.ENOSYS)},
	} {
		if got := judge(t, f, auditArch, c.nr, c.args...); got != c.want {
			t.Errorf("%s: %#x, want %#x", c.name, uint32(got), uint32(c.want))
		}
	}
}

// TestDaemonFilter: what the pen may not do the daemon may not either, but for
// eBPF; and tracing is off.
func TestDaemonFilter(t *testing.T) {
	f := daemonFilter()
	for _, c := range penCalls() {
		want := c.want
		switch c.nr {
		case unix.SYS_BPF:
			want = allow
		case unix.SYS_PTRACE, unix.SYS_PROCESS_VM_READV, unix.SYS_PROCESS_VM_WRITEV, unix.SYS_PIDFD_GETFD, unix.SYS_KCMP:
			want = deny(unix.EPERM)
		}
		if got := judge(t, f, auditArch, c.nr, c.args...); got != want {
			t.Errorf("%s: %#x, want %#x", c.name, got, want)
		}
	}
	for nr, want := range map[uint32]verdict{unix.SYS_BPF: allow, unix.SYS_PTRACE: deny(unix.EPERM), unix.SYS_PERF_EVENT_OPEN: deny(unix.EPERM), unix.SYS_SETUID: allow, unix.SYS_EXECVE: allow} {
		if got := judge(t, f, auditArch, nr); got != want {
			t.Errorf("%d: %#x, want %#x", nr, got, want)
		}
	}
}

func TestWithoutTracing(t *testing.T) {
	f := penFilter(false)
	for _, nr := range []uint32{unix.SYS_PTRACE, unix.SYS_PROCESS_VM_WRITEV, unix.SYS_PIDFD_GETFD} {
		if got := judge(t, f, auditArch, nr); got != deny(unix.EPERM) {
			t.Errorf("%d: %#x", nr, uint32(got))
		}
	}
}

// TestOtherNumbers: whatever the number, another entry point gets nothing.
func TestOtherNumbers(t *testing.T) {
	for _, f := range []*filter{penFilter(true), proxyFilter(1)} {
		for _, arch := range []uint32{unix.AUDIT_ARCH_I386, unix.AUDIT_ARCH_ARM, unix.AUDIT_ARCH_PPC64LE, 0} {
			if got := judge(t, f, arch, 1); got != kill {
				t.Errorf("architecture %#x: %#x", arch, uint32(got))
			}
		}
		if !hasX32 {
			continue
		}
		for _, nr := range []uint32{x32Bit, x32Bit | unix.SYS_SOCKET, x32Bit | 512, 0xfffffffe} {
			if got := judge(t, f, auditArch, nr); got != deny(unix.ENOSYS) {
				t.Errorf("number %#x: %#x", nr, uint32(got))
			}
		}
		if got := judge(t, f, auditArch, 0xffffffff); got != allow {
			t.Errorf("number -1: %#x", uint32(got))
		}
	}
}

// TestDeniedStayDenied: what the pen may not do at all, the proxy may not.
func TestDeniedStayDenied(t *testing.T) {
	pen, proxy := penFilter(true), proxyFilter(1)
	for _, nrs := range pen.denied {
		for _, nr := range nrs {
			if judge(t, proxy, auditArch, nr) == allow {
				t.Errorf("the proxy may call %d, the pen may not", nr)
			}
		}
	}
}

// TestGolden keeps the programs in a form that a review can read.
func TestGolden(t *testing.T) {
	for name, f := range map[string]*filter{"pen": penFilter(true), "proxy": proxyFilter(77)} {
		var b bytes.Buffer
		for i, ins := range f.instructions() {
			fmt.Fprintf(&b, "%3d %v\n", i, ins)
		}
		golden := filepath.Join("testdata", name+"-"+runtime.GOARCH+".txt")
		if *update {
			os.MkdirAll("testdata", 0o755)
			if err := os.WriteFile(golden, b.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if os.IsNotExist(err) && runtime.GOARCH != "amd64" {
			t.Skip("only kept for amd64")
		}
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(b.Bytes(), want) {
			t.Errorf("%s changed; look at it, then run the test with -update", golden)
		}
		if prog, err := f.assemble(); err != nil || len(prog)%8 != 0 || len(prog)/8 > 1000 {
			t.Errorf("%s: %d bytes, %v", name, len(prog), err)
		}
	}
}
