package supervisor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	hookexec "github.com/penstock/penstock/hooks/exec"
	"github.com/penstock/penstock/internal/donate"
	"github.com/penstock/penstock/internal/text"
	"github.com/penstock/penstock/policy"
	"github.com/penstock/penstock/sandbox"
	"github.com/penstock/penstock/sandbox/bwrap"
	"github.com/penstock/penstock/sandbox/layout"
	"github.com/penstock/penstock/supervisor/hookctl"
	"github.com/penstock/penstock/supervisor/packet"
	"github.com/penstock/penstock/supervisor/proxyctl"
)

// A hook's process that lives less than hookLife is started again only after a while,
// which doubles from firstWait to longestWait.
const (
	hookLife    = 10 * time.Second
	firstWait   = 100 * time.Millisecond
	longestWait = 10 * time.Second
)

// What a hook can say on its standard error.
const (
	maxVoiceLines = 50  // in a session
	maxVoiceLine  = 300 // bytes; the rest of a longer one is dropped
)

// hookHost has the programs of the policy's hooks. The proxy gets their processes'
// ends and is the only one to read them.
type hookHost struct {
	backend  *bwrap.Backend
	programs map[string]*hookProgram
	server   *hookctl.Server
}

// hookProgram is a hook that is a process.
type hookProgram struct {
	name    string
	program *policy.Program
	argv    []string
	mounts  []sandbox.Mount
	uid     int
	gid     int
	room    chan struct{} // one token for each process
	voice   *hookVoice

	mu    sync.Mutex
	early int // ends in a row that came too early
}

// planHooks finds what the policy's hooks execute. Like a secret's command nothing of
// it can be where a tool in a pen could change it.
func (s *session) planHooks() error {
	h := &hookHost{programs: map[string]*hookProgram{}}
	writable := append(paths(s.cfg.Policy.Filesystem().Write), s.cfg.Workdir)
	for _, hook := range s.cfg.Policy.Hooks() {
		g, ok := hook.Asks.(*policy.Program)
		if !ok {
			continue
		}
		fail := func(err error) error {
			return fmt.Errorf("use the program of hook %s (%s): %w", hook.Name, hook.From.Ref(), err)
		}
		path, err := exec.LookPath(g.Argv[0])
		if err != nil {
			return fail(err)
		}
		if !filepath.IsAbs(path) {
			return fail(exec.ErrDot)
		}
		argv := append([]string{path}, g.Argv[1:]...)
		for _, name := range argv {
			if dir := reachedBy(name, writable); dir != "" {
				return fail(fmt.Errorf("%s is in %s, where a tool in a pen can change it", text.Escape(name), text.Escape(dir)))
			}
		}
		p := &hookProgram{name: hook.Name, program: g, argv: argv, uid: s.cfg.Host.UID, gid: s.cfg.Host.GID, room: make(chan struct{}, 1)}
		p.voice = &hookVoice{say: func(line string) { s.notice("hook " + p.name + ": " + line) }}
		if g.Once {
			p.room = make(chan struct{}, hook.Concurrent())
		}
		if p.mounts, err = layout.Cage(absolute(argv), g.Network, layout.OS()); err != nil {
			return fail(err)
		}
		h.programs[hook.Name] = p
	}
	if len(h.programs) == 0 {
		return nil
	}
	var ok bool
	if h.backend, ok = s.backend.(*bwrap.Backend); !ok {
		var err error
		if h.backend, err = bwrap.New(""); err != nil {
			return fmt.Errorf("cage the programs of hooks: %w", err)
		}
	}
	s.hooks = h
	return closeOnExec()
}

func absolute(argv []string) (out []string) {
	for _, a := range argv {
		if filepath.IsAbs(a) {
			out = append(out, a)
		}
	}
	return out
}

// reachedBy returns which of the directories a path is in, or has inside.
func reachedBy(name string, dirs []string) string {
	if dir := writableBy(name, dirs); dir != "" || !filepath.IsAbs(name) {
		return dir
	}
	for _, dir := range dirs {
		if within(realPath(dir), realPath(name)) || within(dir, filepath.Clean(name)) {
			return dir
		}
	}
	return ""
}

