//go:build linux || darwin

package layout

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/penstock/penstock/sandbox"
)

// Claimed are the placeholders that one session holds.
type Claimed struct {
	held []held
}

type held struct {
	sandbox.Placeholder
	f *os.File // locked, shared with other sessions of the directory
}

// Claim makes the placeholders of a plan, or shares those that another session
// made. The caller releases them once every process of the pen is gone: a
// mount vanishes with what it covers.
//
// An error wrapping fs.ErrExist says that something else has taken the place
// since the plan was made: plan again.
func Claim(list []sandbox.Placeholder) (_ *Claimed, err error) {
	c := &Claimed{}
	defer func() {
		if err != nil {
			c.Release()
		}
	}()
	for _, p := range list {
		f, err := claim(p)
		if err != nil {
			return nil, fmt.Errorf("keep the place of %s: %w", p.Path, err)
		}
		c.held = append(c.held, held{p, f})
	}
	return c, nil
}

// tries, a millisecond apart, bound the races with sessions that end while
// this one begins.
const tries = 1000

func claim(p sandbox.Placeholder) (*os.File, error) {
	for i := range tries {
		if i > 0 {
			time.Sleep(time.Millisecond)
		}
		if err := create(p); err != nil && !errors.Is(err, unix.EEXIST) {
			return nil, err
		}
		fd, err := unix.Open(p.Path, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if errors.Is(err, unix.ENOENT) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %w", os.ErrExist, err)
		}
		f := os.NewFile(uintptr(fd), p.Path)
		if !genuine(fd, p) {
			f.Close()
			return nil, os.ErrExist
		}
		err = unix.Flock(fd, unix.LOCK_SH|unix.LOCK_NB)
		if err == nil && same(fd, p.Path) {
			return f, nil
		}
		f.Close() // its last user is removing it right now
	}
	return nil, errors.New("others keep taking and leaving it")
}

// create makes a placeholder so that nobody ever sees it half made: a file
// gets its content and mode before its name.
func create(p sandbox.Placeholder) error {
	if p.Dir {
		return unix.Mkdir(p.Path, 0o555|unix.S_ISVTX)
	}
	if done, err := createUnnamed(p); done {
		return err
	}
	return createNamed(p)
}

func fill(fd int, p sandbox.Placeholder) error {
	if _, err := unix.Write(fd, p.Content); err != nil && len(p.Content) > 0 {
		return err
	}
	return unix.Fchmod(fd, 0o444|unix.S_ISVTX)
}

// createNamed goes by a name of its own instead.
func createNamed(p sandbox.Placeholder) error {
	name := fmt.Sprintf("%s.penstock-%d", p.Path, os.Getpid())
	fd, err := unix.Open(name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o400)
	if err != nil {
		return fmt.Errorf("create %s: %w", name, err)
	}
	defer unix.Unlink(name)
	defer unix.Close(fd)
	if err := fill(fd, p); err != nil {
		return err
	}
	return unix.Link(name, p.Path)
}

// genuine says whether an open object is a placeholder like p.
func genuine(fd int, p sandbox.Placeholder) bool {
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil {
		return false
	}
	mode := fs.FileMode(st.Mode & 0o777)
	if st.Mode&unix.S_ISVTX != 0 {
		mode |= fs.ModeSticky
	}
	if p.Dir {
		return st.Mode&unix.S_IFMT == unix.S_IFDIR && looksLike(mode|fs.ModeDir)
	}
	return st.Mode&unix.S_IFMT == unix.S_IFREG && looksLike(mode) && st.Size == int64(len(p.Content))
}

// same says whether name still is what fd has open.
func same(fd int, name string) bool {
	var a, b unix.Stat_t
	return unix.Fstat(fd, &a) == nil && unix.Lstat(name, &b) == nil && a.Dev == b.Dev && a.Ino == b.Ino
}

// Release removes the placeholders that no other session uses. Calling it
// again does nothing. What somebody has put something into stays.
func (c *Claimed) Release() error {
	var first error
	for i := len(c.held) - 1; i >= 0; i-- {
		h := c.held[i]
		if err := h.release(); err != nil && first == nil {
			first = fmt.Errorf("remove placeholder %s: %w", h.Path, err)
		}
	}
	c.held = nil
	return first
}

func (h held) release() error {
	defer h.f.Close()
	fd := int(h.f.Fd())
	// The lock becomes exclusive only if ours is the last.
	if err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil
	}
	if !same(fd, h.Path) || !genuine(fd, h.Placeholder) {
		return nil
	}
	var err error
	if h.Dir {
		err = unix.Rmdir(h.Path)
	} else {
		err = unix.Unlink(h.Path)
	}
	if errors.Is(err, unix.ENOTEMPTY) || errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}

// Adopt takes over what is there of the placeholders of a session that is dead.
func Adopt(list []sandbox.Placeholder) *Claimed {
	c := &Claimed{}
	for _, p := range list {
		fd, err := unix.Open(p.Path, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err != nil {
			continue // never made, or removed already
		}
		c.held = append(c.held, held{p, os.NewFile(uintptr(fd), p.Path)})
	}
	return c
}
