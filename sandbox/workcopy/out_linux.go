package workcopy

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// Out copies src into the new directory dst, which only the caller can enter. Paths
// of protect and hide are relative to src. What is not copied is in the second result;
// on an error there is no dst. The copy is of no one moment: of a file that is written
// meanwhile, it has what was read.
func Out(ctx context.Context, src, dst string, protect, hide []string, limits Limits) (_ *Manifest, _ []Left, err error) {
	m := &Manifest{Protect: slices.Clone(protect), Hide: slices.Clone(hide)}
	for _, p := range append(slices.Clone(protect), hide...) {
		if !plainPath(p) {
			return nil, nil, fmt.Errorf("copy %s: protected path %q is not relative to it and plain", src, p)
		}
	}
	from, err := openRoot(src)
	if err != nil {
		return nil, nil, fmt.Errorf("copy the work directory: %w", err)
	}
	defer from.Close()
	if err := os.Mkdir(dst, 0o700); err != nil {
		return nil, nil, fmt.Errorf("copy %s: %w", src, err)
	}
	defer func() {
		if err != nil {
			m.clear(dst)
			err = fmt.Errorf("copy %s: %w", src, err)
		}
	}()
	to, err := openRoot(dst)
	if err != nil {
		return nil, nil, err
	}
	o := &out{m: m, read: newReader(), at: []*os.File{to}}
	defer o.up(-1)
	if err := unix.Fstat(int(to.Fd()), &o.own); err != nil {
		return nil, nil, err
	}
	rules := m.rules()
	o.walk = walk{limits: limits.orDefault(), visit: o.visit, skip: func(p string) string {
		if rules.hidden(p) {
			return "it is hidden"
		}
		return ""
	}}
	if err := o.tree(ctx, from, "", 0); err != nil {
		return nil, nil, err
	}
	slices.SortFunc(m.Entries, byPath)
	return m, o.left, o.modes(to)
}

// clear removes a copy, as far as it was made.
func (m *Manifest) clear(dst string) {
	os.RemoveAll(dst) //nolint:errcheck // what is left has no manifest and is in nobody's way
}

// out is one copying.
type out struct {
	walk
	m    *Manifest
	read *reader
	at   []*os.File // directories of the copy, from its top to where the walk is
	own  unix.Stat_t
}

// up closes the copy's directories below a depth.
func (o *out) up(depth int) {
	for len(o.at) > depth+1 {
		o.at[len(o.at)-1].Close()
		o.at = o.at[:len(o.at)-1]
	}
}

func (o *out) visit(n *node) error {
	o.up(n.depth)
	to := o.at[n.depth]
	switch n.Kind {
	case Dir:
		if n.st.Dev == o.own.Dev && n.st.Ino == o.own.Ino {
			return errors.New("the copy would be in what is copied")
		}
		if err := unix.Mkdirat(int(to.Fd()), n.name, 0o700); err != nil {
			return fail("make", n.Path, err)
		}
		dir, err := openDir(to, n.name)
		if err != nil {
			return fail("make", n.Path, err)
		}
		o.at = append(o.at, dir)
	case Link:
		if err := unix.Symlinkat(n.Text, int(to.Fd()), n.name); err != nil {
			return fail("make", n.Path, err)
		}
	case File:
		ok, err := o.file(n, to)
		if err != nil || !ok {
			return err
		}
	}
	o.m.Entries = append(o.m.Entries, n.Entry)
	return nil
}

// file copies one file; false if it is left out.
func (o *out) file(n *node, to *os.File) (bool, error) {
	f, err := openFile(n.parent, n.name, &n.st)
	if err != nil {
		if full(err) {
			return false, fail("open", n.Path, err)
		}
		o.leave(n.Path, because(err))
		return false, nil
	}
	defer f.Close()
	n.fill()
	g, err := open(to, n.name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, 0o600)
	if err != nil {
		return false, fail("make", n.Path, err)
	}
	defer g.Close()
	n.Size, n.Hash, err = o.read.copy(g, f, o.limits.File)
	var w *writeError
	switch {
	case errors.As(err, &w):
		return false, fail("write", n.Path, err)
	case err != nil:
		o.leave(n.Path, because(err))
		return false, unix.Unlinkat(int(to.Fd()), n.name, 0)
	}
	if err := finish(g, &n.Entry); err != nil {
		return false, fail("write", n.Path, err)
	}
	return true, g.Close()
}

// modes sets modes and times of directories, the deepest first: writing into them
// changes the one and may need the other.
func (o *out) modes(top *os.File) error {
	for _, e := range slices.Backward(o.m.Entries) {
		if e.Kind != Dir {
			continue
		}
		d, err := openDir(top, e.Path)
		if err != nil {
			return fail("open", e.Path, err)
		}
		err = finish(d, &e)
		d.Close()
		if err != nil {
			return fail("set the mode of", e.Path, err)
		}
	}
	return nil
}
