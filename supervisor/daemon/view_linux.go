package daemon

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/penstock/penstock/sandbox/posture"
)

// view is the files that a process sees.
type view struct {
	root   *os.File
	mounts []posture.Mounted
}

// openView opens what a process sees, whose directory in /proc is at dir and
// prefix.
func openView(dir int, prefix string) (*view, error) {
	fd, err := unix.Openat(dir, prefix+"root", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	v := &view{root: os.NewFile(uintptr(fd), "root")}
	fd, err = unix.Openat(dir, prefix+"mountinfo", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err == nil {
		f := os.NewFile(uintptr(fd), "mountinfo")
		var table []byte
		if table, err = io.ReadAll(io.LimitReader(f, maxTable)); err == nil && len(table) == maxTable {
			err = errors.New("there are too many mounts")
		}
		f.Close()
		if err == nil {
			v.mounts, err = posture.ParseMounts(string(table))
		}
	}
	if err != nil {
		v.root.Close()
		return nil, err
	}
	return v, nil
}

// object is a file that a path leads to.
type object struct {
	dev, ino uint64
	mount    int    // id
	mode     uint16 // type and permissions
	where    spot   // only of a view's whole
}

// spot is where a file is in its file system, whatever is mounted where.
type spot struct {
	device string // major:minor of the file system
	path   string // in it
}

// errNone says that a path leads to nothing that the caller could reach.
var errNone = errors.New("there is nothing")

// maxLinks bounds the links of one path, as the kernel does.
const maxLinks = 40

// walk opens what a path leads to, links followed within the view, and those of
// /proc by their text. (openat2(2) could do it, with flags in memory that neither
// the daemon's filter nor its unit's can read.)
func (v *view) walk(name string) (int, error) {
	var way []int // from the root's child to where it is now
	defer func() {
		for _, fd := range way {
			unix.Close(fd)
		}
	}()
	left, links := strings.Split(name, "/"), 0
	for len(left) > 0 {
		word := left[0]
		left = left[1:]
		last := len(way) - 1
		switch word {
		case "", ".":
			continue
		case "..":
			if last >= 0 {
				unix.Close(way[last])
				way = way[:last]
			}
			continue
		}
		at := int(v.root.Fd())
		if last >= 0 {
			at = way[last]
		}
		fd, err := unix.Openat(at, word, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return -1, v.secluded(at, err)
		}
		way = append(way, fd)
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			return -1, v.secluded(fd, err)
		}
		if st.Mode&unix.S_IFMT != unix.S_IFLNK {
			continue
		}
		if links++; links > maxLinks {
			return -1, unix.ELOOP
		}
		text := make([]byte, unix.PathMax)
		n, err := unix.Readlinkat(fd, "", text)
		if err != nil {
			return -1, err
		}
		unix.Close(fd)
		way = way[:len(way)-1]
		if text[0] == '/' {
			for _, fd := range way {
				unix.Close(fd)
			}
			way = nil
		}
		left = append(strings.Split(string(text[:n]), "/"), left...)
	}
	if len(way) == 0 {
		return unix.FcntlInt(v.root.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	}
	fd := way[len(way)-1]
	way = way[:len(way)-1]
	return fd, nil
}

// secludedError is a file system that answers processes with its user's own ids
// only (fuse(8), without allow_other), which this thread's are not.
type secludedError struct{ device string }

func (e *secludedError) Error() string {
	return "a FUSE file system of the user's own can't be looked into"
}

// secluded tells such a file system from one that refuses its user too.
func (v *view) secluded(at int, err error) error {
	var st unix.Statfs_t
	if !errors.Is(err, unix.EACCES) || unix.Fstatfs(at, &st) != nil || st.Type != unix.FUSE_SUPER_MAGIC {
		return err
	}
	real, rerr := os.Readlink("/proc/self/fd/" + strconv.Itoa(at))
	if rerr != nil {
		return rerr
	}
	real = strings.TrimPrefix(real, "(unreachable)")
	e, longest := &secludedError{}, -1
	for _, m := range v.mounts { // a later one is above an earlier one
		if _, ok := under(real, m.Target); ok && len(m.Target) >= longest {
			e.device, longest = m.Device, len(m.Target)
		}
	}
	return e
}

// find looks a path up.
func (v *view) find(name string, whole bool) (*object, error) {
	fd, err := v.walk(name)
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.EACCES), errors.Is(err, unix.ELOOP), errors.Is(err, unix.ENAMETOOLONG):
		return nil, errNone
	case err != nil:
		return nil, fmt.Errorf("look up %.200q: %w", name, err)
	}
	defer unix.Close(fd)
	var st unix.Statx_t
	if err := unix.Statx(fd, "", unix.AT_EMPTY_PATH, unix.STATX_INO|unix.STATX_TYPE|unix.STATX_MNT_ID, &st); err != nil {
		return nil, fmt.Errorf("look at %.200q: %w", name, err)
	}
	if st.Mask&unix.STATX_MNT_ID == 0 {
		return nil, errors.New("the kernel does not say what a file is mounted by (Linux 5.8)")
	}
	o := &object{dev: unix.Mkdev(st.Dev_major, st.Dev_minor), ino: st.Ino, mount: int(st.Mnt_id), mode: st.Mode}
	if !whole {
		return o, nil
	}
	i := slices.IndexFunc(v.mounts, func(m posture.Mounted) bool { return m.ID == o.mount })
	if i < 0 {
		return nil, fmt.Errorf("look at %.200q: its mount is not in the table", name)
	}
	real, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
	if err != nil {
		return nil, fmt.Errorf("look at %.200q: %w", name, err)
	}
	// Of a file that this process's own root does not lead to.
	real = strings.TrimPrefix(real, "(unreachable)")
	m := v.mounts[i]
	rest, ok := under(real, m.Target)
	if !ok {
		return nil, fmt.Errorf("look at %.200q: it is not where it is mounted", name)
	}
	o.where = spot{m.Device, path.Join(m.Root, rest)}
	return o, nil
}

// under tells what of p is below dir, "" if it is dir.
func under(p, dir string) (rest string, ok bool) {
	switch {
	case p == dir:
		return "", true
	case dir == "/":
		return p[1:], strings.HasPrefix(p, "/")
	}
	return strings.CutPrefix(p, dir+"/")
}

// shows tells whether a mount is what its path leads to: nothing is mounted over it.
func (v *view) shows(m posture.Mounted) (bool, error) {
	o, err := v.find(m.Target, false)
	if errors.Is(err, errNone) {
		return false, nil
	}
	return err == nil && o.mount == m.ID, err
}
