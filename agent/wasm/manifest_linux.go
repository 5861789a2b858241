package wasm

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"strconv"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/penstock/penstock/sandbox/confine"
	"github.com/penstock/penstock/sandbox/wasm"
)

// narrow leaves of the granted paths those that the manifest wants. The process is in
// the Landlock domain of all that was granted already, so that a wanted path that is a
// link to elsewhere, or becomes one now, adds nothing: of two domains both must allow.
func narrow(cfg *wasm.Config, m *wasm.Manifest, name string) error {
	dir, err := os.Getwd()
	if err != nil {
		return err
	}
	grants, missing := m.Narrow(cfg.Grants, dir)
	for _, w := range missing {
		what := "read"
		if w.Write {
			what = "write"
		}
		fmt.Fprintf(os.Stderr, "penstock: %s: its manifest wants to %s %s, which the session does not grant\n", name, what, strconv.Quote(w.Path))
	}
	if err := confine.Guest(rules(grants)); err != nil {
		return err
	}
	cfg.Grants = nil
	for _, g := range grants {
		f, err := os.Open(g.Path)
		if errors.Is(err, fs.ErrPermission) {
			fmt.Fprintf(os.Stderr, "penstock: %s: its manifest wants %s, which leads to where the session does not\n", name, strconv.Quote(g.Path))
			continue
		}
		if err == nil {
			f.Close()
		}
		cfg.Grants = append(cfg.Grants, g)
	}
	return nil
}

// grace is how long after the limit the kernel ends what we could not.
const grace = 2 * time.Second

// endAfter ends this process after a time, 0 for never.
func endAfter(limit time.Duration, name string) error {
	if limit == 0 {
		return nil
	}
	// A module's code yields to no scheduler: it has one of the processors to itself.
	runtime.GOMAXPROCS(max(2, runtime.GOMAXPROCS(0)))
	time.AfterFunc(limit, func() {
		fmt.Fprintf(os.Stderr, "penstock: %s: it has run for %s, which is all that its manifest gives it\n", name, limit)
		os.Exit(exitTime)
	})
	// A collection of garbage that waits for that code stops the function above, too:
	// timer_create(2), whose signal needs nobody's help.
	event := struct {
		_      uint64
		signal int32
		notify int32 // SIGEV_SIGNAL
		_      [48]byte
	}{signal: int32(unix.SIGKILL)}
	var id int32
	if _, _, e := unix.Syscall(unix.SYS_TIMER_CREATE, unix.CLOCK_MONOTONIC, uintptr(unsafe.Pointer(&event)), uintptr(unsafe.Pointer(&id))); e != 0 {
		return fmt.Errorf("make a timer for the manifest's limit: %w", e)
	}
	at := unix.ItimerSpec{Value: unix.NsecToTimespec((limit + grace).Nanoseconds())}
	if _, _, e := unix.Syscall6(unix.SYS_TIMER_SETTIME, uintptr(id), 0, uintptr(unsafe.Pointer(&at)), 0, 0, 0); e != 0 {
		return fmt.Errorf("set a timer for the manifest's limit: %w", e)
	}
	return nil
}
