//go:build linux || darwin

package proxyrole

import (
	"fmt"
	"net"
)

// listenExplicit serves the one listener of a session without a network of its own:
// there is nothing to capture and no resolver of its.
func (e *engine) listenExplicit() error {
	l, err := net.FileListener(e.explicit)
	e.explicit.Close()
	if err != nil {
		return fmt.Errorf("open the session's proxy port: %w", err)
	}
	e.sockets.Close()
	e.serve(l, func() error { return e.proxy.ServeExplicit(l) })
	return nil
}
