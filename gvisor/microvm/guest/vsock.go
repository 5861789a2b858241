package guest

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/penstock/penstock/gvisor/microvm/wire"
)

// VsockArgument is the name of the kernel's argument that says at which port of vsock the
// host speaks, as Firecracker has no serial port for it; VsockPort is that port. A kernel
// takes what has a dot for a module's, and leaves it alone.
const (
	VsockArgument = "penstock.vsock"
	VsockPort     = 1024
)

// VsockOrder is Order for a machine with vsock.
const VsockOrder = Modules + "/order-vsock"

// vsockPort reads the kernel's arguments; 0: there is a serial port.
func vsockPort(arguments string) (uint32, error) {
	for _, a := range strings.Fields(arguments) {
		if text, ok := strings.CutPrefix(a, VsockArgument+"="); ok {
			n, err := strconv.ParseUint(text, 10, 32)
			if err != nil || n == 0 {
				return 0, fmt.Errorf("%q is no port of vsock", text)
			}
			return uint32(n), nil
		}
	}
	return 0, nil
}

// tryVsock says to the host that the machine is up, and returns when the host has heard
// enough. Such a machine has no root, and executes nothing.
func tryVsock(port uint32) error {
	conn, err := acceptVsock(port)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := wire.NewConn(conn).Send(wire.Frame{Kind: wire.Hello}); err != nil {
		return fmt.Errorf("say hello: %w", err)
	}
	if n, err := conn.Read(make([]byte, 1)); n > 0 || err != io.EOF {
		return fmt.Errorf("the host said something to a machine without a root: %w", err)
	}
	return errors.New("the host has heard enough")
}

// acceptVsock waits for the host, and takes nobody else.
func acceptVsock(port uint32) (*os.File, error) {
	fd, err := unix.Socket(unix.AF_VSOCK, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open a socket for vsock: %w", err)
	}
	defer unix.Close(fd)
	if err := unix.Bind(fd, &unix.SockaddrVM{CID: unix.VMADDR_CID_ANY, Port: port}); err != nil {
		return nil, fmt.Errorf("bind to port %d of vsock: %w", port, err)
	}
	if err := unix.Listen(fd, 1); err != nil {
		return nil, fmt.Errorf("listen at port %d of vsock: %w", port, err)
	}
	fmt.Fprintf(os.Stderr, "penstock guest: listens at port %d of vsock\n", port)
	for end := time.Now().Add(patience); ; {
		left := time.Until(end)
		if left <= 0 {
			return nil, fmt.Errorf("nobody came to port %d of vsock within %s", port, patience)
		}
		if _, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(left.Milliseconds())+1); err != nil {
			if err == unix.EINTR {
				continue
			}
			return nil, fmt.Errorf("wait for the host: %w", err)
		}
		conn, from, err := unix.Accept4(fd, unix.SOCK_CLOEXEC)
		switch {
		case err == unix.EAGAIN || err == unix.EINTR:
			continue
		case err != nil:
			return nil, fmt.Errorf("take the host's connection: %w", err)
		}
		if peer, ok := from.(*unix.SockaddrVM); ok && peer.CID == unix.VMADDR_CID_HOST {
			return os.NewFile(uintptr(conn), "vsock"), nil
		}
		unix.Close(conn)
	}
}
