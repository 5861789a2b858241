// Package ebpf loads the kernel's part of the privileged supervisor and keeps
// it: programs on the control group above all pens that refuse early and tell
// who makes each connection, programs on the one above all proxies that keep a
// proxy from the host's own services, and per session a program that steers the
// pen's connections to our listener.
//
// The wall is the pen's network namespace, which has no uplink. With every
// program of this package detached a pen still has no way out; what is then
// missing is the early refusal, the steering (its connections are refused) and
// the knowledge of who it was.
//
// Hazards. All of it runs with privilege, before anybody's session; so nothing
// here reads what a session wrote: events go to the proxy role by a descriptor,
// and package ebpf/events reads them there. Keys and values of maps are numbers
// of the daemon's own. A hostile tool would try to detach a program (it would
// have to be root on the host), to leave its control group (it does not see the
// file system of them), to use a kind of socket that no hook sees (seccomp), to
// flood the ring (losses are counted), and to be taken for another process.
//
// Only supervisor/daemon and supervisor/doctor import it: the loader is a parser
// of ELF and BTF, and too big for the other roles.
package ebpf

import (
	"errors"
	"net/netip"
	"os"
)

// ErrUnsupported is returned by everything of this package that needs Linux.
var ErrUnsupported = errors.New("load eBPF programs: Linux only")

// State says whether something works here.
type State int

// States. The zero value claims nothing.
const (
	Unknown     State = iota // could not be tried
	Unavailable              // was tried and refused
	Available                // was tried and works
)

// Feature is one thing that Probe tried.
type Feature struct {
	Name   string
	State  State
	Reason string // why not, in the kernel's words
}

// Names of features, in the order in which Probe returns them.
const (
	FeaturePens     = "socket hooks of pens"
	FeatureProcess  = "process events"
	FeatureGuard    = "guard of proxies"
	FeatureSteering = "steering"
	FeatureErrno    = "own error numbers"
	FeatureAncestor = "nested groups in process events"
	FeatureLSM      = "security module"
)

// Pen says what of a pen's network the programs must know. The zero values of
// ports match nothing.
type Pen struct {
	Own4, Own6                         netip.Addr // netns.OwnAddrs
	CapturePort, ExplicitPort, DNSPort uint16
}

// Options of Load.
type Options struct {
	// PinDir is made below a mounted bpffs, see EnsureBPFFS. Links are pinned
	// there, so that they outlive the process: Sweep removes them.
	PinDir string
	// PensCgroup and ProxiesCgroup are open cgroup v2 directories. They must be
	// empty of processes: what is in them already opened its sockets unwatched.
	PensCgroup, ProxiesCgroup *os.File
	// PenLevel is how many levels below the root of the hierarchy a session's
	// group is (a child of the root is at 1), SlotLevel the same of a proxy's.
	PenLevel, SlotLevel int
	Pen                 Pen
	// RingBytes is the size of a session's ring of events, a power of two and of
	// pages; 0 means 256 KiB.
	RingBytes int
	// Ready is for how many sessions at once rings and steering programs are made
	// ahead; 0 means 8. Each takes RingBytes of the kernel's memory.
	Ready int
	// WithoutLSM leaves the optional programs out even where the kernel has them.
	WithoutLSM bool

	old bool // for tests: as if the kernel had no helper newer than 5.10's
}

// Counters are what the programs counted for one session. Bytes are those of
// packets with their headers, of connections and queries that left the pen's own
// addresses.
type Counters struct {
	UpBytes, UpPackets     uint64
	DownBytes, DownPackets uint64
	Flows                  uint64 // connections that were told of
	Denied                 uint64
	Lost                   uint64 // events of processes and flows that did not fit
	Muted                  uint64 // refusals counted but not told of
}

// MaxDenied is how many prefixes can be denied to one session.
const MaxDenied = 1024

// Allowed is a destination that a proxy may reach although it is special.
type Allowed struct {
	Prefix netip.Prefix
	Port   uint16 // 0: any
}
