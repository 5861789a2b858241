package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// got marks what a pen must not give, whether or not anything can be sent with it.
func got(format string, args ...any) { fmt.Printf("GOT "+format+"\n", args...) }

func number(s string) int {
	n, err := strconv.ParseInt(s, 0, 64)
	if err != nil {
		panic(err)
	}
	return int(n)
}

func sockaddr(s string) (int, unix.Sockaddr, error) {
	ap, err := netip.ParseAddrPort(s)
	if err != nil {
		return 0, nil, err
	}
	if ap.Addr().Is4() {
		return unix.AF_INET, &unix.SockaddrInet4{Port: int(ap.Port()), Addr: ap.Addr().As4()}, nil
	}
	return unix.AF_INET6, &unix.SockaddrInet6{Port: int(ap.Port()), Addr: ap.Addr().As16()}, nil
}

// sock TYPE PROTOCOL ADDR:PORT PAYLOAD: a socket of any kind, connected and
// unconnected.
func sock(args []string) error {
	family, sa, err := sockaddr(args[2])
	if err != nil {
		return err
	}
	fd, err := unix.Socket(family, number(args[0]), number(args[1]))
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	fmt.Println("socket made")
	tv := unix.Timeval{Sec: 1}
	unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &tv)
	unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BROADCAST, 1)
	to := unix.Sendto(fd, []byte(text(args[3])), 0, sa)
	err = unix.Connect(fd, sa)
	_, werr := unix.Write(fd, []byte(text(args[3])))
	return errors.Join(wrap("sendto", to), wrap("connect", err), wrap("write", werr))
}

func wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}

// datagram ADDR:PORT PAYLOAD…: UDP, unconnected.
func datagram(args []string) error {
	family, sa, err := sockaddr(args[0])
	if err != nil {
		return err
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BROADCAST, 1)
	for _, p := range args[1:] {
		err = errors.Join(err, unix.Sendto(fd, []byte(text(p)), 0, sa))
	}
	return err
}

// packet PAYLOAD: an Ethernet frame with an IPv4 UDP packet in it, on every link.
func packet(args []string) error {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0)
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	got("AF_PACKET")
	links, err := net.Interfaces()
	if err != nil {
		return err
	}
	frame := append([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1, 8, 0}, udpPacket(args[0], args[1])...)
	for _, l := range links {
		err = errors.Join(err, unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: l.Index, Halen: 6, Protocol: 8}))
	}
	return err
}

// udpPacket is an IPv4 packet with its header, from a foreign source.
func udpPacket(to, payload string) []byte {
	a := netip.MustParseAddr(to).As4()
	p := []byte(text(payload))
	b := []byte{0x45, 0, 0, 0, 0, 1, 0, 0, 64, unix.IPPROTO_UDP, 0, 0, 198, 51, 100, 250}
	b = append(b, a[:]...)
	binary.BigEndian.PutUint16(b[2:], uint16(28+len(p)))
	var sum uint32
	for i := 0; i < 20; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	binary.BigEndian.PutUint16(b[10:], ^uint16(sum>>16+sum&0xffff))
	b = append(b, 0x9c, 0x40, 0x9c, 0x41)
	b = binary.BigEndian.AppendUint16(b, uint16(8+len(p)))
	return append(append(b, 0, 0), p...)
}

// ipraw ADDR PAYLOAD: a raw IP socket with our own header.
func ipRaw(args []string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_RAW)
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	got("SOCK_RAW")
	return unix.Sendto(fd, udpPacket(args[0], args[1]), 0, &unix.SockaddrInet4{Addr: netip.MustParseAddr(args[0]).As4()})
}

// ping ADDR PAYLOAD: an echo request, by whichever socket is given.
func ping(args []string) error {
	a := netip.MustParseAddr(args[0])
	family, proto, kind := unix.AF_INET, unix.IPPROTO_ICMP, byte(8)
	var sa unix.Sockaddr
	if a.Is4() {
		sa = &unix.SockaddrInet4{Addr: a.As4()}
	} else {
		family, proto, kind, sa = unix.AF_INET6, unix.IPPROTO_ICMPV6, 128, &unix.SockaddrInet6{Addr: a.As16()}
	}
	msg := append([]byte{kind, 0, 0, 0, 0, 1, 0, 1}, text(args[1])...)
	if kind == 8 {
		var sum uint32
		for i := 0; i < len(msg); i += 2 {
			w := uint32(msg[i]) << 8
			if i+1 < len(msg) {
				w |= uint32(msg[i+1])
			}
			sum += w
		}
		sum = sum>>16 + sum&0xffff
		binary.BigEndian.PutUint16(msg[2:], ^uint16(sum>>16+sum))
	}
	var all error
	for _, t := range []int{unix.SOCK_DGRAM, unix.SOCK_RAW} {
		fd, err := unix.Socket(family, t, proto)
		if err == nil {
			err = unix.Sendto(fd, msg, 0, sa)
			if err == nil {
				return nil
			}
		}
		all = errors.Join(all, err)
	}
	return all
}

// vsock: the hypervisor's socket family, any host service.
func vsock([]string) error {
	fd, err := unix.Socket(unix.AF_VSOCK, unix.SOCK_STREAM, 0)
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	got("AF_VSOCK")
	return unix.Connect(fd, &unix.SockaddrVM{CID: unix.VMADDR_CID_HOST, Port: 1024})
}