// serve begins to start processes for a proxy that gets the other end among files,
// which is the caller's to close.
func (h *hookHost) serve(files map[string]*os.File) error {
	ours, theirs, err := packet.Pair()
	if err != nil {
		return err
	}
	files[proxyctl.FileHooks] = theirs
	h.server = hookctl.NewServer(packet.NewConn(ours, hookctl.MaxMessage, hookctl.MaxFiles), h.launch)
	return nil
}

// close ends all processes.
func (h *hookHost) close() {
	if h != nil && h.server != nil {
		h.server.Close()
	}
}

// launch is hookctl.Launch.
func (h *hookHost) launch(ctx context.Context, name string) (*hookexec.Process, error) {
	p := h.programs[name]
	if p == nil {
		return nil, errors.New("no such program")
	}
	select {
	case p.room <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if d := p.wait(); d > 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
			<-p.room
			return nil, ctx.Err()
		}
	}
	out, err := p.start(h.backend)
	if err != nil {
		p.ended(0)
		<-p.room
	}
	return out, err
}

// wait is how long the next process has to.
func (p *hookProgram) wait() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.early == 0 || p.program.Once {
		return 0
	}
	return min(firstWait<<(min(p.early, 10)-1), longestWait)
}

func (p *hookProgram) ended(lived time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.early++; lived >= hookLife {
		p.early = 0
	}
}

// start starts one process in a cage.
func (p *hookProgram) start(backend *bwrap.Backend) (_ *hookexec.Process, err error) {
	cmd, files, err := backend.Cage(p.mounts, p.argv, p.uid, p.gid, p.program.Network)
	if err != nil {
		return nil, err
	}
	defer packet.CloseAll(files)
	theirIn, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer theirIn.Close()
	out, theirOut, err := os.Pipe()
	if err != nil {
		in.Close()
		return nil, err
	}
	defer theirOut.Close()
	voice := &hookLine{to: p.voice}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = theirIn, theirOut, voice
	// A Ctrl-C at the terminal is the command's.
	c := &caged{cmd: cmd, pidfd: -1}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, PidFD: &c.pidfd}
	cmd.WaitDelay = time.Second
	began := time.Now()
	process, err := donate.Start(cmd, nil)
	if err != nil {
		in.Close()
		out.Close()
		return nil, fmt.Errorf("start the program: %w", err)
	}
	ended := make(chan int, 1)
	go func() {
		process.Wait() //nolint:errcheck // the state has it
		c.close()
		voice.end()
		p.ended(time.Since(began))
		<-p.room
		ended <- cmd.ProcessState.ExitCode()
	}()
	return &hookexec.Process{In: in, Out: out, Ended: ended, Kill: c.kill}, nil
}

// hookVoice shows a hook's lines, as many as there may be.
type hookVoice struct {
	say func(string)

	mu   sync.Mutex
	said int
}

func (v *hookVoice) line(b []byte) {
	v.mu.Lock()
	defer v.mu.Unlock()
	switch v.said++; {
	case v.said <= maxVoiceLines:
		v.say(string(b))
	case v.said == maxVoiceLines+1:
		v.say("what more it says is not shown")
	}
}

// hookLine makes lines of one process's standard error.
type hookLine struct {
	to  *hookVoice
	buf []byte
}

func (l *hookLine) Write(b []byte) (int, error) {
	n := len(b)
	for {
		line, rest, whole := bytes.Cut(b, []byte("\n"))
		l.buf = append(l.buf, line[:min(len(line), maxVoiceLine-len(l.buf))]...)
		if !whole {
			return n, nil
		}
		l.to.line(bytes.TrimRight(l.buf, "\r"))
		l.buf, b = l.buf[:0], rest
	}
}

// end shows what stands after the last line break.
func (l *hookLine) end() {
	if len(l.buf) > 0 {
		l.to.line(l.buf)
	}
}
