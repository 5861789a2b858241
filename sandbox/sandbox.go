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
	"path"
	"time"
)

// Kind says what a Mount puts at its target.
type Kind uint8

// The kinds of Mount. Bind, the zero value, shows the host read-only unless
// Write is set.
const (
	Bind     Kind = iota // Source of the host, with what is mounted below it
	Tmpfs                // a writable directory in memory
	Symlink              // Target becomes a symbolic link that says Source
	Blank                // covers a file: it can be neither read nor written (EACCES)
	BlankDir             // covers a directory: empty, without write permission
	Null                 // covers a file by /dev/null: it reads as empty
)

// Mount is one thing that the pen sees.
type Mount struct {
	Kind   Kind   `json:"kind,omitempty"`
	Source string `json:"source,omitempty"` // Bind: absolute host path; Symlink: the link's text
	Target string `json:"target"`           // absolute, clean path in the pen
	Write  bool   `json:"write,omitempty"`  // false: read-only
	// Optional mounts are left out when Source does not exist.
	Optional bool `json:"optional,omitempty"`
	// Size bounds a Tmpfs, in bytes; 0 is the kernel's default, half of memory.
	Size int64 `json:"size,omitempty"`
	// Mode is a Tmpfs's permission bits; 0 means 0755.
	Mode uint32 `json:"mode,omitempty"`
}

// File is a file that exists only in the pen, with the given content, read-only.
type File struct {
	Target  string `json:"target"`
	Content []byte `json:"content"`
	Mode    uint32 `json:"mode,omitempty"` // permission bits; 0 means 0444
}

// Placeholder is an object that must exist on the host while the pen lives, so
// that something can be mounted over it: a protected name inside a writable
// mount that was not there. The supervisor creates it before and removes it
// after the run; see package sandbox/layout.
type Placeholder struct {
	Path    string `json:"path"`
	Dir     bool   `json:"dir,omitempty"`
	Content []byte `json:"content,omitempty"`
}

// Limits of a pen; zero means no limit.
type Limits struct {
	Memory    int64         // bytes
	CPUs      float64       // processors, e.g. 1.5
	PIDs      int64         // processes and threads
	OpenFiles int64         // descriptors per process
	Wall      time.Duration // from release to kill
	Idle      time.Duration // without a sign of life
	// Bytes per second that all processes together may read from and write to
	// each block device of the machine.
	ReadRate, WriteRate int64
}

// Spec is a pen's inside. It is a plain value: what it does not name is not in
// the pen.
type Spec struct {
	Argv []string // command and its arguments; Argv[0] is looked up in the pen's PATH
	Env  []string // the whole environment, NAME=value
	Dir  string   // working directory in the pen, absolute
	UID  int      // user id seen in the pen
	GID  int

	// Penstock is the host path of this binary; the pen runs its shim from
	// ShimPath.
	Penstock string

	Mounts   []Mount // in order; later ones cover earlier ones
	Files    []File  // over Mounts
	Hostname string

	// Grants are what the caller gave the command of the host's files, beside the
	// system's.
	Grants []Grant
	// Cache is a directory of the host, outside of what any pen sees, for what a
	// tier keeps from one session to the next; empty: nothing is kept.
	Cache string

	// Journal says that descriptor FirstGiven is where a tier that can tell what its
	// processes do is to tell it. Watched are paths in the pen of which it tells who
	// opens them.
	Journal bool
	Watched []Watched

	// Further says that the next descriptor, FirstGiven if there is no journal, is where
	// a tier that can start further commands is asked for them.
	Further bool

	Limits Limits
	// Terminal is set when stdin, stdout or stderr of the command is a
	// pseudo-terminal of the pen's own.
	Terminal bool
}

// Below moves all that the pen would show to below root, for a tier whose command has
// that as its root. The lists are new ones: a caller's are not changed. What a symbolic
// link says stays, as it is read inside.
func (s *Spec) Below(root string) {
	mounts := make([]Mount, 0, len(s.Mounts))
	for _, m := range s.Mounts {
		m.Target = path.Join(root, m.Target)
		mounts = append(mounts, m)
	}
	s.Mounts = mounts
	files := make([]File, 0, len(s.Files))
	for _, f := range s.Files {
		f.Target = path.Join(root, f.Target)
		files = append(files, f)
	}
	s.Files = files
}

// Grant is a path in the pen, with what is below it.
type Grant struct {
	Path  string `json:"path"`
	Write bool   `json:"write,omitempty"`
}

// Watched is a path in the pen and what is below it.
type Watched struct {
	Path    string `json:"path"`
	Written bool   `json:"written,omitempty"` // it is opened to be written
}

// FirstGiven is the number of the first descriptor that a command gets beside its
// streams. Commands of users get none.
const FirstGiven = 20

// ShimPath is where the pen sees this binary.
const ShimPath = "/run/penstock/penstock"

// ShimRole is os.Args[1] of the shim's process, the number of its control
// socket's descriptor the next.
const ShimRole = "role:shim"

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
	// Root is the number of the descriptor, among Files, that describes the root
	// to be put together before Path is executed (rootfs.Build); 0 if there is none.
	Root int
	// Owned are those of Files that were made for the command; Close closes them.
	Owned []*os.File
}

// Close closes the descriptors that were made for the command. It is called
// once the program has started, or won't be; calling it again does nothing.
func (c *Command) Close() error {
	var first error
	for _, f := range c.Owned {
		if err := f.Close(); err != nil && first == nil {
			first = err
		}
	}
	c.Owned = nil
	return first
}

// Backend builds one tier. A Backend is safe for concurrent use.
type Backend interface {
	// Name is the tier's name in flags and policies.
	Name() string
	// Any says whether the tier runs any program, so that auto may choose it.
	Any() bool
	// Probe tries, rather than reads, what the backend can enforce on this machine.
	// The error, if any, says in one line why the tier can't run here, and its fix.
	Probe(ctx context.Context) ([]Capability, error)
	// Capabilities are what a pen has on a machine on which Probe found nothing
	// wrong, and in which the shim has entered a Landlock domain of that ABI.
	Capabilities(landlock int) []Capability
	// Prepare completes a Spec with what the tier itself needs in the pen.
	Prepare(spec *Spec) error
	// Command plans the program that becomes the pen. shim is the pen's end of
	// the control socket; alive is a descriptor that stays open as long as any
	// process of the pen lives, or nil.
	Command(spec *Spec, shim, alive *os.File) (*Command, error)
}
