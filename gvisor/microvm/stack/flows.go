package stack

import (
	"errors"
	"io"
	"net"
	"slices"
	"strconv"
	"syscall"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// resolver is the port that is asked for names.
const resolver = 53

// dialTime bounds a connection inside the pen, which the kernel makes at once.
const dialTime = 10 * time.Second

// answerTime is how long an answer of the pen's resolver is waited for.
const answerTime = 10 * time.Second

// target returns where the pen is connected to for what the machine meant, "" for
// nowhere.
func (d *Dialer) target(ip net.IP, port uint16) string {
	text := strconv.Itoa(int(port))
	switch {
	case ip.Equal(d.Gateway):
		if !slices.Contains(d.Local, port) {
			return ""
		}
		return net.JoinHostPort("127.0.0.1", text)
	case ip.IsLoopback(), ip.IsUnspecified(), ip.IsLinkLocalUnicast() && ip.To4() == nil, ip.IsMulticast():
		return "" // the machine's own, or nobody's
	}
	return net.JoinHostPort(ip.String(), text)
}

func address(a tcpip.Address) net.IP { return net.IP(a.AsSlice()) }

// tcp makes the connection that the machine asked for; where there is none, neither has
// the machine one.
func (s *Stack) tcp(r *tcp.ForwarderRequest) {
	id := r.ID()
	to := s.dialer.target(address(id.LocalAddress), id.LocalPort)
	select {
	case s.slots <- struct{}{}:
	default:
		to = ""
	}
	if to == "" {
		r.Complete(true)
		return
	}
	go func() {
		defer func() { <-s.slots }()
		c, err := net.DialTimeout("tcp", to, dialTime)
		if err != nil {
			r.Complete(true)
			return
		}
		far := c.(*net.TCPConn)
		defer far.Close()
		var wq waiter.Queue
		ep, e := r.CreateEndpoint(&wq)
		r.Complete(e != nil)
		if e != nil {
			return
		}
		join(far, &near{gonet.NewTCPConn(&wq, ep), ep})
	}()
}

// near is a connection with the machine.
type near struct {
	*gonet.TCPConn
	ep tcpip.Endpoint
}

// join passes bytes both ways. Each direction ends as its sender ends it: with an end,
// or with a reset.
func join(far *net.TCPConn, n *near) {
	defer n.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		if _, err := io.Copy(far, n); err != nil {
			far.SetLinger(0) //nolint:errcheck // it is closed
			far.Close()
			n.ep.Abort()
			return
		}
		far.CloseWrite() //nolint:errcheck // it is gone
	}()
	if _, err := io.Copy(n, far); err != nil {
		n.ep.Abort()
		far.SetLinger(0) //nolint:errcheck // it is closed
		far.Close()
	} else {
		n.CloseWrite() //nolint:errcheck // it is gone
	}
	<-done
}

// udp takes questions to a resolver. All else is sent once in the pen, which refuses and
// records it, and is refused.
func (s *Stack) udp(r *udp.ForwarderRequest) bool {
	id := r.ID()
	to := s.dialer.target(address(id.LocalAddress), id.LocalPort)
	if to == "" {
		return false
	}
	if id.LocalPort != resolver {
		refused(to)
		return false
	}
	select {
	case s.slots <- struct{}{}:
	default:
		return true // as a network that loses it
	}
	var wq waiter.Queue
	ep, e := r.CreateEndpoint(&wq)
	if e != nil {
		<-s.slots
		return false
	}
	go func() {
		defer func() { <-s.slots }()
		n := gonet.NewUDPConn(&wq, ep)
		defer n.Close()
		far, err := net.DialTimeout("udp", to, dialTime)
		if err != nil {
			return
		}
		defer far.Close()
		go func() {
			defer far.Close()
			datagrams(far, n)
		}()
		datagrams(n, far)
	}()
	return true
}

// datagrams passes what comes until nothing has for a while.
func datagrams(to, from net.Conn) {
	b := make([]byte, 64<<10)
	for {
		from.SetReadDeadline(time.Now().Add(answerTime)) //nolint:errcheck // then it waits for the end
		n, err := from.Read(b)
		if err != nil {
			return
		}
		if _, err := to.Write(b[:n]); err != nil && !errors.Is(err, syscall.ECONNREFUSED) {
			return
		}
	}
}

// refused sends a datagram that is refused in the pen.
func refused(to string) {
	c, err := net.DialTimeout("udp", to, dialTime)
	if err != nil {
		return
	}
	c.Write([]byte{0}) //nolint:errcheck // it is refused
	c.Close()
}
