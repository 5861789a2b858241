package netns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// The connector answers each one-byte request, '4' or '6', with a fresh TCP
// socket of the pen's network namespace. It doesn't connect it: a socket stays
// in the namespace that it was made in, so the one who asked connects it, with
// deadlines of its own, and one slow server in the pen delays nobody else.
const (
	askIPv4, askIPv6 = '4', '6'
	connectorFD      = 3
)

// startConnector forks the connector. We are still root of U1 here; the child
// gives everything up as its first act.
func startConnector() (*os.File, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	theirs := uintptr(pair[1])
	defer unix.Close(pair[1])
	null, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		unix.Close(pair[0])
		return nil, err
	}
	defer unix.Close(null)
	// Its parent is this very process, which becomes bwrap: it dies with the
	// pen. It must not hold the pen's standard descriptors, or a reader of the
	// pen's output would wait for it.
	_, err = syscall.ForkExec("/proc/self/exe", []string{"penstock", ConnectorRole}, &syscall.ProcAttr{
		Dir:   "/",
		Env:   []string{"GOMAXPROCS=1"},
		Files: []uintptr{uintptr(null), uintptr(null), uintptr(null), theirs},
		Sys:   &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL},
	})
	if err != nil {
		unix.Close(pair[0])
		return nil, err
	}
	return rawFile(pair[0], "connector"), nil
}

// ConnectorMain is role:connector. It holds no capability and can open no file;
// all it does is make sockets in a namespace without an uplink.
func ConnectorMain() int {
	runtime.LockOSThread()
	if len(os.Args) < 3 || os.Args[2] != connectorBare {
		if err := renounce(); err != nil {
			return exitFailed
		}
		// Capabilities belong to threads and Go has several. Executing anew as
		// root with an empty bounding set leaves none to any of them
		// (capabilities(7), "Transformation of capabilities during execve").
		_ = unix.Exec("/proc/self/exe", []string{"penstock", ConnectorRole, connectorBare}, os.Environ())
		return exitFailed
	}
	if err := bare(); err != nil {
		return exitFailed
	}
	return serveSockets()
}

// connectorBare marks the second start of the connector.
const connectorBare = "bare"

// serveSockets answers requests until nobody is left to ask.
func serveSockets() int {
	var request [8]byte
	for {
		n, _, err := unix.Recvfrom(connectorFD, request[:], 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || n == 0 {
			return 0 // everybody who could ask is gone
		}
		family := unix.AF_INET
		if request[0] == askIPv6 {
			family = unix.AF_INET6
		}
		var oob []byte
		fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		answer := []byte{0}
		if err != nil {
			answer[0] = 1
			var errno unix.Errno
			if errors.As(err, &errno) {
				answer[0] = byte(errno)
			}
		} else {
			oob = unix.UnixRights(fd)
		}
		err = unix.Sendmsg(connectorFD, answer, oob, nil, unix.MSG_NOSIGNAL)
		if fd >= 0 {
			unix.Close(fd)
		}
		if err != nil {
			return 0
		}
	}
}

// renounce empties the bounding set and forbids gaining anything by execve.
func renounce() error {
	// The descriptor must outlive execve; nothing else does.
	if _, err := unix.FcntlInt(connectorFD, unix.F_SETFD, 0); err != nil {
		return err
	}
	for c := uintptr(0); c <= 63; c++ {
		err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0)
		if errors.Is(err, unix.EINVAL) {
			break // past the last capability of this kernel
		}
		if err != nil {
			return err
		}
	}
	return unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
}

// bare checks that nothing is left, and gives up what execve left.
func bare() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var caps [2]unix.CapUserData
	if err := unix.Capget(&header, &caps[0]); err != nil {
		return err
	}
	if caps != [2]unix.CapUserData{} {
		return errors.New("capabilities are left")
	}
	// Memory and descriptors of this process are nobody's business.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return err
	}
	// Threads count as processes, so the limit of those stays; files can't grow
	// and no core is written.
	zero := unix.Rlimit{}
	for _, r := range []int{unix.RLIMIT_FSIZE, unix.RLIMIT_CORE} {
		if err := unix.Setrlimit(r, &zero); err != nil {
			return err
		}
	}
	return nil
}

