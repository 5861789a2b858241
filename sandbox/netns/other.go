//go:build !linux

package netns

import (
	"context"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/penstock/penstock/sandbox"
)

// Building is a pen's first process.
type Building struct{}

// Start needs Linux.
func Start(string, *sandbox.Command, [3]*os.File, Options) (*Building, error) {
	return nil, ErrUnsupported
}

// Sockets needs Linux.
func (b *Building) Sockets(context.Context) (*Sockets, error) { return nil, ErrUnsupported }

// Executed needs Linux.
func (b *Building) Executed(context.Context) error { return ErrUnsupported }

// Process is nil.
func (b *Building) Process() *os.Process { return nil }

// Done is nil.
func (b *Building) Done() <-chan struct{} { return nil }

// Wait needs Linux.
func (b *Building) Wait() (*os.ProcessState, error) { return nil, ErrUnsupported }

// Close does nothing.
func (b *Building) Close() error { return nil }

// Send needs Linux.
func (s *Sockets) Send(*net.UnixConn) error { return ErrUnsupported }

// ReceiveSockets needs Linux.
func ReceiveSockets(*net.UnixConn) (*Sockets, error) { return nil, ErrUnsupported }

// CaptureListeners needs Linux.
func (s *Sockets) CaptureListeners() ([]*net.TCPListener, error) { return nil, ErrUnsupported }

// ExplicitListeners needs Linux.
func (s *Sockets) ExplicitListeners() ([]*net.TCPListener, error) { return nil, ErrUnsupported }

// DNSListeners needs Linux.
func (s *Sockets) DNSListeners() ([]*net.TCPListener, error) { return nil, ErrUnsupported }

// DNSPacketConns needs Linux.
func (s *Sockets) DNSPacketConns() ([]*net.UDPConn, error) { return nil, ErrUnsupported }

// OriginalDst needs Linux.
func OriginalDst(*net.TCPConn) (netip.AddrPort, error) { return netip.AddrPort{}, ErrUnsupported }

// Drops reads the reports of refused packets.
type Drops struct{}

// DropReader needs Linux.
func (s *Sockets) DropReader() (*Drops, error) { return nil, ErrUnsupported }

// Read needs Linux.
func (d *Drops) Read() ([]Drop, uint64, error) { return nil, 0, ErrUnsupported }

// Close does nothing.
func (d *Drops) Close() error { return nil }

// Dialer connects to servers of the tool inside the pen.
type Dialer struct{}

// Dialer needs Linux.
func (s *Sockets) Dialer() (*Dialer, error) { return nil, ErrUnsupported }

// Dial needs Linux.
func (d *Dialer) Dial(context.Context, uint16) (*net.TCPConn, error) { return nil, ErrUnsupported }

// Close does nothing.
func (d *Dialer) Close() error { return nil }

// Probe needs Linux.
func Probe(context.Context, string) (bool, time.Duration, error) { return false, 0, ErrUnsupported }
