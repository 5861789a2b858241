package netproxy

import (
	"net"

	"golang.org/x/sys/unix"
)

// hungUp says whether the peer has closed its side, also behind bytes that nobody
// has read (poll(2), POLLRDHUP).
func hungUp(tc *net.TCPConn) bool {
	raw, err := tc.SyscallConn()
	if err != nil {
		return true
	}
	gone := false
	err = raw.Control(func(fd uintptr) {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
		n, err := unix.Poll(fds, 0)
		gone = err == nil && n > 0
	})
	return gone || err != nil
}
