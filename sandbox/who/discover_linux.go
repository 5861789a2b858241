package who

import (
	"bytes"
	"errors"
	"runtime"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// discover returns the pen's processes that began since the last call, by
// number; whole says that all there are were looked at.
//
// The kernel gives numbers out one after the other, and /proc/loadavg ends with
// the last: trying those in between costs what has happened, not what there is.
// Where that file says something else (a container's may), nothing is found this
// way and the caller lists everything.
func (r *Resolver) discover() (fresh []int, whole bool, err error) {
	last := lastPID()
	from := r.last
	if last <= 0 || from == 0 || last < from || last-from > maxProbe {
		fresh, err := r.list()
		if err == nil {
			r.last = max(last, 0)
		}
		return fresh, true, err
	}
	r.last = last
	// A number is given out before its process can be seen: those that nobody had
	// are tried again.
	again := r.absent
	r.absent = nil
	try := func(pid int) {
		ours, err := r.isOurs(pid)
		switch {
		case ours:
			fresh = append(fresh, pid)
		case errors.Is(err, unix.ENOENT):
			r.absent = append(r.absent, pid)
		}
	}
	for _, pid := range again {
		try(pid)
	}
	for pid := from + 1; pid <= last; pid++ {
		try(pid)
	}
	if n := len(r.absent) - maxAbsent; n > 0 {
		r.absent = r.absent[n:]
	}
	return fresh, false, nil
}

// isOurs looks at one number and remembers it if it is a process of the pen, or
// a thread: which of both is seen when it is opened.
func (r *Resolver) isOurs(pid int) (bool, error) {
	r.work++
	if ours, err := r.ours(unix.AT_FDCWD, "/proc/"+strconv.Itoa(pid)+"/ns/pid"); !ours {
		return false, err
	}
	if len(r.pids) >= maxKnown {
		clear(r.pids)
		r.last = 0 // found again by listing all
	}
	r.pids[pid] = struct{}{}
	return true, nil
}

// list goes through all processes of the machine.
func (r *Resolver) list() ([]int, error) {
	fd, err := open(unix.AT_FDCWD, "/proc", unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	var all []int
	for {
		n, err := unix.Getdents(fd, r.entries[:])
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if n == 0 {
			break
		}
		r.work += n / 32
		all = appendNumbers(all, r.entries[:n])
	}
	ours := all[:0]
	for _, pid := range all {
		if r.work > maxWork {
			return nil, ErrBusy
		}
		if ok, _ := r.isOurs(pid); ok {
			ours = append(ours, pid)
		}
	}
	slices.Sort(ours)
	return ours, nil
}

// lastPID is the number that the kernel gave out last, 0 if that can't be told.
func lastPID() int {
	fd, err := open(unix.AT_FDCWD, "/proc/loadavg", unix.O_RDONLY)
	if err != nil {
		return 0
	}
	defer unix.Close(fd)
	var buf [128]byte
	n, err := unix.Read(fd, buf[:])
	if err != nil {
		return 0
	}
	b := bytes.TrimSpace(buf[:n])
	return int(number(b[bytes.LastIndexByte(b, ' ')+1:]))
}

// budget keeps many answers from taking a processor: they may have half of one,
// and a while of it at once.
type budget struct {
	left time.Duration
	at   time.Time
}

const budgetMost = 2 * time.Second

func (b *budget) may() bool {
	now := time.Now()
	if b.at.IsZero() {
		b.left = budgetMost
	} else {
		b.left = min(budgetMost, b.left+now.Sub(b.at)/2)
	}
	b.at = now
	return b.left > 0
}

// begin and spend go round work that the budget pays: by the processor's time and
// not the clock's, which on a busy machine is mostly somebody else's.
func (b *budget) begin() (before time.Duration) {
	runtime.LockOSThread()
	return processorTime()
}

func (b *budget) spend(before time.Duration) {
	b.left -= processorTime() - before
	runtime.UnlockOSThread()
}

// processorTime is what this thread has used.
func processorTime() time.Duration {
	var ts unix.Timespec
	if unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts) != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}
