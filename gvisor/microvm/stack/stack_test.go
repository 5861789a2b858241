package stack

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/channel"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
)

// guest is a machine's network stack, at the other end of a link, and d what makes its
// connections: those to 192.0.2.1 are made to the loopback interface.
func guest(t *testing.T, ports ...uint16) *stack.Stack {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	near, far := os.NewFile(uintptr(fds[0]), "near"), os.NewFile(uintptr(fds[1]), "far")
	s, err := New(near, Dialer{Gateway: net.IPv4(192, 0, 2, 1), Local: ports})
	if err != nil {
		t.Fatal(err)
	}
	g := &Stack{
		ends: stack.New(stack.Options{
			NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol},
			TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol, udp.NewProtocol},
		}),
		link: channel.New(queue, MTU, ""),
	}
	if e := g.ends.CreateNIC(card, g.link); e != nil {
		t.Fatal(e)
	}
	own := tcpip.ProtocolAddress{Protocol: ipv4.ProtocolNumber, AddressWithPrefix: tcpip.AddrFrom4([4]byte{100, 64, 0, 2}).WithPrefix()}
	if e := g.ends.AddProtocolAddress(card, own, stack.AddressProperties{}); e != nil {
		t.Fatal(e)
	}
	g.ends.SetRouteTable([]tcpip.Route{{Destination: header.IPv4EmptySubnet, NIC: card}})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{}, 2)
	go func() { g.in(far); done <- struct{}{} }()
	go func() { g.out(ctx, far); done <- struct{}{} }()
	t.Cleanup(func() {
		s.Close()
		cancel()
		far.Close()
		<-done
		<-done
		g.ends.Close()
	})
	return g.ends
}

func dial(s *stack.Stack, ip [4]byte, port uint16) (*gonet.TCPConn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	return gonet.DialContextTCP(ctx, s, tcpip.FullAddress{NIC: card, Addr: tcpip.AddrFrom4(ip), Port: port}, ipv4.ProtocolNumber)
}

// origin listens on the loopback interface and hands each connection to f.
func origin(t *testing.T, f func(*net.TCPConn)) uint16 {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			tc, _ := c.(*net.TCPConn)
			go f(tc)
		}
	}()
	addr, _ := l.Addr().(*net.TCPAddr)
	return uint16(addr.Port)
}

var gateway = [4]byte{192, 0, 2, 1}

// TestTCP: bytes go both ways as they are, and an end of one direction leaves the other.
func TestTCP(t *testing.T) {
	port := origin(t, func(c *net.TCPConn) {
		b, _ := io.ReadAll(c) // to the end that the machine makes
		c.Write(b)            //nolint:errcheck // the test sees it
		c.Close()
	})
	c, err := dial(guest(t, port), gateway, port)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	want := make([]byte, 4<<20)
	rand.Read(want) //nolint:errcheck // it never fails
	go func() {
		c.Write(want)  //nolint:errcheck // the test sees it
		c.CloseWrite() //nolint:errcheck // the test sees it
	}()
	if got, err := io.ReadAll(c); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d of %d bytes, %v", len(got), len(want), err)
	}
}

// TestReset: a reset is one on the other side, whoever makes it.
func TestReset(t *testing.T) {
	port := origin(t, func(c *net.TCPConn) {
		c.Read(make([]byte, 1)) //nolint:errcheck // then it is reset
		c.SetLinger(0)          //nolint:errcheck // the test sees it
		c.Close()
	})
	c, err := dial(guest(t, port), gateway, port)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.Write([]byte("x")) //nolint:errcheck // the test sees it
	if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("from the origin: %v", err)
	}
}

// TestRefused: what the pen refuses, and what is not to be reached, is refused, at once.
func TestRefused(t *testing.T) {
	port := origin(t, func(c *net.TCPConn) { c.Close() })
	s := guest(t, 1)
	for name, to := range map[string]struct {
		ip   [4]byte
		port uint16
	}{
		"a port of the loopback interface that is not the proxy's": {gateway, port},
		"one at which nobody listens":                              {gateway, 1},
	} {
		if c, err := dial(s, to.ip, to.port); err == nil {
			t.Errorf("%s was reached", name)
			c.Close()
		} else if errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestTarget: what is the machine's own, or nobody's, is connected to nowhere.
func TestTarget(t *testing.T) {
	d := &Dialer{Gateway: net.ParseIP("fe80::1"), Local: []uint16{53, 808}}
	for to, want := range map[string]string{
		"fe80::1 53": "127.0.0.1:53", "fe80::1 808": "127.0.0.1:808", "fe80::1 80": "", "fe80::2 53": "", "127.0.0.1 808": "", "::1 808": "",
		"0.0.0.0 80": "", ":: 80": "", "224.0.0.1 80": "", "ff02::1 80": "", "169.254.169.254 80": "169.254.169.254:80",
		"192.0.2.7 443": "192.0.2.7:443", "2001:db8::1 443": "[2001:db8::1]:443", "100.64.0.2 80": "100.64.0.2:80",
	} {
		host, port, _ := bytes.Cut([]byte(to), []byte(" "))
		var n uint16
		for _, c := range port {
			n = n*10 + uint16(c-'0')
		}
		if got := d.target(net.ParseIP(string(host)), n); got != want {
			t.Errorf("%s: %q, want %q", to, got, want)
		}
	}
}
