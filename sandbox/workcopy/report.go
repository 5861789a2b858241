package workcopy

import (
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/penstock/penstock/internal/text"
	"github.com/penstock/penstock/sandbox/worktree"
)

// What was done to a name.
const (
	Created = "created"
	Edited  = "edited" // another content, perhaps another mode, or a link in a file's place
	Deleted = "deleted"
	Mode    = "mode" // of a file or directory that is else the same
)

// Change is one name that differs.
type Change struct {
	Path string `json:"path"`
	Do   string `json:"do"`
	Was  *Entry `json:"was,omitempty"` // in the manifest
	Is   *Entry `json:"is,omitempty"`  // in the copy
	// Outside says that it is a symbolic link that leads out of the work directory.
	Outside bool `json:"outside,omitempty"`

	then *Entry // what takes the place of what is deleted
}

// Changes are what a copy would bring, sorted by path. A name that was a directory and
// is none any more, or the other way round, is there twice, deleted first.
type Changes struct {
	Changes []Change `json:"changes"`
	Left    []Left   `json:"left_out"` // what can't be brought, and why
}

// Left is a name that is not carried, and why.
type Left struct {
	Path string `json:"path"`
	Why  string `json:"why"`
}

func (l Left) String() string { return text.Escape(l.Path) + ": " + text.Escape(l.Why) }

func byPath(a, b Entry) int { return strings.Compare(a.Path, b.Path) }

// leadsOut says whether a link's text leads out of the work directory, as far as the
// text tells: links on its way may lead elsewhere.
func leadsOut(name, to string) bool {
	p := path.Join(path.Dir(name), to)
	return path.IsAbs(to) || p == ".." || strings.HasPrefix(p, "../")
}

// Count says how many there are of each.
func (c *Changes) Count() string {
	n := map[string]int{}
	for _, x := range c.Changes {
		n[x.Do]++
	}
	var out []string
	for _, do := range []string{Created, Edited, Deleted, Mode} {
		if n[do] > 0 {
			out = append(out, fmt.Sprintf("%d %s", n[do], do))
		}
	}
	if out == nil {
		out = []string{"no changes"}
	}
	if len(c.Left) > 0 {
		out = append(out, fmt.Sprintf("%d left out", len(c.Left)))
	}
	return strings.Join(out, ", ")
}

// Write prints a line for each change, for people: most of a kind, or all if that is
// zero. All that the guest chose is escaped.
func (c *Changes) Write(w io.Writer, most int) {
	for i, x := range c.Changes {
		if rest(w, i, len(c.Changes), most) {
			break
		}
		fmt.Fprintf(w, "%-8s %s%s\n", x.Do, text.Escape(x.Path), x.detail())
	}
	List(w, "left out", c.Left, most)
}

// List prints a line for each name that is not carried.
func List(w io.Writer, what string, list []Left, most int) {
	for i, l := range list {
		if rest(w, i, len(list), most) {
			break
		}
		fmt.Fprintf(w, "%s %s\n", what, l)
	}
}

// Hazards are the changes that the host executes or obeys later.
func (c *Changes) Hazards() []worktree.Hazard {
	out := []worktree.Hazard{}
	for _, x := range c.Changes {
		if x.Is == nil || x.Is.Kind == Dir {
			continue
		}
		program := x.Is.Mode&0o111 != 0 && (x.Was == nil || x.Was.Mode&0o111 == 0)
		if z, ok := worktree.HazardOf(x.Path, program); ok {
			out = append(out, z)
		}
	}
	return out
}

// WriteHazards prints them, most at most.
func (c *Changes) WriteHazards(w io.Writer, most int) {
	list := c.Hazards()
	worktree.WriteHazards(w, list, len(c.Changes), func(i int) bool { return rest(w, i, len(list), most) })
}

func rest(w io.Writer, i, all, most int) bool {
	if most == 0 || i < most {
		return false
	}
	fmt.Fprintf(w, "… and %d more\n", all-i)
	return true
}

func (x *Change) detail() string {
	var b strings.Builder
	switch is := x.Is; {
	case is == nil:
		if x.Was.Kind == Dir {
			b.WriteString("/")
		}
	case is.Kind == Dir:
		b.WriteString("/")
	case is.Kind == Link:
		b.WriteString(" -> " + text.Clip(is.Text, 120))
		if x.Outside {
			b.WriteString(" (leads out of the work directory)")
		}
	}
	if x.Is != nil && x.Was != nil && x.Was.Mode != x.Is.Mode {
		fmt.Fprintf(&b, " (mode %03o, was %03o)", x.Is.Mode, x.Was.Mode)
	} else if x.Do == Created && x.Is.Kind == File && x.Is.Mode&0o111 != 0 {
		fmt.Fprintf(&b, " (mode %03o)", x.Is.Mode)
	}
	return b.String()
}
