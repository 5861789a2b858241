package daemon

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// ownerUID asks who made a user namespace (ioctl_nsfs(2)).
func ownerUID(fd int) (int, error) {
	var uid uint32
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.NS_GET_OWNER_UID, uintptr(unsafe.Pointer(&uid))); errno != 0 {
		return 0, errno
	}
	return int(uid), nil
}
