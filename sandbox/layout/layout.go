package layout

import (
	"fmt"
	"io/fs"
	"path"
	"sort"
	"strings"

	"github.com/penstock/penstock/sandbox"
)

// Host answers what the machine has. Paths are absolute.
type Host interface {
	Lstat(name string) (fs.FileMode, error) // does not follow links
	Readlink(name string) (string, error)   // the text of a link
	ReadDir(name string) ([]string, error)  // names, sorted
	ReadFile(name string) ([]byte, error)   // at most 1 MiB
	Private(name string) bool               // this process can read it, others can't
	Writable(name string) bool              // by this process
	Sockets() []string                      // paths that unix sockets are bound to
}

// Input is what the pen is asked to be. All paths are absolute host paths.
type Input struct {
	Work string // the work directory, writable
	// Tree is a directory of the host that the pen sees at Work instead of what is
	// there: a copy, of which the host takes nothing that nobody has looked at. So
	// only its .git is protected. Both are free of symbolic links then.
	Tree string
	// Guarded says that Tree is a copy of all that is at Work, whose changes go back
	// there: what is protected in Work is protected in it.
	Guarded bool
	Home    string // the user's home, hidden but for what is granted
	User    string // login name
	UID     int
	GID     int

	Write   []string // more writable directories and files
	Read    []string // more readable ones
	Hide    []string // beside the usual credentials
	Protect []string // beside the usual names
	// Unprotect takes paths out of the usual names, e.g. WORK/.git to let the
	// tool make a repository. The caller warns.
	Unprotect []string

	Path     []string // directories of the caller's PATH
	Programs []string // programs to be executed that PATH doesn't lead to

	// Bundle is a file of certificate authorities that goes over the system's
	// places, TrustStore the same for Java. Empty leaves the host's.
	Bundle     string
	TrustStore string

	Hostname    string
	Nameservers []string // default 127.0.0.1
	TmpSize     int64    // bytes for each of /tmp, /var/tmp and the home; 0: the kernel's default
}

// Link is a protected path that is a symbolic link, and its text. Compare it
// after the run.
type Link struct {
	Path, Text string
}

// Changed returns those of the links that are not what they were when the pen
// was planned: the tool replaced what could not be mounted over.
func (p *Plan) Changed(host Host) []Link {
	var out []Link
	for _, l := range p.Links {
		m, err := host.Lstat(l.Path)
		if err == nil && m&fs.ModeSymlink != 0 {
			if text, err := host.Readlink(l.Path); err == nil && text == l.Text {
				continue
			}
		}
		out = append(out, l)
	}
	return out
}

// Plan is the file system of a pen.
type Plan struct {
	Mounts       []sandbox.Mount
	Files        []sandbox.File
	Placeholders []sandbox.Placeholder
	Links        []Link
	Dir          string            // the work directory, links resolved
	Home         string            // the pen's HOME
	Path         []string          // the directories of PATH that the pen has
	Protected    []string          // what is read-only inside something writable
	Hidden       []string          // what is covered
	Watched      []sandbox.Watched // what is hidden, or would be if it were there, and what is protected
	Warnings     []string          // what of the input weakens the pen or could not be done, for people
}

// Places of ours in the pen.
const (
	BundlePath     = "/run/penstock/ca.pem"
	TrustStorePath = "/run/penstock/truststore.p12"
)

// Error refuses an input; Fix is one line on what to do.
type Error struct {
	Err error
	Fix string
}

func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Hint returns what to do about it.
func (e *Error) Hint() string { return e.Fix }

func refuse(fix, format string, args ...any) error {
	return &Error{Err: fmt.Errorf(format, args...), Fix: fix}
}

// rank orders what may want the same target; the highest stays.
type rank uint8

const (
	system rank = iota
	toolchain
	read
	write
	shape // mount points that keep a directory from being renamed, and trust bundles
	protect
	hide
)

type placed struct {
	sandbox.Mount
	rank rank
}

// builder collects one plan.
type builder struct {
	in   Input
	host Host
	at   map[string]placed
	plan *Plan
	// common is the repository of a linked worktree, once granted.
	common string
}

