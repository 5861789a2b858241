package janitor

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/penstock/penstock/internal/donate"
	"github.com/penstock/penstock/sandbox"
)

// Role is os.Args[1] of the role's process.
const Role = "role:janitor"

const (
	fileAlive      = "alive"
	fileSupervisor = "supervisor"
	filePIDFD      = "pidfd" // the supervisor's
	fileLock       = "lock"
)

// roleConfig is what the role is told at its start.
type roleConfig struct {
	Group int `json:"group"` // process group of the pen's first process
	// Within is the user namespace, by its inode number, that all processes of the
	// session are in; 0 where their end needs no help.
	Within uint64 `json:"within,omitempty"`
}

// Janitor is the running role. Its methods are not for concurrent use.
type Janitor struct {
	cmd   *exec.Cmd
	alive *os.File // write end; the pen gets a copy
	end   *os.File // read end: it hangs up when the supervisor and the pen have let go
	first int      // pidfd of the pen's first process, 0 until it is known
	ours  *os.File // a socket that only the supervisor holds
}

// Start starts program as the role. It guards the process group of a pen in
// which nothing but the builder runs yet. within, if it is not 0, is the inode number
// of the user namespace whose processes, and those below it, are to end with the
// supervisor: those of a command that has no process namespace to end with. lock, if it
// is not nil, is held until the pen is gone and what was to be removed is.
func Start(program string, group int, within uint64, lock *os.File) (*Janitor, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("start the janitor: %w", err)
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		r.Close()
		w.Close()
		return nil, fmt.Errorf("start the janitor: %w", err)
	}
	theirs := os.NewFile(uintptr(pair[1]), fileSupervisor)
	defer theirs.Close()
	j := &Janitor{cmd: exec.Command(program, Role), alive: w, end: r, ours: os.NewFile(uintptr(pair[0]), fileSupervisor)}
	self, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		j.close()
		return nil, fmt.Errorf("start the janitor: open the own process: %w", err)
	}
	pidfd := os.NewFile(uintptr(self), filePIDFD)
	defer pidfd.Close()
	files := map[string]*os.File{fileAlive: r, fileSupervisor: theirs, filePIDFD: pidfd}
	if lock != nil {
		files[fileLock] = lock
	}
	extra, err := donate.Files(&roleConfig{Group: group, Within: within}, files)
	if err != nil {
		j.close()
		return nil, err
	}
	defer extra[0].Close()
	j.cmd.Args[0] = "penstock"
	j.cmd.Env = []string{"GOMAXPROCS=1", "GOGC=off"}
	j.cmd.Dir = "/"
	j.cmd.ExtraFiles = extra
	// No parent-death signal, and a session of its own: it is there for when
	// everything else has been killed.
	j.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := j.cmd.Start(); err != nil {
		j.close()
		return nil, fmt.Errorf("start the janitor: %w", err)
	}
	// It has nothing to do while others are in a hurry.
	syscall.Setpriority(syscall.PRIO_PROCESS, j.cmd.Process.Pid, 19) //nolint:errcheck // a courtesy
	return j, nil
}

// maxOrders bounds what the janitor is told, in bytes; a pipe holds it (pipe(7)).
const maxOrders = 60 << 10

// Orders are what may be there to remove after the session.
type Orders struct {
	Placeholders []sandbox.Placeholder `json:"placeholders,omitempty"`
	Group        string                `json:"group,omitempty"` // control group's directory
}

// Instruct tells the janitor what may be there to remove. It is called once,
// before any of it is made.
func (j *Janitor) Instruct(o Orders) error {
	doc, err := json.Marshal(&o)
	if err != nil {
		return fmt.Errorf("instruct the janitor: %w", err)
	}
	if len(doc) > maxOrders {
		return fmt.Errorf("instruct the janitor: %d protected paths that don't exist yet are too many", len(o.Placeholders))
	}
	msg := binary.BigEndian.AppendUint32(nil, uint32(len(doc)))
	if _, err := j.alive.Write(append(msg, doc...)); err != nil {
		return fmt.Errorf("instruct the janitor: %w", err)
	}
	return nil
}

// Alive is what the pen's first process holds open.
func (j *Janitor) Alive() *os.File { return j.alive }

// Follow makes PenGone, and the role after the supervisor's death, wait for the
// end of process pid too, the first inside the pen. It is called before the
// command is released.
func (j *Janitor) Follow(pid int) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return fmt.Errorf("open the pen's first process: %w", err)
	}
	j.first = fd
	if err := unix.Sendmsg(int(j.ours.Fd()), []byte{0}, unix.UnixRights(fd), nil, unix.MSG_NOSIGNAL); err != nil {
		return fmt.Errorf("instruct the janitor: %w", err)
	}
	return nil
}

// goneTimeout is how long the rest of a killed pen may take to die.
const goneTimeout = 10 * time.Second

// PenGone waits until no process of the pen is left. Its first process outside
// is waited for elsewhere; the one inside dies of that a moment later, and until
// then it may be mounting over a placeholder, or make one of its own. The pipe
// tells when that one has let go; its other processes are killed after that, in
// the course of its end, which its pidfd tells (zap_pid_ns_processes).
func (j *Janitor) PenGone() bool {
	j.alive.Close()
	deadline := time.Now().Add(goneTimeout)
	// A pipe's hang-up is told without asking.
	if !ready(int(j.end.Fd()), 0, unix.POLLHUP, deadline) {
		return false
	}
	return j.first == 0 || ready(j.first, unix.POLLIN, unix.POLLIN, deadline)
}

// ready waits for an event of a descriptor.
func ready(fd int, ask, want int16, deadline time.Time) bool {
	fds := []unix.PollFd{{Fd: int32(fd), Events: ask}}
	for {
		left := time.Until(deadline)
		if left <= 0 {
			return false
		}
		n, err := unix.Poll(fds, int(left/time.Millisecond)+1)
		if n > 0 {
			return fds[0].Revents&want != 0
		}
		if err != nil && !errors.Is(err, unix.EINTR) {
			return false
		}
	}
}

func (j *Janitor) close() {
	j.alive.Close()
	j.end.Close()
	j.ours.Close()
	if j.first != 0 {
		unix.Close(j.first)
		j.first = 0
	}
}

// Dismiss lets the janitor go. It ends by itself when the pen is gone, which
// needs no waiting for if that is so already.
func (j *Janitor) Dismiss() {
	if j.PenGone() {
		j.cmd.Process.Kill()
		j.cmd.Wait()
	}
	j.close()
}
