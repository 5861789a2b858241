package doctor

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/penstock/penstock/ebpf"
	"github.com/penstock/penstock/hooks/cel"
	"github.com/penstock/penstock/internal/version"
	"github.com/penstock/penstock/policy"
	"github.com/penstock/penstock/sandbox"
	"github.com/penstock/penstock/supervisor/config"
	"github.com/penstock/penstock/supervisor/daemonctl"
)

// machine is where the privileged part of Penstock is looked for; tests have one
// of their own.
type machine struct {
	root   string // of the file system
	socket string
	policy string
	uid    int
	groups []int // of this process
	// systemctl asks the service manager; nil where systemd does not run.
	systemctl func(ctx context.Context, args ...string) string
}

// daemonTime bounds how long the doctor waits for the daemon's answer.
const daemonTime = 5 * time.Second

func thisMachine(socket string) (*machine, error) {
	groups, err := os.Getgroups()
	if err != nil {
		return nil, fmt.Errorf("read the own groups: %w", err)
	}
	if socket == "" {
		socket = daemonctl.Path
	}
	m := &machine{root: "/", socket: socket, policy: config.SystemPolicy, uid: os.Geteuid(), groups: append(groups, os.Getegid())}
	if exists("/run/systemd/system") { // sd_booted(3)
		m.systemctl = func(ctx context.Context, args ...string) string {
			ctx, cancel := context.WithTimeout(ctx, daemonTime)
			defer cancel()
			out, _ := exec.CommandContext(ctx, "systemctl", args...).Output() // is-active says no with a code
			return strings.TrimSpace(string(out))
		}
	}
	return m, nil
}

func (m *machine) path(p string) string { return filepath.Join(m.root, p) }

// unitDirs are where units are installed, an administrator's own first.
var unitDirs = [...]string{"/etc/systemd/system", "/run/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"}

// unit returns where a unit is installed, "" if it is not.
func (m *machine) unit(name string) string {
	for _, dir := range unitDirs {
		if p := filepath.Join(dir, name); exists(m.path(p)) {
			return p
		}
	}
	return ""
}

const group = "supervisor"

// supervisor looks at what the privileged supervisor needs and is.
func (x *examination) supervisor() error {
	m, err := thisMachine(x.Socket)
	if err != nil {
		return err
	}
	x.service(m)
	if m.uid == 0 && !x.supervised { // nobody else may load a program
		x.bpf(ebpf.Probe())
	}
	return nil
}

// service looks for the privileged supervisor, and talks to it. Where nothing of
// it is installed there is one finding, and no warning: pens need none.
func (x *examination) service(m *machine) {
	d, err := m.ask(x.ctx)
	installed := m.unit("penstock.socket") != "" || m.unit("penstock.service") != ""
	if errors.Is(err, fs.ErrNotExist) && !installed {
		x.ok(group, "daemon", "none: sessions run without privilege")
		x.floor(m, nil)
		return
	}
	x.supervised = err == nil
	x.daemon(m, d, err)
	x.membership(m)
	x.units(m)
	x.bpffs(m.path("/sys/fs/bpf"))
	x.floor(m, d)
}

// ask connects to the daemon and asks what it can do.
func (m *machine) ask(ctx context.Context) (*daemonctl.Daemon, error) {
	ctx, cancel := context.WithTimeout(ctx, daemonTime)
	defer cancel()
	c, err := daemonctl.Dial(ctx, m.socket)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return c.Status(ctx)
}

func (x *examination) daemon(m *machine, d *daemonctl.Daemon, err error) {
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		x.bad(Warn, group, "daemon", fmt.Errorf("no answer within %s at %s", daemonTime, m.socket), "systemctl restart penstock.service, which ends its sessions")
		return
	case err != nil:
		x.bad(Warn, group, "daemon", err, "journalctl -u penstock.service says why")
		return
	case d.Version != version.String():
		x.bad(Warn, group, "daemon", fmt.Errorf("is version %s, this is %s", d.Version, version.String()), "systemctl restart penstock.service, which ends its sessions")
	default:
		x.ok(group, "daemon", "answers at %s; %d sessions", m.socket, d.Sessions)
	}
	if d.Steering == daemonctl.SteeringBPF {
		x.ok(group, "steering", "by %s", d.Steering)
	} else {
		x.bad(Warn, group, "steering", fmt.Errorf("by %s: the daemon may not load eBPF programs", d.Steering), "penstock doctor as root says what is refused")
	}
	features := []ebpf.Feature{}
	for _, c := range d.Capabilities {
		if !isFeature(c.Control) {
			x.capability(group, c.Control, c)
			continue
		}
		f := ebpf.Feature{Name: c.Control, State: ebpf.Unavailable, Reason: c.Detail}
		if c.State == sandbox.Enforced {
			f.State = ebpf.Available
		}
		features = append(features, f)
	}
	if len(features) > 0 {
		x.bpf(features)
	}
}

