package netns

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// dropPause is how long the reader lets reports gather after it has read some:
// a tool that sends a million datagrams a second costs us ten reads' worth of
// work a second, and the kernel keeps count of what its buffer could not hold.
const dropPause = 100 * time.Millisecond

// Drops reads the reports of refused packets. It is safe for concurrent use.
type Drops struct {
	file *os.File
	raw  syscall.RawConn
	once sync.Once
	done chan struct{} // closed by Close

	reading sync.Mutex // held during Read; guards what follows
	tally   tally
	buf     []byte
	pause   *time.Timer
	closed  bool // Close has read the rest and closed file
}

// DropReader takes over s.Drops.
func (s *Sockets) DropReader() (*Drops, error) {
	d, err := newDrops(s.Drops)
	if err != nil {
		return nil, err
	}
	s.Drops.Close()
	s.Drops = nil
	return d, nil
}

func newDrops(f *os.File) (*Drops, error) {
	if f == nil {
		return nil, errors.New("read refused packets: no socket")
	}
	fd := -1
	raw, err := f.SyscallConn()
	if err == nil {
		var derr error
		if err = raw.Control(func(p uintptr) { fd, derr = unix.FcntlInt(p, unix.F_DUPFD_CLOEXEC, 3) }); err == nil {
			err = derr
		}
	}
	if err == nil {
		err = unix.SetNonblock(fd, true)
	}
	if err != nil {
		return nil, fmt.Errorf("read refused packets: %w", err)
	}
	d := &Drops{file: os.NewFile(uintptr(fd), "drops"), buf: make([]byte, 8<<10), done: make(chan struct{})}
	if d.raw, err = d.file.SyscallConn(); err != nil {
		d.file.Close()
		return nil, fmt.Errorf("read refused packets: %w", err)
	}
	return d, nil
}

// Read waits for refused packets and returns them summed by destination, and
// how many more there were that could not be told apart (the kernel's buffer
// was full, the headers were broken, or there were too many destinations).
// After Close it returns what had been reported until then, and then
// os.ErrClosed.
func (d *Drops) Read() (drops []Drop, lost uint64, err error) {
	d.reading.Lock()
	defer d.reading.Unlock()
	if d.pause != nil {
		select {
		case <-d.pause.C:
		case <-d.done:
		}
		d.pause = nil
	}
	if d.closed { // between two Reads: Close has read the rest
		if d.tally.empty() {
			return nil, 0, os.ErrClosed
		}
		drops, lost = d.tally.take()
		return drops, lost, nil
	}
	for wait := true; ; {
		n, err := d.receive(wait)
		switch {
		case errors.Is(err, unix.ENOBUFS):
			d.tally.overflow()
		case errors.Is(err, unix.EAGAIN):
			if d.tally.empty() {
				if d.closing() {
					return nil, 0, os.ErrClosed
				}
				wait = true // an empty or foreign message: still nothing to tell
				continue
			}
			d.pause = time.NewTimer(dropPause)
			drops, lost = d.tally.take()
			return drops, lost, nil
		case errors.Is(err, os.ErrDeadlineExceeded): // Close; see what there is
		case err != nil:
			drops, lost = d.tally.take()
			return drops, lost, err
		default:
			parseReports(d.buf[:n], d.tally.add)
		}
		wait = false
	}
}

func (d *Drops) closing() bool {
	select {
	case <-d.done:
		return true
	default:
		return false
	}
}

// receive reads one datagram from the kernel. Without wait it returns EAGAIN if
// there is none.
func (d *Drops) receive(wait bool) (n int, err error) {
	read := func(fd uintptr) {
		var from unix.Sockaddr
		n, from, err = unix.Recvfrom(int(fd), d.buf, unix.MSG_DONTWAIT)
		if err == nil {
			if a, ok := from.(*unix.SockaddrNetlink); !ok || a.Pid != 0 {
				n = 0 // not the kernel's word
			}
		}
	}
	var rerr error
	if wait {
		rerr = d.raw.Read(func(fd uintptr) bool {
			read(fd)
			return !errors.Is(err, unix.EAGAIN)
		})
	} else {
		rerr = d.raw.Control(read)
	}
	if rerr != nil {
		return 0, fmt.Errorf("read refused packets: %w", rerr)
	}
	if errors.Is(err, unix.EINTR) {
		return 0, nil
	}
	return n, err
}

// maxRest bounds what Close still reads, in datagrams.
const maxRest = 4096

// Close ends a Read that waits, and waits for that. It may be called twice and
// from any goroutine.
func (d *Drops) Close() error {
	d.once.Do(func() {
		close(d.done)
		_ = d.file.SetReadDeadline(time.Unix(1, 0))
	})
	d.reading.Lock()
	defer d.reading.Unlock()
	// Bounded: a pen that lives could go on for ever.
	for left := maxRest; !d.closed; left-- {
		n, err := d.receive(false)
		switch {
		case errors.Is(err, unix.ENOBUFS):
			d.tally.overflow()
		case err != nil || left == 0:
			d.closed = true
		default:
			parseReports(d.buf[:n], d.tally.add)
		}
	}
	if err := d.file.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return err
	}
	return nil
}
