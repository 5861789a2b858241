package firecracker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"syscall"
)

// maxGreeting is the longest "OK PORT\n".
const maxGreeting = len("OK 4294967295\n")

// errGreeting is that something else answers than a vsock device.
var errGreeting = errors.New("malformed answer of the vsock device")

// Connect returns a stream to a port of the guest's, as soon as the guest listens there.
// Firecracker makes the socket at the machine's start, takes "CONNECT PORT\n" and answers
// "OK PORT\n" with the number of the host's end, or closes where nobody listens.
func Connect(ctx context.Context, path string, port uint32) (net.Conn, error) {
	if err := socketPath(path); err != nil {
		return nil, err
	}
	for {
		conn, err := appear(ctx, path)
		if err != nil {
			return nil, fmt.Errorf("wait for the vsock device: %w", err)
		}
		there, err := greet(ctx, conn, port)
		if there {
			return conn, nil
		}
		conn.Close()
		if err == nil {
			err = wait(ctx)
		}
		if err != nil {
			return nil, fmt.Errorf("connect to port %d of the guest: %w", port, err)
		}
	}
}

// greet asks for a port. Without an error it is there, or nobody listens.
func greet(ctx context.Context, conn net.Conn, port uint32) (there bool, err error) {
	defer ended(ctx, conn)()
	if _, err := fmt.Fprintf(conn, "CONNECT %d\n", port); err != nil {
		return false, gone(ctx, err)
	}
	// By single bytes: what follows the line is the guest's.
	line := make([]byte, 0, maxGreeting)
	for len(line) == 0 || line[len(line)-1] != '\n' {
		if len(line) == maxGreeting {
			return false, fmt.Errorf("%w: %s", errGreeting, quote(string(line)))
		}
		at := len(line)
		if _, err := io.ReadFull(conn, line[at:at+1]); err != nil {
			if at > 0 && gone(ctx, err) == nil {
				return false, fmt.Errorf("%w: %s", errGreeting, quote(string(line)))
			}
			return false, gone(ctx, err)
		}
		line = line[:at+1]
	}
	number, ok := strings.CutPrefix(strings.TrimSuffix(string(line), "\n"), "OK ")
	if _, err := strconv.ParseUint(number, 10, 32); !ok || err != nil {
		return false, fmt.Errorf("%w: %s", errGreeting, quote(string(line)))
	}
	return true, nil
}

// gone takes a connection that was closed for one with nobody behind it.
func gone(ctx context.Context, err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
		return nil
	}
	return stopped(ctx, err)
}