// Build plans a pen.
func Build(in Input, host Host) (*Plan, error) {
	b := &builder{in: in, host: host, at: map[string]placed{}, plan: &Plan{}}
	for _, p := range []*string{&b.in.Work, &b.in.Home} {
		if *p != "" && !path.IsAbs(*p) {
			return nil, refuse("give an absolute path", "plan pen: %q is not absolute", *p)
		}
	}
	var copied *replaced
	if in.Tree != "" {
		copied = &replaced{host, in.Work, in.Tree}
		b.host = copied
	}
	b.systemMounts()
	b.home()
	b.toolchains()
	if err := b.grants(); err != nil {
		return nil, err
	}
	b.searchPath()
	b.protectAll()
	b.hideAll()
	b.trust()
	b.files()
	b.collect()
	if copied != nil {
		copied.move(b.plan)
	}
	return b.plan, nil
}

// put places a mount unless a higher rank has its target.
func (b *builder) put(r rank, m sandbox.Mount) {
	if old, ok := b.at[m.Target]; ok && old.rank > r {
		return
	}
	b.at[m.Target] = placed{m, r}
}

// bind shows a host path at its own place.
func (b *builder) bind(r rank, p string, writable bool) {
	b.put(r, sandbox.Mount{Source: p, Target: p, Write: writable})
}

// cover returns the mount that decides what the pen sees at p.
func (b *builder) cover(p string) (placed, bool) {
	for {
		if m, ok := b.at[p]; ok {
			return m, true
		}
		if p == "/" {
			return placed{}, false
		}
		p = path.Dir(p)
	}
}

// visible says whether the pen sees the host's object at p.
func (b *builder) visible(p string) bool {
	m, ok := b.cover(p)
	return ok && m.Kind == sandbox.Bind
}

// writable says whether the pen could change the host's object at p.
func (b *builder) writable(p string) bool {
	m, ok := b.cover(p)
	return ok && m.Kind == sandbox.Bind && m.Write
}

// collect puts the mounts in an order in which each comes after what it covers.
func (b *builder) collect() {
	targets := make([]string, 0, len(b.at))
	for t := range b.at {
		targets = append(targets, t)
	}
	sort.Slice(targets, func(i, j int) bool {
		di, dj := strings.Count(targets[i], "/"), strings.Count(targets[j], "/")
		if di != dj {
			return di < dj
		}
		return targets[i] < targets[j]
	})
	for _, t := range targets {
		m := b.at[t]
		b.plan.Mounts = append(b.plan.Mounts, m.Mount)
		switch m.rank {
		case protect:
			b.plan.Protected = append(b.plan.Protected, t)
			b.plan.Watched = append(b.plan.Watched, sandbox.Watched{Path: t, Written: true})
		case hide:
			b.plan.Hidden = append(b.plan.Hidden, t)
			b.watch(t)
		}
	}
}

func (b *builder) warn(format string, args ...any) {
	b.plan.Warnings = append(b.plan.Warnings, fmt.Sprintf(format, args...))
}

// within says whether p is dir or below it.
func within(p, dir string) bool {
	return p == dir || dir == "/" || strings.HasPrefix(p, dir+"/")
}

// resolve follows all links in p. ok is false if it does not exist.
func (b *builder) resolve(p string) (real string, mode fs.FileMode, ok bool) {
	rest := strings.Split(strings.Trim(path.Clean(p), "/"), "/")
	real = "/"
	mode = fs.ModeDir
	for links := 0; len(rest) > 0; {
		name := rest[0]
		rest = rest[1:]
		if name == "" || name == "." {
			continue
		}
		if name == ".." {
			real = path.Dir(real)
			continue
		}
		next := path.Join(real, name)
		m, err := b.host.Lstat(next)
		if err != nil {
			return "", 0, false
		}
		if m&fs.ModeSymlink == 0 {
			real, mode = next, m
			continue
		}
		text, err := b.host.Readlink(next)
		if links++; err != nil || links > 40 {
			return "", 0, false
		}
		rest = append(strings.Split(text, "/"), rest...)
		if path.IsAbs(text) {
			real = "/"
		}
	}
	return real, mode, true
}

// isDir says whether a directory, not a link to one, is at p.
func (b *builder) isDir(p string) bool {
	m, err := b.host.Lstat(p)
	return err == nil && m.IsDir()
}
