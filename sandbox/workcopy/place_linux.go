package workcopy

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// place is one name in the work directory, and the change to be made of it.
type place struct {
	*bring
	dir  *os.File
	name string
	x    *Change
}

// temp is the name beside it. It is always the same, so that a second call finds what
// the first one left.
func (p *place) temp() string {
	sum := sha256.Sum256([]byte(p.name))
	return tempPrefix + hex.EncodeToString(sum[:8])
}

// clear removes what a call that was killed has left under the name beside.
func (p *place) clear() error {
	err := unix.Unlinkat(p.fd(), p.temp(), 0)
	if errors.Is(err, unix.EISDIR) || errors.Is(err, unix.EPERM) {
		err = unix.Unlinkat(p.fd(), p.temp(), unix.AT_REMOVEDIR)
	}
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}

func (p *place) fd() int { return int(p.dir.Fd()) }

// current is what the host has there, nil for nothing, and how to know it again.
func (p *place) current() (*Entry, unix.Stat_t, error) {
	var st unix.Stat_t
	err := unix.Fstatat(p.fd(), p.name, &st, unix.AT_SYMLINK_NOFOLLOW)
	if errors.Is(err, unix.ENOENT) {
		return nil, st, nil
	}
	if err != nil {
		return nil, st, err
	}
	e := entryOf(p.x.Path, &st)
	switch {
	case e.Kind == Link:
		e.Text, err = readlink(p.dir, p.name)
	case e.Kind == File && p.mayBe(&e):
		var f *os.File
		if f, err = openFile(p.dir, p.name, &st); err == nil {
			e = entryOf(p.x.Path, &st)
			e.Size, e.Hash, err = p.read.copy(nil, f, e.Size)
			f.Close()
		}
	}
	return &e, st, err
}

// mayBe says whether a file need be read to know that it is neither of the two.
func (p *place) mayBe(e *Entry) bool {
	for _, o := range []*Entry{p.x.Was, p.x.Is} {
		if o != nil && o.Kind == File && o.Size == e.Size {
			return true
		}
	}
	return false
}

// still says whether a name has what current saw there.
func (p *place) still(name string, seen *unix.Stat_t) bool {
	var st unix.Stat_t
	err := unix.Fstatat(p.fd(), name, &st, unix.AT_SYMLINK_NOFOLLOW)
	// Not ctime: renaming sets it.
	return err == nil && st.Dev == seen.Dev && st.Ino == seen.Ino && st.Mode == seen.Mode && st.Size == seen.Size && st.Mtim == seen.Mtim
}

const changed = "it was changed on the host since it was copied"

// put makes or replaces a file or a link.
func (p *place) put() error {
	now, st, err := p.current()
	switch {
	case err != nil:
		return err
	case now.same(p.x.Is):
		return nil
	case p.x.Was == nil && now != nil:
		return meanwhile("it is there on the host and was not when the copy was made")
	case p.x.Was != nil && now == nil:
		return meanwhile("it was removed on the host since it was copied")
	case !now.same(p.x.Was):
		return meanwhile(changed)
	}
	if err := p.clear(); err != nil {
		return err
	}
	if err := p.beside(now, &st); err != nil {
		p.clear() //nolint:errcheck // the next call does
		return err
	}
	if now == nil {
		err := unix.Renameat2(p.fd(), p.temp(), p.fd(), p.name, unix.RENAME_NOREPLACE)
		if err != nil {
			p.clear() //nolint:errcheck // the next call does
			if errors.Is(err, unix.EEXIST) {
				return meanwhile("it was made on the host at this moment")
			}
		}
		return err
	}
	return p.exchange(&st)
}

// beside writes what is to be there under the name beside.
func (p *place) beside(now *Entry, st *unix.Stat_t) error {
	is := p.x.Is
	if is.Kind == Link {
		return unix.Symlinkat(is.Text, p.fd(), p.temp())
	}
	var src unix.Stat_t
	f, err := openFile(p.from, is.Path, &src)
	if err != nil {
		if full(err) {
			return err
		}
		return &refused{"it can't be read in the copy: " + because(err)}
	}
	defer f.Close()
	g, err := open(p.dir, p.temp(), unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer g.Close()
	size, sum, err := p.read.copy(g, f, is.Size)
	var w *writeError
	switch {
	case errors.As(err, &w):
		return err
	case err != nil || size != is.Size || sum != is.Hash:
		return &refused{"it is not what it was when the changes were listed"}
	}
	if now != nil && now.Kind == File {
		// Root's files that are another's stay that one's; who may not set it has a file of
		// their own, as with any editor. Before the mode, which this could take bits of.
		g.Chown(int(st.Uid), int(st.Gid)) //nolint:errcheck // see above
	}
	if err := finish(g, is); err != nil {
		return err
	}
	return g.Close()
}

// exchange puts what is beside in the place of what was seen there.
func (p *place) exchange(seen *unix.Stat_t) error {
	swap := func() error {
		return unix.Renameat2(p.fd(), p.temp(), p.fd(), p.name, unix.RENAME_EXCHANGE)
	}
	err := swap()
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) {
		// A file system that can't: what is between the look and the rename is lost.
		if !p.still(p.name, seen) {
			p.clear() //nolint:errcheck // the next call does
			return meanwhile(changed)
		}
		return unix.Renameat(p.fd(), p.temp(), p.fd(), p.name)
	}
	if err != nil {
		p.clear() //nolint:errcheck // the next call does
		return err
	}
	if !p.still(p.temp(), seen) {
		if err := swap(); err != nil {
			return meanwhile(changed + ", and is called " + p.temp() + " now")
		}
		p.clear() //nolint:errcheck // the next call does
		return meanwhile(changed)
	}
	return p.clear()
}

