package daemon

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/penstock/penstock/internal/donate"
	"github.com/penstock/penstock/internal/text"
	"github.com/penstock/penstock/sandbox"
	"github.com/penstock/penstock/sandbox/cgroup"
	"github.com/penstock/penstock/supervisor/bossctl"
	"github.com/penstock/penstock/supervisor/packet"
)

// proxyRole is os.Args[1] of a proxy's process.
const proxyRole = "role:proxy"

// stage is how far a proxy is; it says which messages are in turn.
type stage int

const (
	starting stage = iota // nothing was said yet
	vacant                // ready
	assigned              // has a session, may ask for what it must reach
	admitted              // reads what a pen sends: believed nothing from here on
	closed                // has said its last word
)

// proxy is one proxy's process.
type proxy struct {
	slot, uid int
	cmd       *exec.Cmd
	boss      *bossctl.Conn
	group     *cgroup.Group // nil without control groups
	stderr    *head

	ready chan struct{} // closed with the first message
	heard chan struct{} // closed when all that it said was read
	done  chan struct{} // closed when the process is reaped
	last  chan struct{} // closed when closing is set
	filed chan struct{} // closed when files is set

	moving sync.Mutex // see again
	gone   bool

	mu      sync.Mutex
	stage   stage
	asked   map[bossctl.Op]bool // each at most once
	session asks
	acts    rate                // of violations
	files   *bossctl.Files      // what the floor says of files, there after filed
	lost    func(reason string) // the session's: the proxy is no good any more
	counts  bossctl.Counts
	counted rate
	limited chan struct{} // the answer to limits, nil: none is expected
	closing *bossctl.Closed
	why     error
}

// start starts a proxy in slot, on the thread of s. It returns before the proxy
// is ready.
func (p *pool) start(slot int) (*proxy, error) {
	x := &proxy{slot: slot, uid: p.firstUID + slot, stderr: &head{}, asked: map[bossctl.Op]bool{}, ready: make(chan struct{}), heard: make(chan struct{}), done: make(chan struct{}), last: make(chan struct{}), filed: make(chan struct{})}
	ours, theirs, err := packet.Pair()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	x.boss = bossctl.NewConn(ours)
	extra, err := donate.Files(&bossctl.Config{Supervised: true}, map[string]*os.File{bossctl.FileBoss: theirs})
	if err != nil {
		x.boss.Close()
		return nil, err
	}
	defer extra[0].Close()
	if p.groups != nil {
		if x.group, _, err = p.groups.Proxy(slot, sandbox.Limits{}); err != nil {
			x.boss.Close()
			return nil, err
		}
	}
	x.cmd = exec.Command(p.program, proxyRole)
	x.cmd.Args[0] = "penstock"
	x.cmd.Env = []string{"PATH=/nonexistent"}
	x.cmd.Dir = "/"
	x.cmd.ExtraFiles = extra
	x.cmd.Stderr = x.stderr
	x.cmd.WaitDelay = time.Second // for who holds its stderr after its death
	x.cmd.SysProcAttr = &syscall.SysProcAttr{
		Setpgid:    true,
		Pdeathsig:  syscall.SIGKILL, // of the thread that starts it, which lives as long as the daemon
		Credential: &syscall.Credential{Uid: uint32(x.uid), Gid: uint32(x.uid)},
	}
	err = p.thread(x.cmd.Start)
	if err == nil && x.group != nil {
		// It is our own code still, and waits for us.
		err = x.group.Add(x.cmd.Process.Pid)
	}
	if err != nil {
		x.boss.Close()
		if x.cmd.Process != nil {
			x.cmd.Process.Kill()
			x.cmd.Wait()
		}
		if x.group != nil {
			x.group.Close()
		}
		return nil, fmt.Errorf("start a proxy: %w", err)
	}
	go x.reap()
	go x.listen()
	return x, nil
}

