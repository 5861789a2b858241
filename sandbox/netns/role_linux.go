package netns

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"runtime"
	"syscall"

	"github.com/penstock/penstock/internal/donate"
	"github.com/penstock/penstock/sandbox/rootfs"
	"golang.org/x/sys/unix"
)

// exitFailed is the exit code of a pen that could not be built.
const exitFailed = 125

// roleConfig is what role:netns is told at its start.
type roleConfig struct {
	Publish   bool
	Steered   bool
	Attribute bool
}

// nextCommand is what the role is told to become, once its network is built. Its
// descriptors come with the message.
type nextCommand struct {
	Path      string   `json:"path"`
	Argv      []string `json:"argv"`
	Env       []string `json:"env"`
	FirstFile int      `json:"first_file"`
	Root      int      `json:"root,omitempty"` // descriptor that describes the root to build before, see sandbox.Command
}

// reservedFiles are the descriptor numbers, from 3, that the starter fills so
// that the Go runtime of the role owns none of them: the next command's files
// are put there.
const reservedFiles = 64

// probeArgument makes the role end at once: it is what Probe executes.
const probeArgument = "probe"

// Main is role:netns: it builds the network of the namespace it was started in,
// hands the sockets out and becomes the next command. It returns only when
// that failed, with the exit code to end with.
func Main() int {
	// The connector is forked from this thread and dies with it (Pdeathsig is
	// sent when the *thread* ends, prctl(2)); execve from this thread keeps it.
	runtime.LockOSThread()
	if len(os.Args) > 2 && os.Args[2] == probeArgument {
		return 0
	}
	if err := markInherited(); err != nil {
		fmt.Fprintln(os.Stderr, "penstock: close inherited descriptors:", err)
		return exitFailed
	}
	var cfg roleConfig
	files, err := donate.Receive(&cfg)
	if err != nil {
		fmt.Fprintln(os.Stderr, "penstock:", err)
		return exitFailed
	}
	control := files["control"]
	if control == nil {
		fmt.Fprintln(os.Stderr, "penstock: role:netns is started by penstock itself")
		return exitFailed
	}
	fd, err := aside(control)
	if err != nil {
		fmt.Fprintln(os.Stderr, "penstock: move the control socket:", err)
		return exitFailed
	}
	err = build(&cfg, fd)
	if report(fd, err) != nil && !errors.Is(err, errStarterEnded) {
		// Nobody listens any more; the reason still deserves a line.
		fmt.Fprintln(os.Stderr, "penstock:", err)
	}
	return exitFailed
}

// build does the work. Here we are root of U1, the user namespace that owns the
// network namespace, with the caller's uid outside; nothing of the tool runs
// yet. It returns an error or not at all.
func build(cfg *roleConfig, control int) error {
	ipv6, err := haveIPv6()
	if err != nil {
		return err
	}
	if err := raiseLoopback(ipv6); err != nil {
		return err
	}
	// Rules before listeners: from the first moment that somebody could
	// connect, only what is meant to be open is.
	if err := installRules(ruleset(cfg.Steered)); err != nil {
		return err
	}
	tune()
	s, err := openSockets(ipv6)
	if err != nil {
		return err
	}
	if s.Drops, err = openDrops(); err != nil {
		return err
	}
	if cfg.Attribute {
		openDiag(s, cfg.Steered)
	}
	if cfg.Publish {
		if s.Connector, err = startConnector(); err != nil {
			return &stepError{Step: StepConnector, Err: err}
		}
	}
	f, fds := socketsFrame(s)
	if err := sendFrame(control, f, fds); err != nil {
		if errors.Is(err, unix.EPIPE) || errors.Is(err, unix.ECONNRESET) {
			err = errStarterEnded // it has closed its end, and kills this next
		}
		return &stepError{Step: StepSend, Err: err}
	}
	// From here on we hold none of them: the next command must not inherit a
	// listener, and a stolen descriptor can't come from a process that has none.
	if err := s.Close(); err != nil {
		return &stepError{Step: StepSend, Err: err}
	}
	return become(control)
}

