package netproxy

import "errors"

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
