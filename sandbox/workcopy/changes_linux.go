package workcopy

import (
	"cmp"
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Changes compares what is in the copy with the manifest. It reads every file: times
// are the guest's to set.
func (m *Manifest) Changes(ctx context.Context, copied string, limits Limits) (_ *Changes, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("compare copy %s: %w", copied, err)
		}
	}()
	top, err := openRoot(copied)
	if err != nil {
		return nil, err
	}
	defer top.Close()
	c := &compare{m: m, read: newReader(), links: map[inode]*hard{}, there: make(map[string]bool, len(m.Entries))}
	rules := m.rules()
	c.walk = walk{limits: limits.orDefault(), visit: c.visit, skip: func(p string) string {
		if rules.hidden(p) {
			return "it is hidden"
		}
		return ""
	}}
	if err := c.tree(ctx, top, "", 0); err != nil {
		return nil, err
	}
	c.outside()
	out := c.changes()
	out.Left = append(out.Left, c.left...)
	kept := out.Changes[:0]
	for _, x := range out.Changes {
		if why := rules.refuse(x.Path, x.Was, x.Is); why != "" {
			out.Left = append(out.Left, Left{x.Path, why})
			continue
		}
		kept = append(kept, x)
	}
	out.Changes = kept
	slices.SortFunc(out.Left, func(a, b Left) int { return cmp.Or(strings.Compare(a.Path, b.Path), strings.Compare(a.Why, b.Why)) })
	out.Left = slices.Compact(out.Left)
	return out, nil
}

type inode struct{ dev, ino uint64 }

// hard is a file with several names.
type hard struct {
	names []string
	links uint64
}

type compare struct {
	walk
	m     *Manifest
	read  *reader
	now   []Entry
	links map[inode]*hard
	there map[string]bool // of now
}

func (c *compare) visit(n *node) error {
	if n.st.Mode&(unix.S_ISUID|unix.S_ISGID|unix.S_ISVTX) != 0 && n.Kind != Link {
		c.leave(n.Path, fmt.Sprintf("it has the mode %04o: set-user-id, set-group-id and sticky bits are not brought", n.st.Mode&0o7777))
		return nil
	}
	if n.Kind == File {
		f, err := openFile(n.parent, n.name, &n.st)
		if err != nil {
			c.leave(n.Path, because(err))
			return nil
		}
		n.fill()
		n.Size, n.Hash, err = c.read.copy(nil, f, min(n.Size, c.limits.File))
		f.Close()
		if err != nil {
			if full(err) {
				return fail("read", n.Path, err)
			}
			c.leave(n.Path, because(err))
			return nil
		}
		if n.st.Nlink > 1 {
			id := inode{n.st.Dev, n.st.Ino}
			if c.links[id] == nil {
				c.links[id] = &hard{}
			}
			h := c.links[id]
			h.names, h.links = append(h.names, n.Path), max(h.links, uint64(n.st.Nlink))
		}
	}
	c.now, c.there[n.Path] = append(c.now, n.Entry), true
	return nil
}

// outside leaves out files that have a name elsewhere.
func (c *compare) outside() {
	for _, h := range c.links {
		if h.links > uint64(len(h.names)) {
			for _, p := range h.names {
				delete(c.there, p)
				c.leave(p, "it is a hard link to a file that is not in the copy, or not only there")
			}
		}
	}
	c.now = slices.DeleteFunc(c.now, func(e Entry) bool { return !c.there[e.Path] })
}

// changes compares. What was left out is unknown: neither it nor what was in it, nor
// a directory above it, was deleted.
func (c *compare) changes() *Changes {
	out := &Changes{Changes: []Change{}, Left: []Left{}}
	unknown, above := map[string]bool{}, map[string]bool{}
	for _, l := range c.left {
		unknown[l.Path] = true
		for d := path.Dir(l.Path); d != "." && !above[d]; d = path.Dir(d) {
			above[d] = true
		}
	}
	isUnknown := func(p string) bool {
		for ; p != "."; p = path.Dir(p) {
			if unknown[p] {
				return true
			}
		}
		return false
	}
	for i := range c.now {
		is := &c.now[i]
		was := c.m.find(is.Path)
		switch {
		case was == nil:
			out.add(Created, nil, is)
		case was.same(is):
		case was.Kind != is.Kind && (was.Kind == Dir || is.Kind == Dir):
			out.add(Deleted, was, nil)
			out.add(Created, nil, is)
		case was.sameContent(is):
			out.add(Mode, was, is)
		default:
			out.add(Edited, was, is)
		}
	}
	for i := range c.m.Entries {
		was := &c.m.Entries[i]
		if !c.there[was.Path] && !isUnknown(was.Path) && !above[was.Path] {
			out.add(Deleted, was, nil)
		}
	}
	slices.SortStableFunc(out.Changes, func(a, b Change) int { return strings.Compare(a.Path, b.Path) })
	return out
}

func (c *Changes) add(do string, was, is *Entry) {
	x := Change{Do: do, Was: was, Is: is}
	if is != nil {
		x.Path = is.Path
		x.Outside = is.Kind == Link && leadsOut(is.Path, is.Text)
	} else {
		x.Path = was.Path
	}
	c.Changes = append(c.Changes, x)
}
