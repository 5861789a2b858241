package workcopy

import (
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/penstock/penstock/internal/text"
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

// Write prints a line for each change, for people. All that the guest chose is escaped.
func (c *Changes) Write(w io.Writer) {
	for _, x := range c.Changes {
		fmt.Fprintf(w, "%-8s %s%s\n", x.Do, text.Escape(x.Path), x.detail())
	}
	for _, l := range c.Left {
		fmt.Fprintf(w, "left out %s\n", l)
	}
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
