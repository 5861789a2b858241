package main

import (
	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/abi/linux"
	pb "gvisor.dev/gvisor/pkg/sentry/seccheck/points/points_go_proto"
)

// opens are the calls that open files by name.
func opens() []uintptr {
	return []uintptr{unix.SYS_OPEN, unix.SYS_CREAT, unix.SYS_OPENAT, unix.SYS_OPENAT2}
}

// openedByName takes those apart that have no directory.
func openedByName(info *pb.Syscall) (at int32, name, flags uint64, ok bool) {
	switch info.Sysno {
	case unix.SYS_OPEN:
		return linux.AT_FDCWD, info.Arg1, info.Arg2, true
	case unix.SYS_CREAT:
		return linux.AT_FDCWD, info.Arg1, linux.O_WRONLY | linux.O_CREAT | linux.O_TRUNC, true
	}
	return 0, 0, 0, false
}
