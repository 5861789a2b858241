//go:build amd64 || arm64

package confine

import (
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Rights of the file system by Landlock (linux/landlock.h).
const (
	accessFile = unix.LANDLOCK_ACCESS_FS_EXECUTE | unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_READ_FILE |
		unix.LANDLOCK_ACCESS_FS_TRUNCATE | unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
	accessRead = unix.LANDLOCK_ACCESS_FS_EXECUTE | unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_READ_DIR
	accessAll  = accessFile | accessRead | unix.LANDLOCK_ACCESS_FS_REMOVE_DIR | unix.LANDLOCK_ACCESS_FS_REMOVE_FILE |
		unix.LANDLOCK_ACCESS_FS_MAKE_CHAR | unix.LANDLOCK_ACCESS_FS_MAKE_DIR | unix.LANDLOCK_ACCESS_FS_MAKE_REG |
		unix.LANDLOCK_ACCESS_FS_MAKE_SOCK | unix.LANDLOCK_ACCESS_FS_MAKE_FIFO | unix.LANDLOCK_ACCESS_FS_MAKE_BLOCK |
		unix.LANDLOCK_ACCESS_FS_MAKE_SYM | unix.LANDLOCK_ACCESS_FS_REFER
)

// ruleset is what to restrict (what is handled is denied unless a rule grants it).
type ruleset struct {
	fs, net, scoped uint64
	rules           []PathRule
}

// downgrade takes out of rs what a kernel of that ABI does not know. It is pure:
// the table of the kernel's documentation, userspace-api/landlock.rst.
func (rs ruleset) downgrade(abi int) ruleset {
	if abi < 2 {
		// Without the refer right ABI 1 denies every rename and link between
		// directories; git would fail. One layer (the mounts) is then all there is.
		rs.fs = 0
	}
	if abi < 3 {
		rs.fs &^= unix.LANDLOCK_ACCESS_FS_TRUNCATE
	}
	if abi < 4 {
		rs.net = 0
	}
	if abi < 5 {
		rs.fs &^= unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
	}
	if abi < 6 {
		rs.scoped = 0
	}
	if rs.fs == 0 {
		rs.rules = nil
	}
	return rs
}

// attr is struct landlock_ruleset_attr.
type attr struct{ fs, net, scoped uint64 }

// size is how much of attr a ruleset needs: a kernel refuses a longer one than
// it knows unless the rest is zero, and an older one any.
func (rs ruleset) size() uintptr {
	switch {
	case rs.scoped != 0:
		return 24
	case rs.net != 0:
		return 16
	}
	return 8
}

// LandlockABI returns the kernel's Landlock version, 0 if it has none or has it
// turned off.
func LandlockABI() int {
	v, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 {
		return 0
	}
	return int(v)
}

// restrict applies rs to the threads that on names. Files and terminals among
// stdio are granted for opening them again (/dev/stdout leads to /proc/self/fd/1) as
// they were opened: "< notes" must not become a way to write notes.
func (rs ruleset) restrict(on threads, stdio ...int) error {
	if rs.fs == 0 && rs.net == 0 && rs.scoped == 0 {
		return nil
	}
	a := attr{rs.fs, rs.net, rs.scoped}
	fd, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&a)), rs.size(), 0)
	if errno != 0 {
		return fmt.Errorf("create Landlock ruleset: %w", errno)
	}
	defer unix.Close(int(fd))
	for _, r := range rs.rules {
		if err := rs.add(int(fd), r); err != nil {
			return fmt.Errorf("allow %s: %w", r.Path, err)
		}
	}
	for _, f := range stdio {
		var st unix.Stat_t
		if unix.Fstat(f, &st) != nil {
			continue
		}
		if kind := st.Mode & unix.S_IFMT; kind == unix.S_IFREG || kind == unix.S_IFCHR {
			flags, err := unix.FcntlInt(uintptr(f), unix.F_GETFL, 0)
			if err != nil {
				return fmt.Errorf("read mode of descriptor %d: %w", f, err)
			}
			if err := rs.addFD(int(fd), f, reopen(flags)); err != nil {
				return fmt.Errorf("allow descriptor %d: %w", f, err)
			}
		}
	}
	if errno := on.call(unix.SYS_LANDLOCK_RESTRICT_SELF, fd, 0, 0); errno != 0 {
		return fmt.Errorf("enter Landlock domain: %w", threadsError(errno))
	}
	return nil
}

// reopen is what a descriptor with these open flags may be opened for again.
func reopen(flags int) uint64 {
	// Commands to a device go by the descriptor already; refusing them on
	// another of the same terminal would only break programs.
	const write = unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_TRUNCATE | unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
	switch flags & unix.O_ACCMODE {
	case unix.O_WRONLY:
		return write
	case unix.O_RDWR:
		return write | unix.LANDLOCK_ACCESS_FS_READ_FILE
	}
	return unix.LANDLOCK_ACCESS_FS_READ_FILE
}

// add grants what r says, on what its path leads to now.
func (rs ruleset) add(fd int, r PathRule) error {
	p, err := unix.Open(r.Path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		if r.Optional && (errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EACCES)) {
			return nil
		}
		return err
	}
	defer unix.Close(p)
	rights := uint64(accessRead)
	switch r.Access {
	case Write:
		rights = accessAll
	case List:
		rights = unix.LANDLOCK_ACCESS_FS_READ_DIR
	case Clear:
		rights = unix.LANDLOCK_ACCESS_FS_READ_DIR | unix.LANDLOCK_ACCESS_FS_REMOVE_DIR
	}
	var st unix.Stat_t
	if err := unix.Fstat(p, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		rights &= accessFile // others make no sense on a file and are refused
	}
	return rs.addFD(fd, p, rights)
}

// addFD grants rights on an open file or directory.
func (rs ruleset) addFD(fd, target int, rights uint64) error {
	// struct landlock_path_beneath_attr is packed: 12 bytes.
	var b [12]byte
	*(*uint64)(unsafe.Pointer(&b[0])) = rights & rs.fs
	*(*int32)(unsafe.Pointer(&b[8])) = int32(target)
	if rights&rs.fs == 0 {
		return nil
	}
	if _, _, errno := unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(fd), unix.LANDLOCK_RULE_PATH_BENEATH, uintptr(unsafe.Pointer(&b[0])), 0, 0, 0); errno != 0 {
		return errno
	}
	return nil
}
