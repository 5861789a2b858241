package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/penstock/penstock/ebpf"
	"github.com/penstock/penstock/sandbox/cgroup"
	"github.com/penstock/penstock/sandbox/confine"
	"github.com/penstock/penstock/supervisor/daemon/settings"
	"github.com/penstock/penstock/supervisor/janitor"
)

// Options of Run: what the command line says.
type Options struct {
	Socket   string // where to listen, unless Listener is set
	Group    string // whose members may connect
	State    string // directory
	Policy   string // the administrator's
	Settings string // file
	Name     string // of the control groups; "" is the only daemon of a machine
	Listener *os.File
	Version  string
	Log      func(format string, args ...any)
	// Notify tells the service manager "READY=1" and "STOPPING=1".
	Notify func(state string)
}

// Run is the daemon's life: until ctx ends, or an error. It changes this
// process for good (privilege), so the caller ends it afterwards.
func Run(ctx context.Context, o Options) (err error) {
	if os.Geteuid() != 0 {
		return &refusal{"the supervisor must be started by root", "systemctl enable --now penstock.socket, or sudo penstock supervise; pens work without it too (penstock run --rootless)"}
	}
	if strings.ContainsAny(o.Name, "/ \n") || strings.HasPrefix(o.Name, ".") {
		return &refusal{fmt.Sprintf("%.80q can't be a name of control groups", o.Name), "leave --name out, or give it letters"}
	}
	unix.Umask(0o077)
	set, err := settings.Load(o.Settings)
	if err != nil {
		return err
	}
	if _, err := readFloor(o.Policy); err != nil {
		return fmt.Errorf("read the administrator's policy: %w", err)
	}
	// Before anything is swept: who else works with it could still need that.
	st, err := openState(o.State)
	if err != nil {
		return err
	}
	defer st.close()
	l, err := listen(&o)
	if err != nil {
		return err
	}
	defer l.Close()
	cfg := Config{State: o.State, state: st, Policy: o.Policy, Settings: set, Version: o.Version, Log: o.Log}
	cfg.Groups, err = cgroup.NewTree(cgroup.TreeOptions{Name: o.Name})
	switch {
	case errors.Is(err, cgroup.ErrUnavailable):
		o.Log("no control groups, so limits are weaker: %v", err)
	case err != nil:
		return err
	default:
		if err := startJanitor(cfg.Groups); err != nil {
			o.Log("empty control groups will stay after the supervisor's end: %v", err)
		}
		defer func() {
			// The topmost ones are in directories where even root needs a capability
			// that is given up. They are empty, and the janitor's.
			if cerr := cfg.Groups.Close(); !errors.Is(cerr, fs.ErrPermission) {
				err = errors.Join(err, cerr)
			}
		}()
		// What can't be removed, such as a group that somebody else has made in
		// there, is in nobody's way.
		swept, err := cfg.Groups.Sweep()
		if err != nil {
			o.Log("%v", err)
		}
		if len(swept) > 0 {
			o.Log("removed %d control groups of a supervisor that was killed", len(swept))
		}
	}
	if cfg.Groups == nil {
		cfg.NoPrograms = "no control groups"
	} else if cfg.Programs, err = mountAndLoad(o.pins(), cfg.Groups); err != nil {
		o.Log("no eBPF, so pens are steered by nftables: %v", err)
		cfg.NoPrograms, _, _ = strings.Cut(err.Error(), "\n")
	} else {
		defer func() { err = errors.Join(err, cfg.Programs.Close()) }()
	}
	if err := confineSelf(set); err != nil {
		return err
	}
	d, err := New(cfg)
	if err != nil {
		return err
	}
	o.Notify("READY=1")
	stop := context.AfterFunc(ctx, func() { o.Notify("STOPPING=1") })
	defer stop()
	return d.Serve(ctx, l)
}

// startJanitor starts who removes the topmost groups when this process is gone. A
// service manager that leaves us no capability for it has delegated a group, which
// it removes itself.
func startJanitor(groups *cgroup.Tree) error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var have [2]unix.CapUserData
	if err := unix.Capget(&header, &have[0]); err != nil {
		return fmt.Errorf("read capabilities: %w", err)
	}
	if have[0].Effective&(1<<unix.CAP_DAC_OVERRIDE) == 0 {
		return nil
	}
	tops, err := groups.Tops()
	if err != nil {
		return err
	}
	p, err := janitor.StartGroups("/proc/self/exe", tops)
	if err != nil {
		return err
	}
	return p.Release()
}

