package main

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"
)

// streams are a command's, as the sentry gets them: never the caller's own open
// files. The sentry makes them non-blocking, which all who share one would feel, and
// writes a regular file at an offset of its own.
type streams struct {
	inner     [3]*os.File
	given     [3]*os.File
	tty       *os.File // one of given that is the pen's terminal
	terminals int      // how many of them are
	out       []*outlet
}

// openStreams makes them from the caller's.
func openStreams(given [3]*os.File, terminal bool) (*streams, error) {
	s := &streams{given: given}
	for i, f := range given {
		if i == 2 && s.inner[1] != given[1] && same(given[1], f) {
			s.inner[2] = s.inner[1] // one pipe keeps their order
			continue
		}
		var err error
		if s.inner[i], err = s.open(i, f, terminal); err != nil {
			s.handed()
			return nil, fmt.Errorf("open stream %d: %w", i, err)
		}
	}
	return s, nil
}

// open returns the sentry's end of a stream: the pen's terminal, a pipe opened again,
// or one that is copied from or to.
func (s *streams) open(i int, f *os.File, terminal bool) (*os.File, error) {
	fd := int(f.Fd())
	if terminal && isTerminal(fd) {
		s.tty = f
		s.terminals++
		return f, nil
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFIFO {
		flags := os.O_WRONLY
		if i == 0 {
			flags = os.O_RDONLY
		}
		// Without waiting for the other side, which may be gone; then as the command
		// would have it.
		again, err := unix.Open("/proc/self/fd/"+strconv.Itoa(fd), flags|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err == nil {
			if err := unix.SetNonblock(again, false); err != nil {
				return nil, err
			}
			return os.NewFile(uintptr(again), f.Name()), nil
		}
	}
	var ends [2]int
	if err := unix.Pipe2(ends[:], unix.O_CLOEXEC); err != nil {
		return nil, err
	}
	r, w := os.NewFile(uintptr(ends[0]), f.Name()), os.NewFile(uintptr(ends[1]), f.Name())
	if i == 0 {
		go func() {
			io.Copy(w, f) //nolint:errcheck // the end of it is all that there is to tell
			w.Close()
		}()
		return r, nil
	}
	// Somebody whom the command leaves behind may write when f is closed.
	to, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 3)
	if err == nil {
		err = unix.SetNonblock(ends[0], true)
	}
	if err != nil {
		r.Close()
		w.Close()
		return nil, err
	}
	o := &outlet{fd: ends[0], from: r, to: os.NewFile(uintptr(to), f.Name())}
	s.out = append(s.out, o)
	go o.run()
	return w, nil
}

// same says whether two streams are one regular file, and stand at the same place of it.
func same(a, b *os.File) bool {
	var s, t unix.Stat_t
	if unix.Fstat(int(a.Fd()), &s) != nil || unix.Fstat(int(b.Fd()), &t) != nil {
		return false
	}
	at, err := unix.Seek(int(a.Fd()), 0, io.SeekCurrent)
	there, terr := unix.Seek(int(b.Fd()), 0, io.SeekCurrent)
	return s.Dev == t.Dev && s.Ino == t.Ino && s.Mode&unix.S_IFMT == unix.S_IFREG && err == nil && terr == nil && at == there
}

func isTerminal(fd int) bool {
	_, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	return err == nil
}

// handed closes what the sentry has by now: a pipe ends when its last end is closed.
func (s *streams) handed() {
	for i, f := range s.inner {
		if f != nil && f != s.given[i] {
			f.Close()
		}
	}
}

// drain returns when all that the command has written is passed on. Somebody whom it
// left behind may go on to write, for ever.
func (s *streams) drain() {
	s.handed()
	for _, o := range s.out {
		o.drain()
	}
}

// outlet copies what is written to a pipe, until nobody has its other end.
type outlet struct {
	fd       int      // of from, which does not wait
	from, to *os.File // both are its own

	mu     sync.Mutex // held while bytes are on their way
	buf    [64 << 10]byte
	passed int64 // bytes
	ended  bool
}

func (o *outlet) run() {
	defer o.from.Close() // whoever writes learns it by that
	defer o.to.Close()
	poll := []unix.PollFd{{Fd: int32(o.fd), Events: unix.POLLIN}}
	for {
		if _, err := unix.Poll(poll, -1); err != nil && err != unix.EINTR || !o.copy() {
			return
		}
	}
}

// copy copies some of what is there, and says whether more may come.
func (o *outlet) copy() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.some()
}

func (o *outlet) some() bool {
	if o.ended {
		return false
	}
	n, err := unix.Read(o.fd, o.buf[:])
	switch {
	case err == unix.EINTR || err == unix.EAGAIN:
		return true
	case err == nil && n > 0:
		_, err = o.to.Write(o.buf[:n])
		o.passed += int64(n)
	}
	o.ended = err != nil || n == 0
	return !o.ended
}

// drain copies what is in the pipe by now.
func (o *outlet) drain() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.ended {
		return // from is closed, or will be
	}
	there, err := unix.IoctlGetInt(o.fd, unix.TIOCINQ)
	for all := o.passed + int64(there); err == nil && o.passed < all && o.some(); {
	}
}
