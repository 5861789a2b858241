package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/penstock/penstock/sandbox"
)

// Names in the tree: NAME/pens/u<uid>/s<session> and NAME/proxies/<slot>.
const (
	treeName   = "penstock"
	pensName   = "pens"
	proxyName  = "proxies"
	leafName   = "supervisor" // the daemon's own group in a delegated one
	markPrefix = "penstock "  // of a mark's value; the owner's number and start follow
)

// ErrBusy says that another running daemon has the tree.
var ErrBusy = errors.New("the control groups belong to a running daemon")

// TreeOptions is for tests; its zero value is the daemon's.
type TreeOptions struct {
	Name string // of the topmost group, "penstock" if empty
}

// Tree is the daemon's part of the machine's control groups. Its methods may be
// called concurrently.
type Tree struct {
	name string
	root Root   // of the unified hierarchy
	dir  string // topmost group, in the unified hierarchy
	// by says for each controller where the topmost group of its hierarchy is.
	by            map[string]carrier
	why           string // why the other controllers are not there
	pens, proxies *os.File
	locks         []*os.File // of the topmost groups, as long as they are ours
	watch         *watcher

	mu    sync.Mutex
	users map[int]*userGroup
	live  map[string]bool // groups in use, relative to a topmost one
}

// userGroup is what bounds all pens of one user together.
type userGroup struct {
	by   map[string]carrier
	pens int // groups in it
}

// NewTree makes the tree, or takes over the one of a daemon that is gone, as
// root. Sweep removes what that one left in it.
func NewTree(o TreeOptions) (_ *Tree, err error) {
	t := &Tree{name: o.Name, by: map[string]carrier{}, users: map[int]*userGroup{}, live: map[string]bool{}}
	if t.name == "" {
		t.name = treeName
	}
	all, err := mounted()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	of, _ := groupOf(string(own), all[0])
	t.root = Root{Dir: all[0].dir, Of: of}
	place, err := delegated(t.root)
	if err != nil {
		return nil, err
	}
	t.dir = filepath.Join(place, t.name)
	defer func() {
		if err != nil {
			t.release()
			t.unlock()
		}
	}()
	if err := t.claim(t.dir); err != nil {
		return nil, err
	}
	if t.watch, err = newWatcher(); err != nil {
		return nil, err
	}
	t.unify(place)
	for _, h := range all[1:] {
		if err := t.mirror(h); err != nil {
			return nil, err
		}
	}
	if t.pens, err = os.Open(filepath.Join(t.dir, pensName)); err == nil {
		t.proxies, err = os.Open(filepath.Join(t.dir, proxyName))
	}
	if err != nil {
		return nil, fmt.Errorf("open the control groups: %w", err)
	}
	var missing []string
	for _, c := range controllers {
		if _, ok := t.by[c]; !ok {
			missing = append(missing, c)
		}
	}
	t.why = "no mounted hierarchy of control groups has the controllers " + strings.Join(missing, ", ")
	return t, nil
}

// delegated returns the group in which the tree belongs: the daemon's own if
// systemd delegated it, else the topmost. A group that hands on controllers must
// have no process in itself, so the daemon moves into one of its own below it.
func delegated(root Root) (string, error) {
	if root.Of == "" || root.Of == "/" || strings.HasPrefix(root.Of, "/..") {
		return root.Dir, nil
	}
	dir := filepath.Join(root.Dir, root.Of)
	if filepath.Base(dir) == leafName {
		dir = filepath.Dir(dir) // DelegateSubgroup=, or a re-executed daemon
	}
	value := make([]byte, 8)
	for _, name := range []string{"trusted.delegate", "user.delegate"} {
		n, err := unix.Getxattr(dir, name, value)
		if err != nil || string(value[:n]) != "1" {
			continue
		}
		leaf := filepath.Join(dir, leafName)
		if err := ensure(leaf); err != nil {
			return "", err
		}
		if err := enter(leaf, os.Getpid()); err != nil {
			return "", fmt.Errorf("move into a control group of the daemon's own: %w", err)
		}
		return dir, nil
	}
	return root.Dir, nil
}

