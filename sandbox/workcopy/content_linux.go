package workcopy

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// reader copies and hashes, with memory that it keeps.
type reader struct {
	sum hash.Hash
	buf []byte
}

func newReader() *reader { return &reader{sum: sha256.New(), buf: make([]byte, 128<<10)} }

// errGrows is a file that has more than it had.
var errGrows = errors.New("it is being written")

// copy reads all of f into to, which may be nil. A file with more than most bytes fails.
func (r *reader) copy(to *os.File, f *os.File, most int64) (size int64, sum [32]byte, err error) {
	r.sum.Reset()
	for {
		n, err := f.Read(r.buf)
		size += int64(n)
		if size > most {
			return size, sum, errGrows
		}
		r.sum.Write(r.buf[:n])
		if to != nil && n > 0 {
			if _, err := to.Write(r.buf[:n]); err != nil {
				return size, sum, &writeError{err}
			}
		}
		if err == io.EOF {
			r.sum.Sum(sum[:0])
			return size, sum, nil
		}
		if err != nil {
			return size, sum, err
		}
	}
}

// writeError is where it was written, not where it was read.
type writeError struct{ err error }

func (e *writeError) Error() string { return e.err.Error() }
func (e *writeError) Unwrap() error { return e.err }

// openFile opens a regular file.
func openFile(dir *os.File, name string, st *unix.Stat_t) (*os.File, error) {
	f, err := open(dir, name, unix.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	if err = unix.Fstat(int(f.Fd()), st); err == nil && st.Mode&unix.S_IFMT != unix.S_IFREG {
		err = errors.New(special(st.Mode))
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// finish gives a file or directory its mode and time. A time to come is now.
func finish(f *os.File, e *Entry) error {
	if err := f.Chmod(os.FileMode(e.Mode)); err != nil {
		return err
	}
	return setTime(f, e.MTime)
}

func setTime(f *os.File, nano int64) error {
	t := unix.NsecToTimeval(min(nano, time.Now().UnixNano()))
	return unix.Futimes(int(f.Fd()), []unix.Timeval{t, t})
}

// full says whether an error ends everything and is not about one file.
func full(err error) bool {
	for _, e := range []error{unix.ENOSPC, unix.EDQUOT, unix.EIO, unix.EMFILE, unix.ENFILE, unix.ENOMEM, unix.ENOSYS} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

func fail(what, p string, err error) error { return fmt.Errorf("%s %q: %w", what, p, err) }
