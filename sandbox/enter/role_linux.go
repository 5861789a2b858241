package enter

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/penstock/penstock/sandbox"
	"github.com/penstock/penstock/sandbox/procs"
)

// Role is os.Args[1] of the role's process, the kinds of namespaces to join the next.
const Role = "role:enter"

// Descriptors of the role.
const (
	fdTarget = 3 + iota // a process in the pen
	fdShim              // the shim's end of its line
	fdFilter            // the pen's seccomp filter
	fdWhy               // takes the cause of a failure, in words
)

const exitBroken = 125

// Main is the role. It ends as the command does, 128+n for signal n.
func Main(args []string) int {
	// The command dies with the thread that has started it (prctl(2)).
	runtime.LockOSThread()
	for _, fd := range []int{fdTarget, fdFilter, fdWhy} {
		unix.CloseOnExec(fd)
	}
	pid, err := start(args)
	if err != nil {
		unix.Write(fdWhy, []byte(err.Error())) //nolint:errcheck // then nobody listens
		return exitBroken
	}
	if err := leave(); err != nil {
		unix.Write(fdWhy, []byte(err.Error())) //nolint:errcheck // then nobody listens
		unix.Kill(pid, unix.SIGKILL)           //nolint:errcheck // it has ended
	}
	return procs.Await(pid, exitBroken)
}

// leave lets go of all that is the command's: who reads its output waits for nobody
// else.
func leave() error {
	null, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open /dev/null: %w", err)
	}
	for fd := range 3 {
		if err := unix.Dup3(null, fd, 0); err != nil {
			return fmt.Errorf("close the streams: %w", err)
		}
	}
	for _, fd := range []int{null, fdTarget, fdShim, fdFilter} {
		unix.Close(fd)
	}
	return nil
}

// call is all that the forks need, made before them.
type call struct {
	namespaces uintptr
	parent     uintptr // the role's process
	filter     unix.SockFprog
	path       *byte
	argv, env  []*byte
	header     unix.CapUserHeader
	caps       [2]unix.CapUserData // none
	all, mask  [8]byte             // sets of signals: every one; as it was
	tell       uintptr             // a pipe that ends with execve
	word       [8]byte             // step and errno of what failed, or the command's number
}

// steps of the forks. The first is none: it tells the command's number.
const (
	stepNumber = iota
	stepJoin
	stepFork
	stepBounding
	stepCapabilities
	stepPrivileges
	stepFilter
	stepParent
	stepExecute
)

func stepName(n uint32) string {
	names := []string{"", "join the pen's namespaces", "fork", "drop the bounding set", "drop capabilities", "set no_new_privs", "set the filter", "follow the supervisor", "execute the shim"}
	if int(n) >= len(names) {
		return "enter the pen"
	}
	return names[n]
}

// start puts the shim into the pen and returns its process number.
func start(args []string) (int, error) {
	c, read, err := prepare(args)
	if err != nil {
		return 0, err
	}
	defer read.Close()
	// Neither this process nor what it forks is anybody's to look at. The shim's execve
	// ends that, of a program that anybody may read.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return 0, fmt.Errorf("hide the memory: %w", err)
	}
	first, errno := fork(c)
	unix.Close(int(c.tell))
	runtime.KeepAlive(c)
	if errno != 0 {
		return 0, fmt.Errorf("fork: %w", errno)
	}
	pid := 0
	words, err := io.ReadAll(io.LimitReader(read, 64))
	for ; len(words) >= 8; words = words[8:] {
		step, value := binary.NativeEndian.Uint32(words), binary.NativeEndian.Uint32(words[4:])
		if step == stepNumber {
			pid = int(value)
			continue
		}
		err = errors.Join(err, fmt.Errorf("%s: %w", stepName(step), unix.Errno(value)))
	}
	unix.Wait4(int(first), nil, 0, nil) //nolint:errcheck // await reaps it otherwise
	if err == nil && pid == 0 {
		err = errors.New("the pen has killed the process that was to enter it")
	}
	if err != nil && pid != 0 {
		unix.Kill(pid, unix.SIGKILL) //nolint:errcheck // it has ended
	}
	return pid, err
}

// prepare makes the call, and the end of the pipe at which it is heard how it went.
func prepare(args []string) (*call, *os.File, error) {
	if len(args) != 1 {
		return nil, nil, errors.New("it is started by penstock itself")
	}
	namespaces, err := strconv.ParseUint(args[0], 10, 32)
	if err != nil {
		return nil, nil, errors.New("it is started by penstock itself")
	}
	filter, err := readFilter()
	if err != nil {
		return nil, nil, err
	}
	c := &call{namespaces: uintptr(namespaces), parent: uintptr(os.Getpid()), header: unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}}
	c.filter = unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	for i := range c.all {
		c.all[i] = 0xff
	}
	if c.path, err = unix.BytePtrFromString(sandbox.ShimPath); err != nil {
		return nil, nil, err
	}
	for _, list := range []struct {
		to   *[]*byte
		text []string
	}{
		{&c.argv, []string{sandbox.ShimPath, sandbox.ShimRole, strconv.Itoa(fdShim)}},
		{&c.env, []string{"GOMAXPROCS=1", "GOGC=off"}}, // as in bwrap's plan
	} {
		for _, s := range list.text {
			p, err := unix.BytePtrFromString(s)
			if err != nil {
				return nil, nil, err
			}
			*list.to = append(*list.to, p)
		}
		*list.to = append(*list.to, nil)
	}
	var ends [2]int
	if err := unix.Pipe2(ends[:], unix.O_CLOEXEC); err != nil {
		return nil, nil, fmt.Errorf("make a pipe: %w", err)
	}
	c.tell = uintptr(ends[1])
	return c, os.NewFile(uintptr(ends[0]), "how it went"), nil
}