// private is a group's mode: who has sessions, and what they use, is nobody's
// business but root's.
const private = 0o700

// ensure makes a group; one that is there is fine.
func ensure(dir string) error {
	if err := os.Mkdir(dir, private); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make control group: %w", err)
	}
	return nil
}

// claim makes a topmost group with its two parts and marks it, or checks that
// the one that is there is that of a daemon that is gone. One that is just being
// removed for that is waited for, and made again.
func (t *Tree) claim(top string) error {
	for deadline := time.Now().Add(lockTime); ; unix.Poll(nil, 5) { //nolint:errcheck // a pause
		err := os.Mkdir(top, private)
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
		made := err == nil
		lock, err := lockTop(top)
		if err == nil {
			t.locks = append(t.locks, lock)
		}
		if !made {
			if cerr := abandoned(top); cerr != nil && !errors.Is(cerr, fs.ErrNotExist) {
				return cerr
			}
		}
		switch {
		case err == nil:
			return furnish(top)
		case time.Now().After(deadline):
			return fmt.Errorf("%w: %s is locked", ErrBusy, top)
		}
	}
}

// abandoned tells whether a topmost group is that of a daemon that is gone.
func abandoned(top string) error {
	pid, started, ok := marked(top)
	if _, err := os.Lstat(top); err != nil {
		return err
	}
	switch {
	case !ok:
		return fmt.Errorf("%w: %s is there and not Penstock's", ErrUnavailable, top)
	case pid != os.Getpid() && startTime(pid) == started:
		return fmt.Errorf("%w: %s is process %d's", ErrBusy, top, pid)
	}
	return nil
}

// furnish marks a topmost group as ours and makes its parts.
func furnish(top string) error {
	if err := mark(top); err != nil {
		os.Remove(top) // only one without a mark
		return fmt.Errorf("%w: %s can't be marked as Penstock's: %w", ErrUnavailable, top, err)
	}
	for _, part := range []string{pensName, proxyName} {
		if err := ensure(filepath.Join(top, part)); err != nil {
			return err
		}
	}
	return nil
}

// unify hands on to the tree what controllers the unified hierarchy has. One
// that can't be handed on is looked for in version 1.
func (t *Tree) unify(place string) {
	for _, c := range controllers {
		ok := true
		for _, dir := range []string{place, t.dir, filepath.Join(t.dir, pensName), filepath.Join(t.dir, proxyName)} {
			ok = ok && handOn(dir, c) == nil
		}
		if ok {
			t.by[c] = carrier{t.dir, true}
		}
	}
}

// handOn turns a controller on for a group's children.
func handOn(dir, controller string) error {
	have, err := fields(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return err
	}
	if !have[controller] {
		return fmt.Errorf("%s has no %s controller", dir, controller)
	}
	return os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+controller), 0)
}

// mirror makes the tree in a hierarchy of version 1 that has what the unified
// one has not. It goes to the top of what is mounted, not below the daemon's own
// group: the daemon's limits are not the pens'.
func (t *Tree) mirror(h hierarchy) error {
	top := filepath.Join(h.dir, t.name)
	need := false
	for _, c := range h.controllers {
		if _, ok := t.by[c]; !ok {
			need = true
		}
	}
	if !need {
		return nil
	}
	if err := t.claim(top); err != nil {
		return err
	}
	for _, c := range h.controllers {
		if _, ok := t.by[c]; !ok {
			t.by[c] = carrier{top, false}
		}
	}
	return nil
}

// Levels are how far below the hierarchy's root a pen's and a proxy's group is.
func (t *Tree) Levels() (pen, proxy int) {
	rel, err := filepath.Rel(t.root.Dir, t.dir)
	if err != nil {
		return 0, 0
	}
	n := strings.Count(rel, "/") + 1
	return n + 3, n + 2
}

