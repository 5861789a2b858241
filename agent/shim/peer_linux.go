package shim

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/penstock/penstock/sandbox"
	"github.com/penstock/penstock/sandbox/confine"
)

// packets is the supervisor at the other end of a seqpacket socket.
type packets int

func newPeer(fd int) peer { return packets(fd) }

func (p packets) say(m message) error {
	return unix.Sendmsg(int(p), encode(m), nil, nil, unix.MSG_NOSIGNAL)
}

func (p packets) hear() (message, error) {
	buf := make([]byte, maxMessage+1)
	n, err := retry(func() (int, error) { return unix.Read(int(p), buf) })
	if err != nil || n == 0 {
		return message{}, errGone
	}
	return decode(buf[:n])
}

// restrict puts the last restrictions on this process.
func restrict(cfg *Config) (ready message, err error) {
	applied, err := confine.Pen(cfg.Rules)
	return message{Kind: kindReady, Landlock: applied.Landlock}, err
}

// orders reads the configuration.
func (p packets) orders() (*Config, error) {
	fd := int(p)
	buf, oob := make([]byte, maxMessage+1), make([]byte, unix.CmsgSpace(4*(1+maxGiven)))
	var on int
	n, err := retry(func() (n int, err error) {
		n, on, _, _, err = unix.Recvmsg(fd, buf, oob, unix.MSG_CMSG_CLOEXEC)
		return n, err
	})
	if err != nil {
		return nil, err
	}
	if m, err := decode(buf[:n]); err != nil || m.Kind != kindOrders {
		return nil, errors.Join(errors.New("no orders"), err)
	}
	messages, err := unix.ParseSocketControlMessage(oob[:on])
	if err != nil || len(messages) != 1 {
		return nil, errors.New("no orders with the message")
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) == 0 {
		return nil, errors.New("no orders with the message")
	}
	defer unix.Close(fds[0])
	var st unix.Stat_t
	if err := unix.Fstat(fds[0], &st); err != nil {
		return nil, err
	}
	if st.Size > maxConfig {
		return nil, fmt.Errorf("orders have %d bytes, more than %d", st.Size, maxConfig)
	}
	doc := make([]byte, st.Size)
	for at := 0; at < len(doc); {
		n, err := retry(func() (int, error) { return unix.Pread(fds[0], doc[at:], int64(at)) })
		if err != nil || n == 0 {
			return nil, errors.Join(errors.New("orders end early"), err)
		}
		at += n
	}
	cfg, err := decodeConfig(doc)
	if err != nil {
		return nil, err
	}
	if len(fds) != 1+cfg.Given {
		return nil, fmt.Errorf("orders come with %d descriptors, and say %d", len(fds)-1, cfg.Given)
	}
	return cfg, place(fds[1:])
}

// place gives descriptors their numbers. They end with execve until the last moment.
func place(fds []int) error {
	for i, fd := range fds {
		// What was inherited is closed, and the runtime has few: the number is free.
		switch got, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, sandbox.FirstGiven+i); {
		case err != nil:
			return err
		case got != sandbox.FirstGiven+i:
			return fmt.Errorf("descriptor %d is taken", sandbox.FirstGiven+i)
		}
		unix.Close(fd)
	}
	return nil
}
