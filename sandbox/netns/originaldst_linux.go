package netns

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

const ip6tOriginalDst = 80 // IP6T_SO_ORIGINAL_DST, linux/netfilter_ipv6/ip6_tables.h

// OriginalDst returns where the tool meant to connect to when its connection
// came to a capture listener. A connection that was made to the listener itself
// is ErrNotRedirected.
//
// The address is the kernel's; nothing in it is the tool's word. A connection
// that was redirected has the listener's own address, and conntrack knows the
// other (SO_ORIGINAL_DST). One that an sk_lookup program steered
// (Options.Steered) was not rewritten on its way: its own address is the answer.
func OriginalDst(c *net.TCPConn) (netip.AddrPort, error) {
	local, ok := c.LocalAddr().(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}, fmt.Errorf("read original destination: %w", net.ErrClosed)
	}
	// Loopback is never steered.
	if at := local.AddrPort(); !at.Addr().Unmap().IsLoopback() {
		return netip.AddrPortFrom(at.Addr().Unmap(), at.Port()), nil
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("read original destination: %w", err)
	}
	var dst netip.AddrPort
	var errno unix.Errno
	v6 := local.IP.To4() == nil
	if cerr := raw.Control(func(fd uintptr) {
		if v6 {
			var sa unix.RawSockaddrInet6
			size := uint32(unsafe.Sizeof(sa))
			_, _, errno = unix.Syscall6(unix.SYS_GETSOCKOPT, fd, unix.SOL_IPV6, ip6tOriginalDst,
				uintptr(unsafe.Pointer(&sa)), uintptr(unsafe.Pointer(&size)), 0)
			dst = netip.AddrPortFrom(netip.AddrFrom16(sa.Addr).Unmap(), bigEndian(sa.Port))
			return
		}
		var sa unix.RawSockaddrInet4
		size := uint32(unsafe.Sizeof(sa))
		_, _, errno = unix.Syscall6(unix.SYS_GETSOCKOPT, fd, unix.SOL_IP, unix.SO_ORIGINAL_DST,
			uintptr(unsafe.Pointer(&sa)), uintptr(unsafe.Pointer(&size)), 0)
		dst = netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), bigEndian(sa.Port))
	}); cerr != nil {
		return netip.AddrPort{}, fmt.Errorf("read original destination: %w", cerr)
	}
	if errno == unix.ENOENT || errno == unix.ENOPROTOOPT {
		return netip.AddrPort{}, ErrNotRedirected // no conntrack entry, or no conntrack: nothing was rewritten
	}
	if errno != 0 {
		return netip.AddrPort{}, fmt.Errorf("read original destination: %w", errno)
	}
	if dst.Port() == CapturePort && dst.Addr().IsLoopback() {
		return netip.AddrPort{}, ErrNotRedirected
	}
	return dst, nil
}

// bigEndian reads a port that the kernel wrote in network order.
func bigEndian(port uint16) uint16 {
	return binary.BigEndian.Uint16(binary.NativeEndian.AppendUint16(nil, port))
}
