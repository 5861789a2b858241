package worktree

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/penstock/penstock/internal/text"
)

// Modes of git's trees.
const (
	modeProgram = "100755"
	modeLink    = "120000"
	modeModule  = "160000"
	modeNone    = "000000"
)

// Change is one file that differs between the base and what was made of it.
type Change struct {
	Path    string `json:"path"`
	Status  string `json:"status"` // added, deleted, changed
	Mode    string `json:"mode"`
	OldMode string `json:"old_mode"`
	Link    string `json:"link,omitempty"` // text of a symbolic link
	// Added and Deleted are lines; -1 for what is not text.
	Added   int `json:"lines_added"`
	Deleted int `json:"lines_deleted"`

	blob string
}

// Report is what a worktree would bring to the host.
type Report struct {
	Entry
	Commits     int      `json:"commits"`     // beside the base
	Uncommitted bool     `json:"uncommitted"` // the last commit is what was not committed
	Added       int      `json:"lines_added"`
	Deleted     int      `json:"lines_deleted"`
	Changes     []Change `json:"changes"`
	// Hazards are changed files that the host would execute later.
	Hazards []Hazard `json:"host_executes"`
}

// Report compares what was brought in with the base. It is only about verified
// objects.
func (h *Held) Report(ctx context.Context) (*Report, error) {
	if h.Snapshot == "" {
		return nil, refuse("penstock worktree show "+h.ID, "report on %s: nothing was brought in yet", h.Branch)
	}
	r := &Report{Entry: Entry{Worktree: h.Worktree, State: Kept, Dir: h.Tree()}, Uncommitted: h.Snapshot != h.Tip,
		Changes: []Change{}, Hazards: []Hazard{}}
	out, err := h.store.git.line(ctx, h.dir(), "rev-list", "--count", h.Snapshot, "^"+h.Base)
	if err != nil {
		return nil, err
	}
	if r.Commits, err = strconv.Atoi(out); err != nil {
		return nil, errors.New("count commits: git's answer is not understood")
	}
	raw, err := h.store.git.run(ctx, h.dir(), "diff-tree", "-r", "-z", "--raw", "--numstat", "--no-renames", "--no-ext-diff", "--no-textconv", "--no-abbrev", h.Base, h.Snapshot)
	if err != nil {
		return nil, err
	}
	if r.Changes, err = parseChanges(raw); err != nil {
		return nil, err
	}
	if err := h.links(ctx, r.Changes); err != nil {
		return nil, err
	}
	hooks := h.hookDirs(ctx)
	for i := range r.Changes {
		c := &r.Changes[i]
		r.Added, r.Deleted = r.Added+max(c.Added, 0), r.Deleted+max(c.Deleted, 0)
		if z, ok := hazardOf(c, hooks); ok {
			r.Hazards = append(r.Hazards, z)
		}
	}
	return r, nil
}

// hookDirs are directories of the repository that its configuration names as
// places of hooks.
func (h *Held) hookDirs(ctx context.Context) []string {
	// Not by --get: ours, which turns hooks off, is the last.
	out, err := h.store.git.run(ctx, h.dir(), "config", "-z", "--get-all", "core.hooksPath")
	if err != nil {
		return nil
	}
	var dirs []string
	for _, p := range strings.Split(string(out), "\x00") {
		if p == "" || p == "/dev/null" {
			continue
		}
		if !filepath.IsAbs(p) {
			p = filepath.Join(h.Repository, p)
		}
		if rel, err := filepath.Rel(h.Repository, p); err == nil && rel != ".." && !strings.HasPrefix(rel, "../") {
			dirs = append(dirs, filepath.ToSlash(rel))
		}
	}
	return dirs
}

// links reads what symbolic links say.
func (h *Held) links(ctx context.Context, changes []Change) error {
	for i := range changes {
		c := &changes[i]
		if c.Mode != modeLink {
			continue
		}
		b, err := h.store.git.run(ctx, h.dir(), "cat-file", "blob", c.blob)
		if err != nil {
			return err
		}
		c.Link = string(b[:min(len(b), 4096)])
	}
	return nil
}

