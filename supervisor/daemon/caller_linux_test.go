package daemon

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/penstock/penstock/audit"
	"github.com/penstock/penstock/netproxy/ca"
	"github.com/penstock/penstock/policy"
	"github.com/penstock/penstock/sandbox"
	"github.com/penstock/penstock/sandbox/confine"
	"github.com/penstock/penstock/sandbox/netns"
	"github.com/penstock/penstock/supervisor/daemonctl"
	"github.com/penstock/penstock/supervisor/proxyctl"
)

// pretender is what a caller's process works with.
type pretender struct {
	socket string
	args   []string
	in     *bufio.Reader

	client  *daemonctl.Client
	opened  *daemonctl.Opened
	control *os.File
	audit   *os.File
	proxy   *proxyctl.Client
	pen     *netns.Building
	sockets *netns.Sockets
	held    int // pid of the shim

	policy *policy.Policy // nil: the empty one
	limits sandbox.Limits
}

// say prints a line and waits for the test to go on.
func (u *pretender) say(format string, args ...any) {
	fmt.Printf(format+"\n", args...)
	u.in.ReadString('\n')
}

// callerMain plays one scenario; an error is its end.
func callerMain(name, socket string, args []string) int {
	u := &pretender{socket: socket, args: args, in: bufio.NewReader(os.Stdin)}
	scenario := scenarios()[name]
	if scenario == nil {
		fmt.Fprintln(os.Stderr, "no scenario", name)
		return 2
	}
	err := scenario(u)
	if u.pen != nil {
		u.pen.Close()
	}
	if err != nil {
		fmt.Println("error:", err)
		fmt.Fprintln(os.Stderr, "scenario", name+":", err)
		return 1
	}
	return 0
}

// within bounds every step of a scenario.
func within(f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	return f(ctx)
}

// steps are an honest session's, in their order.
func (u *pretender) steps() []func(context.Context) error {
	return []func(context.Context) error{u.open, u.configure, u.build, u.join, u.network, u.hold, u.verify, u.serve, u.end}
}

// to does the steps up to the n-th.
func (u *pretender) to(n int) error {
	for _, step := range u.steps()[:n] {
		if err := within(step); err != nil {
			return err
		}
	}
	return nil
}

// Numbers of steps for to.
const (
	stepOpen = iota + 1
	stepConfigure
	stepBuild
	stepJoin
	stepNetwork
	stepHold
	stepVerify
	stepServe
	stepEnd
)

func request() *daemonctl.Open {
	return &daemonctl.Open{Command: []string{"sleep", "1000"}, Workdir: "/w", Tier: "bwrap", Mode: "enforce"}
}

func (u *pretender) open(ctx context.Context) (err error) {
	if u.client, err = daemonctl.Dial(ctx, u.socket); err != nil {
		return err
	}
	r := request()
	r.Limits = u.limits
	u.opened, u.control, u.audit, err = u.client.Open(ctx, r)
	return err
}

// configure gives the proxy what it needs, as penstock run does.
func (u *pretender) configure(ctx context.Context) error {
	uc, err := proxyctl.Open(u.control)
	if err != nil {
		return err
	}
	u.proxy = proxyctl.NewClient(proxyctl.NewConn(uc), func(string) {})
	authority, err := ca.Ephemeral()
	if err != nil {
		return err
	}
	defer authority.Close()
	fd, err := unix.MemfdCreate("cert", unix.MFD_CLOEXEC)
	if err != nil {
		return err
	}
	cert := os.NewFile(uintptr(fd), "cert")
	defer cert.Close()
	if _, err := cert.Write(authority.Certificate); err != nil {
		return err
	}
	if _, err := cert.Seek(0, io.SeekStart); err != nil {
		return err
	}
	p := u.policy
	if p == nil {
		if p, err = policy.New(nil); err != nil {
			return err
		}
	}
	return u.proxy.Configure(ctx, &proxyctl.Config{Session: "none of yours", Mode: "enforce", Policy: p},
		map[string]*os.File{proxyctl.FileCACert: cert, proxyctl.FileCAKey: authority.Key})
}

