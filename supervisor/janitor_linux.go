package supervisor

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"sort"
	"strings"
	"syscall"

	"github.com/penstock/penstock/internal/donate"
	"github.com/penstock/penstock/sandbox"
	"github.com/penstock/penstock/sandbox/layout"
)

// JanitorRole is os.Args[1] of the janitor's process.
const JanitorRole = "role:janitor"

// The janitor removes a session's placeholders when the supervisor can't,
// because it was killed. It waits for the end of a pipe that the supervisor and
// the pen's first process hold open: a placeholder must outlive the pen, whose
// protection it carries. It reads nothing from anybody, and removes only what
// is still a placeholder (see layout.Claimed).

type janitorConfig struct {
	Placeholders []sandbox.Placeholder `json:"placeholders"`
}

const fileAlive = "alive"

// janitor is the running role, and the end of the pipe that keeps it waiting.
type janitor struct {
	cmd   *exec.Cmd
	alive *os.File // write end; the pen gets a copy
}

func startJanitor(self string, c *layout.Claimed) (*janitor, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("start the janitor: %w", err)
	}
	defer r.Close()
	files := map[string]*os.File{fileAlive: r}
	for i, f := range c.Files() {
		files[fmt.Sprintf("placeholder%04d", i)] = f
	}
	extra, err := donate.Files(&janitorConfig{Placeholders: c.Placeholders()}, files)
	if err != nil {
		w.Close()
		return nil, err
	}
	defer extra[0].Close()
	j := &janitor{cmd: exec.Command(self, JanitorRole), alive: w}
	j.cmd.Args[0] = "penstock"
	j.cmd.Env = []string{"GOMAXPROCS=1"}
	j.cmd.Dir = "/"
	j.cmd.ExtraFiles = extra
	// No parent-death signal, and a session of its own: it is there for when
	// everything else has been killed.
	j.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := j.cmd.Start(); err != nil {
		w.Close()
		return nil, fmt.Errorf("start the janitor: %w", err)
	}
	// It has nothing to do while others are in a hurry.
	syscall.Setpriority(syscall.PRIO_PROCESS, j.cmd.Process.Pid, 19) //nolint:errcheck // a courtesy
	return j, nil
}

// claim makes the placeholders and hires the janitor. Undoing it ends the pen
// first, because a placeholder carries a protection while the pen lives.
func (s *session) claim() error {
	if len(s.files.Placeholders) == 0 {
		return nil
	}
	c, err := layout.Claim(s.files.Placeholders)
	if err != nil {
		return err
	}
	s.undo.push(func() {
		s.pen.Close()
		if err := c.Release(); err != nil {
			s.say.line("%v", err)
		}
	})
	if s.janitor, err = startJanitor(s.cfg.Host.Self, c); err != nil {
		return err
	}
	s.undo.push(func() { s.pen.Close(); c.Release(); s.janitor.dismiss() })
	return nil
}

// aliveEnd is what the pen's first process holds open.
func (s *session) aliveEnd() *os.File {
	if s.janitor == nil {
		return nil
	}
	return s.janitor.alive
}

// dismiss ends the janitor after the supervisor has cleaned up itself.
func (j *janitor) dismiss() {
	j.cmd.Process.Kill()
	j.cmd.Wait()
	j.alive.Close()
}

// JanitorMain is the role's main; it returns the exit code.
func JanitorMain() int {
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	var cfg janitorConfig
	files, err := donate.Receive(&cfg)
	if err != nil {
		fmt.Fprintf(os.Stderr, "penstock: %v\n", err)
		return 1
	}
	var names []string
	for n := range files {
		if strings.HasPrefix(n, "placeholder") {
			names = append(names, n)
		}
	}
	sort.Strings(names)
	var held []*os.File
	for _, n := range names {
		held = append(held, files[n])
	}
	io.Copy(io.Discard, files[fileAlive]) // nobody writes; it ends with the last holder
	if err := layout.Adopt(cfg.Placeholders, held).Release(); err != nil {
		return 1
	}
	return 0
}
