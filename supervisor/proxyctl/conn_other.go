//go:build unix && !linux

package proxyctl

import (
	"net"
	"os"

	"github.com/penstock/penstock/internal/donate"
)

// Pair makes the two ends of a connection. The second is donated to the proxy
// role and closed by the caller after the role has started.
func Pair() (*net.UnixConn, *os.File, error) { return donate.StreamPair() }

func newLine(uc *net.UnixConn) line { return newStreamed(uc) }