// fastopen ADDR:PORT PAYLOAD: data in the SYN, without connect.
func fastOpen(args []string) error {
	family, sa, err := sockaddr(args[0])
	if err != nil {
		return err
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	if err := unix.Sendto(fd, []byte(text(args[1])), unix.MSG_FASTOPEN, sa); err != nil {
		return fmt.Errorf("sendto: %w", err)
	}
	f := make([]byte, 4096)
	tv := unix.Timeval{Sec: 1}
	unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv)
	n, err := unix.Read(fd, f)
	fmt.Printf("last %s\n", f[:max(0, n)])
	return err
}

// bindfrom LOCAL:PORT ADDR:PORT PAYLOAD: connect from an address that is not
// ours (IP_FREEBIND).
func bindFrom(args []string) error {
	family, from, err := sockaddr(args[0])
	if err != nil {
		return err
	}
	_, to, err := sockaddr(args[1])
	if err != nil {
		return err
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_FREEBIND, 1)
	unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_TRANSPARENT, 1)
	if err := unix.Bind(fd, from); err != nil {
		return fmt.Errorf("bind: %w", err)
	}
	return speak(fd, to, args[2])
}

// srcroute VIA ADDR:PORT PAYLOAD: a loose source route in the IP options.
func sourceRoute(args []string) error {
	via := netip.MustParseAddr(args[0]).As4()
	family, to, err := sockaddr(args[1])
	if err != nil {
		return err
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	opt := append([]byte{0x83, 7, 4}, via[:]...)
	if err := unix.SetsockoptString(fd, unix.SOL_IP, unix.IP_OPTIONS, string(append(opt, 0))); err != nil {
		fmt.Println("options:", err)
	}
	return speak(fd, to, args[2])
}

func speak(fd int, to unix.Sockaddr, payload string) error {
	tv := unix.Timeval{Sec: 2}
	unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &tv)
	unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv)
	if err := unix.Connect(fd, to); err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	if _, err := unix.Write(fd, []byte(text(payload))); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	b := make([]byte, 4096)
	n, err := unix.Read(fd, b)
	fmt.Printf("last %s\n", b[:max(0, n)])
	return err
}

// ioURing ADDR:PORT PAYLOAD: connect by a ring, which no filter of system calls sees.
func ioURing(args []string) error {
	ap, err := netip.ParseAddrPort(args[0])
	if err != nil {
		return err
	}
	var params [120]byte
	ring, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, 4, uintptr(unsafe.Pointer(&params)), 0)
	if errno != 0 {
		return fmt.Errorf("io_uring_setup: %w", errno)
	}
	got("io_uring")
	u32 := func(off int) uint32 { return binary.NativeEndian.Uint32(params[off:]) }
	entries := u32(0)
	sq, err := unix.Mmap(int(ring), 0, int(u32(64)+entries*4), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE)
	if err != nil {
		return err
	}
	sqes, err := unix.Mmap(int(ring), 0x10000000, int(entries)*64, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE)
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	a := ap.Addr().As4()
	sa := unix.RawSockaddrInet4{Family: unix.AF_INET, Port: ap.Port()<<8 | ap.Port()>>8, Addr: a}
	e := sqes[:64]
	e[0] = 16 // IORING_OP_CONNECT
	binary.NativeEndian.PutUint32(e[4:], uint32(fd))
	binary.NativeEndian.PutUint64(e[8:], uint64(unix.SizeofSockaddrInet4))
	binary.NativeEndian.PutUint64(e[16:], uint64(uintptr(unsafe.Pointer(&sa))))
	binary.NativeEndian.PutUint32(sq[u32(64):], 0)
	binary.NativeEndian.PutUint32(sq[u32(44):], 1) // tail
	if _, _, errno := unix.Syscall6(unix.SYS_IO_URING_ENTER, ring, 1, 1, 1, 0, 0); errno != 0 {
		return fmt.Errorf("io_uring_enter: %w", errno)
	}
	f := []byte(text(args[1]))
	if _, err := unix.Write(fd, f); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	b := make([]byte, 4096)
	n, err := unix.Read(fd, b)
	fmt.Printf("last %s\n", b[:max(0, n)])
	return err
}

// call NR ARG…: any system call with numbers; GOT when it succeeds.
func call(args []string) error {
	var a [7]uintptr
	var keep [][]byte
	for i, s := range args {
		if len(s) > 0 && s[0] == '@' {
			b := append([]byte(text(s[1:])), make([]byte, 256)...)
			keep = append(keep, b)
			a[i] = uintptr(unsafe.Pointer(&b[0]))
			continue
		}
		a[i] = uintptr(number(s))
	}
	r, _, errno := unix.Syscall6(a[0], a[1], a[2], a[3], a[4], a[5], a[6])
	_ = keep
	if errno != 0 {
		return errno
	}
	got("call %s = %d", args[0], r)
	return nil
}

// conns N TARGET: as many connections as can be had, held a moment.
func conns(args []string) error {
	var held []net.Conn
	failed := 0
	deadline := time.Now().Add(20 * time.Second)
	for range number(args[0]) {
		c, err := net.DialTimeout("tcp", args[1], patience())
		if err != nil {
			if failed++; failed > 50 || time.Now().After(deadline) {
				break
			}
			continue
		}
		fmt.Fprint(c, text(args[2]))
		held = append(held, c)
	}
	fmt.Println("held", len(held), "failed", failed)
	for _, c := range held {
		c.Close()
	}
	return nil
}

// flood N ADDR:PORT PAYLOAD: datagrams as fast as they go.
func flood(args []string) error {
	c, err := net.Dial("udp", args[1])
	if err != nil {
		return err
	}
	sent := 0
	for range number(args[0]) {
		if _, err := c.Write([]byte(text(args[2]))); err == nil {
			sent++
		}
	}
	fmt.Println("sent", sent)
	return nil
}
