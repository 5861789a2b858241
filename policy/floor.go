package policy

import (
	"cmp"
	"encoding/hex"
	"errors"
	"maps"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// UnderFloor joins what a caller says its policy is with the administrator's
// file, in a process that believes the administrator only. The result is what
// the caller's own files and flags make under exactly this system layer: what
// the caller claims to be the system's is dropped, and what lies outside of the
// file's limits is an error that names both lines. floor is nil where there is
// no such file.
//
// Paths of the file that begin with ~ or are relative mean the caller's home and
// work directory, which are the caller's word: no process that needs this
// function enforces anything about them.
func UnderFloor(floor *File, client *Policy) (*Policy, error) {
	if client == nil {
		return nil, errors.New("join policy with the floor: there is no policy")
	}
	if floor != nil && floor.Layer != System {
		return nil, errors.New("join policy with the floor: the floor is not the system's")
	}
	c := claims{d: &client.d, files: map[Layer]*File{}}
	if floor != nil {
		c.floor = filepath.Clean(floor.Name)
	}
	c.refs()
	c.egress()
	c.sandbox()
	c.environment()
	c.secrets()
	c.hooks()
	c.filesystem()
	if err := c.errs.err(); err != nil {
		return nil, err
	}
	var files []*File
	if floor != nil {
		files = append(files, floor)
	}
	for _, l := range slices.Sorted(maps.Keys(c.files)) {
		files = append(files, c.files[l])
	}
	m, err := merged(files, &resolver{home: c.d.Home, work: c.d.WorkDir})
	if err != nil {
		return nil, err
	}
	m.d.Files = append(m.d.Files, c.kept...)
	m.d.Untrusted, m.d.Attribute = c.d.Untrusted, c.d.Attribute
	m.d.AskWithin = c.within()
	return compile(m.d)
}

// claims is a caller's policy on its way back into files, one for each layer.
// Within a layer nothing depends on the number of files.
type claims struct {
	d     *data
	floor string // name of the administrator's file
	files map[Layer]*File
	kept  []FileRef
	errs  ErrorList
}

func (c *claims) fail(s Source, format string, args ...any) {
	c.errs.add(s, "", "the caller's policy can't be believed: "+format, args...)
}

// file returns the file that a claim belongs into, nil for what is dropped.
func (c *claims) file(s Source) *File {
	if s.Layer == System || !c.honest(s) {
		return nil
	}
	f := c.files[s.Layer]
	if f == nil {
		f = &File{Name: s.Layer.String(), Layer: s.Layer, joined: true}
		c.files[s.Layer] = f
	}
	return f
}

// honest says whether something can come from where it says: a flag, or a line
// of one of the files that the policy lists, and not of the administrator's.
func (c *claims) honest(s Source) bool {
	switch {
	case s.Layer > Profile:
		c.fail(Source{File: s.File}, "there is no such layer")
	case s.Line == 0 && s.Column == 0 && s.Layer == CommandLine && isFlag(s.File):
		return true
	case s.Line < 1 || s.Column < 1 || s.Line > MaxFileSize || s.Column > MaxFileSize:
		c.fail(Source{File: s.File}, "this is no line of a file")
	case c.poses(s.File):
		c.fail(s, "it says that it stands in the administrator's file")
	case !slices.ContainsFunc(c.d.Files, func(f FileRef) bool { return f.Name == s.File && f.Layer == s.Layer }):
		c.fail(s, "it stands in a file that is not among the policy's (%s)", s.Layer)
	default:
		return true
	}
	return false
}

// poses says whether a name could be taken for the administrator's file.
func (c *claims) poses(name string) bool {
	return c.floor != "" && strings.HasPrefix(filepath.Clean(name), c.floor)
}

func isFlag(s string) bool {
	name, _, ok := strings.Cut(s, " ")
	return ok && slices.Contains(InlineFlags(), name)
}

// refs keeps the list of the caller's files, which the record of a session has.
func (c *claims) refs() {
	for _, f := range c.d.Files {
		sum, err := hex.DecodeString(f.SHA256)
		at := Source{File: f.Name, Layer: f.Layer}
		switch {
		case f.Layer == System:
			continue
		case f.Layer > Profile || f.Name == "" || err != nil || len(sum) != 32 || !isHash(f.SHA256):
			c.fail(at, "this is no file of a policy")
		case c.poses(f.Name):
			c.fail(at, "the administrator's file is not the caller's to name")
		default:
			c.kept = append(c.kept, f)
		}
	}
}

// within are the caller's own limits of what is asked about. They take away only,
// so that nothing of them has to be believed.
func (c *claims) within() *Limits {
	var own Limits
	for _, l := range c.d.Limits {
		if !l.from(System) {
			own.narrow(&l)
		}
	}
	if c.d.AskWithin != nil {
		own.narrow(c.d.AskWithin)
	}
	if !own.set() {
		return nil
	}
	return &own
}

func (c *claims) egress() {
	for _, r := range c.d.Rules {
		if f := c.file(r.Source); f != nil {
			f.rules = append(f.rules, r)
		}
	}
	if d := c.d.Default; d.Set {
		if f := c.file(d.From); f != nil {
			f.def = d
		}
	}
	claim(c, c.d.AskTimeout, validAskTime(c.d.AskTimeout.V), func(f *File) { f.askTime = c.d.AskTimeout })
	if m := c.d.Mode; m.Set {
		switch f := c.file(m.From); {
		case f == nil:
		case m.From.Line != 0:
			c.fail(m.From, "only a flag sets the mode")
		default:
			f.mode = m
		}
	}
	for _, h := range c.d.Hosts {
		f := c.file(h.From)
		if f == nil {
			continue
		}
		if e, msg, _ := hostEntry(h.Name, h.Addr.String()); msg != "" || e.Name != h.Name || e.Addr != h.Addr {
			c.fail(h.From, "this is no fixed address of a name")
			continue
		}
		f.hosts = append(f.hosts, h)
	}
	c.paths(c.d.CA, func(f *File) *[]PathGrant { return &f.ca })
	c.approvers()
	c.upstreams()
}

func (c *claims) upstreams() {
	claim(c, c.d.Via, c.d.Via.V == Direct || validUpstream(c.d.Via.V), func(f *File) { f.via = c.d.Via })
	for _, u := range c.d.Upstreams {
		f := c.file(u.From)
		if f == nil {
			continue
		}
		if err := u.finish(); err != nil || u.File != "" && !plainPath(u.File) || !u.Client.plain() || u.IsPAC() && !isURL(u.PAC) && !plainPath(u.PAC) {
			c.fail(u.From, "upstream %s can't be in a policy", quote(u.Name))
			continue
		}
		f.upstreams = append(f.upstreams, u)
	}
}

// paths keeps the caller's grants.
func (c *claims) paths(list []PathGrant, to func(*File) *[]PathGrant) {
	for _, g := range list {
		f := c.file(g.From)
		if f == nil {
			continue
		}
		if msg, _ := badPath(g.Given); msg != "" || !plainPath(g.Path) {
			c.fail(g.From, "%s is not a path", quote(g.Path))
			continue
		}
		*to(f) = append(*to(f), g)
	}
}

func plainPath(p string) bool {
	return filepath.IsAbs(p) && filepath.Clean(p) == p && len(p) <= 1<<14 && !strings.ContainsAny(p, "\x00\n\r")
}

func (c *claims) filesystem() {
	fs := &c.d.Filesystem
	c.paths(fs.Write, func(f *File) *[]PathGrant { return &f.fs.Write })
	c.paths(fs.Read, func(f *File) *[]PathGrant { return &f.fs.Read })
	c.paths(fs.Hide, func(f *File) *[]PathGrant { return &f.fs.Hide })
	c.paths(fs.Protect, func(f *File) *[]PathGrant { return &f.fs.Protect })
	for _, p := range []string{c.d.Home, c.d.WorkDir} {
		if p != "" && !plainPath(p) {
			c.fail(Source{File: p}, "this is not a directory's path")
		}
	}
}

func (c *claims) sandbox() {
	s := &c.d.Sandbox
	claim(c, s.Tier, slices.Contains(tiers(), s.Tier.V), func(f *File) { f.sandbox.Tier = s.Tier })
	claim(c, s.Tiers, badTiers(s.Tiers.V) == "", func(f *File) { f.sandbox.Tiers = s.Tiers })
	claim(c, s.MinTier, slices.Contains(tiers()[1:], s.MinTier.V), func(f *File) { f.limits.Tier = s.MinTier })
	// Which of a layer's two sections a value was in can't be seen any more. As
	// both it is neither overruled nor exceeded.
	amount(c, s.Memory, 1, math.MaxInt64/2, func(f *File) { f.sandbox.Memory, f.limits.Memory = s.Memory, s.Memory })
	amount(c, s.CPUs, 0.01, 4096, func(f *File) { f.sandbox.CPUs, f.limits.CPUs = s.CPUs, s.CPUs })
	amount(c, s.PIDs, 1, 1<<22, func(f *File) { f.sandbox.PIDs, f.limits.PIDs = s.PIDs, s.PIDs })
	amount(c, s.OpenFiles, 1, 1<<30, func(f *File) { f.sandbox.OpenFiles, f.limits.OpenFiles = s.OpenFiles, s.OpenFiles })
	amount(c, s.ReadRate, 1, math.MaxInt64/2, func(f *File) { f.sandbox.ReadRate, f.limits.ReadRate = s.ReadRate, s.ReadRate })
	amount(c, s.WriteRate, 1, math.MaxInt64/2, func(f *File) { f.sandbox.WriteRate, f.limits.WriteRate = s.WriteRate, s.WriteRate })
	claim(c, s.OnViolation, slices.Contains(violations(), s.OnViolation.V), func(f *File) { f.sandbox.OnViolation = s.OnViolation })
	claim(c, s.Worktree, true, func(f *File) { f.sandbox.Worktree = s.Worktree })
	amount(c, s.Idle, 1, time.Duration(math.MaxInt64), func(f *File) { f.sandbox.Idle, f.limits.Idle = s.Idle, s.Idle })
	amount(c, s.Timeout, 1, time.Duration(math.MaxInt64), func(f *File) { f.sandbox.Timeout, f.limits.Timeout = s.Timeout, s.Timeout })
}

// claim keeps a value of the caller's.
func claim[T any](c *claims, v Value[T], valid bool, keep func(*File)) {
	if !v.Set {
		return
	}
	switch f := c.file(v.From); {
	case f == nil:
	case !valid:
		c.fail(v.From, "the value can't be in a policy")
	default:
		keep(f)
	}
}

func amount[T cmp.Ordered](c *claims, v Value[T], least, most T, keep func(*File)) {
	claim(c, v, least <= v.V && v.V <= most, keep)
}

func (c *claims) environment() {
	e := &c.d.Environment
	for _, p := range e.Pass {
		f := c.file(p.From)
		if f == nil {
			continue
		}
		if p.Pattern != "*" && !validEnv(strings.TrimSuffix(p.Pattern, "*")) {
			c.fail(p.From, "%s is not a name of a variable", quote(p.Pattern))
			continue
		}
		f.env.Pass = append(f.env.Pass, p)
		if w, ok := passWarning(p.From, p.Pattern); ok {
			f.warnings = append(f.warnings, w)
		}
	}
	for _, v := range e.Set {
		f := c.file(v.From)
		if f == nil {
			continue
		}
		if !validEnv(v.Name) || strings.ContainsRune(v.Value, 0) {
			c.fail(v.From, "%s is not a variable", quote(v.Name))
			continue
		}
		f.env.Set = append(f.env.Set, v)
	}
	claim(c, e.Proxy, true, func(f *File) { f.env.Proxy = e.Proxy })
}

// hooks were checked when they were read: they say no more than a file can.
func (c *claims) hooks() {
	for _, h := range c.d.Hooks {
		if f := c.file(h.From); f != nil {
			f.hooks = append(f.hooks, h)
		}
	}
}

func (c *claims) secrets() {
	for _, s := range c.d.Secrets {
		f := c.file(s.From)
		if f == nil {
			continue
		}
		if !validSecret(&s) {
			c.fail(s.From, "secret %s can't be in a policy", quote(s.Name))
			continue
		}
		f.secrets = append(f.secrets, s)
	}
}

// validSecret says whether a secret is as the parser makes it.
func validSecret(s *Secret) bool {
	ok := validEnv(s.Name) && s.validPlace() && s.validSource() && len(s.Hosts) > 0
	for _, h := range s.Hosts {
		p, err := parseHostPattern(h)
		ok = ok && err == nil && p.String() == h && !(p.wild && !strings.Contains(p.name, "."))
	}
	return ok
}
