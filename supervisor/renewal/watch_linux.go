package renewal

import (
	"encoding/binary"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// watched is one file and what is told of it.
type watched struct {
	file string
	tell chan struct{}
}

// watch tells when a file has been written and closed, or another has been put in
// its place. What is watched are the directories of the names: a file that is
// replaced is another one. Without inotify nothing is told.
func watch(files []string) (changed map[string]<-chan struct{}, done func()) {
	if len(files) == 0 {
		return nil, func() {}
	}
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, func() {}
	}
	w := &watcher{f: os.NewFile(uintptr(fd), "inotify"), dirs: map[int32]string{}}
	changed = map[string]<-chan struct{}{}
	for _, name := range files {
		if changed[name] == nil {
			c := make(chan struct{}, 1)
			w.files, changed[name] = append(w.files, watched{name, c}), c
		}
	}
	w.add()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		w.read()
	}()
	return changed, func() {
		w.f.Close()
		<-ended
	}
}

type watcher struct {
	f     *os.File
	files []watched
	dirs  map[int32]string
}

// add watches the directories of the names as they are now: that of the name, and
// those of the links that it leads through.
func (w *watcher) add() {
	raw, err := w.f.SyscallConn()
	if err != nil {
		return
	}
	for _, f := range w.files {
		name := f.file
		for range 8 {
			dir := filepath.Dir(name)
			raw.Control(func(fd uintptr) { //nolint:errcheck // it is read by the clock then
				if wd, err := unix.InotifyAddWatch(int(fd), dir, unix.IN_CLOSE_WRITE|unix.IN_MOVED_TO|unix.IN_CREATE|unix.IN_ONLYDIR); err == nil {
					w.dirs[int32(wd)] = dir
				}
			})
			to, err := os.Readlink(name)
			if err != nil {
				break
			}
			if !filepath.IsAbs(to) {
				to = filepath.Join(dir, to)
			}
			name = to
		}
	}
}

func (w *watcher) read() {
	buf := make([]byte, 64<<10)
	for {
		n, err := w.f.Read(buf)
		if err != nil {
			return
		}
		w.add() // before it is told, so that nothing is missed after it is read
		for b := buf[:n]; len(b) >= unix.SizeofInotifyEvent; {
			dir := w.dirs[int32(binary.NativeEndian.Uint32(b))]
			mask := binary.NativeEndian.Uint32(b[4:])
			end := unix.SizeofInotifyEvent + min(int(binary.NativeEndian.Uint32(b[12:])), len(b)-unix.SizeofInotifyEvent)
			name := filepath.Join(dir, unix.ByteSliceToString(b[unix.SizeofInotifyEvent:end]))
			b = b[end:]
			for _, f := range w.files {
				// A file that was just made is not written yet; a link is whole.
				own := f.file == name
				whole := mask&(unix.IN_CLOSE_WRITE|unix.IN_MOVED_TO) != 0 || isLink(name)
				if mask&unix.IN_Q_OVERFLOW != 0 || whole && (own || w.through(f.file)) {
					select {
					case f.tell <- struct{}{}:
					default:
					}
				}
			}
		}
	}
}

// through says whether a name leads through links: what changes it then may have
// any name.
func (w *watcher) through(name string) bool {
	real, err := filepath.EvalSymlinks(name)
	return err != nil || real != name
}

func isLink(name string) bool {
	_, err := os.Readlink(name)
	return err == nil
}
