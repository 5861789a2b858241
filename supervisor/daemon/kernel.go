package daemon

import (
	"os"

	"github.com/penstock/penstock/sandbox"
	"github.com/penstock/penstock/supervisor/bossctl"
)

// Kernel is what eBPF gives sessions. A nil Kernel is a machine that refuses it.
type Kernel interface {
	// Session makes what one session needs: pen and proxy are ids of its control
	// groups (see Group.ID).
	Session(pen, proxy uint64) (KernelSession, error)
	Capabilities() []sandbox.Capability
	Close() error
}

// KernelSession is one session's part of it. Close may be called twice.
type KernelSession interface {
	// Events is the ring buffer that the session's proxy reads, nil if there is none.
	Events() *os.File
	// Guard lets the proxy reach more than public addresses.
	Guard([]bossctl.Reach) error
	// Steer makes the pen's connections arrive at sockets.
	Steer(netns *os.File, sockets map[string]*os.File) error
	Close() error
}
