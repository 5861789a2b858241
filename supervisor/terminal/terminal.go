//go:build linux || darwin

package terminal

import (
	"fmt"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// drainTime bounds how long Finish waits for output that is still on its way
// to a caller who does not take it.
const drainTime = 5 * time.Second

// class is how one of the caller's descriptors reaches the pen.
type class uint8

const (
	direct class = iota // as it is
	tty                 // by the pen's pseudo-terminal
	piped               // by a pipe and a copying goroutine
)

// classify says which class a descriptor of this kind has. It is the whole
// decision.
func classify(mode uint32, rdev uint64, isTerminal bool) class {
	switch mode & unix.S_IFMT {
	case unix.S_IFREG, unix.S_IFIFO:
		return direct
	case unix.S_IFCHR:
		if isTerminal {
			return tty
		}
		if rdev == nullDevice() { // /dev/null
			return direct
		}
	}
	return piped
}

// Terminal is the standard streams of one pen. New, Files, Started and Finish
// are called in this order from one goroutine.
type Terminal struct {
	real  [3]*os.File // the caller's
	files [3]*os.File // what the pen gets
	own   []*os.File  // of files, those that we made: closed by Started

	master *os.File
	screen *os.File // the caller's terminal, for output
	keys   *os.File // and for input; nil if it is not read
	opened *os.File // of these, what we opened
	raw    bool     // keys is to be put into raw mode
	saved  *unix.Termios

	pumps   []func()
	stop    *os.File // read end of a pipe that Finish closes: ends the input pumps
	stopper *os.File
	in, out sync.WaitGroup
	signals chan os.Signal
	resized chan struct{} // closed when nobody listens to signals any more
	once    sync.Once
	moved   atomic.Uint64
}

// New decides for the caller's three streams. On error nothing is left open.
func New(in, out, errs *os.File) (_ *Terminal, err error) {
	t := &Terminal{real: [3]*os.File{in, out, errs}}
	defer func() {
		if err != nil {
			t.Finish()
		}
	}()
	if t.stop, t.stopper, err = os.Pipe(); err != nil {
		return nil, fmt.Errorf("connect standard streams: %w", err)
	}
	var classes [3]class
	var stats [3]unix.Stat_t
	for i, f := range t.real {
		fd := int(f.Fd())
		if err := unix.Fstat(fd, &stats[i]); err != nil {
			return nil, fmt.Errorf("connect %s: %w", f.Name(), err)
		}
		_, notTerminal := unix.IoctlGetTermios(fd, getTermios)
		classes[i] = classify(uint32(stats[i].Mode), uint64(stats[i].Rdev), notTerminal == nil)
	}
	for i, c := range classes {
		switch c {
		case direct:
			t.files[i] = t.real[i]
		case tty:
			if err := t.pty(classes); err != nil {
				return nil, err
			}
			t.files[i] = t.own[0] // the slave, made first
		case piped:
			if i == 2 && classes[1] == piped && stats[1].Dev == stats[2].Dev && stats[1].Ino == stats[2].Ino {
				t.files[2] = t.files[1] // one pipe keeps their order
				continue
			}
			if err := t.pipe(i); err != nil {
				return nil, err
			}
		}
	}
	return t, nil
}

// Files returns what the pen gets. They are valid until Started.
func (t *Terminal) Files() (in, out, errs *os.File) { return t.files[0], t.files[1], t.files[2] }

// Interactive says whether the pen has a pseudo-terminal, which the shim makes
// the command's controlling terminal.
func (t *Terminal) Interactive() bool { return t.master != nil }

// Raw says whether the caller's terminal is in raw mode now: lines written to
// it then need a carriage return.
func (t *Terminal) Raw() bool { return t.saved != nil }

// pty makes the pseudo-terminal, once, and decides how the caller's is used.
func (t *Terminal) pty(classes [3]class) error {
	if t.master != nil {
		return nil
	}
	master, slave, err := openPTY()
	if err != nil {
		return fmt.Errorf("make a terminal for the pen: %w", err)
	}
	t.master = master
	t.own = append([]*os.File{slave}, t.own...)
	for i := range t.real {
		if classes[i] == tty {
			t.screen = t.real[i]
		}
	}
	if classes[1] == tty {
		t.screen = t.real[1]
	}
	switch {
	case classes[0] == tty:
		t.keys = t.real[0]
	default:
		// Input comes from elsewhere, but less, fzf or a password prompt read the
		// keyboard from /dev/tty.
		if f, err := os.OpenFile("/dev/tty", os.O_RDWR|unix.O_NOCTTY, 0); err == nil {
			t.keys, t.opened = f, f
		}
	}
	// Only with input and output on it is the terminal ours alone; with output
	// in a pipeline somebody else may show it.
	t.raw = classes[1] == tty
	if t.keys == nil {
		return nil
	}
	if termios, err := unix.IoctlGetTermios(int(t.keys.Fd()), getTermios); err == nil {
		if !t.raw {
			termios.Lflag &^= unix.ECHO // the caller's terminal echoes itself
		}
		// The pen's terminal begins with the caller's settings: erase character,
		// UTF-8, flow control.
		unix.IoctlSetTermios(int(slave.Fd()), setTermios, termios)
	}
	t.resize()
	return nil
}

// pipe puts a pipe between the caller's stream i and the pen.
func (t *Terminal) pipe(i int) error {
	r, w, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("connect %s: %w", t.real[i].Name(), err)
	}
	real := t.real[i]
	if i == 0 {
		t.files[0], t.own = r, append(t.own, r)
		unix.SetNonblock(int(w.Fd()), true)
		t.in.Add(1)
		t.pumps = append(t.pumps, func() {
			defer t.in.Done()
			defer w.Close()
			t.copyUntil(w, real, t.stop)
		})
		return nil
	}
	t.files[i], t.own = w, append(t.own, w)
	t.out.Add(1)
	t.pumps = append(t.pumps, func() {
		defer t.out.Done()
		// Closed at once when the caller's end is gone: the command then gets
		// SIGPIPE as it would without us.
		defer r.Close()
		t.copyUntil(real, r, nil)
	})
	return nil
}