// parseChanges reads git diff-tree -z --raw --numstat; see git-diff-tree(1), raw
// output format. Names are the tool's.
func parseChanges(raw []byte) ([]Change, error) {
	bad := errors.New("compare with the base: git's answer is not understood")
	out, at := []Change{}, map[string]int{}
	for len(raw) > 0 {
		field, rest, ok := bytes.Cut(raw, []byte{0})
		if !ok {
			return nil, bad
		}
		raw = rest
		if strings.HasPrefix(string(field), ":") {
			name, rest, ok := bytes.Cut(raw, []byte{0})
			f := strings.Fields(string(field[1:]))
			if !ok || len(f) != 5 || len(name) == 0 {
				return nil, bad
			}
			raw = rest
			c := Change{Path: string(name), OldMode: f[0], Mode: f[1], blob: f[3], Status: "changed"}
			switch {
			case c.OldMode == modeNone:
				c.Status = "added"
			case c.Mode == modeNone:
				c.Status = "deleted"
			}
			at[c.Path] = len(out)
			out = append(out, c)
			continue
		}
		f := strings.SplitN(string(field), "\t", 3)
		if len(f) != 3 {
			return nil, bad
		}
		i, known := at[f[2]]
		if !known {
			return nil, bad
		}
		for j, to := range []*int{&out[i].Added, &out[i].Deleted} {
			if f[j] == "-" {
				*to = -1
				continue
			}
			n, err := strconv.Atoi(f[j])
			if err != nil || n < 0 {
				return nil, bad
			}
			*to = n
		}
	}
	return out, nil
}

// Diff writes the whole difference to the base as a patch. Its bytes are the
// tool's.
func (h *Held) Diff(ctx context.Context, w io.Writer) error {
	return h.store.git.stream(ctx, h.dir(), nil, w, "diff", "--no-ext-diff", "--no-textconv", "--no-color", "--binary", h.Base, h.Snapshot, "--")
}

// Write prints the report for people, of each list at most so many lines; 0 is all.
// Everything that the tool chose is escaped.
func (r *Report) Write(w io.Writer, most int) {
	line := func(format string, args ...any) { fmt.Fprintf(w, format+"\n", args...) }
	if len(r.Changes) == 0 {
		line("worktree %s: no changes", r.Name)
	} else {
		line("worktree %s: %s on branch %s, %s, +%d −%d lines", r.Name, count(r.Commits, "commit"), r.Branch, count(len(r.Changes), "file"), r.Added, r.Deleted)
	}
	rest := func(i, all int) bool {
		if most == 0 || i < most {
			return false
		}
		line("  … and %d more: penstock worktree show %s", all-i, r.ID)
		return true
	}
	for i, c := range r.Changes {
		if rest(i, len(r.Changes)) {
			break
		}
		line("  %-8s %7s %7s  %s%s", c.Status, lines("+", c.Added), lines("−", c.Deleted), text.Escape(c.Path), linkText(&c))
	}
	if r.Uncommitted {
		line("the last commit is what was not committed")
	}
	for _, n := range r.Nested {
		line("left out: %s is a repository of its own", text.Escape(n))
	}
	for _, b := range r.Branches {
		line("left out: branch %s that was made in the pen", text.Escape(b))
	}
	WriteHazards(w, r.Hazards, len(r.Changes), func(i int) bool { return rest(i, len(r.Hazards)) })
}

// WriteHazards prints a line for each hazard of so many changes, until over says that it
// is enough.
func WriteHazards(w io.Writer, list []Hazard, of int, over func(i int) bool) {
	if len(list) == 0 {
		return
	}
	fmt.Fprintf(w, "the host would execute or obey %s of these later:\n", countOf(len(list), of))
	for i, z := range list {
		if over(i) {
			break
		}
		fmt.Fprintf(w, "  %-22s %s (%s)\n", z.Kind, text.Escape(z.Path), z.Why)
	}
}

func linkText(c *Change) string {
	if c.Mode != modeLink {
		return ""
	}
	return " -> " + text.Clip(c.Link, 120)
}

func lines(sign string, n int) string {
	if n < 0 {
		return "binary"
	}
	return sign + strconv.Itoa(n)
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func countOf(n, all int) string {
	if n == all {
		return "all"
	}
	return strconv.Itoa(n)
}
