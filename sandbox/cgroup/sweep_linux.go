package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// tops are the topmost groups of the tree, the unified one first.
func (t *Tree) tops() []string {
	out := []string{t.dir}
	seen := map[string]bool{t.dir: true}
	for _, controller := range controllers {
		if c, ok := t.by[controller]; ok && !seen[c.dir] {
			seen[c.dir] = true
			out = append(out, c.dir)
		}
	}
	return out
}

// make makes a group in every hierarchy and says where its controllers are.
// above is for one that hands its controllers on, and may be there.
func (t *Tree) make(rel string, by map[string]carrier, above bool) error {
	for _, top := range t.tops() {
		dir := filepath.Join(top, rel)
		if err := os.Mkdir(dir, private); err != nil && !(above && errors.Is(err, fs.ErrExist)) {
			return fmt.Errorf("make control group: %w", err)
		}
	}
	for _, controller := range controllers {
		c, ok := t.by[controller]
		if !ok {
			continue
		}
		by[controller] = carrier{filepath.Join(c.dir, rel), c.v2}
		if above && c.v2 {
			if err := handOn(by[controller].dir, controller); err != nil {
				return fmt.Errorf("hand on the %s controller: %w", controller, err)
			}
		}
	}
	return nil
}

// unmake removes an empty group everywhere.
func (t *Tree) unmake(rel string) error {
	var errs []error
	for _, top := range t.tops() {
		errs = append(errs, rmdir(filepath.Join(top, rel)))
	}
	return errors.Join(errs...)
}

// Sweep removes the groups that a dead daemon left, their processes first, and
// returns their names. It touches only what has the mark above it and a name
// that Tree makes, and no group that is in use: it may be called at any time.
func (t *Tree) Sweep() (swept []string, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	left := map[string]bool{}
	var order []string
	for _, rel := range t.leaves() {
		if !left[rel] {
			left[rel] = true
			order = append(order, rel)
		}
	}
	// First all are told to die, then they are waited for. Of a user's group only
	// its own members: below it there may be what is not ours, or in use.
	for _, rel := range order {
		if _, user := userOf(filepath.Base(rel)); t.live[rel] || user {
			continue
		}
		os.WriteFile(filepath.Join(t.dir, rel, "cgroup.kill"), []byte("1"), 0) //nolint:errcheck // the members are looked at below
	}
	deadline := time.Now().Add(killTimeout)
	var errs []error
	for _, rel := range order {
		if t.live[rel] || t.inUse(rel) {
			continue
		}
		for _, top := range t.tops() {
			errs = append(errs, killMembers(filepath.Join(top, rel), deadline))
		}
		if err := t.unmake(rel); err != nil {
			errs = append(errs, err)
			continue
		}
		swept = append(swept, rel)
	}
	if err := errors.Join(errs...); err != nil {
		return swept, fmt.Errorf("sweep control groups: %w", err)
	}
	return swept, nil
}

// leaves lists what has our names in the tree, of all hierarchies, sessions
// before their users.
func (t *Tree) leaves() (out []string) {
	var users []string
	for _, top := range t.tops() {
		for _, rel := range leavesOf(top) {
			if _, user := userOf(filepath.Base(rel)); user {
				users = append(users, rel)
			} else {
				out = append(out, rel)
			}
		}
	}
	return append(out, users...)
}

// inUse says whether a user's group has a pen of this daemon's.
func (t *Tree) inUse(rel string) bool {
	uid, ok := userOf(filepath.Base(rel))
	return ok && t.users[uid] != nil
}

func subgroups(dir string) (out []string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	for _, e := range entries {
		if e.IsDir() {
			out = append(out, e.Name())
		}
	}
	return out
}

// release closes what the tree holds.
func (t *Tree) release() {
	if t.watch != nil {
		t.watch.close()
	}
	for _, f := range []*os.File{t.pens, t.proxies} {
		if f != nil {
			f.Close()
		}
	}
	t.pens, t.proxies, t.watch = nil, nil, nil
}

// unlock lets the topmost groups be another's.
func (t *Tree) unlock() {
	for _, f := range t.locks {
		f.Close()
	}
	t.locks = nil
}

// Close removes the tree, whose groups are closed. Calling it again does nothing.
func (t *Tree) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.release()
	defer t.unlock()
	var errs []error
	for _, top := range t.tops() {
		if _, _, ok := marked(top); !ok {
			continue
		}
		for _, dir := range []string{filepath.Join(top, pensName), filepath.Join(top, proxyName), top} {
			errs = append(errs, rmdir(dir))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("remove control groups: %w", err)
	}
	return nil
}
