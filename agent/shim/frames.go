//go:build linux || darwin

package shim

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/penstock/penstock/internal/donate"
)

// The line of systems whose unix sockets have no packets (macOS): over a stream, each
// message after its length, four bytes, big endian. The orders are a message, too.

// frames is the supervisor at the other end of a stream.
type frames int

func (f frames) Read(b []byte) (int, error) {
	n, err := retry(func() (int, error) { return unix.Read(int(f), b) })
	if err == nil && n == 0 {
		err = io.EOF
	}
	return max(n, 0), err
}

func (f frames) Write(b []byte) (int, error) {
	for at := 0; at < len(b); {
		n, err := retry(func() (int, error) { return unix.Write(int(f), b[at:]) })
		if err != nil {
			return at, err
		}
		at += n
	}
	return len(b), nil
}

func (f frames) orders() (*Config, error) {
	b, err := readFrame(f, maxConfig)
	if err != nil {
		return nil, err
	}
	cfg, err := decodeConfig(b)
	if err == nil && cfg.Given != 0 {
		err = errGiven
	}
	return cfg, err
}

func (f frames) say(m message) error { return writeFrame(f, encode(m)) }

func (f frames) hear() (message, error) {
	b, err := readFrame(f, maxMessage)
	if err != nil {
		return message{}, errGone
	}
	return decode(b)
}

var errGiven = errors.New("no descriptors can be given over this line")

func readFrame(r io.Reader, most int) ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n == 0 || uint64(n) > uint64(most) {
		return nil, fmt.Errorf("read message: %d bytes, not from 1 to %d", n, most)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, fmt.Errorf("read message: %w", errors.Join(io.ErrUnexpectedEOF, err))
	}
	return b, nil
}

func writeFrame(w io.Writer, b []byte) error {
	_, err := w.Write(append(binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(b)), uint32(len(b))), b...))
	return err
}

// streamed is the supervisor's end of such a line, see Conn. The kernel tells nothing
// of who is at the other end: the caller knows whom it has started.
type streamed struct{ uc *net.UnixConn }

func streamPair() (c *streamed, pen *os.File, err error) {
	uc, pen, err := donate.StreamPair()
	if err != nil {
		return nil, nil, fmt.Errorf("create control socket: %w", err)
	}
	return &streamed{uc}, pen, nil
}

// Close ends the line. A shim that has not been released ends too.
func (c *streamed) Close() error { return c.uc.Close() }

// Configure sends the orders to a shim that has been started: the socket may hold less
// than they have. Descriptors can't be given.
func (c *streamed) Configure(ctx context.Context, cfg *Config) error {
	fail := func(err error) error { return fmt.Errorf("configure shim: %w", err) }
	if err := cfg.check(); err != nil {
		return fail(err)
	}
	if cfg.Given != 0 {
		return fail(errGiven)
	}
	doc, err := json.Marshal(cfg)
	if err != nil {
		return fail(err)
	}
	if len(doc) > maxConfig {
		return &ExecError{Step: stepExec, Errno: unix.E2BIG, Name: cfg.Argv[0]}
	}
	stop := context.AfterFunc(ctx, func() { c.uc.SetWriteDeadline(time.Unix(1, 0)) })
	defer stop()
	switch err := writeFrame(c.uc, doc); {
	case ctx.Err() != nil:
		return fail(context.Cause(ctx))
	case errors.Is(err, unix.EPIPE), errors.Is(err, unix.ECONNRESET):
		return nil // it is gone: WaitReady says so
	case err != nil:
		return fail(err)
	}
	return nil
}

// WaitReady waits until the shim has restricted itself and is held. ErrNoShim
// means that the pen ended before: whatever built it has said why on stderr.
func (c *streamed) WaitReady(ctx context.Context) (Process, error) {
	m, err := c.receive(ctx)
	switch {
	case errors.Is(err, io.EOF):
		return Process{}, ErrNoShim
	case err != nil:
		return Process{}, fmt.Errorf("wait for shim: %w", err)
	case m.Kind == kindFailed:
		return Process{}, m.failure()
	case m.Kind != kindReady:
		return Process{}, fmt.Errorf("wait for shim: it said %q instead of ready", m.Kind)
	}
	return Process{Refused: m.Refused}, nil
}

// Release lets the shim execute the command.
func (c *streamed) Release() error {
	if err := writeFrame(c.uc, encode(message{Kind: kindGo})); err != nil {
		return fmt.Errorf("release shim: %w", err)
	}
	return nil
}

// WaitExec waits until the command runs. An *ExecError says that it doesn't,
// and how a shell would have ended.
func (c *streamed) WaitExec(ctx context.Context) error {
	m, err := c.receive(ctx)
	return m.executed(err)
}

// executed is what a message, or the error in place of one, says of the command's start.
func (m message) executed(err error) error {
	switch {
	case errors.Is(err, io.EOF):
		return nil
	case err != nil:
		return fmt.Errorf("wait for command: %w", err)
	case m.Kind != kindFailed:
		return fmt.Errorf("wait for command: the shim said %q", m.Kind)
	}
	return m.failure()
}

func (c *streamed) receive(ctx context.Context) (message, error) {
	stop := context.AfterFunc(ctx, func() { c.uc.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	b, err := readFrame(c.uc, maxMessage)
	switch {
	case ctx.Err() != nil:
		return message{}, context.Cause(ctx)
	case errors.Is(err, unix.ECONNRESET) && len(b) == 0:
		return message{}, io.EOF
	case err != nil:
		return message{}, err
	}
	return decode(b)
}
