//go:build amd64 || arm64

package confine

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// What a lock does can't be undone, so it is tried in a child copy of this
// binary, which runs one of children and fails by its exit code.
func TestMain(m *testing.M) {
	if name := os.Getenv("CONFINE_CHILD"); name != "" {
		f, ok := children()[name]
		if !ok {
			fmt.Println("no such child")
			os.Exit(2)
		}
		if err := f(os.Args[1:]); err != nil {
			fmt.Println(err)
			if errors.Is(err, unix.ENOTSUP) {
				os.Exit(77)
			}
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func child(t *testing.T, name string, args ...string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, args...)
	cmd.Env = append(os.Environ(), "CONFINE_CHILD="+name)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 77 {
		t.Skipf("the test binary is linked with C: %s", out)
	}
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func children() map[string]func([]string) error {
	return map[string]func([]string) error{"proxy": childProxy, "pen": childPen, "janitor": childJanitor}
}

// attempts runs each on a thread of its own, so that a thread that escaped the
// lock would show.
type attempt struct {
	name string
	f    func() error
	want error // nil: must work
}

func try(list []attempt) error {
	var failed []error
	for _, a := range list {
		done := make(chan error)
		go func() {
			runtime.LockOSThread() // and never unlock: the thread ends
			done <- a.f()
		}()
		err := <-done
		if (a.want == nil && err != nil) || (a.want != nil && !errors.Is(err, a.want)) {
			failed = append(failed, fmt.Errorf("%s: %v, want %v", a.name, err, a.want))
		}
	}
	return errors.Join(failed...)
}

func sys(nr uintptr, args ...uintptr) func() error {
	return func() error {
		var a [6]uintptr
		copy(a[:], args)
		if _, _, errno := unix.RawSyscall6(nr, a[0], a[1], a[2], a[3], a[4], a[5]); errno != 0 {
			return errno
		}
		return nil
	}
}

func read(p string) func() error {
	return func() error { _, err := os.ReadFile(p); return err }
}

func childProxy(args []string) error {
	allowed, hidden, addr := args[0], args[1], args[2]
	// Threads that exist before must be locked too.
	for range 4 {
		go func() { runtime.LockOSThread(); select {} }()
	}
	applied, err := Proxy(ProxyRules{ReadPaths: []string{allowed, "/nonexistent"}})
	if err != nil {
		return err
	}
	if !applied.Seccomp {
		return errors.New("no filter")
	}
	list := []attempt{
		{"read what is granted", read(filepath.Join(allowed, "file")), nil},
		{"dial", func() error { return dial(addr) }, nil},
		{"list own addresses", func() error { _, err := syscall.NetlinkRIB(syscall.RTM_GETADDR, syscall.AF_UNSPEC); return err }, nil},
		{"collect garbage", func() error {
			for range 5 {
				runtime.GC()
				_ = bytes.Repeat([]byte("x"), 8<<20)
			}
			return nil
		}, nil},
		{"exec", func() error { return syscall.Exec("/bin/true", []string{"true"}, nil) }, unix.EPERM},
		{"start a program", func() error { return exec.Command("/bin/true").Run() }, os.ErrPermission},
		{"unix socket", sys(unix.SYS_SOCKET, unix.AF_UNIX, unix.SOCK_STREAM), unix.EAFNOSUPPORT},
		{"listen", func() error { _, err := listen(); return err }, os.ErrPermission},
		{"raw socket", sys(unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP), unix.EPERM},
		{"signal the parent", sys(unix.SYS_KILL, uintptr(os.Getppid()), 0), unix.EPERM},
		{"trace the parent", sys(unix.SYS_PTRACE, unix.PTRACE_ATTACH, uintptr(os.Getppid())), unix.EPERM},
		{"become root", sys(unix.SYS_SETUID, 0), unix.EPERM},
		{"map code", sys(unix.SYS_MMAP, 0, 4096, unix.PROT_READ|unix.PROT_WRITE|unix.PROT_EXEC, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS, ^uintptr(0)), unix.EPERM},
		{"new namespace", sys(unix.SYS_UNSHARE, unix.CLONE_NEWUSER), unix.EPERM},
		{"status of every thread", lockedThreads, nil},
	}
	if applied.Landlock > 0 {
		list = append(list,
			attempt{"read the rest", read(hidden), unix.EACCES},
			attempt{"write what is granted", func() error { return os.WriteFile(filepath.Join(allowed, "file"), nil, 0o600) }, unix.EACCES},
			attempt{"create", func() error { return os.WriteFile(filepath.Join(allowed, "new"), nil, 0o600) }, unix.EACCES},
			attempt{"read own memory", read("/proc/self/mem"), unix.EACCES},
		)
	}
	return try(list)
}

// lockedThreads reads back each thread of this process. /proc is closed by
// Landlock, so it goes by the descriptor opened before... which there is none
// of: the calling thread is asked instead.
func lockedThreads() error {
	if v, err := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0); err != nil || v != 1 {
		return fmt.Errorf("no_new_privs %d, %v", v, err)
	}
	if v, err := unix.PrctlRetInt(unix.PR_GET_SECCOMP, 0, 0, 0, 0); err != nil || v != 2 {
		return fmt.Errorf("seccomp %d, %v", v, err)
	}
	if v, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0); err != nil || v != 0 {
		return fmt.Errorf("dumpable %d, %v", v, err)
	}
	var data [2]unix.CapUserData
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	if err := unix.Capget(&header, &data[0]); err != nil {
		return err
	}
	if data != [2]unix.CapUserData{} {
		return fmt.Errorf("capabilities %+v", data)
	}
	return nil
}

func TestProxy(t *testing.T) {
	dir := t.TempDir()
	hidden := filepath.Join(dir, "hidden")
	granted := filepath.Join(dir, "granted")
	if err := os.Mkdir(granted, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{hidden, filepath.Join(granted, "file")} {
		if err := os.WriteFile(p, []byte("x"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	l, err := listen()
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(l)
	addr, err := unix.Getsockname(l)
	if err != nil {
		t.Fatal(err)
	}
	child(t, "proxy", granted, hidden, strconv.Itoa(addr.(*unix.SockaddrInet4).Port))
}

// listen and dial do without package net: it would link the test with C, where
// not all threads can be restricted.
func listen() (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return -1, err
	}
	return fd, unix.Listen(fd, 10)
}

func dial(port string) error {
	n, err := strconv.Atoi(port)
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Connect(fd, &unix.SockaddrInet4{Port: n, Addr: [4]byte{127, 0, 0, 1}})
}

func childPen(args []string) error {
	runtime.LockOSThread()
	work, hidden := args[0], args[1]
	applied, err := Pen(PenRules{Paths: []PathRule{
		{Path: work, Access: Write}, {Path: "/usr"}, {Path: "/lib"}, {Path: "/lib64", Optional: true}, {Path: "/bin"},
		{Path: "/", Access: List}, {Path: "/nonexistent", Optional: true},
	}})
	if err != nil {
		return err
	}
	if applied.Landlock == 0 {
		fmt.Println("no Landlock here")
		return nil
	}
	script := fmt.Sprintf(`cd %[1]s || exit 1
mkdir d && echo x > d/f && mv d/f g && ln g h && rm -r d || exit 2
ls / > /dev/null 2>&1
cat %[2]s 2>/dev/null && exit 3
echo x 2>/dev/null > %[2]s && exit 4
(: > %[2]s.new) 2>/dev/null && exit 5
ls %[2]s.. >/dev/null 2>&1
exit 0`, work, hidden)
	return syscall.Exec("/bin/sh", []string{"sh", "-c", script}, []string{"PATH=/usr/bin:/bin"})
}

func TestPen(t *testing.T) {
	dir := t.TempDir()
	work, hidden := filepath.Join(dir, "work"), filepath.Join(dir, "hidden")
	if err := os.Mkdir(work, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(hidden, []byte("secret"), 0o644); err != nil {
		t.Fatal(err)
	}
	child(t, "pen", work, hidden)
	if b, err := os.ReadFile(hidden); err != nil || string(b) != "secret" {
		t.Errorf("%q %v", b, err)
	}
	if _, err := os.Stat(hidden + ".new"); err == nil {
		t.Error("created outside")
	}
}

func TestDowngrade(t *testing.T) {
	full := ruleset{
		fs: accessAll, net: unix.LANDLOCK_ACCESS_NET_BIND_TCP, scoped: unix.LANDLOCK_SCOPE_SIGNAL,
		rules: []PathRule{{Path: "/"}},
	}
	for _, c := range []struct {
		abi             int
		truncate, ioctl bool
		fs, net, scoped bool
		size            uintptr
	}{
		{0, false, false, false, false, false, 8},
		{1, false, false, false, false, false, 8},
		{2, false, false, true, false, false, 8},
		{3, true, false, true, false, false, 8},
		{4, true, false, true, true, false, 16},
		{5, true, true, true, true, false, 16},
		{6, true, true, true, true, true, 24},
		{7, true, true, true, true, true, 24},
		{99, true, true, true, true, true, 24},
	} {
		rs := full.downgrade(c.abi)
		got := fmt.Sprint(rs.fs&unix.LANDLOCK_ACCESS_FS_TRUNCATE != 0, rs.fs&unix.LANDLOCK_ACCESS_FS_IOCTL_DEV != 0, rs.fs != 0, rs.net != 0, rs.scoped != 0, rs.size(), len(rs.rules) > 0)
		want := fmt.Sprint(c.truncate, c.ioctl, c.fs, c.net, c.scoped, c.size, c.fs)
		if got != want {
			t.Errorf("ABI %d: %s, want %s", c.abi, got, want)
		}
		if rs.fs&^full.fs != 0 || rs.net&^full.net != 0 {
			t.Errorf("ABI %d: handles more than asked", c.abi)
		}
	}
	if fmt.Sprint(full) != fmt.Sprint(ruleset{fs: accessAll, net: unix.LANDLOCK_ACCESS_NET_BIND_TCP, scoped: unix.LANDLOCK_SCOPE_SIGNAL, rules: []PathRule{{Path: "/"}}}) {
		t.Error("downgrade changed its input")
	}
}

func TestReopen(t *testing.T) {
	for _, c := range []struct {
		flags int
		read  bool
		write bool
	}{{unix.O_RDONLY, true, false}, {unix.O_WRONLY | unix.O_APPEND, false, true}, {unix.O_RDWR, true, true}} {
		r := reopen(c.flags)
		if (r&unix.LANDLOCK_ACCESS_FS_READ_FILE != 0) != c.read || (r&unix.LANDLOCK_ACCESS_FS_WRITE_FILE != 0) != c.write {
			t.Errorf("%#x: %#x", c.flags, r)
		}
	}
}

func TestMessagesNameTheStep(t *testing.T) {
	if err := threadsError(unix.ENOTSUP); !strings.Contains(err.Error(), "CGO_ENABLED=0") || !errors.Is(err, unix.ENOTSUP) {
		t.Error(err)
	}
}
