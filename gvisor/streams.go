package main

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"
)

// streams are the command's, as the sentry gets them: never the caller's own open
// files. The sentry makes them non-blocking, which all who share one would feel, and
// writes a regular file at an offset of its own.
type streams struct {
	inner [3]*os.File
	out   sync.WaitGroup
}

func newStreams(terminal bool) (*streams, error) {
	s := &streams{}
	for i, f := range []*os.File{os.Stdin, os.Stdout, os.Stderr} {
		var err error
		if s.inner[i], err = s.open(i, f, terminal); err != nil {
			return nil, fmt.Errorf("open stream %d: %w", i, err)
		}
	}
	return s, nil
}

// open returns the sentry's end of a stream: the pen's terminal, a pipe opened again,
// or one that is copied from or to.
func (s *streams) open(i int, f *os.File, terminal bool) (*os.File, error) {
	if terminal && isTerminal(i) {
		return f, nil
	}
	var st unix.Stat_t
	if err := unix.Fstat(i, &st); err != nil {
		return nil, err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFIFO {
		flags := os.O_WRONLY
		if i == 0 {
			flags = os.O_RDONLY
		}
		// Without waiting for the other side, which may be gone; then as the command
		// would have it.
		fd, err := unix.Open("/proc/self/fd/"+strconv.Itoa(i), flags|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err == nil {
			if err := unix.SetNonblock(fd, false); err != nil {
				return nil, err
			}
			return os.NewFile(uintptr(fd), f.Name()), nil
		}
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	if i == 0 {
		go func() {
			io.Copy(w, f) //nolint:errcheck // the end of it is all that there is to tell
			w.Close()
		}()
		return r, nil
	}
	s.out.Add(1)
	go func() {
		defer s.out.Done()
		io.Copy(f, r) //nolint:errcheck // whoever writes learns it by the closed pipe
		r.Close()
	}()
	return w, nil
}

func isTerminal(fd int) bool {
	_, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	return err == nil
}

// drain returns when all that the command wrote has been passed on.
func (s *streams) drain() {
	for _, f := range s.inner[1:] {
		if f != os.Stdout && f != os.Stderr {
			f.Close()
		}
	}
	s.out.Wait()
}
