package main

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

func addressOf(b []byte) uintptr { return uintptr(unsafe.Pointer(&b[0])) }

// dissolve undoes a socket's connection: a sockaddr of family AF_UNSPEC, which
// package unix has no value for.
func dissolve(fd int) {
	var sa [16]byte
	unix.Syscall(unix.SYS_CONNECT, uintptr(fd), addressOf(sa[:]), uintptr(len(sa)))
}

// legacyCall asks by the other numbers of the same kernel: x32.
func legacyCall([]string) error {
	const x32 = 0x40000000
	r, _, errno := unix.RawSyscall(x32|unix.SYS_SOCKET, unix.AF_PACKET, unix.SOCK_RAW, 0)
	if errno != 0 {
		return fmt.Errorf("x32 socket: %w", errno)
	}
	got("x32 socket %d", r)
	return nil
}
