package events

import (
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Sizes of rings that are looked for.
const (
	leastRing = 4 << 10
	mostRing  = 64 << 20
)

// mapping is a ring and what has to be unmapped.
type mapping struct {
	ring
	control, rest []byte
}

// mapRing maps the ring that f is a descriptor of. Nobody tells its size: it is
// the largest that the kernel lets us map, which refuses what lies beyond.
func mapRing(f *os.File) (*mapping, error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("map ring of events: %w", err)
	}
	var m *mapping
	cerr := raw.Control(func(fd uintptr) { m, err = mapDescriptor(int(fd)) })
	if err = errors.Join(cerr, err); err != nil {
		return nil, fmt.Errorf("map ring of events: %w", err)
	}
	return m, nil
}

func mapDescriptor(fd int) (*mapping, error) {
	page := os.Getpagesize()
	control, err := unix.Mmap(fd, 0, page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, err
	}
	for size := mostRing; size >= leastRing; size /= 2 {
		rest, rerr := unix.Mmap(fd, int64(page), page+2*size, unix.PROT_READ, unix.MAP_SHARED)
		if rerr != nil {
			err = rerr
			continue
		}
		m := &mapping{control: control, rest: rest}
		m.consumer = (*uint64)(unsafe.Pointer(&control[0]))
		m.producer = (*uint64)(unsafe.Pointer(&rest[0]))
		m.data = rest[page:]
		m.size = uint64(size)
		return m, nil
	}
	unix.Munmap(control) //nolint:errcheck // the other error says more
	return nil, err
}

func (m *mapping) unmap() error {
	return errors.Join(unix.Munmap(m.control), unix.Munmap(m.rest))
}

// pollable returns a file for the ring that the runtime's poller wakes, in place
// of f, which it closes.
func pollable(f *os.File) (*os.File, error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, err
	}
	fd := -1
	cerr := raw.Control(func(old uintptr) { fd, err = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 0) })
	if err = errors.Join(cerr, err); err != nil {
		return nil, err
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, err
	}
	f.Close()
	return os.NewFile(uintptr(fd), "events"), nil
}
