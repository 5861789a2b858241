package layout

import (
	"io/fs"
	"slices"
	"strings"

	"github.com/penstock/penstock/sandbox"
)

// replaced is a host whose directory work is what is in tree: a pen sees a
// worktree's files at the place of the repository's.
type replaced struct {
	Host
	work, tree string
}

// at is where the host has what the pen sees at p.
func (r *replaced) at(p string) string {
	if within(p, r.work) {
		return r.tree + strings.TrimPrefix(p, r.work)
	}
	return p
}

func (r *replaced) Lstat(name string) (fs.FileMode, error) { return r.Host.Lstat(r.at(name)) }
func (r *replaced) Readlink(name string) (string, error)   { return r.Host.Readlink(r.at(name)) }
func (r *replaced) ReadDir(name string) ([]string, error)  { return r.Host.ReadDir(r.at(name)) }
func (r *replaced) ReadFile(name string) ([]byte, error)   { return r.Host.ReadFile(r.at(name)) }
func (r *replaced) Private(name string) bool               { return r.Host.Private(r.at(name)) }
func (r *replaced) Writable(name string) bool              { return r.Host.Writable(r.at(name)) }

// Sockets are where the pen would see them.
func (r *replaced) Sockets() (out []string) {
	for _, p := range r.Host.Sockets() {
		switch {
		case within(p, r.tree):
			out = append(out, r.work+strings.TrimPrefix(p, r.tree))
		case !within(p, r.work):
			out = append(out, p)
		}
	}
	return out
}

// move turns places in the pen into those of the host, where the two differ.
func (r *replaced) move(p *Plan) {
	for i := range p.Mounts {
		if m := &p.Mounts[i]; m.Kind == sandbox.Bind {
			m.Source = r.at(m.Source)
		}
	}
	for i := range p.Placeholders {
		p.Placeholders[i].Path = r.at(p.Placeholders[i].Path)
	}
	for i := range p.Links {
		p.Links[i].Path = r.at(p.Links[i].Path)
	}
}

// Kept are the names below the work directory that the pen can't change, and those that
// it doesn't see, relative to it; also of what is not there. Links that are protected
// are among the first.
func (p *Plan) Kept() (protected, hidden []string) {
	add := func(list *[]string, name string) {
		if rel, ok := strings.CutPrefix(name, p.Dir+"/"); ok && rel != "" && !slices.Contains(*list, rel) {
			*list = append(*list, rel)
		}
	}
	for _, w := range p.Watched {
		if w.Written {
			add(&protected, w.Path)
		} else {
			add(&hidden, w.Path)
		}
	}
	for _, n := range p.Protected {
		add(&protected, n)
	}
	for _, l := range p.Links {
		add(&protected, l.Path)
	}
	for _, n := range p.Hidden {
		add(&hidden, n)
	}
	return protected, hidden
}
