package shim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Conn is the supervisor's end of the line to one shim. Its methods are called
// in order, from one goroutine: Configure, WaitReady, Release, WaitExec. The
// supervisor closes it.
type Conn struct {
	f     *os.File
	inode uint64 // of the pen's end
}

// Process is the held shim, which becomes the command.
type Process struct {
	PID      int // in the supervisor's pid namespace
	UID, GID int // as the supervisor sees them
	Landlock int // ABI that the shim says it applied, 0 if none
	// Socket is the inode of the shim's end of the line, as its /proc shows it.
	Socket uint64
	// Refused is how much of Config.Tries the shim says was refused.
	Refused int
}

// Pair makes a line. pen is the end to pass to the shim; the caller closes it
// once the pen has been started, or the end of the pen is never seen.
func Pair() (c *Conn, pen *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("create control socket: %w", err)
	}
	pen = os.NewFile(uintptr(fds[1]), "shim-control-pen")
	fail := func(err error) (*Conn, *os.File, error) {
		unix.Close(fds[0])
		pen.Close()
		return nil, nil, fmt.Errorf("create control socket: %w", err)
	}
	// The kernel then adds the sender's true credentials to each packet.
	if err := unix.SetsockoptInt(fds[0], unix.SOL_SOCKET, unix.SO_PASSCRED, 1); err != nil {
		return fail(err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fds[1], &st); err != nil {
		return fail(err)
	}
	if err := unix.SetNonblock(fds[0], true); err != nil {
		return fail(err)
	}
	return &Conn{f: os.NewFile(uintptr(fds[0]), "shim-control"), inode: st.Ino}, pen, nil
}

// Close ends the line. A shim that has not been released ends too.
func (c *Conn) Close() error { return c.f.Close() }

// Configure sends the orders, and what the command is given beside its streams. It
// may be called before the pen exists: they wait in the socket. The caller closes
// given.
func (c *Conn) Configure(cfg *Config, given ...*os.File) error {
	cfg.Given = len(given)
	if err := cfg.check(); err != nil {
		return fmt.Errorf("configure shim: %w", err)
	}
	doc, err := json.Marshal(cfg)
	if err != nil {
		return fmt.Errorf("configure shim: %w", err)
	}
	if len(doc) > maxConfig {
		return &ExecError{Step: stepExec, Errno: unix.E2BIG, Name: cfg.Argv[0]}
	}
	fd, err := unix.MemfdCreate("orders", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return fmt.Errorf("configure shim: %w", err)
	}
	f := os.NewFile(uintptr(fd), "orders")
	defer f.Close()
	if _, err := f.WriteAt(doc, 0); err != nil {
		return fmt.Errorf("configure shim: %w", err)
	}
	if _, err := unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_WRITE|unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_SEAL); err != nil {
		return fmt.Errorf("configure shim: %w", err)
	}
	fds := []int{fd}
	for _, g := range given {
		fds = append(fds, int(g.Fd()))
	}
	if err := c.send(message{Kind: kindOrders}, unix.UnixRights(fds...)); err != nil {
		return fmt.Errorf("configure shim: %w", err)
	}
	return nil
}

// WaitReady waits until the shim has restricted itself and is held. ErrNoShim
// means that the pen ended before: whatever built it has said why on stderr.
func (c *Conn) WaitReady(ctx context.Context) (Process, error) {
	m, cred, err := c.receive(ctx)
	switch {
	case errors.Is(err, io.EOF):
		return Process{}, ErrNoShim
	case err != nil:
		return Process{}, fmt.Errorf("wait for shim: %w", err)
	}
	if m.Kind == kindFailed {
		return Process{}, m.failure()
	}
	if m.Kind != kindReady || cred == nil {
		return Process{}, fmt.Errorf("wait for shim: it said %q instead of ready", m.Kind)
	}
	return Process{PID: int(cred.Pid), UID: int(cred.Uid), GID: int(cred.Gid), Landlock: m.Landlock, Socket: c.inode, Refused: m.Refused}, nil
}

// Release lets the shim execute the command.
func (c *Conn) Release() error {
	if err := c.send(message{Kind: kindGo}, nil); err != nil {
		return fmt.Errorf("release shim: %w", err)
	}
	return nil
}

// WaitExec waits until the command runs. An *ExecError says that it doesn't,
// and how a shell would have ended.
func (c *Conn) WaitExec(ctx context.Context) error {
	m, _, err := c.receive(ctx)
	return m.executed(err)
}

func (c *Conn) send(m message, rights []byte) error {
	raw, err := c.f.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Write(func(fd uintptr) bool {
		failed = unix.Sendmsg(int(fd), encode(m), rights, nil, unix.MSG_NOSIGNAL)
		return failed != unix.EAGAIN
	})
	return errors.Join(err, failed)
}

// receive reads one packet and who sent it. Descriptors that a packet carries
// are closed: the pen has none to give.
func (c *Conn) receive(ctx context.Context) (message, *unix.Ucred, error) {
	raw, err := c.f.SyscallConn()
	if err != nil {
		return message{}, nil, err
	}
	stop := context.AfterFunc(ctx, func() { c.f.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	var (
		buf    = make([]byte, maxMessage+1)
		oob    = make([]byte, 512)
		n, on  int
		failed error
	)
	err = raw.Read(func(fd uintptr) bool {
		n, on, _, _, failed = unix.Recvmsg(int(fd), buf, oob, unix.MSG_CMSG_CLOEXEC)
		if failed == unix.ECONNRESET {
			// It ended with something of ours unread, which is told once and before what
			// it said last.
			n, on, _, _, failed = unix.Recvmsg(int(fd), buf, oob, unix.MSG_CMSG_CLOEXEC)
		}
		return failed != unix.EAGAIN && failed != unix.EINTR
	})
	if ctx.Err() != nil {
		return message{}, nil, context.Cause(ctx)
	}
	if err := errors.Join(err, failed); err != nil {
		if errors.Is(err, unix.ECONNRESET) {
			return message{}, nil, io.EOF
		}
		return message{}, nil, err
	}
	if n == 0 {
		return message{}, nil, io.EOF
	}
	cred, err := credentials(oob[:on])
	if err != nil {
		return message{}, nil, err
	}
	m, err := decode(buf[:n])
	return m, cred, err
}

// credentials takes the sender's out of a packet's control messages.
func credentials(oob []byte) (*unix.Ucred, error) {
	var cred *unix.Ucred
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, fmt.Errorf("read control message: %w", err)
	}
	for i := range messages {
		switch messages[i].Header.Type {
		case unix.SCM_CREDENTIALS:
			if cred, err = unix.ParseUnixCredentials(&messages[i]); err != nil {
				return nil, fmt.Errorf("read credentials: %w", err)
			}
		case unix.SCM_RIGHTS:
			fds, err := unix.ParseUnixRights(&messages[i])
			if err == nil {
				for _, fd := range fds {
					unix.Close(fd)
				}
			}
			return nil, errors.New("read message: it carries descriptors")
		}
	}
	return cred, nil
}
