// Package sandbox says what a pen's inside looks like (Spec) and what can build
// it (Backend), without building anything itself.
//
// Its hazard is a field that a backend silently ignores: every backend reports,
// per control, what it enforces and by what (Capability), and the supervisor
// refuses a run in which an asked-for control is not enforced. It imports no
// other package of this module.
package sandbox

import (
	"context"
	"os"
	"time"
)

// Mount is one thing of the host's file system that the pen sees.
type Mount struct {
	Source string // absolute host path; empty for a tmpfs
	Target string // absolute path in the pen
	Write  bool   // false: read-only
	// Optional mounts are left out when Source does not exist.
	Optional bool
}

// File is a file that exists only in the pen, with the given content.
type File struct {
	Target  string
	Content []byte
	Mode    uint32 // permission bits
}

// Limits of a pen; zero means no limit.
type Limits struct {
	Memory    int64         // bytes
	CPUs      float64       // processors, e.g. 1.5
	PIDs      int64         // processes and threads
	OpenFiles int64         // descriptors per process
	Wall      time.Duration // from release to kill
}

// Spec is a pen's inside. It is a plain value: what it does not name is not in
// the pen.
type Spec struct {
	Argv []string // command and its arguments; Argv[0] is looked up in the pen's PATH
	Env  []string // the whole environment, NAME=value
	Dir  string   // working directory in the pen, absolute
	UID  int      // user id seen in the pen
	GID  int

	Mounts []Mount  // in order; later ones cover earlier ones
	Files  []File   // after Mounts
	Hide   []string // absolute paths replaced by something empty, if they exist
	// Protect are paths that stay read-only inside a writable mount, also when
	// they do not exist yet and also when a parent directory is renamed.
	Protect  []string
	Hostname string

	Limits Limits
	// Terminal is set when stdin, stdout or stderr of the command is a
	// pseudo-terminal of the pen's own.
	Terminal bool
}

// Enforcement of one control.
type Enforcement string

// The values of Enforcement.
const (
	Enforced    Enforcement = "enforced"
	Partial     Enforcement = "partial" // see Detail
	Unavailable Enforcement = "unavailable"
)

// Capability says of one control whether a backend enforces it, and by what.
type Capability struct {
	Control string      `json:"control"` // e.g. "filesystem", "syscalls", "memory"
	State   Enforcement `json:"state"`
	By      string      `json:"by,omitempty"`     // e.g. "seccomp-bpf", "rlimit", "Landlock ABI 7"
	Detail  string      `json:"detail,omitempty"` // what is missing, one line
	Fix     string      `json:"fix,omitempty"`    // what to do about it, one line
}

// Command is what is executed inside the pen's user and network namespaces to
// build the rest of the sandbox and run the shim in it.
type Command struct {
	Path string   // absolute path of the program
	Argv []string // with argv[0]
	Env  []string
	// Files are inherited; Files[i] becomes descriptor FirstFile+i of the program.
	Files     []*os.File
	FirstFile int
}

// Backend builds one tier. A Backend is safe for concurrent use.
type Backend interface {
	// Name is the tier's name in flags and policies.
	Name() string
	// Probe tries, rather than reads, what the backend can enforce on this machine.
	// The error, if any, says in one line why the tier can't run here, and its fix.
	Probe(ctx context.Context) ([]Capability, error)
	// Command plans the program that becomes the pen. shim is the read end the
	// shim inherits: the pen's side of the control socket.
	Command(spec *Spec, shim *os.File) (*Command, error)
}