// remove deletes a file or a link.
func (p *place) remove() error {
	now, st, err := p.current()
	switch {
	case err != nil || now == nil:
		return err
	case p.x.then != nil && now.Kind == Dir:
		return nil // by an earlier call, which has made the directory as well
	case !now.same(p.x.Was):
		return meanwhile(changed)
	}
	if err := p.clear(); err != nil {
		return err
	}
	return p.take(&st)
}

// take deletes what was seen there: under the name beside it nobody changes it any more.
func (p *place) take(seen *unix.Stat_t) error {
	err := unix.Renameat2(p.fd(), p.name, p.fd(), p.temp(), unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EINVAL) && p.still(p.name, seen) {
		return unix.Unlinkat(p.fd(), p.name, 0)
	}
	if err != nil {
		return err
	}
	if !p.still(p.temp(), seen) {
		if err := unix.Renameat2(p.fd(), p.temp(), p.fd(), p.name, unix.RENAME_NOREPLACE); err != nil {
			return meanwhile(changed + ", and is called " + p.temp() + " now")
		}
		return meanwhile(changed)
	}
	return p.clear()
}

func (p *place) removeDir() error {
	p.leaveDirOf()
	err := unix.Unlinkat(p.fd(), p.name, unix.AT_REMOVEDIR)
	switch {
	case errors.Is(err, unix.ENOENT):
		return nil
	case errors.Is(err, unix.ENOTEMPTY), errors.Is(err, unix.EEXIST):
		return meanwhile("there is something in it on the host that is not in the list of what was deleted")
	case errors.Is(err, unix.ENOTDIR) && p.x.then != nil:
		return nil // put looks whether it is what an earlier call made
	case errors.Is(err, unix.ENOTDIR):
		return meanwhile(changed)
	}
	return err
}

// leaveDirOf forgets the last directory if it is the one to be removed.
func (p *place) leaveDirOf() {
	if p.in != nil && p.in != p.dir && p.inAt == p.x.Path {
		p.leaveDir()
	}
}

// makeDir makes a directory, or takes the one that is there.
func (p *place) makeDir() error {
	now, _, err := p.current()
	if err != nil {
		return err
	}
	if now == nil {
		err := p.newDir()
		if !errors.Is(err, unix.EEXIST) {
			return err
		}
		if now, _, err = p.current(); err != nil {
			return err
		}
	}
	if now == nil || now.Kind != Dir {
		return meanwhile("it is no directory on the host")
	}
	// By another spelling it would be another directory: that of what is protected.
	names, err := p.names()
	if err == nil && !slices.Contains(names, p.name) {
		err = meanwhile("it is there on the host in another spelling")
	}
	return err
}

func (p *place) newDir() error {
	if err := p.clear(); err != nil {
		return err
	}
	if err := unix.Mkdirat(p.fd(), p.temp(), 0o700); err != nil {
		return err
	}
	d, err := openDir(p.dir, p.temp())
	if err == nil {
		err = d.Chmod(os.FileMode(p.x.Is.Mode | ownerAll))
		d.Close()
	}
	if err == nil {
		err = unix.Renameat2(p.fd(), p.temp(), p.fd(), p.name, unix.RENAME_NOREPLACE)
	}
	if err != nil {
		p.clear() //nolint:errcheck // the next call does
	}
	return err
}

func (p *place) names() ([]string, error) {
	d, err := openDir(p.dir, ".")
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return d.Readdirnames(-1)
}

// mode sets permissions, and leaves the other bits as they are.
func (p *place) mode() error {
	now, st, err := p.current()
	switch {
	case err != nil:
		return err
	case now == nil:
		return meanwhile("it was removed on the host since it was copied")
	case now.same(p.x.Is), now.Kind == Dir && now.Mode == p.x.Is.Mode && p.x.Is.Kind == Dir:
		return nil
	case now.Kind != p.x.Was.Kind, now.Mode != p.x.Was.Mode, now.Kind != Dir && !now.sameContent(p.x.Was):
		return meanwhile(changed)
	}
	flags := unix.O_RDONLY
	if now.Kind == Dir {
		flags |= unix.O_DIRECTORY
	}
	f, err := open(p.dir, p.name, flags, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	var at unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &at); err != nil {
		return err
	}
	if at.Ino != st.Ino || at.Dev != st.Dev {
		return meanwhile(changed)
	}
	return unix.Fchmod(int(f.Fd()), at.Mode&0o7000|p.x.Is.Mode)
}
