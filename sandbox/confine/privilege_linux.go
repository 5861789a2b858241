//go:build amd64 || arm64

package confine

import (
	"fmt"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// threads says which threads a call that concerns only its own is made on.
type threads interface {
	call(nr, a, b, c uintptr) unix.Errno
}

// thisThread is the calling one: right before an exec, which ends the others.
// The caller has it locked.
type thisThread struct{}

func (thisThread) call(nr, a, b, c uintptr) unix.Errno {
	_, _, errno := unix.RawSyscall(nr, a, b, c)
	return errno
}

// allThreads is every thread of the runtime, and those it starts later.
type allThreads struct{}

func (allThreads) call(nr, a, b, c uintptr) unix.Errno {
	_, _, errno := syscall.AllThreadsSyscall6(nr, a, b, c, 0, 0, 0)
	return errno
}

// threadsError explains what AllThreadsSyscall says in a program that was
// linked with C.
func threadsError(errno unix.Errno) error {
	if errno == unix.ENOTSUP {
		return fmt.Errorf("%w: this binary is linked with C and can't restrict all of its threads; build it with CGO_ENABLED=0", errno)
	}
	return errno
}

func noNewPrivs(on threads) error {
	if errno := on.call(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0); errno != 0 {
		return fmt.Errorf("set no_new_privs: %w", threadsError(errno))
	}
	return nil
}

// dropCapabilities empties all five sets. The bounding set goes first, because
// lowering it needs a capability (CAP_SETPCAP) that the next step gives up.
func dropCapabilities(on threads) error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var have [2]unix.CapUserData
	if err := unix.Capget(&header, &have[0]); err != nil {
		return fmt.Errorf("read capabilities: %w", err)
	}
	if have[0].Effective&(1<<unix.CAP_SETPCAP) != 0 {
		if err := boundNothing(on); err != nil {
			return err
		}
	}
	if errno := on.call(unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0); errno != 0 && errno != unix.EINVAL {
		return fmt.Errorf("clear ambient capabilities: %w", threadsError(errno))
	}
	var none [2]unix.CapUserData
	if errno := on.call(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&none[0])), 0); errno != 0 {
		return fmt.Errorf("drop capabilities: %w", threadsError(errno))
	}
	return nil
}

// boundNothing empties the bounding and the ambient set. It takes CAP_SETPCAP.
func boundNothing(on threads) error {
	for c := uintptr(0); c <= 63; c++ {
		on1, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, c, 0, 0, 0)
		if err != nil {
			break // past the kernel's last capability
		}
		if on1 == 0 {
			continue
		}
		if errno := on.call(unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, c, 0); errno != 0 {
			return fmt.Errorf("drop capability %d for good: %w", c, threadsError(errno))
		}
	}
	if errno := on.call(unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0); errno != 0 && errno != unix.EINVAL {
		return fmt.Errorf("clear ambient capabilities: %w", threadsError(errno))
	}
	return nil
}

// Pen puts r on the calling thread, which must be locked and is about to
// execute the command. bwrap has installed the filter and dropped the
// capabilities; they are dropped again, so that one mistake is not enough.
func Pen(r PenRules) (Applied, error) {
	var a Applied
	on := thisThread{}
	if err := noNewPrivs(on); err != nil {
		return a, err
	}
	if err := dropCapabilities(on); err != nil {
		return a, err
	}
	if r.Off {
		return a, nil
	}
	abi := LandlockABI()
	if abi == 0 {
		return a, nil
	}
	rs := ruleset{
		fs:     accessAll,
		scoped: unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET | unix.LANDLOCK_SCOPE_SIGNAL,
		rules:  r.Paths,
	}.downgrade(abi)
	if err := rs.restrict(on, 0, 1, 2); err != nil {
		return a, err
	}
	a.Landlock = abi
	return a, nil
}
