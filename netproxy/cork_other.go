//go:build !unix

package netproxy

import (
	"errors"
	"net"
)

type rawReader struct{}

func (*probe) open(*net.TCPConn) {}
func (*probe) able() bool        { return false }

func (*rawReader) read([]byte) (int, error) { return 0, errors.ErrUnsupported }
