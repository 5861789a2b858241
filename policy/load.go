package policy

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/penstock/penstock/hooks"
)

// ProjectFile is the name of a project's policy file.
const ProjectFile = ".penstock.yaml"

// LoadOptions say where a session's policy comes from. The zero value is the
// empty policy, which denies everything.
type LoadOptions struct {
	System  string // path; "" or no such file: none
	User    string // path; "" or no such file: none
	Project string // path, see FindProject; "" or no such file: none

	Named    []string // files of --policy: trusted by naming, on the command line's layer
	Inline   []Inline // --allow and its kin
	Profiles []Text   // what an agent's profile asks for

	// ProjectText, when not nil, is taken for the content of Project.
	ProjectText []byte

	TrustProject bool   // the project's file counts without being in the trust store
	TrustStore   string // path; "": no project file is trusted

	// Language compiles the rules' conditions. Nil: they are as if nobody had, see
	// Policy.CompileConditions.
	Language hooks.Language

	// Environ is os.Getenv when nil. Only HOME is asked for.
	Environ func(string) string
	// WorkDir is what relative paths are relative to; "": the current directory.
	WorkDir string
}

// Inline is one flag of the command line that is policy.
type Inline struct {
	Flag  string // "--allow", "--deny", "--write", "--read", "--hide", "--env", "--add-host", "--ca", "--mode", "--sandbox"
	Value string
}

// Text is a policy file that is not in the file system.
type Text struct {
	Name string // for errors and provenance
	YAML string
}

// Load reads and joins all layers. The error is an *ErrorList for what is wrong
// in the files, else an I/O error. A project file that is not trusted does not
// count; see Policy.Untrusted.
func Load(o LoadOptions) (*Policy, error) {
	var files []*File
	var list ErrorList
	parse := func(name string, layer Layer, src []byte) error {
		f, err := Parse(name, layer, src)
		var more *ErrorList
		if errors.As(err, &more) {
			list.Errors = append(list.Errors, more.Errors...)
			return nil
		}
		files = append(files, f)
		return err
	}
	for _, src := range []struct {
		path  string
		layer Layer
	}{{o.System, System}, {o.User, User}} {
		text, err := readPolicy(src.path, true)
		if err != nil {
			return nil, err
		}
		if text != nil {
			if err := parse(src.path, src.layer, text); err != nil {
				return nil, err
			}
		}
	}
	text, untrusted, err := o.project()
	if err != nil {
		return nil, err
	}
	if text != nil {
		if err := parse(o.Project, Project, text); err != nil {
			return nil, err
		}
	}
	for _, name := range o.Named {
		text, err := readPolicy(name, false)
		if err == nil && text == nil {
			err = fmt.Errorf("read policy %s: %w", quote(name), fs.ErrNotExist)
		}
		if err != nil {
			return nil, err
		}
		if err := parse(name, CommandLine, text); err != nil {
			return nil, err
		}
	}
	for _, pr := range o.Profiles {
		if err := parse(pr.Name, Profile, []byte(pr.YAML)); err != nil {
			return nil, err
		}
	}
	if f := parseInline(o.Inline, &list); f != nil {
		files = append(files, f)
	}
	if err := list.err(); err != nil {
		return nil, err
	}
	res, err := newResolver(o)
	if err != nil {
		return nil, err
	}
	p, err := join(files, res)
	if err != nil {
		return nil, err
	}
	p.d.Untrusted = untrusted
	if o.Language != nil {
		return p.CompileConditions(o.Language)
	}
	return p, nil
}

// New joins parsed files and flags with relative paths resolved against the
// current directory. It is Load for those who have the files' bytes.
func New(files []*File, inline ...Inline) (*Policy, error) {
	var list ErrorList
	files = slices.Clone(files)
	if f := parseInline(inline, &list); f != nil {
		files = append(files, f)
	}
	if err := list.err(); err != nil {
		return nil, err
	}
	res, err := newResolver(LoadOptions{})
	if err != nil {
		return nil, err
	}
	return join(files, res)
}

// FindProject returns the path of the nearest project file from dir upward, or
// "". It does not look above home, which is no project, nor above the root.
func FindProject(dir, home string) string {
	dir = filepath.Clean(dir)
	for {
		path := filepath.Join(dir, ProjectFile)
		// A directory is how a running session keeps the name from being taken.
		if st, err := os.Lstat(path); err == nil && !st.IsDir() {
			return path
		}
		parent := filepath.Dir(dir)
		if parent == dir || home != "" && dir == filepath.Clean(home) {
			return ""
		}
		dir = parent
	}
}