// Dialer connects to servers of the tool inside the pen. It is safe for
// concurrent use.
type Dialer struct {
	mu   sync.Mutex
	conn *net.UnixConn
}

// Dialer takes over s.Connector.
func (s *Sockets) Dialer() (*Dialer, error) {
	if s.Connector == nil {
		return nil, errors.New("connect into the pen: no connector (Options.Publish was not set)")
	}
	c, err := net.FileConn(s.Connector)
	if err != nil {
		return nil, fmt.Errorf("connect into the pen: %w", err)
	}
	unixConn, ok := c.(*net.UnixConn)
	if !ok {
		c.Close()
		return nil, errors.New("connect into the pen: not a unix socket")
	}
	s.Connector.Close()
	s.Connector = nil
	return &Dialer{conn: unixConn}, nil
}

// Dial connects to port on the pen's own 127.0.0.1, or on its ::1 when nothing
// answers there.
func (d *Dialer) Dial(ctx context.Context, port uint16) (*net.TCPConn, error) {
	c, err := d.dial(ctx, netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port))
	if errors.Is(err, unix.ECONNREFUSED) {
		if c6, err6 := d.dial(ctx, netip.AddrPortFrom(netip.IPv6Loopback(), port)); err6 == nil {
			return c6, nil
		}
	}
	if err != nil {
		return nil, fmt.Errorf("connect to the pen's port %d: %w", port, err)
	}
	return c, nil
}

func (d *Dialer) dial(ctx context.Context, to netip.AddrPort) (*net.TCPConn, error) {
	fd, err := d.socket(ctx, to.Addr().Is6())
	if err != nil {
		return nil, err
	}
	var sa unix.Sockaddr = &unix.SockaddrInet4{Port: int(to.Port()), Addr: [4]byte{127, 0, 0, 1}}
	if to.Addr().Is6() {
		sa = &unix.SockaddrInet6{Port: int(to.Port()), Addr: to.Addr().As16()}
	}
	err = unix.Connect(fd, sa)
	f := os.NewFile(uintptr(fd), "pen") // non-blocking: with the runtime poller
	defer f.Close()
	if err != nil && !errors.Is(err, unix.EINPROGRESS) {
		return nil, err
	}
	if err != nil {
		if err := awaitConnected(ctx, f); err != nil {
			return nil, err
		}
	}
	c, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		c.Close()
		return nil, errors.New("not a TCP socket")
	}
	return tcp, nil
}

// awaitConnected waits until a connect in progress has ended, one way or the other.
func awaitConnected(ctx context.Context, f *os.File) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = f.SetWriteDeadline(time.Unix(1, 0)) })
	defer stop()
	var errno int
	first := true
	err = raw.Write(func(fd uintptr) bool {
		if first {
			first = false // the poller's first word may be from before the connect
			var pfd = []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
			if n, err := unix.Poll(pfd, 0); err == nil && n == 0 {
				return false
			}
		}
		errno, err = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR)
		return true
	})
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return err
	}
	if errno != 0 {
		return syscall.Errno(errno)
	}
	return nil
}

// socket asks the connector for a socket.
func (d *Dialer) socket(ctx context.Context, v6 bool) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(5 * time.Second)
	}
	if err := d.conn.SetDeadline(deadline); err != nil {
		return -1, err
	}
	ask := []byte{askIPv4}
	if v6 {
		ask[0] = askIPv6
	}
	if _, err := d.conn.Write(ask); err != nil {
		return -1, err
	}
	var answer [8]byte
	oob := make([]byte, unix.CmsgSpace(4))
	n, oobn, _, _, err := d.conn.ReadMsgUnix(answer[:], oob)
	if err != nil {
		// The answer may come after all and would be taken for another's.
		d.conn.Close()
		return -1, err
	}
	fds, err := parseRights(oob[:oobn])
	if err == nil && n == 1 && answer[0] == 0 && len(fds) == 1 {
		return fds[0], nil
	}
	for _, fd := range fds {
		unix.Close(fd)
	}
	if n == 1 && answer[0] != 0 {
		return -1, syscall.Errno(answer[0])
	}
	return -1, errors.New("the connector has ended")
}

// Close ends the connector. It may be called twice.
func (d *Dialer) Close() error {
	if err := d.conn.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}