// membership says whether the caller may connect, and why not.
func (x *examination) membership(m *machine) {
	gid, members, err := m.groupEntry("penstock")
	switch {
	case m.uid == 0:
		x.ok(group, "group penstock", "root needs no group")
	case err != nil:
		x.bad(Warn, group, "group penstock", err, "sudo groupadd --system penstock, then start the daemon anew")
	case slices.Contains(m.groups, gid):
		x.ok(group, "group penstock", "you are in it")
	case slices.Contains(members, x.Host.User):
		x.bad(Warn, group, "group penstock", errors.New("you are in it, but this login is older than that"), "log out and in again")
	default:
		x.bad(Warn, group, "group penstock", errors.New("you are not in it, so the daemon does not serve you"), "sudo usermod -aG penstock "+x.Host.User+", then log in anew")
	}
}

// groupEntry reads a line of group(5). Groups of other sources than the file are
// those of the process, which are asked before the members.
func (m *machine) groupEntry(name string) (gid int, members []string, err error) {
	b, err := os.ReadFile(m.path("/etc/group"))
	if err != nil {
		return 0, nil, fmt.Errorf("look for the group: %w", err)
	}
	for line := range strings.Lines(string(b)) {
		f := strings.Split(strings.TrimSpace(line), ":")
		if len(f) != 4 || f[0] != name {
			continue
		}
		if gid, err = strconv.Atoi(f[2]); err != nil {
			return 0, nil, fmt.Errorf("look for the group: %w", err)
		}
		return gid, strings.Split(f[3], ","), nil
	}
	return 0, nil, fmt.Errorf("there is no group %s", name)
}

// units says whether the service manager knows the daemon.
func (x *examination) units(m *machine) {
	socket, service := m.unit("penstock.socket"), m.unit("penstock.service")
	switch {
	case m.systemctl == nil && socket == "":
		x.ok(group, "units", "none, and systemd does not run here")
		return
	case socket == "" || service == "":
		x.bad(Warn, group, "units", errors.New("penstock.socket and penstock.service are not both installed"), "install Penstock's package")
		return
	case m.systemctl == nil:
		x.ok(group, "units", "%s, but systemd does not run here: start penstock supervise by other means", socket)
		return
	}
	active, enabled := m.systemctl(x.ctx, "is-active", "penstock.socket"), m.systemctl(x.ctx, "is-enabled", "penstock.socket")
	switch {
	case m.systemctl(x.ctx, "is-failed", "penstock.service") == "failed":
		x.bad(Warn, group, "units", errors.New("penstock.service has failed"), "journalctl -u penstock.service says why; then systemctl reset-failed penstock.service")
	case active != "active":
		x.bad(Warn, group, "units", fmt.Errorf("penstock.socket is %s", or(active, "not there")), "sudo systemctl enable --now penstock.socket")
	case enabled != "enabled":
		x.bad(Warn, group, "units", fmt.Errorf("penstock.socket is active, but %s", or(enabled, "not enabled")), "sudo systemctl enable penstock.socket")
	default:
		x.ok(group, "units", "penstock.socket is active and enabled (%s)", socket)
	}
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// floor loads the administrator's policy as the daemon does. The file binds
// everybody only through the daemon, which says itself which one it has read.
func (x *examination) floor(m *machine, d *daemonctl.Daemon) {
	const name = "floor policy"
	file := m.path(m.policy)
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		if d != nil {
			x.ok(group, name, "none: %s does not exist", m.policy)
		}
		return
	}
	if err != nil {
		x.bad(Fail, group, name, err, "chmod 644 "+m.policy)
		return
	}
	parsed, err := policy.Parse(file, policy.System, text)
	if err == nil {
		err = parsed.CheckConditions(cel.Language{})
	}
	if err != nil {
		x.bad(Fail, group, name, err, "penstock policy check "+m.policy+" says all that is wrong with it; until then no session begins")
		return
	}
	fi, err := os.Stat(file)
	if err != nil {
		x.bad(Fail, group, name, err, "")
		return
	}
	if st, ok := fi.Sys().(*syscall.Stat_t); !ok || (m.root == "/" && st.Uid != 0) || fi.Mode().Perm()&0o022 != 0 {
		x.bad(Fail, group, name, fmt.Errorf("%s belongs to another user than root, or others may write to it", m.policy), "sudo chown root:root "+m.policy+" && sudo chmod 644 "+m.policy)
		return
	}
	sum := sha256.Sum256(text)
	switch digest := hex.EncodeToString(sum[:]); {
	case d == nil:
		x.ok(group, name, "%s is valid; it binds who runs without the supervisor only as far as they don't change their own penstock", m.policy)
	case d.Floor != digest:
		x.bad(Warn, group, name, fmt.Errorf("the daemon has read another file than %s", m.policy), "systemctl restart penstock.service, which ends its sessions")
	default:
		x.ok(group, name, "%s, sha256 %.12s…, binds everybody", m.policy, digest)
	}
}
