package workcopy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// resolve is how each name is looked up: below a directory that is open, over no link
// and no mount. openat2(2).
const resolve = unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_XDEV

// open opens a name, or a path of several, below a directory. What blocks is not waited for.
func open(dir *os.File, name string, flags int, mode uint32) (*os.File, error) {
	if flags&unix.O_DIRECTORY == 0 {
		flags |= unix.O_NONBLOCK | unix.O_NOCTTY
	}
	how := &unix.OpenHow{Flags: uint64(flags | unix.O_CLOEXEC | unix.O_NOFOLLOW), Mode: uint64(mode), Resolve: resolve}
	for {
		fd, err := unix.Openat2(int(dir.Fd()), name, how)
		switch err {
		case nil:
			return os.NewFile(uintptr(fd), name), nil
		case unix.EINTR, unix.EAGAIN:
			continue
		}
		return nil, err
	}
}

func openDir(dir *os.File, name string) (*os.File, error) {
	return open(dir, name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
}

// openRoot opens a directory that the caller names.
func openRoot(name string) (*os.File, error) {
	fd, err := unix.Open(name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	return os.NewFile(uintptr(fd), name), nil
}

// openStraight opens a directory that has to be where its name says. A tool of another
// session, which has what is above it, may have put a link in its place since.
func openStraight(name string) (*os.File, error) {
	how := &unix.OpenHow{Flags: unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS}
	fd, err := unix.Openat2(unix.AT_FDCWD, name, how)
	switch {
	case err == unix.ELOOP:
		err = errors.New("a symbolic link is on its way that was not there")
	case err != nil:
		err = &os.PathError{Op: "open", Path: name, Err: err}
	}
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

// node is one name that a walk has come to.
type node struct {
	Entry
	parent *os.File
	name   string
	depth  int
	st     unix.Stat_t
	dir    *os.File // of a directory
}

// walk goes through a tree, directories before what is in them.
type walk struct {
	limits Limits
	skip   func(path string) string // why a name is not looked at, or ""
	visit  func(*node) error        // links have their text, files no hash yet
	left   []Left
	seen   int
	bytes  int64
}

// errLimit is a tree that is over a limit.
var errLimit = errors.New("over the limit")

func (w *walk) leave(p, why string) { w.left = append(w.left, Left{p, why}) }

func (w *walk) tree(ctx context.Context, dir *os.File, at string, depth int) error {
	names, err := w.list(dir)
	if err != nil {
		return err
	}
	for i, name := range names {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		p := path.Join(at, name)
		switch {
		case !plainName(name), i > 0 && names[i-1] == name:
			return fmt.Errorf("its file system lists a name that is none, or one twice: %s", strconv.QuoteToASCII(name))
		case len(p) > maxPath:
			w.leave(at, "paths in it are longer than "+strconv.Itoa(maxPath)+" bytes")
			continue
		}
		if why := w.skip(p); why != "" {
			w.leave(p, why)
			continue
		}
		if err := w.name(ctx, &node{Entry: Entry{Path: p}, parent: dir, name: name, depth: depth}); err != nil {
			return err
		}
	}
	return nil
}

// list reads the names of a directory, as far as the limit goes.
func (w *walk) list(dir *os.File) ([]string, error) {
	var names []string
	for {
		some, err := dir.Readdirnames(4096)
		names = append(names, some...)
		if w.seen += len(some); w.seen > w.limits.Entries {
			return nil, fmt.Errorf("%w: more than %d names", errLimit, w.limits.Entries)
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
	}
	slices.Sort(names)
	return names, nil
}

func (w *walk) name(ctx context.Context, n *node) error {
	if err := unix.Fstatat(int(n.parent.Fd()), n.name, &n.st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		w.leave(n.Path, because(err))
		return nil
	}
	n.fill()
	switch n.st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return w.directory(ctx, n)
	case unix.S_IFREG:
		if n.Size > w.limits.File {
			w.leave(n.Path, fmt.Sprintf("it has more than %d bytes", w.limits.File))
			return nil
		}
		if w.bytes += n.Size; w.bytes > w.limits.Bytes {
			return fmt.Errorf("%w: files have more than %d bytes", errLimit, w.limits.Bytes)
		}
		return w.visit(n)
	case unix.S_IFLNK:
		var err error
		if n.Text, err = readlink(n.parent, n.name); err != nil {
			w.leave(n.Path, because(err))
			return nil
		}
		return w.visit(n)
	}
	w.leave(n.Path, special(n.st.Mode))
	return nil
}

func (w *walk) directory(ctx context.Context, n *node) error {
	if n.depth >= w.limits.Depth {
		w.leave(n.Path, fmt.Sprintf("it is more than %d directories deep", w.limits.Depth))
		return nil
	}
	dir, err := openDir(n.parent, n.name)
	if err != nil {
		w.leave(n.Path, because(err))
		return nil
	}
	defer dir.Close()
	// What was opened counts, not what was there before.
	if err := unix.Fstat(int(dir.Fd()), &n.st); err != nil {
		return err
	}
	n.fill()
	n.dir = dir
	before := len(w.left)
	if err := w.visit(n); err != nil {
		return err
	}
	if len(w.left) > before && w.left[len(w.left)-1].Path == n.Path {
		return nil // with all that is in it
	}
	return w.tree(ctx, dir, n.Path, n.depth+1)
}

// fill sets the entry from what stat(2) says.
func (n *node) fill() { n.Entry = entryOf(n.Path, &n.st) }

func entryOf(p string, st *unix.Stat_t) Entry {
	e := Entry{Path: p, Mode: st.Mode & 0o777, MTime: st.Mtim.Nano()}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		e.Kind = Dir
	case unix.S_IFREG:
		e.Kind, e.Size = File, st.Size
	case unix.S_IFLNK:
		e.Kind, e.Mode = Link, 0
	}
	return e
}

// readlink reads the text of a link.
func readlink(dir *os.File, name string) (string, error) {
	buf := make([]byte, maxPath+2)
	n, err := unix.Readlinkat(int(dir.Fd()), name, buf)
	if err == nil && (n == 0 || n > maxPath) {
		err = unix.ENAMETOOLONG
	}
	return string(buf[:max(n, 0)]), err
}

// special says what a file is that is none of the kinds.
func special(mode uint32) string {
	switch mode & unix.S_IFMT {
	case unix.S_IFIFO:
		return "it is a named pipe"
	case unix.S_IFSOCK:
		return "it is a socket"
	case unix.S_IFCHR, unix.S_IFBLK:
		return "it is a device"
	}
	return "it is neither file, directory nor symbolic link"
}

// because is an error of a system call for people.
func because(err error) string {
	switch {
	case errors.Is(err, unix.EXDEV):
		return "another file system is mounted there"
	case errors.Is(err, unix.ELOOP), errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ENOENT), errors.Is(err, unix.EISDIR):
		return "it is not what it was a moment ago (" + err.Error() + ")"
	}
	return err.Error()
}
