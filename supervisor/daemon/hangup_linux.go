package daemon

import (
	"net"

	"golang.org/x/sys/unix"
)

// takeRights says whether a socket, or what is accepted from it, takes
// descriptors (Linux 6.16). A kernel that doesn't know always does. While it does not, the
// sender of one gets EPERM, so that nothing of his waits in a connection that is
// refused: closing that could block for as long as he likes, see
// packet.Conn.OnDiscard.
func takeRights(c interface {
	Control(f func(fd uintptr)) error
}, on bool) {
	c.Control(func(fd uintptr) { //nolint:errcheck // it is a courtesy of new kernels
		unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PASSRIGHTS, btoi(on)) //nolint:errcheck // likewise
	})
}

// hangUp closes a connection so that the peer can still read what it was told: a
// unix socket that is closed with something unread in it resets its peer, who
// then loses what was on the way.
func hangUp(uc *net.UnixConn) {
	uc.CloseRead() //nolint:errcheck // nothing more comes
	if raw, err := uc.SyscallConn(); err == nil {
		raw.Control(func(fd uintptr) { //nolint:errcheck // closed is as good
			var b [1]byte
			for {
				if n, _, err := unix.Recvfrom(int(fd), b[:], unix.MSG_DONTWAIT); err != nil || n <= 0 {
					return
				}
			}
		})
	}
	uc.Close()
}