// readPolicy reads a policy file; nil without error if there is none at that
// path. private asks that only its owner and root can have written it.
func readPolicy(path string, private bool) ([]byte, error) {
	if path == "" {
		return nil, nil
	}
	f, err := openRegular(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read policy: %w", err)
	}
	defer f.Close()
	if private {
		if err := checkOwner(f); err != nil {
			return nil, fmt.Errorf("read policy %s: %w", printable(path), err)
		}
	}
	b, err := readBounded(f, MaxFileSize+1)
	if err != nil {
		return nil, fmt.Errorf("read policy: %w", err)
	}
	if b == nil {
		b = []byte{}
	}
	return b, nil
}

// resolver makes paths absolute.
type resolver struct{ home, work string }

func newResolver(o LoadOptions) (*resolver, error) {
	env := o.Environ
	if env == nil {
		env = os.Getenv
	}
	r := &resolver{home: env("HOME"), work: o.WorkDir}
	if !filepath.IsAbs(r.work) {
		abs, err := filepath.Abs(r.work)
		if err != nil {
			return nil, fmt.Errorf("find the work directory: %w", err)
		}
		r.work = abs
	}
	return r, nil
}

// path resolves "~" and relative paths; base is what the latter are relative to.
func (r *resolver) path(given, base string) (string, bool) {
	if given == "~" || strings.HasPrefix(given, "~/") {
		if !filepath.IsAbs(r.home) {
			return "", false
		}
		return filepath.Join(r.home, given[1:]), true
	}
	if filepath.IsAbs(given) {
		return filepath.Clean(given), true
	}
	return filepath.Join(base, given), true
}

// clone returns the file with every path resolved and rules of its own, because
// joining completes them. Relative paths of a project's file are relative to
// its directory; others, that are about any project, to the work directory.
// Files that a policy reads (ca, file:) are relative to the policy's directory.
func (r *resolver) clone(f *File, errs *ErrorList) *File {
	c := *f
	own := r.work
	if f.Layer != Profile && f.SHA256 != "" {
		own = filepath.Dir(f.Name)
		if !filepath.IsAbs(own) {
			own = filepath.Join(r.work, own)
		}
	}
	base := r.work
	if f.Layer == Project {
		base = own
	}
	grants := func(list []PathGrant, base string) []PathGrant {
		out := slices.Clone(list)
		for i := range out {
			p, ok := r.path(out[i].Given, base)
			if !ok {
				errs.add(out[i].From, "set HOME, or write the absolute path", "path %s: HOME is not set", quote(out[i].Given))
			}
			out[i].Path = p
		}
		return out
	}
	c.rules = make([]*Rule, len(f.rules))
	for i, rule := range f.rules {
		own := *rule
		own.home(r, errs)
		c.rules[i] = &own
	}
	if f.joined {
		return &c
	}
	c.hooks = locateHooks(f.hooks, func(given string) (string, bool) { return r.path(given, own) }, errs)
	c.fs = FilesystemSettings{
		Write: grants(f.fs.Write, base), Read: grants(f.fs.Read, base),
		Hide: grants(f.fs.Hide, base), Protect: grants(f.fs.Protect, base),
	}
	c.limits.Hide = grants(f.limits.Hide, base)
	c.limits.Write.V = grants(f.limits.Write.V, base)
	c.ca = grants(f.ca, own)
	value := func(file *string, from Source) {
		if *file == "" {
			return
		}
		p, ok := r.path(*file, own)
		if !ok {
			errs.add(from, "set HOME, or write the absolute path", "path %s: HOME is not set", quote(*file))
		}
		*file = p
	}
	c.secrets = slices.Clone(f.secrets)
	for i := range c.secrets {
		c.secrets[i].locate(value)
	}
	c.upstreams = slices.Clone(f.upstreams)
	for i := range c.upstreams {
		value(&c.upstreams[i].File, c.upstreams[i].From)
		if !isURL(c.upstreams[i].PAC) {
			value(&c.upstreams[i].PAC, c.upstreams[i].From)
		}
		value(&c.upstreams[i].Client.Cert, c.upstreams[i].From)
		value(&c.upstreams[i].Client.Key, c.upstreams[i].From)
	}
	return &c
}
