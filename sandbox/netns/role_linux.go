package netns

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"runtime"
	"syscall"

	"github.com/penstock/penstock/internal/donate"
	"golang.org/x/sys/unix"
)

// exitFailed is the exit code of a pen that could not be built.
const exitFailed = 125

// roleConfig is what role:netns is told.
type roleConfig struct {
	Path      string
	Argv      []string
	Env       []string
	FirstFile int
	Files     int // donated as "next.0", "next.1", …
	Publish   bool
}

// probeArgument makes the role end at once: it is what Probe executes.
const probeArgument = "probe"

func nextName(i int) string { return fmt.Sprintf("next.%d", i) }

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
	fd := int(control.Fd())
	err = build(&cfg, files, &fd)
	if report(fd, err) != nil {
		// Nobody listens any more; the reason still deserves a line.
		fmt.Fprintln(os.Stderr, "penstock:", err)
	}
	return exitFailed
}

// build does the work. Here we are root of U1, the user namespace that owns the
// network namespace, with the caller's uid outside; nothing of the tool runs
// yet. It returns an error or not at all.
func build(cfg *roleConfig, files map[string]*os.File, control *int) error {
	next, err := placeFiles(cfg, files, control)
	if err != nil {
		return err
	}
	ipv6, err := haveIPv6()
	if err != nil {
		return err
	}
	if err := raiseLoopback(ipv6); err != nil {
		return err
	}
	// Rules before listeners: from the first moment that somebody could
	// connect, only what is meant to be open is.
	if err := installRules(ruleset()); err != nil {
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
	if cfg.Publish {
		if s.Connector, err = startConnector(); err != nil {
			return &stepError{Step: StepConnector, Err: err}
		}
	}
	f, fds := socketsFrame(s)
	if err := sendFrame(*control, f, fds); err != nil {
		return &stepError{Step: StepSend, Err: err}
	}
	// From here on we hold none of them: the next command must not inherit a
	// listener, and a stolen descriptor can't come from a process that has none.
	if err := s.Close(); err != nil {
		return &stepError{Step: StepSend, Err: err}
	}
	for _, fd := range next {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0); err != nil {
			return &stepError{Step: StepExec, Err: err}
		}
	}
	// Everything else, the control socket included, is close-on-exec: its end
	// of file tells the starter that this worked.
	err = unix.Exec(cfg.Path, cfg.Argv, cfg.Env)
	return &stepError{Step: StepExec, Err: &os.PathError{Op: "execute", Path: cfg.Path, Err: err}}
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

// placeFiles moves the next command's files to the numbers it wants them at,
// still close-on-exec, and everything of ours above them. The starter has
// filled all numbers up to the last wanted one (close-on-exec as well), so the Go runtime (its epoll
// descriptor, its cgroup files) can't own any of them.
func placeFiles(cfg *roleConfig, files map[string]*os.File, control *int) ([]int, error) {
	if cfg.Files > 0 && cfg.FirstFile < 3 {
		return nil, &stepError{Step: StepReceive, Err: fmt.Errorf("first file %d is a standard one", cfg.FirstFile)}
	}
	end := max(cfg.FirstFile+cfg.Files, 3)
	move := func(f *os.File) (int, error) {
		fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, end)
		if err != nil {
			return -1, &stepError{Step: StepReceive, Err: err}
		}
		return fd, f.Close()
	}
	high := make([]int, cfg.Files)
	var err error
	for i := range high {
		f := files[nextName(i)]
		if f == nil {
			return nil, &stepError{Step: StepReceive, Err: errors.New(nextName(i) + " was not donated")}
		}
		if high[i], err = move(f); err != nil {
			return nil, err
		}
	}
	if *control, err = move(files["control"]); err != nil {
		return nil, err
	}
	next := make([]int, cfg.Files)
	for i, fd := range high {
		next[i] = cfg.FirstFile + i
		if err := unix.Dup3(fd, next[i], unix.O_CLOEXEC); err != nil {
			return nil, &stepError{Step: StepReceive, Err: err}
		}
		unix.Close(fd)
	}
	return next, nil
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