// reap waits for the process's end without keeping a thread.
func (x *proxy) reap() {
	if pidfd, err := unix.PidfdOpen(x.cmd.Process.Pid, unix.PIDFD_NONBLOCK); err == nil {
		f := os.NewFile(uintptr(pidfd), "proxy")
		if raw, err := f.SyscallConn(); err == nil {
			raw.Read(func(fd uintptr) bool { //nolint:errcheck // or Wait waits
				fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
				n, err := unix.Poll(fds, 0)
				return n > 0 || err != nil && !errors.Is(err, unix.EINTR)
			})
		}
		f.Close()
	}
	x.moving.Lock() // its number is nobody else's until it is waited for
	x.gone = true
	x.moving.Unlock()
	x.cmd.Wait() //nolint:errcheck // what it said is told by reason
	if x.group != nil {
		emptyGroup(x.group) //nolint:errcheck // it can't start processes; the next sweep finds what is there
		x.group.Close()     //nolint:errcheck // likewise
	}
	// What it said last may not have been read yet. Who else holds its end, if it
	// has passed that on, is not waited for.
	select {
	case <-x.heard:
	case <-time.After(exitTime):
	}
	x.boss.Close()
	close(x.done)
	x.fail(x.reason())
}

// reason says how the process ended.
func (x *proxy) reason() error {
	if said := x.stderr.String(); said != "" {
		line, _, _ := bytes.Cut([]byte(said), []byte("\n"))
		return errors.New("the proxy ended: " + string(line[:min(len(line), 300)])) // escaped where it is told
	}
	return errors.New("the proxy ended: " + x.cmd.ProcessState.String())
}

// listen obeys nothing: it takes the messages that a proxy has, each in its
// turn, and ends the proxy for any other.
func (x *proxy) listen() {
	heard := sync.OnceFunc(func() { close(x.heard) })
	defer heard()
	for {
		m, files, err := x.boss.Recv()
		packet.CloseAll(files)
		if err == nil {
			err = x.hear(m)
		}
		if err == nil {
			continue
		}
		if errors.Is(err, io.EOF) {
			heard()
			// It is dying, mostly, and reap knows more about it.
			select {
			case <-x.done:
				return
			case <-time.After(exitTime):
			}
		}
		if !x.over() {
			x.fail(fmt.Errorf("the proxy broke its conversation: %w", err))
		}
		x.kill()
		return
	}
}

// exitTime is how long a proxy may take to end after it has hung up.
const exitTime = time.Second

func (x *proxy) hear(m *bossctl.Message) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	switch {
	case m.Op == bossctl.OpReady && x.stage == starting:
		x.stage = vacant
		close(x.ready)
	case m.Op == bossctl.OpGuard && x.stage == assigned && !x.asked[m.Op]:
		return x.grant(m.Op, bossctl.OpGuarded, x.session.guard(m.Reach))
	case m.Op == bossctl.OpDeny && x.stage == assigned && !x.asked[m.Op]:
		return x.grant(m.Op, bossctl.OpDenied, x.session.deny(m.Denied))
	case m.Op == bossctl.OpCounts && (x.stage == assigned || x.stage == admitted):
		if !x.counted.spend(time.Now(), 1) {
			return errors.New("counts too often")
		}
		x.counts = *m.Counts
	case m.Op == bossctl.OpFiles && x.stage == assigned && x.files == nil:
		x.files = m.Files
		close(x.filed)
	case m.Op == bossctl.OpViolated && x.stage == admitted:
		if !x.acts.spend(time.Now(), violationsRate) {
			return errors.New("tells of violations too often")
		}
		x.session.violated(m.Violated)
	case m.Op == bossctl.OpLimited && x.limited != nil:
		close(x.limited)
		x.limited = nil
	case m.Op == bossctl.OpClosed && (x.stage == assigned || x.stage == admitted):
		x.stage = closed
		x.counts = m.Closed.Counts
		x.closing = m.Closed
		close(x.last)
	default:
		return fmt.Errorf("%s is out of turn", m.Op)
	}
	return nil
}

// violationsRate is how many violations a proxy may tell of in a second; it tells
// of ten.
const violationsRate = 20

// sendTime bounds a message to a proxy, which has room for it or does not read.
const sendTime = 2 * time.Second

