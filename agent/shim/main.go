//go:build linux || darwin

package shim

import (
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/penstock/penstock/sandbox"
)

// exitBroken is the shim's own exit status for "not on the way to a command";
// the supervisor has the reason from the socket.
const exitBroken = 125

// Main is the role. args is the number of the control socket's descriptor.
// It returns only when the command could not be executed.
//
// It uses bare system calls on the socket, which is no matter for the runtime's poller.
func Main(args []string) int {
	// Landlock and the session belong to a thread; execve keeps the calling one.
	runtime.LockOSThread()
	if len(args) != 1 {
		return exitBroken
	}
	fd, err := strconv.Atoi(args[0])
	if err != nil || fd < 3 {
		return exitBroken
	}
	// First: whatever else was inherited, by whoever started the supervisor too,
	// ends here.
	closeOthers(fd)
	unix.CloseOnExec(fd)
	return obey(newPeer(fd))
}

// peer is the supervisor, over the line.
type peer interface {
	orders() (*Config, error)
	say(message) error
	hear() (message, error)
}

// obey does what it is told, step by step.
func obey(p peer) int {
	failed := func(step, what string, err error) int {
		m := message{Kind: kindFailed, Step: step, Text: what}
		var errno unix.Errno
		if errors.As(err, &errno) {
			m.Errno = int(errno)
		} else if err != nil {
			m.Text = err.Error()
		}
		p.say(m) //nolint:errcheck // it may be gone
		return exitBroken
	}
	cfg, err := p.orders()
	if err != nil {
		return failed(stepOrders, "", err)
	}
	for _, l := range cfg.Rlimits {
		if err := unix.Setrlimit(l.Resource, &unix.Rlimit{Cur: l.Value, Max: l.Value}); err != nil {
			return failed(stepLimits, fmt.Sprintf("resource %d", l.Resource), err)
		}
	}
	// A session of its own: no controlling terminal but the pen's pty, and a
	// process group that the supervisor can signal as a whole.
	if _, err := unix.Setsid(); err != nil && err != unix.EPERM { // EPERM: it leads one already
		return failed(stepSession, "", err)
	}
	if cfg.Terminal {
		if err := control(); err != nil {
			return failed(stepSession, "terminal", err)
		}
	}
	if cfg.Umask >= 0 {
		unix.Umask(cfg.Umask & 0o777)
	}
	if err := unix.Chdir(cfg.Dir); err != nil {
		return failed(stepDir, cfg.Dir, err)
	}
	ready, err := restrict(cfg)
	if err != nil {
		return failed(stepConfine, err.Error(), err)
	}
	if ready.Refused, err = cfg.Tries.held(); err != nil {
		return failed(stepConfine, err.Error(), err)
	}
	if p.say(ready) != nil {
		return exitBroken
	}
	switch m, err := p.hear(); {
	case errors.Is(err, errGone):
		return exitBroken // the supervisor changed its mind, or is gone
	case err != nil || m.Kind != kindGo:
		return failed(stepOrders, "", errors.New("not released"))
	}
	// Last of all: who looked at this process before has seen that they would end.
	for i := range cfg.Given {
		if _, err := unix.FcntlInt(uintptr(sandbox.FirstGiven+i), unix.F_SETFD, 0); err != nil {
			return failed(stepOrders, "descriptors", err)
		}
	}
	return failed(stepExec, cfg.Argv[0], execute(cfg))
}

// errGone says that the supervisor's end of the line is closed.
var errGone = errors.New("the supervisor is gone")

// control makes the pen's terminal the session's. Any of the three streams can
// be it: "make | penstock run -- less".
func control() error {
	err := error(unix.ENOTTY)
	for fd := range 3 {
		if err = unix.IoctlSetInt(fd, unix.TIOCSCTTY, 0); err == nil {
			return nil
		}
	}
	return err
}

func retry(f func() (int, error)) (int, error) {
	for {
		n, err := f()
		if err != unix.EINTR {
			return n, err
		}
	}
}

// execute replaces this process by the command, searching as execvp(3) does:
// the first match that can run; a permission error is remembered over "not
// found"; a file without a known format is a script for /bin/sh.
func execute(cfg *Config) error {
	name := cfg.Argv[0]
	if strings.Contains(name, "/") {
		return run(name, cfg)
	}
	result := error(unix.ENOENT)
	for _, dir := range strings.Split(path(cfg.Env), ":") {
		if dir == "" {
			dir = "."
		}
		switch err := run(dir+"/"+name, cfg); {
		case errors.Is(err, unix.EACCES):
			result = unix.EACCES
		case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ELOOP), errors.Is(err, unix.ENAMETOOLONG):
		default:
			return err
		}
	}
	return result
}

func run(file string, cfg *Config) error {
	err := replace(file, cfg.Argv, cfg.Env)
	if errors.Is(err, unix.ENOEXEC) {
		return replace("/bin/sh", append([]string{"sh", file}, cfg.Argv[1:]...), cfg.Env)
	}
	return err
}

// replace refuses directories by name, since execve's EACCES for them would hide
// a better match further down PATH.
func replace(file string, argv, env []string) error {
	var st unix.Stat_t
	if err := unix.Stat(file, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return unix.EACCES
	}
	return syscall.Exec(file, argv, env) // which gives back the descriptor limit that the runtime raised
}

// path is PATH, or what glibc takes without one.
func path(env []string) string {
	found, ok := "", false
	for _, e := range env {
		if v, is := strings.CutPrefix(e, "PATH="); is {
			found, ok = v, true
		}
	}
	if !ok {
		return "/bin:/usr/bin"
	}
	return found
}
