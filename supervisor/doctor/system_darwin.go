package doctor

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// system says which macOS this is, and tries what a run on a terminal needs.
func (x *examination) system() {
	version, err := unix.Sysctl("kern.osproductversion")
	if err != nil {
		x.bad(Warn, "system", "macOS", fmt.Errorf("ask for its version: %w", err), "")
	} else {
		x.ok("system", "macOS", "%s", oneLine(version))
	}
	if x.Host.UID == 0 {
		x.bad(Fail, "system", "user", errors.New("a pen can't be root's on macOS"), "start penstock as an ordinary user")
	}
	f, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		x.bad(Warn, "system", "terminal", fmt.Errorf("open a pseudo-terminal: %w", err), "end programs that have many; without one run commands with their streams redirected")
		return
	}
	f.Close()
	x.ok("system", "terminal", "pseudo-terminals can be had")
}

// network has nothing to build: the profile decides about the host's, which the tier's
// own trial tries.
func (x *examination) network() {}

// limits says what can't be had.
func (x *examination) limits() {
	x.bad(Warn, "pen", "limits", errors.New("memory, processes, processors and disk rates can't be limited on macOS"), "use Linux where they matter: a policy that sets one is refused here")
}

// supervisor has nobody to ask: there is no privileged supervisor here.
func (x *examination) supervisor() error { return nil }