// become waits for the next command and executes it. It returns an error or not
// at all. The starter's end means that there will be none.
func become(control int) error {
	next, fds, err := receiveNext(control)
	if err != nil {
		return &stepError{Step: StepReceive, Err: err}
	}
	if err := placeFiles(next.FirstFile, fds); err != nil {
		return &stepError{Step: StepReceive, Err: err}
	}
	if next.Root != 0 {
		// Still root of U1, and on the thread that executes bwrap: the mount
		// namespace made here is that thread's.
		unix.CloseOnExec(next.Root)
		if err := rootfs.Build(next.Root); err != nil {
			return &stepError{Step: StepRoot, Err: err}
		}
	}
	// Everything else, the control socket included, is close-on-exec: its end
	// of file tells the starter that this worked.
	err = unix.Exec(next.Path, next.Argv, next.Env)
	return &stepError{Step: StepExec, Err: &os.PathError{Op: "execute", Path: next.Path, Err: err}}
}

// errStarterEnded is no failure of ours: the starter says itself why it gave up.
var errStarterEnded = errors.New("the starter ended")

// receiveNext reads one packet; its descriptors are close-on-exec.
func receiveNext(control int) (*nextCommand, []int, error) {
	buf := make([]byte, nextSize)
	oob := make([]byte, unix.CmsgSpace(reservedFiles*4))
	var n, oobn, flags int
	var err error
	for {
		n, oobn, flags, _, err = unix.Recvmsg(control, buf, oob, unix.MSG_CMSG_CLOEXEC)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	switch {
	case errors.Is(err, unix.ECONNRESET), err == nil && n == 0:
		return nil, nil, errStarterEnded
	case err != nil:
		return nil, nil, err
	case flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0:
		return nil, nil, errors.New("message about the next command is cut")
	}
	fds, err := parseRights(oob[:oobn])
	if err != nil {
		return nil, nil, err
	}
	var next nextCommand
	if err := json.Unmarshal(buf[:n], &next); err != nil {
		return nil, nil, err
	}
	return &next, fds, nil
}

// markInherited makes every descriptor but the standard ones close-on-exec:
// what penstock itself was started with (a shell's or an editor's leaked
// descriptors, perhaps of something outside the pen) came along through fork.
func markInherited() error {
	err := unix.CloseRange(3, math.MaxInt32, unix.CLOSE_RANGE_CLOEXEC)
	if !errors.Is(err, unix.ENOSYS) && !errors.Is(err, unix.EINVAL) { // Linux before 5.11
		return err
	}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	for fd := 3; fd < int(min(limit.Max, 1<<20)); fd++ {
		unix.CloseOnExec(fd)
	}
	return nil
}

// aside moves the control socket out of the reserved numbers, and reserves what
// donate has given back.
func aside(control *os.File) (int, error) {
	fd, err := unix.FcntlInt(control.Fd(), unix.F_DUPFD_CLOEXEC, 3+reservedFiles)
	if err != nil {
		return -1, err
	}
	for {
		hold, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
		if err != nil {
			return -1, err
		}
		if hold >= 3+reservedFiles {
			return fd, unix.Close(hold)
		}
	}
}

// placeFiles puts the next command's files at the numbers that it wants them
// at, inheritable. Those numbers hold the starter's reservations and nothing of
// ours: what came later, the files themselves included, is above them.
func placeFiles(first int, fds []int) error {
	if len(fds) > 0 && first < 3 || first+len(fds) > 3+reservedFiles {
		return fmt.Errorf("%d files from number %d: numbers 3 to %d are reserved", len(fds), first, 2+reservedFiles)
	}
	for i, fd := range fds {
		if fd < 3+reservedFiles {
			return fmt.Errorf("descriptor %d came in at a reserved number", fd)
		}
		if err := unix.Dup3(fd, first+i, 0); err != nil {
			return err
		}
	}
	return nil
}

func sendFrame(fd int, f *frame, fds []int) error {
	doc, err := f.encode()
	if err != nil {
		return err
	}
	var oob []byte
	if len(fds) > 0 {
		oob = unix.UnixRights(fds...)
	}
	for {
		err := unix.Sendmsg(fd, doc, oob, nil, unix.MSG_NOSIGNAL)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// report tells the starter what failed.
func report(fd int, err error) error {
	f := &frame{Step: StepReceive, Text: err.Error()}
	var se *stepError
	if errors.As(err, &se) {
		f.Step, f.Text = se.Step, se.Err.Error()
	}
	var errno syscall.Errno
	if errors.As(err, &errno) {
		f.Errno = int(errno)
	}
	return sendFrame(fd, f, nil)
}

// appendU32 appends words in host order.
func appendU32(p []byte, words ...uint32) []byte {
	for _, w := range words {
		p = binary.NativeEndian.AppendUint32(p, w)
	}
	return p
}