// Started is called once the pen's first process has its descriptors: it
// closes ours, takes over the caller's terminal and begins to copy.
func (t *Terminal) Started() error {
	for _, f := range t.own {
		f.Close()
	}
	t.own = nil
	if t.master != nil {
		t.out.Add(1)
		t.pumps = append(t.pumps, func() {
			defer t.out.Done()
			t.copyUntil(t.screen, t.master, nil) // ends with EIO when the last user of the other end is gone
		})
		if t.keys != nil {
			if err := t.takeOver(); err != nil {
				return err
			}
		}
	}
	for _, p := range t.pumps {
		go p()
	}
	t.pumps = nil
	return nil
}

// takeOver puts the caller's terminal into raw mode and follows its size. In
// the background neither is ours to do.
func (t *Terminal) takeOver() error {
	fd := int(t.keys.Fd())
	t.signals = make(chan os.Signal, 1)
	signal.Notify(t.signals, unix.SIGWINCH)
	t.resize()
	t.resized = make(chan struct{})
	go func() {
		defer close(t.resized)
		for range t.signals {
			t.resize()
		}
	}()
	foreground, err := unix.IoctlGetInt(fd, unix.TIOCGPGRP)
	if err != nil || foreground != unix.Getpgrp() {
		return nil
	}
	t.in.Add(1)
	t.pumps = append(t.pumps, func() {
		defer t.in.Done()
		t.copyUntil(t.master, t.keys, t.stop)
	})
	if !t.raw {
		return nil
	}
	saved, err := unix.IoctlGetTermios(fd, getTermios)
	if err != nil {
		return fmt.Errorf("read terminal settings: %w", err)
	}
	raw := *saved
	makeRaw(&raw)
	if err := unix.IoctlSetTermios(fd, setTermios, &raw); err != nil {
		return fmt.Errorf("put the terminal into raw mode: %w", err)
	}
	t.saved = saved
	return nil
}

// makeRaw is cfmakeraw(3).
func makeRaw(t *unix.Termios) {
	t.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON
	t.Oflag &^= unix.OPOST
	t.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
	t.Cflag &^= unix.CSIZE | unix.PARENB
	t.Cflag |= unix.CS8
	t.Cc[unix.VMIN], t.Cc[unix.VTIME] = 1, 0
}

// resize gives the pen's terminal the size of the caller's; the kernel tells
// its foreground by SIGWINCH.
func (t *Terminal) resize() {
	size, err := unix.IoctlGetWinsize(int(t.screen.Fd()), unix.TIOCGWINSZ)
	if err == nil {
		unix.IoctlSetWinsize(int(t.master.Fd()), unix.TIOCSWINSZ, size)
	}
}

// Finish is called when every process of the pen is gone, or the pen failed. It
// waits for what they wrote, restores the caller's terminal and closes what is
// left. Calling it again does nothing.
func (t *Terminal) Finish() {
	t.once.Do(func() {
		for _, f := range t.own {
			f.Close()
		}
		if t.stopper != nil {
			t.stopper.Close()
		}
		drained := true
		if len(t.pumps) == 0 { // else they were never begun
			done := make(chan struct{})
			go func() { t.in.Wait(); t.out.Wait(); close(done) }()
			select {
			case <-done:
			case <-time.After(drainTime):
				drained = false
			}
		}
		if t.signals != nil {
			signal.Stop(t.signals)
			close(t.signals)
			<-t.resized
		}
		if t.saved != nil {
			// Drained: after what the pen wrote has left.
			unix.IoctlSetTermios(int(t.keys.Fd()), setTermiosDrained, t.saved)
			t.saved = nil
		}
		for _, f := range []*os.File{t.master, t.opened, t.stop} {
			// A descriptor that a pump still uses must not get another meaning.
			if f != nil && drained {
				f.Close()
			}
		}
	})
}
