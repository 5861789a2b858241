package who

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strconv"

	"golang.org/x/sys/unix"
)

// holds looks for a socket among the descriptors of the process. It returns
// errBound when there are too many to look through.
func (r *Resolver) holds(p *process, link string) (bool, error) {
	if r.isNear(p, link) {
		return true, nil
	}
	return r.holdsAny(p, link)
}

// isNear looks where the process had its last socket, and at the next descriptor:
// mostly it is there.
func (r *Resolver) isNear(p *process, link string) bool {
	if p.hint >= 0 {
		for fd := p.hint; fd < p.hint+2; fd++ {
			if r.isAt(p, fd, link) {
				p.hint = fd
				return true
			}
		}
	}
	return false
}

func (r *Resolver) isAt(p *process, fd int, link string) bool {
	var buf [64]byte
	return string(r.descriptor(p, fd, &buf)) == link
}

// descriptor returns what /proc says of a descriptor, nil if there is none.
func (r *Resolver) descriptor(p *process, fd int, buf *[64]byte) []byte {
	var digits [20]byte
	name := string(strconv.AppendInt(digits[:0], int64(fd), 10))
	for again := false; ; again = true {
		r.work++
		n, err := unix.Readlinkat(p.fds, name, buf[:])
		if err == nil {
			return buf[:n]
		}
		// A directory of /proc gets its owner when a path leads to it, and has a wrong
		// one if that was while the process began or ended: look at it by a path.
		var st unix.Stat_t
		if again || !errors.Is(err, unix.EACCES) || unix.Fstatat(p.dir, "fd", &st, 0) != nil {
			return nil
		}
	}
}

// holdsAny goes through all descriptors, from the newest.
func (r *Resolver) holdsAny(p *process, link string) (bool, error) {
	list, err := r.descriptors(p)
	if err != nil {
		return false, err
	}
	for i := len(list) - 1; i >= 0; i-- {
		if r.work > maxWork {
			return false, ErrBusy
		}
		if r.isAt(p, list[i], link) {
			p.hint = list[i]
			return true, nil
		}
	}
	return false, nil
}

// descriptors lists those of a process, ascending; the list is valid until the
// next call.
func (r *Resolver) descriptors(p *process) ([]int, error) {
	if _, err := unix.Seek(p.fds, 0, unix.SEEK_SET); err != nil {
		return nil, err
	}
	list := r.numbers[:0]
	for {
		n, err := unix.Getdents(p.fds, r.entries[:])
		r.work += 1 + n/64
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if n == 0 {
			r.numbers = list
			return list, nil
		}
		list = appendNumbers(list, r.entries[:n])
		if r.work > maxWork {
			return nil, ErrBusy
		}
	}
}

// appendNumbers adds the names that are numbers of a getdents64(2) buffer.
func appendNumbers(list []int, b []byte) []int {
	const nameAt = 19 // struct linux_dirent64
	for len(b) > nameAt {
		size := int(binary.NativeEndian.Uint16(b[16:]))
		if size <= nameAt || size > len(b) {
			break
		}
		name, _, _ := bytes.Cut(b[nameAt:size], []byte{0})
		if n, err := strconv.Atoi(string(name)); err == nil && n >= 0 {
			list = append(list, n)
		}
		b = b[size:]
	}
	return list
}
