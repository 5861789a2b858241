package daemon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"os/user"
	"path"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/penstock/penstock/sandbox/posture"
	"github.com/penstock/penstock/supervisor/bossctl"
)

// Whether a pen's files are within the floor is looked up as the caller would look
// it up: on a thread that has the caller's user and group ids for file systems
// (setfsuid(2)), no capability, and ends afterwards. Nobody can trace or signal a
// thread of the daemon, and what a path of the caller's leads to is what it leads
// the caller to. A file server of the caller's can hold such a thread up; that
// many of them are counted like the caller's sessions, and nobody waits for one
// longer than lookupTime.
//
// What is looked at is the pen as it is when its shim is held. A caller can have
// more mounted into a pen of its own afterwards, or put a copy of a file of its
// own there: the floor binds the tool, and every honest client of every version;
// it can't keep a user from showing a tool what the user can read.

// lookupTime bounds the wait for the caller's file systems.
const lookupTime = 5 * time.Second

// maxTable bounds a mount table, in bytes.
const maxTable = 4 << 20

// checkFiles tells whether the files of the pen that p, its held shim, sees are
// within the floor.
func (s *session) checkFiles(p *process) error {
	if !s.floor {
		return nil
	}
	select {
	case <-s.proxy.filed: // it is said before the caller is answered
	case <-time.After(sendTime):
		return &refusal{"the session's proxy has not read the administrator's policy", ""}
	case <-s.proxy.done:
		return s.proxy.failed()
	}
	f := s.proxy.files
	if len(f.Hide) == 0 && f.Bound == "" {
		return nil
	}
	groups, err := peerGroups(s.c.conn.Raw())
	if err != nil {
		return err
	}
	home, err := homeOf(s.c.peer.uid)
	if err != nil && slices.ContainsFunc(append(f.Hide, f.Write...), belowHome) {
		return err
	}
	l := &lookup{
		uid: s.c.peer.uid, gid: s.c.peer.gid, groups: groups, home: home,
		hide: s.places(f.Hide, home), bound: f.Bound, write: s.places(append(f.Write, bossctl.Place{Path: s.open.Workdir}), home),
	}
	d := s.c.d
	if r := d.accounts.lookup(l.uid); r != nil {
		return r
	}
	if err := l.open(p); err != nil {
		d.accounts.lookedUp(l.uid)
		return err
	}
	done := make(chan error, 1)
	go func() {
		// Never unlocked: a thread that has changed who it is ends with this.
		runtime.LockOSThread()
		defer d.accounts.lookedUp(l.uid)
		defer l.close()
		done <- l.run()
	}()
	t := time.NewTimer(lookupTime)
	defer t.Stop()
	select {
	case err := <-done:
		return err
	case <-t.C:
		return errSlow
	}
}

// places makes the floor's paths absolute.
func (s *session) places(list []bossctl.Place, home string) []bossctl.Place {
	out := slices.Clone(list)
	for i := range out {
		p := &out[i]
		switch {
		case belowHome(*p):
			p.Path = path.Join(home, p.Path[1:])
		case path.IsAbs(p.Path):
			p.Path = path.Clean(p.Path)
		default:
			p.Path = path.Join("/", s.open.Workdir, p.Path)
		}
	}
	return out
}

func belowHome(p bossctl.Place) bool { return p.Path == "~" || strings.HasPrefix(p.Path, "~/") }

// homeOf returns a user's home directory as the machine has it, not as the user
// says: from /etc/passwd, or from whoever else getent(1) asks.
func homeOf(uid int) (string, error) {
	id := strconv.Itoa(uid)
	if u, err := user.LookupId(id); err == nil && path.IsAbs(u.HomeDir) {
		return path.Clean(u.HomeDir), nil
	}
	return homeByName(id)
}

// getentTime bounds the answer of a directory service.
const getentTime = 5 * time.Second

func homeByName(id string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), getentTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/usr/bin/getent", "passwd", id)
	cmd.Env, cmd.Dir = []string{"PATH=/usr/bin:/bin"}, "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.Output()
	f := strings.Split(strings.TrimSuffix(string(bytes.TrimSpace(out)), "\n"), ":")
	if err != nil || len(f) < 7 || f[2] != id || !path.IsAbs(f[5]) {
		return "", &refusal{"the home directory of user " + id + " is not known to this machine", "getent passwd " + id + " must tell it"}
	}
	return path.Clean(f[5]), nil
}

// lookup is one look at a pen's files.
type lookup struct {
	uid, gid int
	groups   []uint32
	home     string // "" if the user has none
	hide     []bossctl.Place
	bound    string          // see bossctl.Files
	write    []bossctl.Place // with the work directory

	host, pen *view
	own       bool // host is what this process sees
}

// open opens what there is to look at: two directories and two mount tables of
// /proc, for which no file system is asked.
func (l *lookup) open(shim *process) (err error) {
	if l.host, l.own, err = openHost(); err != nil {
		return fmt.Errorf("look at the machine's files: %w", err)
	}
	if l.pen, err = openView(int(shim.dir.Fd()), ""); err != nil {
		l.host.root.Close()
		return fmt.Errorf("look at the pen's files: %w", err)
	}
	if err = shim.alive(); err != nil { // else it may be another's directory
		l.close()
	}
	return err
}

func (l *lookup) close() {
	l.host.root.Close()
	l.pen.root.Close()
}