// Pens and Proxies are the directories, in the unified hierarchy, below which
// every pen's and every proxy's group is: programs are attached to them. They
// stay the Tree's.
func (t *Tree) Pens() *os.File { return t.pens }

// Proxies: see Pens.
func (t *Tree) Proxies() *os.File { return t.proxies }

// Capabilities says what would enforce limits of a pen whose processes are, or
// are not, the host's root.
func (t *Tree) Capabilities(l sandbox.Limits, root bool) ([]Rlimit, []sandbox.Capability) {
	return plan(l, t.by, facts{root: root, perNamespace: since(5, 14), why: t.why, fix: fixTree, fallback: fallback})
}

// Pen makes the group of a session of a user's, inside one that bounds all of
// the user's by quota; a quota that changed holds for those that run too. What
// falls short of l is in the capabilities. The caller closes the group.
func (t *Tree) Pen(uid int, session string, l, quota sandbox.Limits) (*Group, []Rlimit, []sandbox.Capability, error) {
	if uid < 0 || !validSession(session) {
		return nil, nil, nil, fmt.Errorf("make control group: %q of user %d can't be a name", session, uid)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	above := filepath.Join(pensName, "u"+strconv.Itoa(uid))
	u := t.users[uid]
	if u == nil {
		u = &userGroup{by: map[string]carrier{}}
		if err := t.make(above, u.by, true); err != nil {
			t.unmake(above)
			return nil, nil, nil, err
		}
		t.users[uid] = u
	}
	rel := filepath.Join(above, "s"+session)
	bound := &Group{by: u.by}
	err := bound.set(quota)
	var g *Group
	if err == nil {
		g, err = t.group(rel, l)
	}
	if err != nil {
		t.leave(uid, u)
		return nil, nil, nil, err
	}
	u.pens++
	g.closed = func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(t.live, rel)
		u.pens--
		t.leave(uid, u)
	}
	limits, caps := t.Capabilities(l, uid == 0)
	return g, limits, caps, nil
}

// leave removes a user's group after the last pen.
func (t *Tree) leave(uid int, u *userGroup) {
	if u.pens == 0 {
		delete(t.users, uid)
		t.unmake(filepath.Join(pensName, "u"+strconv.Itoa(uid)))
	}
}

// Proxy makes the group of a proxy. The caller closes it.
func (t *Tree) Proxy(slot int, l sandbox.Limits) (*Group, []sandbox.Capability, error) {
	if slot < 0 {
		return nil, nil, fmt.Errorf("make control group: slot %d", slot)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	rel := filepath.Join(proxyName, strconv.Itoa(slot))
	g, err := t.group(rel, l)
	if err != nil {
		return nil, nil, err
	}
	g.closed = func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(t.live, rel)
	}
	_, caps := t.Capabilities(l, true)
	return g, caps, nil
}

// group makes one group in all hierarchies.
func (t *Tree) group(rel string, l sandbox.Limits) (_ *Group, err error) {
	if t.live[rel] {
		return nil, fmt.Errorf("make control group: %s is in use", rel)
	}
	g := &Group{dir: filepath.Join(t.dir, rel), by: map[string]carrier{}, inTree: true, watcher: t.watch}
	if err := t.make(rel, g.by, false); err != nil {
		t.unmake(rel)
		return nil, err
	}
	defer func() {
		if err != nil {
			g.Close()
		}
	}()
	for _, c := range g.by {
		if !c.v2 && !slices.Contains(g.mirrors, c.dir) {
			g.mirrors = append(g.mirrors, c.dir)
		}
	}
	slices.Sort(g.mirrors)
	if err := g.set(l); err != nil {
		return nil, err
	}
	path, err := filepath.Rel(t.root.Dir, g.dir)
	if err != nil {
		return nil, fmt.Errorf("make control group: %w", err)
	}
	g.Path = "/" + path
	if g.f, err = os.Open(g.dir); err != nil {
		return nil, fmt.Errorf("open control group: %w", err)
	}
	t.live[rel] = true
	return g, nil
}
