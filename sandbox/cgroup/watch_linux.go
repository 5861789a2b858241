package cgroup

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// watcher tells groups that a control file of theirs has changed. One inotify
// instance serves a whole tree: a user may have 128 of them.
type watcher struct {
	f *os.File

	mu    sync.Mutex
	files map[int32]func() // by watch
}

func newWatcher() (*watcher, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("watch control groups: %w", err)
	}
	w := &watcher{f: os.NewFile(uintptr(fd), "inotify"), files: map[int32]func(){}}
	go w.read()
	return w, nil
}

func (w *watcher) close() { w.f.Close() }

func (w *watcher) read() {
	buf := make([]byte, 4096)
	for {
		n, err := w.f.Read(buf)
		if err != nil {
			return
		}
		for b := buf[:n]; len(b) >= unix.SizeofInotifyEvent; {
			wd := int32(binary.NativeEndian.Uint32(b))
			mask := binary.NativeEndian.Uint32(b[4:])
			b = b[unix.SizeofInotifyEvent+min(int(binary.NativeEndian.Uint32(b[12:])), len(b)-unix.SizeofInotifyEvent):]
			w.mu.Lock()
			switch {
			case mask&unix.IN_Q_OVERFLOW != 0: // it could be any
				for _, f := range w.files {
					f()
				}
			case mask&unix.IN_MODIFY != 0 && w.files[wd] != nil:
				w.files[wd]()
			}
			w.mu.Unlock()
		}
	}
}

// add calls changed, which must not block, whenever the kernel says that file
// has changed.
func (w *watcher) add(file string, changed func()) (remove func(), err error) {
	raw, err := w.f.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("watch control group: %w", err)
	}
	// Locked over the call: the first event may come before it has returned.
	w.mu.Lock()
	defer w.mu.Unlock()
	wd := -1
	cerr := raw.Control(func(fd uintptr) { wd, err = unix.InotifyAddWatch(int(fd), file, unix.IN_MODIFY) })
	if err = errors.Join(cerr, err); err != nil {
		return nil, fmt.Errorf("watch control group: %w", err)
	}
	w.files[int32(wd)] = changed
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.files, int32(wd))
		raw.Control(func(fd uintptr) { unix.InotifyRmWatch(int(fd), uint32(wd)) }) //nolint:errcheck // it goes with the group
	}, nil
}

// How soon after a change the numbers are read again: a hostile tool can hit a
// limit a million times a second, and version 1 tells of a full memory before it
// counts who was killed for it.
const (
	again = 100 * time.Millisecond
	last  = time.Second
	// slow is for what nobody is told of: pids.events of version 1, on kernels from
	// 6.12 on (the event goes to pids.events.local, which is version 2's).
	slow = 2 * time.Second
)

// Watch calls hit, from one goroutine, with what was counted since it was last
// called, until the group is closed: a last time by Close itself. It is called
// once. It waits for the kernel to tell; of what that does not tell, or can't for
// want of inotify instances, it reads the numbers every two seconds.
func (g *Group) Watch(hit func(Counts)) {
	w := g.watcher
	var undo []func()
	if w == nil {
		var err error
		if w, err = newWatcher(); err == nil {
			undo = append(undo, w.close)
		}
	}
	wake, stop, done := make(chan struct{}, 1), make(chan struct{}), make(chan struct{})
	changed := func() {
		select {
		case wake <- struct{}{}:
		default:
		}
	}
	var tick <-chan time.Time
	for _, controller := range []string{memory, pids} {
		c, ok := g.by[controller]
		if !ok {
			continue
		}
		var f func()
		err := errUntold
		switch {
		case c.v2 && w != nil:
			f, err = w.add(filepath.Join(c.dir, controller+".events"), changed)
		case controller == memory && !c.v2:
			f, err = outOfMemory(c.dir, changed)
		}
		if err == nil {
			undo = append(undo, f)
		} else if tick == nil {
			t := time.NewTicker(slow)
			undo, tick = append(undo, t.Stop), t.C
		}
	}
	end := func() {
		slices.Reverse(undo) // the watcher is closed last
		for _, f := range undo {
			f()
		}
	}
	old := g.Counts()
	look := func() {
		now := g.Counts()
		if d, any := now.minus(old); any {
			old = now
			hit(d)
		}
	}
	go func() {
		defer close(done)
		for {
			select {
			case <-wake:
			case <-tick:
				look()
				continue
			case <-stop:
				look()
				return
			}
			for _, pause := range []time.Duration{again, last} {
				look()
				select {
				case <-time.After(pause):
				case <-stop:
					look()
					return
				}
			}
			look()
		}
	}()
	g.unwatch = func() {
		end()
		close(stop)
		<-done
	}
}

// errUntold is that nobody is told of a change.
var errUntold = errors.New("the kernel does not tell")

// outOfMemory asks version 1 to tell when the memory is full (memory.rst,
// section 10).
func outOfMemory(dir string, changed func()) (remove func(), err error) {
	control, err := os.Open(filepath.Join(dir, "memory.oom_control"))
	if err != nil {
		return nil, fmt.Errorf("watch control group: %w", err)
	}
	defer control.Close()
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("watch control group: %w", err)
	}
	line := fmt.Sprintf("%d %d", fd, control.Fd())
	event := os.NewFile(uintptr(fd), "eventfd")
	if err := os.WriteFile(filepath.Join(dir, "cgroup.event_control"), []byte(line), 0); err != nil {
		event.Close()
		return nil, fmt.Errorf("watch control group: %w", err)
	}
	go func() {
		buf := make([]byte, 8)
		for {
			if _, err := event.Read(buf); err != nil {
				return
			}
			changed()
		}
	}()
	return func() { event.Close() }, nil
}
