package proxyctl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"

	"golang.org/x/sys/unix"

	"github.com/penstock/penstock/internal/donate"
	"github.com/penstock/penstock/supervisor/packet"
)

// Pair makes the two ends of a connection. The second is donated to the proxy
// role and closed by the caller after the role has started.
func Pair() (*net.UnixConn, *os.File, error) { return packet.Pair() }

// packets is the line over a seqpacket socket.
type packets struct {
	uc  *net.UnixConn
	buf []byte // recv's
}

func newLine(uc *net.UnixConn) line { return &packets{uc: uc} }

func (p *packets) send(b []byte) error {
	_, err := p.uc.Write(b)
	return err
}

// recv accepts no descriptors: without a control buffer the kernel drops them.
func (p *packets) recv() ([]byte, error) {
	if p.buf == nil {
		p.buf = make([]byte, MaxMessage+1)
	}
	n, _, flags, _, err := p.uc.ReadMsgUnix(p.buf, nil)
	if errors.Is(err, unix.ECONNRESET) {
		// It ended with something of ours unread, which is told once and before what it
		// said last.
		n, _, flags, _, err = p.uc.ReadMsgUnix(p.buf, nil)
	}
	if err != nil {
		if errors.Is(err, net.ErrClosed) || errors.Is(err, unix.ECONNRESET) || errors.Is(err, io.EOF) {
			return nil, io.EOF
		}
		return nil, fmt.Errorf("receive message: %w", err)
	}
	if n == 0 {
		return nil, io.EOF
	}
	if flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 {
		return nil, errors.New("receive message: truncated")
	}
	return p.buf[:n], nil
}

// Configure sends a supervised proxy its configuration and files, which stay
// the caller's, and returns when it has taken them. It is called once, first.
func (c *Client) Configure(ctx context.Context, cfg *Config, files map[string]*os.File) error {
	if err := donate.Send(c.conn.uc, cfg, files); err != nil {
		return err
	}
	_, err := c.await(ctx, "the configuration", OpConfigured)
	return err
}
