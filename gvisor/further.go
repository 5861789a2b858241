package main

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/control/client"
	"gvisor.dev/gvisor/pkg/sentry/control"
	"gvisor.dev/gvisor/pkg/sentry/kernel/auth"
	"gvisor.dev/gvisor/pkg/urpc"
	"gvisor.dev/gvisor/runsc/boot"
)

// further starts commands beside the first one, for whoever holds the other end of
// line: each message there brings a descriptor, over which one command is talked
// about, in frames (penstock's packages supervisor/packet and supervisor/execctl).
type further struct {
	w       *world
	control string // the sentry's control socket
}

// request is a message of the supervisor's, answer one of ours; one member is set.
type request struct {
	Start  *startOrder `json:"start"`
	Signal int         `json:"signal"`
}

type startOrder struct {
	Argv     []string `json:"argv"`
	Env      []string `json:"env"`
	Dir      string   `json:"dir"`
	Terminal bool     `json:"terminal"`
}

type answer struct {
	Started bool    `json:"started,omitempty"`
	Ended   *ended  `json:"ended,omitempty"`
	Failed  *failed `json:"failed,omitempty"`
}

type ended struct {
	Code int `json:"code"`
}

type failed struct {
	Text string `json:"text"`
	Code int    `json:"code"`
}

// serve takes commands from line until that ends.
func (f *further) serve(line int) {
	for {
		var b [1]byte
		oob := make([]byte, unix.CmsgSpace(4))
		n, on, _, _, err := unix.Recvmsg(line, b[:], oob, unix.MSG_CMSG_CLOEXEC)
		if err == unix.EINTR {
			continue
		}
		if err != nil || n == 0 {
			return
		}
		fds, err := rights(oob[:on])
		if err != nil || len(fds) != 1 {
			continue
		}
		if uc, err := connection(fds[0]); err == nil {
			go f.one(uc)
		}
	}
}

func rights(oob []byte) (fds []int, err error) {
	messages, err := unix.ParseSocketControlMessage(oob)
	for i := range messages {
		if list, err := unix.ParseUnixRights(&messages[i]); err == nil {
			fds = append(fds, list...)
		}
	}
	return fds, err
}

func connection(fd int) (*net.UnixConn, error) {
	f := os.NewFile(uintptr(fd), "conversation")
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	uc, ok := c.(*net.UnixConn)
	if !ok {
		c.Close()
		return nil, errors.New("no unix socket")
	}
	return uc, nil
}

