//go:build unix

package packet

import (
	"fmt"
	"net"
	"os"
)

// Open makes a connection of a donated socket; it takes over f.
func Open(f *os.File) (*net.UnixConn, error) {
	defer f.Close()
	nc, err := net.FileConn(f)
	if err != nil {
		return nil, fmt.Errorf("open socket: %w", err)
	}
	uc, ok := nc.(*net.UnixConn)
	if !ok {
		nc.Close()
		return nil, fmt.Errorf("open socket: %T is no unix socket", nc)
	}
	return uc, nil
}
