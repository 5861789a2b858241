package guest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/penstock/penstock/gvisor/microvm/wire"
)

// Descriptors of the process that becomes the command.
const (
	fdOrders = 3
	fdTell   = 4
)

// Exit codes of what can't be executed.
const (
	broken        = 125
	notExecutable = 126
	notFound      = 127
)

// BecomeCommand gives up what this process has over the command, and executes it. It
// returns only when that fails, which it has told.
func BecomeCommand() {
	runtime.LockOSThread()
	tell := os.NewFile(fdTell, "tell")
	code, text := become()
	tell.Write(append([]byte{code}, text...)) //nolint:errcheck // it is told as an end then
	os.Exit(int(code))
}

func become() (code uint8, text string) {
	b, err := io.ReadAll(os.NewFile(fdOrders, "orders"))
	if err != nil {
		return broken, err.Error()
	}
	var cmd wire.Command
	if err := json.Unmarshal(b, &cmd); err != nil || len(cmd.Argv) == 0 {
		return broken, fmt.Sprintf("read the command: %v", err)
	}
	for fd := range 3 {
		if cmd.Closed[fd] {
			unix.Close(fd)
		}
	}
	unix.CloseRange(3, ^uint(0), unix.CLOSE_RANGE_CLOEXEC) //nolint:errcheck // 5.11; they are so already
	if err := restrict(&cmd); err != nil {
		return broken, err.Error()
	}
	if err := unix.Chdir(cmd.Dir); err != nil {
		return broken, fmt.Sprintf("go to %s: %v", cmd.Dir, err)
	}
	name, err := find(cmd.Argv[0], cmd.Env)
	if err == nil {
		err = execute(name, &cmd)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist) || errors.Is(err, exec.ErrNotFound):
		return notFound, "command not found"
	case errors.Is(err, fs.ErrPermission):
		return notExecutable, "permission denied"
	}
	return notExecutable, err.Error()
}

func execute(name string, cmd *wire.Command) error {
	// The seccomp filter comes last: what comes before it may use what it refuses.
	if err := filter(cmd.Filter); err != nil {
		return err
	}
	err := syscall.Exec(name, cmd.Argv, cmd.Env)
	if errors.Is(err, unix.ENOEXEC) {
		// As execvp(3) does: a file without a known format is one for the shell.
		err = syscall.Exec("/bin/sh", append([]string{"/bin/sh", name}, cmd.Argv[1:]...), cmd.Env)
	}
	return err
}

// restrict takes everything from this process that the command must not have.
func restrict(cmd *wire.Command) error {
	unix.Umask(cmd.Umask)
	if cmd.Files > 0 {
		l := syscall.Rlimit{Cur: cmd.Files, Max: cmd.Files}
		if err := syscall.Setrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
			return fmt.Errorf("limit open files: %w", err)
		}
	}
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return fmt.Errorf("limit core files: %w", err)
	}
	for c := uintptr(0); c <= unix.CAP_LAST_CAP; c++ {
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); err != nil && err != unix.EINVAL {
			return fmt.Errorf("drop capability %d: %w", c, err)
		}
	}
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return fmt.Errorf("drop ambient capabilities: %w", err)
	}
	if err := syscall.Setgroups([]int{}); err != nil {
		return fmt.Errorf("leave groups: %w", err)
	}
	if err := syscall.Setresgid(cmd.GID, cmd.GID, cmd.GID); err != nil {
		return fmt.Errorf("become group %d: %w", cmd.GID, err)
	}
	if err := syscall.Setresuid(cmd.UID, cmd.UID, cmd.UID); err != nil {
		return fmt.Errorf("become user %d: %w", cmd.UID, err)
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	if err := unix.Capset(&header, &none[0]); err != nil {
		return fmt.Errorf("drop capabilities: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("refuse new privileges: %w", err)
	}
	return nil
}

// filter puts the pen's seccomp filter on all threads of this process.
func filter(program []byte) error {
	const size = 8 // struct sock_filter
	if len(program) == 0 {
		return nil
	}
	if len(program)%size != 0 || len(program)/size > 4096 {
		return fmt.Errorf("a seccomp filter of %d bytes", len(program))
	}
	list := make([]unix.SockFilter, len(program)/size)
	copy(unsafe.Slice((*byte)(unsafe.Pointer(&list[0])), len(program)), program)
	p := unix.SockFprog{Len: uint16(len(list)), Filter: &list[0]}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&p)))
	if errno != 0 {
		return fmt.Errorf("set the seccomp filter: %w", errno)
	}
	return nil
}
