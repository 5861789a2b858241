package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// Top is a topmost group of a tree: where it is, and which one, since another may
// be made in its place. Inode numbers of groups are not given again.
type Top struct {
	Dir  string `json:"dir"`
	Ino  uint64 `json:"ino"`
	Mark string `json:"mark"` // whose it is
}

// Tops are the tree's topmost groups, for Abandoned.
func (t *Tree) Tops() (out []Top, err error) {
	for _, dir := range t.tops() {
		var st unix.Stat_t
		if err := unix.Lstat(dir, &st); err != nil {
			return nil, fmt.Errorf("find control group: %w", err)
		}
		out = append(out, Top{dir, st.Ino, markOf(dir)})
	}
	return out, nil
}

// Abandoned removes the trees of a daemon that has ended, from the lowest groups
// up: what has a name that Tree makes and is empty. What still has processes, or
// has been added by somebody else, is tried again until patience is over, then left
// to the next daemon's Sweep. A group that is locked, or that is not the one that Top
// says, is not touched; a lock is looked at again: it may be the next daemon's, or have
// come to a child of the dead one, between its fork and its exec. It takes CAP_DAC_OVERRIDE: who owns the root of a
// hierarchy may not write there either.
func Abandoned(tops []Top, patience time.Duration) error {
	for deadline := time.Now().Add(patience); ; unix.Poll(nil, 20) { //nolint:errcheck // a pause
		var errs []error
		left := tops[:0:0]
		for _, top := range tops {
			err, over := top.clear(), !time.Now().Before(deadline)
			switch {
			case err == nil, over && errors.Is(err, unix.EWOULDBLOCK):
			case !over:
				left = append(left, top)
			default:
				errs = append(errs, err)
			}
		}
		if tops = left; len(tops) == 0 {
			return errors.Join(errs...)
		}
	}
}

// markOf says whose a topmost group is.
func markOf(dir string) string {
	pid, started, _ := marked(dir)
	return fmt.Sprintf("%d %s", pid, started)
}

// clear is one attempt. nil: there is nothing more to do.
func (top *Top) clear() error {
	f, err := lockTop(top.Dir)
	if errors.Is(err, unix.EWOULDBLOCK) && markOf(top.Dir) == top.Mark {
		return err // nobody has claimed it since
	}
	if err != nil {
		return nil // gone, or a daemon's
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil || st.Ino != top.Ino {
		return nil
	}
	var errs []error
	for _, rel := range leavesOf(top.Dir) {
		errs = append(errs, rmdir(filepath.Join(top.Dir, rel)))
	}
	for _, dir := range []string{filepath.Join(top.Dir, pensName), filepath.Join(top.Dir, proxyName), top.Dir} {
		errs = append(errs, rmdir(dir))
	}
	return errors.Join(errs...)
}

// leavesOf lists what has our names below a topmost group, what is in a group
// before it.
func leavesOf(top string) (out []string) {
	var users []string
	for _, user := range subgroups(filepath.Join(top, pensName)) {
		if _, ok := userOf(user); !ok {
			continue
		}
		for _, s := range subgroups(filepath.Join(top, pensName, user)) {
			if _, ok := sessionOf(s); ok {
				out = append(out, filepath.Join(pensName, user, s))
			}
		}
		users = append(users, filepath.Join(pensName, user))
	}
	for _, slot := range subgroups(filepath.Join(top, proxyName)) {
		if _, ok := slotOf(slot); ok {
			out = append(out, filepath.Join(proxyName, slot))
		}
	}
	return slices.Concat(out, users)
}

// lockTop locks a topmost group: as long as the file is open the group is the
// caller's to claim or to remove. It does not wait.
func lockTop(dir string) (*os.File, error) {
	f, err := os.OpenFile(dir, unix.O_DIRECTORY|unix.O_NOFOLLOW|os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, err
	}
	// It may have been removed before it was locked, and made again.
	var here, now unix.Stat_t
	if err = unix.Fstat(int(f.Fd()), &here); err == nil {
		err = unix.Lstat(dir, &now)
	}
	if err != nil || here.Ino != now.Ino || here.Dev != now.Dev {
		f.Close()
		return nil, fs.ErrNotExist
	}
	return f, nil
}

// lockTime is how long a new daemon waits for who removes what a dead one left.
const lockTime = 5 * time.Second