func (x *proxy) send(m *bossctl.Message, files ...*os.File) error {
	x.boss.SetWriteDeadline(time.Now().Add(sendTime)) //nolint:errcheck // then it fails
	return x.boss.Send(m, files...)
}

// again puts the proxy into its group once more. The first who moves a process
// after a while waits for all processors (cgroup_threadgroup_rwsem is cheap for
// readers), and who comes soon after does not: the builder is moved next.
func (x *proxy) again() {
	go func() {
		x.moving.Lock()
		defer x.moving.Unlock()
		if x.group != nil && !x.gone {
			x.group.Add(x.cmd.Process.Pid) //nolint:errcheck // it is there already
		}
	}()
}

// assign gives the proxy its session. lost is called once, if the proxy fails
// before it has said that it is done.
func (x *proxy) assign(a *bossctl.Assign, session asks, lost func(string), files ...*os.File) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.stage != vacant || x.why != nil {
		return errors.New("the proxy is not idle")
	}
	x.stage, x.session, x.lost = assigned, session, lost
	return x.send(&bossctl.Message{Op: bossctl.OpAssign, Assign: a}, files...)
}

// admit tells what the pen is. From here on the proxy reads hostile bytes.
func (x *proxy) admit(a *bossctl.Admit) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.stage != assigned {
		return errors.New("the proxy has ended its session")
	}
	x.stage = admitted
	return x.send(&bossctl.Message{Op: bossctl.OpAdmit, Admit: a})
}

// limits tells what limits the pen has hit, and waits until it is recorded or
// never will be. It is called by one goroutine at a time.
func (x *proxy) limits(l *bossctl.Limits) {
	x.mu.Lock()
	if x.stage != admitted {
		x.mu.Unlock()
		return
	}
	limited := make(chan struct{})
	x.limited = limited
	err := x.send(&bossctl.Message{Op: bossctl.OpLimits, Limits: l})
	x.mu.Unlock()
	if err != nil {
		return // it is ending, or will be found to be
	}
	t := time.NewTimer(sendTime)
	defer t.Stop()
	select {
	case <-limited:
	case <-x.done:
	case <-x.last:
	case <-t.C:
	}
}

// over tells whether the proxy has said its last word.
func (x *proxy) over() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.stage == closed
}

// fail remembers why the proxy is no good, and tells its session.
func (x *proxy) fail(err error) {
	x.mu.Lock()
	lost := x.lost
	if x.why != nil || x.stage == closed {
		lost = nil
	}
	if x.why == nil {
		x.why = err
	}
	x.mu.Unlock()
	if lost != nil {
		lost(err.Error())
	}
}

// failed returns why.
func (x *proxy) failed() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.why
}

func (x *proxy) numbers() bossctl.Counts {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.counts
}

func (x *proxy) kill() { x.cmd.Process.Kill() } //nolint:errcheck // gone is as good

// Times that a proxy has for its last word.
const (
	lastWordTime = 10 * time.Second // to end the flows and write the last record
	unusedTime   = 2 * time.Second  // of one that has no pen yet
)

// finish has the proxy write its last record, unless it has, and returns when the
// process is gone: what it said of its end, nil if nothing.
func (x *proxy) finish(reason string) *bossctl.Closed {
	x.mu.Lock()
	x.lost = nil // whatever it does now, its session ends
	patience := unusedTime
	if x.stage == admitted {
		patience = lastWordTime
	}
	if x.stage == assigned || x.stage == admitted {
		x.send(&bossctl.Message{Op: bossctl.OpEnd, Text: oneLine(reason)}) //nolint:errcheck // then it is killed
	}
	x.mu.Unlock()
	t := time.NewTimer(patience)
	defer t.Stop()
	select {
	case <-x.last: // everything is written
	case <-x.done:
	case <-t.C:
	}
	x.kill()
	<-x.done
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.closing
}

// oneLine makes of any text one that a message may carry.
func oneLine(s string) string {
	s = text.Escape(s)
	if len(s) > 2048 {
		s = s[:2048]
	}
	return s
}
