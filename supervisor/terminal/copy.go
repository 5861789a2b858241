//go:build linux || darwin

package terminal

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// Moved is the number of bytes that have passed in either direction. It counts
// nothing of a stream that is the command's own, as files and pipes are.
func (t *Terminal) Moved() uint64 { return t.moved.Load() }

// copyUntil copies from src to dst until src ends, either fails, or stop ends.
// It works on the bare descriptors, because the caller's may be shared with
// other processes and must keep their mode.
func (t *Terminal) copyUntil(dst, src, stop *os.File) {
	in, out := int(src.Fd()), int(dst.Fd())
	poll := []unix.PollFd{{Fd: int32(in), Events: unix.POLLIN}}
	if stop != nil {
		poll = append(poll, unix.PollFd{Fd: int32(stop.Fd()), Events: unix.POLLIN})
	}
	buf := make([]byte, 32<<10)
	for {
		if err := wait(poll); err != nil {
			if err == unix.EINTR {
				continue
			}
			return
		}
		if stop != nil && poll[1].Revents != 0 {
			return
		}
		n, err := unix.Read(in, buf)
		if errors.Is(err, unix.EINTR) || errors.Is(err, unix.EAGAIN) {
			continue
		}
		if err != nil || n == 0 {
			return
		}
		t.moved.Add(uint64(n))
		if !writeAll(out, buf[:n], stop) {
			return
		}
	}
}

func writeAll(fd int, b []byte, stop *os.File) bool {
	for len(b) > 0 {
		n, err := unix.Write(fd, b)
		switch {
		case err == unix.EINTR:
		case err == unix.EAGAIN:
			poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
			if stop != nil {
				poll = append(poll, unix.PollFd{Fd: int32(stop.Fd()), Events: unix.POLLIN})
			}
			wait(poll) //nolint:errcheck // then it is tried again
			if stop != nil && poll[1].Revents != 0 {
				return false
			}
		case err != nil:
			return false
		default:
			b = b[n:]
		}
	}
	return true
}
