package netproxy

import (
	"context"
	"errors"
	"net"

	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/policy"
)

// dial is the only way out.
func (p *Proxy) dial(ctx context.Context, t hooks.Target, d *policy.Dial) (net.Conn, error) {
	nc, err := p.cfg.Dialer.Dial(ctx, t, d)
	if err != nil {
		return nil, &dialError{err}
	}
	return nc, nil
}

// dialError and upstreamTLSError say at which step an upstream failed.
type dialError struct{ err error }

func (e *dialError) Error() string { return e.err.Error() }
func (e *dialError) Unwrap() error { return e.err }

type upstreamTLSError struct{ err error }

func (e *upstreamTLSError) Error() string { return "TLS with the upstream: " + e.err.Error() }
func (e *upstreamTLSError) Unwrap() error { return e.err }

// hinted is an error that knows what its reader can do.
type hinted interface{ Hint() string }

func hintOf(err error) string {
	var h hinted
	if errors.As(err, &h) {
		return h.Hint()
	}
	return ""
}