// one talks about one command.
func (f *further) one(uc *net.UnixConn) {
	defer uc.Close()
	var mu sync.Mutex
	say := func(a answer) {
		b, err := json.Marshal(&a)
		if err != nil {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		uc.Write(append(head(len(b)), b...)) //nolint:errcheck // then nobody listens
	}
	r, fds, err := receive(uc)
	files := make([]*os.File, len(fds))
	for i, fd := range fds {
		files[i] = os.NewFile(uintptr(fd), "stream "+fmt.Sprint(i))
		defer files[i].Close()
	}
	if err != nil || r.Start == nil || len(files) != 3 {
		say(answer{Failed: &failed{"no command with three streams", exitBroken}})
		return
	}
	code, err := f.execute(r.Start, [3]*os.File(files), uc, func() { say(answer{Started: true}) })
	var run *notRun
	switch {
	case errors.As(err, &run):
		say(answer{Failed: &failed{fmt.Sprintf("execute %q: %s", r.Start.Argv[0], run.text), run.code}})
	case err != nil:
		say(answer{Failed: &failed{err.Error(), exitBroken}})
	default:
		say(answer{Ended: &ended{code}})
	}
}

// execute runs a command to its end and returns its exit code. Meanwhile it hands on
// what signals are asked for over uc.
func (f *further) execute(o *startOrder, given [3]*os.File, uc *net.UnixConn, started func()) (int, error) {
	out, err := openStreams(given, o.Terminal)
	if err != nil {
		return 0, err
	}
	defer out.handed()
	c, err := client.ConnectTo(f.control)
	if err != nil {
		return 0, fmt.Errorf("ask gVisor's kernel: %w", err)
	}
	defer c.Close()
	p := &proc{control: f.control}
	// The keys that make signals do it for whoever the terminal is the controlling one of.
	keys, err := listenKeys(out)
	if err != nil {
		return 0, err
	}
	defer keys.close()
	if p.pid, err = f.start(c, o, out); err != nil {
		return 0, err
	}
	out.handed()
	started()
	go keys.pass(p)
	go func() {
		for {
			r, _, err := receive(uc)
			if err != nil {
				p.send(int32(unix.SIGKILL))
				return
			}
			p.send(int32(r.Signal))
		}
	}()
	var ws uint32
	if err := c.Call(boot.ContMgrWaitPID, &boot.WaitPIDArgs{PID: p.pid, CID: id}, &ws); err != nil {
		return 0, fmt.Errorf("wait for the command: %w", err)
	}
	out.drain()
	return exitCode(unix.WaitStatus(ws)), nil
}

// start has gVisor's kernel start a command, and a file without a known format as one
// for the shell, as execvp(3) does.
func (f *further) start(c *urpc.Client, o *startOrder, out *streams) (int32, error) {
	argv := o.Argv
	for {
		streams := map[int]*os.File{}
		for i, file := range out.inner {
			streams[i] = file
		}
		args := &control.ExecArgs{
			Argv: argv, Envv: o.Env, WorkingDirectory: o.Dir, ContainerID: id,
			KUID: auth.KUID(f.w.uid), KGID: auth.KGID(f.w.gid), NoNewPrivileges: true, Capabilities: &auth.TaskCapabilities{},
			StdioIsPty: o.Terminal && out.terminals == 3, SupportTTYs: o.Terminal,
			FilePayload: control.NewFilePayload(streams, nil),
		}
		var pid int32
		err := c.Call(boot.ContMgrExecuteAsync, args, &pid)
		if err == nil {
			return pid, nil
		}
		var run *notRun
		if err = classify(err.Error()); errors.As(err, &run) && run.script != "" && argv[0] != "/bin/sh" {
			argv = append([]string{"/bin/sh", run.script}, argv[1:]...)
			continue
		}
		return 0, err
	}
}

// proc is a command that runs.
type proc struct {
	control string // the sentry's control socket
	pid     int32
}

// send hands a signal on. What a terminal sends goes to all of the command's group.
func (p *proc) send(signo int32) {
	if s := unix.Signal(signo); s == unix.SIGINT || s == unix.SIGQUIT {
		if p.signal(signo, boot.DeliverToProcessGroup) == nil {
			return
		}
	}
	p.signal(signo, boot.DeliverToProcess) //nolint:errcheck // it has ended
}

// signal asks over a connection of its own: one that waits for the end is taken.
func (p *proc) signal(signo int32, mode boot.SignalDeliveryMode) error {
	c, err := client.ConnectTo(p.control)
	if err != nil {
		return err
	}
	defer c.Close()
	return c.Call(boot.ContMgrSignal, &boot.SignalArgs{CID: id, PID: p.pid, Signo: signo, Mode: mode}, nil)
}

// keys is a process whose controlling terminal is a command's, and which tells what
// signals come of that. It is none where the command has no terminal.
type keys struct {
	cmd  *exec.Cmd
	said *os.File
}

func listenKeys(out *streams) (*keys, error) {
	if out.tty == nil {
		return &keys{}, nil
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer w.Close()
	k := &keys{cmd: exec.Command("/proc/self/exe", roleKeys), said: r}
	k.cmd.Args[0] = "penstock-gvisor"
	k.cmd.Env = []string{}
	k.cmd.Stdin, k.cmd.Stdout = out.tty, w
	k.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 0, Pdeathsig: syscall.SIGKILL}
	if err := k.cmd.Start(); err != nil {
		r.Close()
		return nil, fmt.Errorf("make the terminal the command's: %w", err)
	}
	// It is there when it says so: nothing that is typed afterwards is lost.
	if _, err := io.ReadFull(r, make([]byte, 1)); err != nil {
		k.close()
		return nil, fmt.Errorf("make the terminal the command's: %w", err)
	}
	return k, nil
}

// pass hands on what is told until close.
func (k *keys) pass(p *proc) {
	if k.said == nil {
		return
	}
	var b [1]byte
	for {
		if _, err := k.said.Read(b[:]); err != nil {
			return
		}
		if p.signal(int32(b[0]), boot.DeliverToForegroundProcessGroup) != nil {
			p.send(int32(b[0]))
		}
	}
}

func (k *keys) close() {
	if k.cmd == nil {
		return
	}
	k.cmd.Process.Kill() //nolint:errcheck // it has ended
	k.cmd.Wait()         //nolint:errcheck // it was killed
	k.said.Close()
}

// hearKeys is that process: each byte that it writes is a signal, the first one none.
func hearKeys() error {
	signals := make(chan os.Signal, 64)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTSTP, syscall.SIGWINCH, syscall.SIGHUP, syscall.SIGCONT)
	signal.Ignore(syscall.SIGTTIN, syscall.SIGTTOU)
	if _, err := os.Stdout.Write([]byte{0}); err != nil {
		return err
	}
	for s := range signals {
		if _, err := os.Stdout.Write([]byte{byte(s.(syscall.Signal))}); err != nil {
			return err
		}
	}
	return nil
}

// Frames: how long the message is, four bytes, and how many descriptors come with it.
const headSize = 5

// maxFrame is more than the kernel lets execve(2) take, in bytes.
const maxFrame = 4 << 20

func head(n int) []byte {
	return append(binary.BigEndian.AppendUint32(make([]byte, 0, headSize+n), uint32(n)), 0)
}

func receive(uc *net.UnixConn) (*request, []int, error) {
	var h [headSize]byte
	var fds []int
	oob := make([]byte, unix.CmsgSpace(4*3))
	for at := 0; at < headSize; {
		n, on, _, _, err := uc.ReadMsgUnix(h[at:], oob)
		if err == nil && n == 0 {
			err = io.EOF
		}
		if err != nil {
			return nil, fds, err
		}
		if got, err := rights(oob[:on]); err == nil {
			for _, fd := range got {
				unix.CloseOnExec(fd)
			}
			fds = append(fds, got...)
		}
		at += n
	}
	n := binary.BigEndian.Uint32(h[:])
	if n > maxFrame {
		return nil, fds, fmt.Errorf("a message has %d bytes", n)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(uc, b); err != nil {
		return nil, fds, err
	}
	r := &request{}
	if err := json.Unmarshal(b, r); err != nil {
		return nil, fds, err
	}
	if r.Start != nil && (len(r.Start.Argv) == 0 || strings.ContainsRune(strings.Join(r.Start.Argv, ""), 0)) {
		return nil, fds, errors.New("no command")
	}
	return r, fds, nil
}
