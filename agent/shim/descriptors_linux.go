package shim

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// closeOthers closes all descriptors above 2 but keep and those of the runtime's poller,
// which end with execve, and which the supervisor knows. Without them the runtime ends
// the process as soon as it looks: it does so once a timer of its own has been set, and
// on a machine with much to do one has been before Main.
func closeOthers(keep int) {
	// The poller is there from here on: none comes to be while others are closed.
	time.AfterFunc(time.Hour, func() {}).Stop()
	kept := append(pollers(), keep)
	slices.Sort(kept)
	first := 3
	for _, fd := range kept {
		closeRange(first, fd-1)
		first = fd + 1
	}
	closeRange(first, 1<<30)
}

// pollers are the descriptors of the runtime's poller. What was inherited is
// none of them: it came through an execve, so it does not end with one.
func pollers() (out []int) {
	var link [64]byte
	// Two are all that it has, and are the lowest that were free.
	for fd := 3; fd < maxPoller && len(out) < 2; fd++ {
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		if err != nil || flags&unix.FD_CLOEXEC == 0 {
			continue
		}
		n, err := unix.Readlink("/proc/self/fd/"+strconv.Itoa(fd), link[:])
		if err == nil && strings.HasPrefix(string(link[:n]), "anon_inode:[event") {
			out = append(out, fd)
		}
	}
	return out
}

// maxPoller bounds the search: beyond it a descriptor is closed, whatever it is.
const maxPoller = 1024

// closeRange closes descriptors first to last, if there are any between the two.
func closeRange(first, last int) {
	if first > last || unix.CloseRange(uint(first), uint(last), 0) == nil {
		return
	}
	// Before Linux 5.9. The limit says how far there can be any.
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil || limit.Cur > 1<<20 {
		limit.Cur = 1 << 20
	}
	for fd := first; fd <= last && fd < int(limit.Cur); fd++ {
		unix.Close(fd)
	}
}
