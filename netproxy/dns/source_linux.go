package dns

import (
	"errors"
	"net/netip"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// controlSize is room for one IP_PKTINFO or IPV6_PKTINFO message and some more.
const controlSize = 128

// answerFrom reads, from the control messages of a datagram, the address that
// it was sent to, and appends to reply the control message that makes an answer
// come from there. Without one the kernel chooses the source.
func answerFrom(oob, reply []byte) (netip.Addr, []byte) {
	for len(oob) >= unix.SizeofCmsghdr {
		h, data, rest, err := unix.ParseOneSocketControlMessage(oob)
		if err != nil {
			break
		}
		oob = rest
		switch {
		case h.Level == unix.SOL_IP && h.Type == unix.IP_PKTINFO && len(data) >= unix.SizeofInet4Pktinfo:
			// struct in_pktinfo: interface, local address, destination of the header
			to := [4]byte(data[8:12])
			reply = appendControl(reply, unix.SOL_IP, unix.IP_PKTINFO, unix.SizeofInet4Pktinfo)
			copy(reply[len(reply)-cmsgPad(unix.SizeofInet4Pktinfo)+4:], to[:])
			return netip.AddrFrom4(to), reply
		case h.Level == unix.SOL_IPV6 && h.Type == unix.IPV6_PKTINFO && len(data) >= unix.SizeofInet6Pktinfo:
			to := [16]byte(data[:16])
			reply = appendControl(reply, unix.SOL_IPV6, unix.IPV6_PKTINFO, unix.SizeofInet6Pktinfo)
			copy(reply[len(reply)-cmsgPad(unix.SizeofInet6Pktinfo):], to[:])
			return netip.AddrFrom16(to).Unmap(), reply
		}
	}
	return netip.Addr{}, reply
}

func cmsgPad(n int) int { return unix.CmsgSpace(n) - unix.CmsgLen(0) }

// appendControl appends a control message with a zero body of size bytes.
func appendControl(p []byte, level, typ int32, size int) []byte {
	at := len(p)
	p = append(p, make([]byte, unix.CmsgSpace(size))...)
	h := (*unix.Cmsghdr)(unsafe.Pointer(&p[at]))
	h.Level, h.Type = level, typ
	h.SetLen(unix.CmsgLen(size))
	return p
}

// transient reports whether a socket error is over with the next call.
func transient(err error) bool {
	for _, errno := range []unix.Errno{unix.ECONNREFUSED, unix.EHOSTUNREACH, unix.ENETUNREACH, unix.EACCES, unix.EPERM,
		unix.ECONNABORTED, unix.ENOBUFS, unix.ENOMEM, unix.EMFILE, unix.ENFILE, unix.EINTR, unix.EAGAIN, unix.EMSGSIZE} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

// pause keeps a failing accept from spinning while there are no descriptors.
func pause() { time.Sleep(5 * time.Millisecond) }