// pins is where the links of the programs are.
func (o *Options) pins() string {
	name := o.Name
	if name == "" {
		name = "penstock"
	}
	return filepath.Join(bpfFS, name)
}

// bpfFS is where every system mounts the BPF file system.
const bpfFS = "/sys/fs/bpf"

// mountAndLoad loads the programs, on a machine that has nothing mounted for
// their pins yet too.
func mountAndLoad(pins string, groups *cgroup.Tree) (*ebpf.Programs, error) {
	if err := ebpf.EnsureBPFFS(bpfFS); err != nil {
		return nil, err
	}
	return loadPrograms(pins, groups)
}

// keep are the capabilities that the daemon can't do without.
//
//	SETUID, SETGID  proxies run under user ids of their own
//	KILL            the pens and proxies that it ends are other users'
//	SYS_PTRACE      reading the namespaces of other users' processes in /proc
//	NET_ADMIN       asking which namespace a socket is of; steering
//	BPF             a ring and a steering program for each session
func keep() []int {
	return []int{unix.CAP_SETUID, unix.CAP_SETGID, unix.CAP_KILL, unix.CAP_SYS_PTRACE, unix.CAP_NET_ADMIN, unix.CAP_BPF}
}

// confineSelf gives up what was needed to get here. What the daemon starts
// afterwards inherits the limits: no proxy dumps core, and none writes a larger
// record than its session may have.
func confineSelf(set *settings.Settings) error {
	limits := map[int]uint64{unix.RLIMIT_CORE: 0}
	if n := set.Quota.SessionAuditBytes; n > 0 {
		limits[unix.RLIMIT_FSIZE] = uint64(n)
	}
	for what, n := range limits {
		if err := unix.Setrlimit(what, &unix.Rlimit{Cur: n, Max: n}); err != nil {
			return fmt.Errorf("set the supervisor's own limits: %w", err)
		}
	}
	if err := confine.Daemon(keep()); err != nil {
		return fmt.Errorf("confine the supervisor: %w", err)
	}
	return nil
}

// listen returns the socket that the service manager has opened, or opens one.
func listen(o *Options) (*net.UnixListener, error) {
	f := o.Listener
	if f == nil {
		return bind(o.Socket, o.Group)
	}
	defer f.Close()
	err := withFD(f, func(fd int) error {
		for opt, want := range map[int]int{unix.SO_DOMAIN: unix.AF_UNIX, unix.SO_TYPE: unix.SOCK_SEQPACKET, unix.SO_ACCEPTCONN: 1} {
			if got, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, opt); err != nil || got != want {
				return &refusal{"the socket that the service manager passes is no listening seqpacket socket", "ListenSequentialPacket= in penstock.socket"}
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	nl, err := net.FileListener(f)
	if err != nil {
		return nil, fmt.Errorf("open the socket of the service manager: %w", err)
	}
	return nl.(*net.UnixListener), nil
}

// bind opens the socket at path, for root and the members of group. What a dead
// daemon left there is replaced; what answers, or is no socket, is not touched.
func bind(path, group string) (*net.UnixListener, error) {
	gid := 0
	if group != "" {
		g, err := user.LookupGroup(group)
		if err != nil {
			return nil, &refusal{fmt.Sprintf("there is no group %.80q", group), "groupadd --system " + group + ", or --group with another one"}
		}
		if gid, err = strconv.Atoi(g.Gid); err != nil {
			return nil, err
		}
	}
	if dir := filepath.Dir(path); os.Mkdir(dir, 0o755) == nil {
		if err := os.Chmod(dir, 0o755); err != nil { // whatever the umask is
			return nil, err
		}
	}
	if err := unlinkDead(path); err != nil {
		return nil, err
	}
	// Nobody may connect before it is who may: the umask takes all from others.
	l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: path, Net: "unixpacket"})
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	if err = os.Lchown(path, 0, gid); err == nil {
		err = os.Chmod(path, 0o660)
	}
	if err != nil {
		l.Close()
		return nil, fmt.Errorf("listen: %w", err)
	}
	return l, nil
}

func unlinkDead(path string) error {
	fi, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if fi.Mode().Type() != fs.ModeSocket {
		return &refusal{path + " is there and is no socket", "remove it, or give another --socket"}
	}
	c, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: path, Net: "unixpacket"})
	if err == nil {
		c.Close()
		return &refusal{"another supervisor listens at " + path, "systemctl status penstock; or give another --socket"}
	}
	if !errors.Is(err, unix.ECONNREFUSED) {
		return fmt.Errorf("listen: %w", err)
	}
	return os.Remove(path)
}