// build starts the pen's first process.
func (u *pretender) build(context.Context) (err error) {
	null, err := os.Open("/dev/null")
	if err != nil {
		return err
	}
	u.pen, err = netns.Prepare("/proc/self/exe", [3]*os.File{null, null, os.Stderr}, netns.Options{})
	return err
}

func pidfd(pid int) (*os.File, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), "pidfd"), nil
}

func (u *pretender) join(ctx context.Context) error {
	f, err := pidfd(u.pen.Process().Pid)
	if err != nil {
		return err
	}
	defer f.Close()
	return u.client.Join(ctx, f)
}

func (u *pretender) ns() (*os.File, error) {
	return os.Open("/proc/" + strconv.Itoa(u.pen.Process().Pid) + "/ns/net")
}

func (u *pretender) network(ctx context.Context) (err error) {
	if u.sockets, err = u.pen.Sockets(ctx); err != nil {
		return err
	}
	ns, err := u.ns()
	if err != nil {
		return err
	}
	defer ns.Close()
	return u.client.Network(ctx, u.sockets.Files(), ns)
}

// hold has the first process become one that starts a held child in namespaces of
// its own, as bwrap does; a FIFO in the arguments' place would need a directory,
// so the child is found in /proc.
func (u *pretender) hold(context.Context) error {
	mode := "good"
	if len(u.args) > 0 {
		mode = u.args[0]
	}
	if err := u.pen.Execute(&sandbox.Command{Path: "/proc/self/exe", Argv: []string{"penstock", "role:test-pen", mode}, Env: []string{}}); err != nil {
		return err
	}
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); unix.Poll(nil, 2) {
		select {
		case <-u.pen.Done():
			return errors.New("the pen ended")
		default:
		}
		pid := u.pen.Process().Pid
		for range 2 { // the builder's child's child
			if pid = child(pid); pid == 0 {
				break
			}
		}
		if pid == 0 {
			continue
		}
		// Held when its name says so, which it changes last.
		if comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid)); err == nil && strings.TrimSpace(string(comm)) == "held" {
			u.held = pid
			return nil
		}
	}
	return errors.New("no held process")
}

func child(pid int) int {
	tasks, _ := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	for _, t := range tasks {
		b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/children", pid, t.Name()))
		if f := strings.Fields(string(b)); len(f) > 0 {
			n, _ := strconv.Atoi(f[0])
			return n
		}
	}
	return 0
}

func (u *pretender) verify(ctx context.Context) error {
	f, err := pidfd(u.held)
	if err != nil {
		return err
	}
	defer f.Close()
	return u.client.Verify(ctx, f)
}

func (u *pretender) serve(ctx context.Context) error {
	if err := u.proxy.Listen(ctx); err != nil {
		return err
	}
	return u.proxy.Record(ctx, audit.TypeSessionStart, &audit.SessionStart{UID: 12345})
}

func (u *pretender) end(ctx context.Context) error {
	if _, err := u.proxy.End(ctx, &audit.SessionEnd{ExitCode: 3}); err != nil {
		return err
	}
	return u.client.End(ctx, &daemonctl.End{ExitCode: 3})
}

// penMain is what the first process becomes: as bwrap it starts the pen's first
// process inside, here pid 1 of a namespace, and waits for it.
func penMain(mode string) int {
	cmd := exec.Command("/proc/self/exe", "role:test-held", mode)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 1}},
		Pdeathsig:   syscall.SIGKILL,
	}
	if err := cmd.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "pen:", err)
		return 1
	}
	return 0
}

// heldMain is pid 1 of the pen, which starts the held process, or it itself.
func heldMain(mode string) int {
	if os.Getpid() == 1 {
		cmd := exec.Command("/proc/self/exe", "role:test-held", mode)
		cmd.Stderr = os.Stderr
		if err := cmd.Run(); err != nil {
			return 1
		}
		return 0
	}
	comm, err := os.OpenFile("/proc/self/comm", os.O_WRONLY, 0)
	if err == nil && mode == "good" {
		_, err = confine.Proxy(confine.ProxyRules{})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "held:", err)
		return 1
	}
	comm.WriteString("held")
	for {
		unix.Pause()
	}
}
