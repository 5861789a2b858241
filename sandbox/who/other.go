//go:build !linux

package who

import (
	"context"
	"net/netip"

	"github.com/penstock/penstock/hooks"
)

// Resolver needs Linux.
type Resolver struct{}

// New needs Linux.
func New(Pen) (*Resolver, error) { return nil, ErrUnsupported }

// Lookup needs Linux.
func (r *Resolver) Lookup(context.Context, netip.AddrPort, netip.AddrPort) (*hooks.Process, error) {
	return nil, ErrUnsupported
}

// Close does nothing.
func (r *Resolver) Close() error { return nil }
