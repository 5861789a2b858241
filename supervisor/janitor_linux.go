package supervisor

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/penstock/penstock/internal/donate"
	"github.com/penstock/penstock/sandbox"
	"github.com/penstock/penstock/sandbox/cgroup"
	"github.com/penstock/penstock/sandbox/layout"
)

// JanitorRole is os.Args[1] of the janitor's process.
const JanitorRole = "role:janitor"

// The janitor removes a session's placeholders when the supervisor can't,
// because it was killed. It is told of them before they are made, over a pipe
// whose end it then waits for: the supervisor and the pen's first process hold
// the other end, because a placeholder must outlive the pen, whose protection it
// carries. Were a tool to get hold of it, it could still add nothing: only what
// the supervisor wrote first counts, and only what is still a placeholder, and
// no other session's, is removed (see layout.Claimed).
//
// It also kills what a killed supervisor's pen leaves behind: see guard.

const (
	fileAlive      = "alive"
	fileSupervisor = "supervisor"
	filePIDFD      = "pidfd" // the supervisor's
)

// janitor is the running role, and the end of the pipe that keeps it waiting.
type janitor struct {
	cmd   *exec.Cmd
	alive *os.File // write end; the pen gets a copy
	end   *os.File // read end: it hangs up when the supervisor and the pen have let go
	first *process // the pen's first process, once it is known
	ours  *os.File // write end of a pipe that only the supervisor holds
}

// startJanitor starts the role, which guards the process group of a pen in which
// nothing but the builder runs yet.
func startJanitor(program string, group int) (*janitor, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("start the janitor: %w", err)
	}
	r2, ours, err := os.Pipe()
	if err != nil {
		r.Close()
		w.Close()
		return nil, fmt.Errorf("start the janitor: %w", err)
	}
	defer r2.Close()
	j := &janitor{cmd: exec.Command(program, JanitorRole), alive: w, end: r, ours: ours}
	self, err := openProcess(os.Getpid())
	if err != nil {
		j.close()
		return nil, err
	}
	pidfd := os.NewFile(uintptr(self.pidfd), filePIDFD)
	defer pidfd.Close()
	extra, err := donate.Files(struct{}{}, map[string]*os.File{fileAlive: r, fileSupervisor: r2, filePIDFD: pidfd})
	if err != nil {
		j.close()
		return nil, err
	}
	defer extra[0].Close()
	j.cmd.Args[0] = "penstock"
	j.cmd.Env = []string{"GOMAXPROCS=1"}
	j.cmd.Dir = "/"
	j.cmd.ExtraFiles = extra
	// No parent-death signal, and a session of its own: it is there for when
	// everything else has been killed.
	j.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := j.cmd.Start(); err != nil {
		j.close()
		return nil, fmt.Errorf("start the janitor: %w", err)
	}
	if _, err := j.ours.Write(binary.BigEndian.AppendUint32(nil, uint32(group))); err != nil {
		j.dismiss()
		return nil, fmt.Errorf("instruct the janitor: %w", err)
	}
	// It has nothing to do while others are in a hurry.
	syscall.Setpriority(syscall.PRIO_PROCESS, j.cmd.Process.Pid, 19) //nolint:errcheck // a courtesy
	return j, nil
}

// maxPlaceholders bounds what the janitor is told; a pipe holds it (pipe(7)).
const maxPlaceholders = 60 << 10

// orders are what may be there to remove after the session.
type orders struct {
	Placeholders []sandbox.Placeholder `json:"placeholders,omitempty"`
	Group        string                `json:"group,omitempty"` // control group's directory
}

// instruct tells the janitor what may be there to remove.
func (j *janitor) instruct(o orders) error {
	doc, err := json.Marshal(&o)
	if err != nil {
		return fmt.Errorf("instruct the janitor: %w", err)
	}
	if len(doc) > maxPlaceholders {
		return fmt.Errorf("instruct the janitor: %d protected paths that don't exist yet are too many", len(o.Placeholders))
	}
	msg := binary.BigEndian.AppendUint32(nil, uint32(len(doc)))
	if _, err := j.alive.Write(append(msg, doc...)); err != nil {
		return fmt.Errorf("instruct the janitor: %w", err)
	}
	return nil
}