// readFilter reads the program that the supervisor has given.
func readFilter() ([]unix.SockFilter, error) {
	f := os.NewFile(fdFilter, "filter")
	b, err := io.ReadAll(f)
	runtime.KeepAlive(f)
	if err != nil {
		return nil, fmt.Errorf("read the filter: %w", err)
	}
	if len(b) == 0 || len(b)%8 != 0 || len(b)/8 > unix.BPF_MAXINSNS {
		return nil, fmt.Errorf("read the filter: it has %d bytes", len(b))
	}
	out := make([]unix.SockFilter, len(b)/8)
	for i := range out {
		p := b[8*i:]
		out[i] = unix.SockFilter{Code: binary.NativeEndian.Uint16(p), Jt: p[2], Jf: p[3], K: binary.NativeEndian.Uint32(p[4:])}
	}
	return out, nil
}

// fork forks, and the child joins the pen and forks again. It returns in this process
// only. No signal is taken meanwhile: a child has Go's handlers, and no Go to run them.
// Nor may a child look at its stack's bound, by which the runtime asks a goroutine to
// stop: it would wait for a scheduler that there is not.
//
//go:norace
//go:noinline
func fork(c *call) (first uintptr, errno unix.Errno) {
	unix.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&c.all)), uintptr(unsafe.Pointer(&c.mask)), 8, 0, 0)
	first, _, errno = unix.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	if errno == 0 && first == 0 {
		join(c)
	}
	unix.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&c.mask)), 0, 8, 0, 0)
	return first, errno
}

// join is the first child. Its own child is in the pen's process table, which it is not.
//
//go:norace
//go:noinline
//go:nosplit
func join(c *call) {
	// It ends with the role, too, from which it differs in nothing yet. Joining takes that
	// back (commit_creds), so it is said again.
	follow(c)
	if _, _, errno := unix.RawSyscall(unix.SYS_SETNS, fdTarget, c.namespaces, 0); errno != 0 {
		fail(c, stepJoin, errno)
	}
	follow(c)
	pid, _, errno := unix.RawSyscall6(unix.SYS_CLONE, unix.CLONE_PARENT|uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	if errno != 0 {
		fail(c, stepFork, errno)
	}
	if pid == 0 {
		become(c)
	}
	fail(c, stepNumber, unix.Errno(pid))
}

// follow has the kernel end this process when the role ends, and ends it if that has.
//
//go:norace
//go:noinline
//go:nosplit
func follow(c *call) {
	if _, _, errno := unix.RawSyscall6(unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0, 0); errno != 0 {
		fail(c, stepParent, errno)
	}
	if parent, _, _ := unix.RawSyscall(unix.SYS_GETPPID, 0, 0, 0); parent != c.parent {
		fail(c, stepParent, unix.ESRCH)
	}
}

// become is the second child: it gives up what it has and becomes the shim. Here it is
// all-powerful in the pen, and only there; so nothing comes before that is given up.
//
//go:norace
//go:noinline
//go:nosplit
func become(c *call) {
	// Once it is empty, not even root gains anything by execve.
	for capability := uintptr(0); capability <= 63; capability++ {
		_, _, errno := unix.RawSyscall6(unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, capability, 0, 0, 0, 0)
		if errno == unix.EINVAL && capability > 0 {
			break // past the last one of this kernel
		}
		if errno != 0 {
			fail(c, stepBounding, errno)
		}
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&c.header)), uintptr(unsafe.Pointer(&c.caps)), 0); errno != 0 {
		fail(c, stepCapabilities, errno)
	}
	if _, _, errno := unix.RawSyscall6(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0); errno != 0 {
		fail(c, stepPrivileges, errno)
	}
	// After the capabilities: changing them would end it (prctl(2)).
	if _, _, errno := unix.RawSyscall6(unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0, 0); errno != 0 {
		fail(c, stepParent, errno)
	}
	// Last: it may refuse what came before.
	if _, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&c.filter))); errno != 0 {
		fail(c, stepFilter, errno)
	}
	unix.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&c.mask)), 0, 8, 0, 0)
	_, _, errno := unix.RawSyscall(unix.SYS_EXECVE, uintptr(unsafe.Pointer(c.path)), uintptr(unsafe.Pointer(&c.argv[0])), uintptr(unsafe.Pointer(&c.env[0])))
	fail(c, stepExecute, errno)
}

// fail says a word over the pipe and ends the child.
//
//go:norace
//go:noinline
//go:nosplit
func fail(c *call, step uint32, errno unix.Errno) {
	*(*uint32)(unsafe.Pointer(&c.word[0])) = step
	*(*uint32)(unsafe.Pointer(&c.word[4])) = uint32(errno)
	unix.RawSyscall(unix.SYS_WRITE, c.tell, uintptr(unsafe.Pointer(&c.word)), 8)
	for {
		unix.RawSyscall(unix.SYS_EXIT_GROUP, exitBroken, 0, 0)
	}
}
