package host

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// bpfByID opens an eBPF object by its number.
func bpfByID(command int, id uint32) (int, unix.Errno) {
	attr := [4]uint32{id}
	fd, _, errno := unix.Syscall(unix.SYS_BPF, uintptr(command), uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
	return int(fd), errno
}