// claim makes the placeholders. Undoing it ends the pen first, because a
// placeholder carries a protection while the pen lives.
func (s *session) claim() error {
	o := orders{Placeholders: s.files.Placeholders}
	if s.group != nil {
		o.Group = s.group.Dir()
	}
	if err := s.janitor.instruct(o); err != nil {
		return err
	}
	c, err := layout.Claim(s.files.Placeholders)
	if err != nil {
		return err
	}
	s.undo.push(func() {
		s.pen.Close()
		if !s.janitor.penGone() {
			return // it stays the janitor's
		}
		if err := c.Release(); err != nil {
			s.say.line("%v", err)
		}
	})
	return nil
}

// aliveEnd is what the pen's first process holds open.
func (s *session) aliveEnd() *os.File { return s.janitor.alive }

// goneTimeout is how long the rest of a killed pen may take to die.
const goneTimeout = 10 * time.Second

// penGone waits until no process of the pen is left. Its first process outside
// is waited for elsewhere; the one inside dies of that a moment later, and until
// then it may be mounting over a placeholder, or make one of its own. The pipe
// tells when that one has let go; its other processes are killed after that, in
// the course of its end, which its pidfd tells (zap_pid_ns_processes).
func (j *janitor) penGone() bool {
	j.alive.Close()
	deadline := time.Now().Add(goneTimeout)
	// A pipe's hang-up is told without asking.
	if !ready(int(j.end.Fd()), 0, unix.POLLHUP, deadline) {
		return false
	}
	return j.first == nil || ready(j.first.pidfd, unix.POLLIN, unix.POLLIN, deadline)
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

func (j *janitor) close() {
	j.alive.Close()
	j.end.Close()
	j.ours.Close()
	if j.first != nil {
		j.first.close()
		j.first = nil
	}
}

// dismiss lets the janitor go. It ends by itself when the pen is gone, which
// needs no waiting for if that is so already.
func (j *janitor) dismiss() {
	if j.penGone() {
		j.cmd.Process.Kill()
		j.cmd.Wait()
	}
	j.close()
}

// JanitorMain is the role's main; it returns the exit code.
func JanitorMain() int {
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	files, err := donate.Receive(&struct{}{})
	if err != nil || files[fileAlive] == nil || files[fileSupervisor] == nil || files[filePIDFD] == nil {
		fmt.Fprintf(os.Stderr, "penstock: start the janitor: %v\n", err)
		return 1
	}
	go guard(files[fileSupervisor])
	if err := tidy(files[fileAlive], int(files[filePIDFD].Fd())); err != nil {
		return 1
	}
	return 0
}

// guard waits for the supervisor's end, however it comes, and kills the process
// group it was told of. The pen's first process outside dies of the supervisor's
// end by itself; but the one inside, if it has not asked yet to die with its
// parent, would wait for ever, with the pen's namespaces. What is in the pen is
// in other groups and dies with the latter.
func guard(r io.Reader) {
	var group [4]byte
	if _, err := io.ReadFull(r, group[:]); err != nil {
		return // no pen yet
	}
	io.Copy(io.Discard, r) //nolint:errcheck // it ends with its only holder
	if n := int(binary.BigEndian.Uint32(group[:])); n > 1 {
		syscall.Kill(-n, syscall.SIGKILL) //nolint:errcheck // mostly there is nobody left
	}
}

// tidy waits for the end of r and of the supervisor, whose pidfd is given, and
// removes the placeholders that its first message names.
func tidy(r io.Reader, supervisor int) error {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil // none were planned
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > maxPlaceholders {
		return errors.New("message too long")
	}
	doc := make([]byte, n)
	_, err := io.ReadFull(r, doc)
	io.Copy(io.Discard, r) //nolint:errcheck // it ends with its last holder
	var o orders
	if err == nil {
		err = json.Unmarshal(doc, &o)
	}
	if err != nil {
		return err
	}
	if o.Group != "" {
		defer cgroup.Remove(o.Group) //nolint:errcheck // the next session sweeps
	}
	// A process that is killed closes its descriptors one by one: until it is
	// dead it may still hold the locks that say that a placeholder is in use.
	ready(supervisor, unix.POLLIN, unix.POLLIN, time.Now().Add(time.Hour))
	var there []sandbox.Placeholder
	var held []*os.File
	for _, p := range o.Placeholders {
		f, err := os.OpenFile(p.Path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
		if err != nil {
			continue // never made, or removed already
		}
		there, held = append(there, p), append(held, f)
	}
	return layout.Adopt(there, held).Release()
}
