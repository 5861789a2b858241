//go:build unix

package netproxy

import (
	"io"
	"net"
	"os"
	"syscall"
)

// rawReader reads a non-blocking socket.
type rawReader struct {
	conn syscall.RawConn
	// What try works on, here so that no closure is made for each read.
	p   []byte
	n   int
	err error
	try func(fd uintptr) bool
}

func (b *probe) open(tc *net.TCPConn) {
	if rc, err := tc.SyscallConn(); err == nil {
		b.raw.conn = rc
		b.raw.try = b.once
	}
}

func (b *probe) able() bool { return b.raw.conn != nil }

func (r *rawReader) read(p []byte) (int, error) {
	r.p = p
	err := r.conn.Read(r.try)
	n := r.n
	r.p = nil
	switch {
	case err != nil:
		return 0, err
	case r.err != nil:
		return 0, os.NewSyscallError("read", r.err)
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}

// once reports false when the poller is to wait.
func (b *probe) once(fd uintptr) bool {
	r := &b.raw
	for {
		r.n, r.err = syscall.Read(int(fd), r.p)
		switch r.err { //nolint:errorlint // an errno, bare
		case syscall.EINTR:
			continue
		case syscall.EAGAIN:
			if h := b.hook.Load(); h != nil {
				h.run()
			}
			return false
		}
		return true
	}
}
