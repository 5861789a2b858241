package hooks

// Process is who opened a connection, as the kernel saw it at that moment. It is
// a value that nobody changes once it is made; a process that executes another
// program afterwards is another Process.
//
// A name is not an intention: whoever can start a program can choose its
// arguments, its environment and its files.
type Process struct {
	PID int // thread group, in the host's pid namespace
	TID int // thread that called connect; 0: not known
	UID int // on the host
	// Start tells two processes of the same number apart: nanoseconds since boot
	// (CLOCK_BOOTTIME), rounded to clock ticks where only /proc(5) was there to ask.
	Start  uint64
	Exe    Executable
	Args   []string // as at execve, clipped; the process can have changed its own copy since
	Cgroup string   // path in the unified hierarchy, "" if not known
	// Parent is who started it, up to the session's first process; nil: none, or
	// not known.
	Parent *Process
	// Shared says that processes that run other programs held the connection too,
	// so that it may be theirs: nothing may be allowed for the sake of this one.
	Shared bool
	// SaidBy is "" where the kernel, or somebody of ours outside of the pen, has told
	// of the process. Otherwise it names who in the pen has, and the process is for
	// the audit: no rule and no hook gets to see it.
	SaidBy string
}

// Executable is the file that a process runs.
type Executable struct {
	Path     string // in the pen; a process can rename it, so nothing is decided by it alone
	Dev, Ino uint64 // of the file as it was executed; both 0: not known
	SHA256   string // of its content, lower-case hexadecimal; "" if not known
}