// run takes the caller's ids, for good, and looks.
func (l *lookup) run() error {
	host, pen := l.host, l.pen
	if err := becomeForFiles(l.uid, l.gid, l.groups); err != nil {
		return fmt.Errorf("take the caller's ids: %w", err)
	}
	if l.own && l.home != "" {
		if _, err := host.find(l.home, false); err != nil {
			return &refusal{"the administrator's policy names paths, and the supervisor does not see the user's home directory", "let it see /proc/1/root, or run it without ProtectHome="}
		}
	}
	for _, p := range l.hide {
		if err := hidden(host, pen, p); err != nil {
			return err
		}
	}
	if l.bound == "" {
		return nil
	}
	return written(host, pen, l.bound, l.write)
}

// openHost opens what the machine's first process sees: a service manager may hide
// homes from this one. Where nobody may look at that process it is what this one
// sees, which is told.
func openHost() (v *view, own bool, err error) {
	v, err = openView(unix.AT_FDCWD, "/proc/1/")
	if errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM) {
		v, err = openView(unix.AT_FDCWD, "/proc/self/")
		own = true
	}
	return v, own, err
}

// becomeForFiles gives the calling thread, which must not be used for anything
// else any more, the ids of a user as far as files go, and no capability.
func becomeForFiles(uid, gid int, groups []uint32) error {
	list := append(slices.Clone(groups), 0) // so that there is a first
	if _, _, errno := unix.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(groups)), uintptr(unsafe.Pointer(&list[0])), 0); errno != 0 {
		return errno
	}
	unix.SetfsgidRetGid(gid) //nolint:errcheck // it tells nothing; asked below
	unix.SetfsuidRetUid(uid) //nolint:errcheck // likewise
	u, err := unix.SetfsuidRetUid(-1)
	if err != nil {
		return err
	}
	g, err := unix.SetfsgidRetGid(-1)
	if err != nil {
		return err
	}
	if u != uid || g != gid {
		return fmt.Errorf("ids are %d and %d, not %d and %d", u, g, uid, gid)
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	return unix.Capset(&header, &none[0])
}

// hidden tells whether the pen shows nothing of what is at p on the machine,
// whatever it is called in the pen.
func hidden(host, pen *view, p bossctl.Place) error {
	h, err := host.find(p.Path, true)
	if errors.Is(err, errNone) {
		return nil // neither does the caller see any of it
	}
	if alone := (*secludedError)(nil); errors.As(err, &alone) {
		// All of it, or nothing.
		if !slices.ContainsFunc(pen.mounts, func(m posture.Mounted) bool { return m.Device == alone.device }) {
			return nil
		}
		return &refusal{fmt.Sprintf("%s hides %.200q, the pen shows something of that file system, and %v", p.From, p.Path, err), "unmount it, mount it with allow_other, or grant nothing of it"}
	}
	if err != nil {
		return err
	}
	for _, m := range pen.mounts {
		if m.Device != h.where.device {
			continue
		}
		at := ""
		if rest, ok := under(h.where.path, m.Root); ok {
			// A mount above it may be covered where it would show.
			at = path.Join(m.Target, rest)
			o, err := pen.find(at, false)
			if err != nil && !errors.Is(err, errNone) {
				return err
			}
			if err != nil || o.dev != h.dev || o.ino != h.ino {
				continue
			}
		} else if _, ok := under(m.Root, h.where.path); ok {
			at = m.Target
			if shown, err := pen.shows(m); err != nil {
				return err
			} else if !shown {
				continue
			}
		} else {
			continue
		}
		return &refusal{fmt.Sprintf("%s hides %.200q, and the pen shows it, or a part of it, as %.200q", p.From, p.Path, at),
			"start the command in another directory, and grant nothing below what is hidden"}
	}
	return nil
}

// written tells whether all of the machine's files that can be written in the pen
// are below the places that may be.
func written(host, pen *view, bound string, may []bossctl.Place) error {
	var allowed []spot
	for _, p := range may {
		o, err := host.find(p.Path, true)
		var alone *secludedError
		switch {
		case errors.Is(err, errNone):
		case errors.As(err, &alone):
			allowed = append(allowed, spot{alone.device, "/"}) // all of it, or nothing
		case err != nil:
			return err
		default:
			allowed = append(allowed, o.where)
		}
	}
	machine := map[string]bool{}
	for _, m := range host.mounts {
		machine[m.Device] = true
	}
	for _, m := range pen.mounts {
		// What the pen has made for itself is on devices of its own.
		if !machine[m.Device] || !slices.Contains(m.Options, "rw") || slices.Contains([]string{"proc", "sysfs", "cgroup", "cgroup2"}, m.Type) {
			continue
		}
		o, err := pen.find(m.Target, false)
		var alone *secludedError
		switch {
		case errors.Is(err, errNone):
			continue
		case errors.As(err, &alone): // as good as seen
		case err != nil:
			return err
		case o.mount != m.ID || o.mode&unix.S_IFMT == unix.S_IFCHR:
			continue // covered, or a device such as /dev/null
		}
		if !slices.ContainsFunc(allowed, func(a spot) bool {
			_, ok := under(m.Root, a.path)
			return ok && a.device == m.Device
		}) {
			return &refusal{fmt.Sprintf("the pen can write to %.200q, which is outside %s", m.Target, bound),
				"take the grant out, or have the administrator allow it in limits.write"}
		}
	}
	return nil
}
