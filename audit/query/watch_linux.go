package query

import (
	"context"
	"errors"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// newWatch uses inotify, or polls where the user has no instance left. Closing a
// file counts too: a killed writer changes nothing any more.
func newWatch(dir string) watch {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return poll{}
	}
	if _, err := unix.InotifyAddWatch(fd, dir, unix.IN_MODIFY|unix.IN_CLOSE_WRITE|unix.IN_CREATE|unix.IN_ONLYDIR); err != nil {
		unix.Close(fd)
		return poll{}
	}
	return &inotify{f: os.NewFile(uintptr(fd), "inotify")}
}

type inotify struct {
	f    *os.File
	done atomic.Bool
}

func (w *inotify) wait(ctx context.Context) error {
	// A bound, because a writer's end has no event of its own: that of its last
	// close comes before the lock is gone (__fput in fs/file_table.c).
	if err := w.f.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
		return poll{}.wait(ctx)
	}
	stop := context.AfterFunc(ctx, func() { w.f.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var buf [16 << 10]byte
	_, err := w.f.Read(buf[:])
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err == nil, errors.Is(err, os.ErrDeadlineExceeded):
		return nil
	}
	return poll{}.wait(ctx)
}

func (w *inotify) close() {
	if !w.done.Swap(true) {
		w.f.Close()
	}
}
