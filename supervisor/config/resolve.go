package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/penstock/penstock/agent/profile"
	"github.com/penstock/penstock/hooks/cel"
	"github.com/penstock/penstock/policy"
	"github.com/penstock/penstock/supervisor/executable"
)

// SystemPolicy is the administrator's policy file.
const SystemPolicy = "/etc/penstock/policy.yaml"

// NewHost fills a Host. dir and self are made absolute and free of symbolic
// links, because the pen shows directories and not the names that led to them.
func NewHost(uid, gid int, dir, self string, environ []string) (*Host, error) {
	h := &Host{UID: uid, GID: gid, Environ: environ}
	var err error
	if h.Dir, err = filepath.EvalSymlinks(dir); err != nil {
		return nil, fmt.Errorf("find the working directory: %w", err)
	}
	if h.Self, err = filepath.EvalSymlinks(self); err != nil {
		return nil, fmt.Errorf("find the penstock binary: %w", err)
	}
	h.User, h.Home = h.Getenv("USER"), h.Getenv("HOME")
	if h.User == "" || !filepath.IsAbs(h.Home) {
		u, err := user.LookupId(strconv.Itoa(uid))
		if h.User == "" {
			h.User = strconv.Itoa(uid)
			if err == nil {
				h.User = u.Username
			}
		}
		if !filepath.IsAbs(h.Home) {
			h.Home = "/"
			if err == nil && filepath.IsAbs(u.HomeDir) {
				h.Home = u.HomeDir
			}
		}
	}
	h.Home = filepath.Clean(h.Home)
	return h, nil
}

// LoadOptions returns where a run's policy comes from; the sub-commands of
// `penstock policy` use the same.
func LoadOptions(o *Options, h *Host, workdir string) policy.LoadOptions {
	paths := DefaultPaths(h)
	lo := policy.LoadOptions{
		System:       SystemPolicy,
		User:         filepath.Join(paths.Config, "policy.yaml"),
		Project:      policy.FindProject(workdir, h.Home),
		Named:        o.Policies,
		TrustProject: o.TrustProject,
		TrustStore:   filepath.Join(paths.State, "trust.json"),
		Environ:      h.Getenv,
		WorkDir:      workdir,
		Language:     cel.Language{},
	}
	add := func(flag string, values ...string) {
		for _, v := range values {
			lo.Inline = append(lo.Inline, policy.Inline{Flag: flag, Value: v})
		}
	}
	add("--allow", o.Allow...)
	add("--deny", o.Deny...)
	add("--write", o.Write...)
	add("--read", o.Read...)
	add("--hide", o.Hide...)
	add("--env", o.Env...)
	add("--add-host", o.AddHost...)
	add("--ca", o.CA...)
	if o.Upstream != "" {
		add("--upstream", o.Upstream)
	}
	if o.Mode != "" {
		add("--mode", o.Mode)
	}
	if o.Ask && o.Mode == "" {
		add("--mode", "ask")
	}
	if o.Sandbox != "" {
		add("--sandbox", o.Sandbox)
	}
	return lo
}

// Resolve makes the Config of a run, or says what is wrong with what was asked.
func Resolve(o *Options, h *Host) (*Config, error) {
	if len(o.Command) == 0 {
		return nil, errors.New("no command to run")
	}
	c := &Config{
		Host: *h, Paths: DefaultPaths(h), Command: o.Command,
		EphemeralCA: o.EphemeralCA, Rootless: o.Rootless, Supervised: o.Supervised, Socket: o.Socket, CI: o.CI, DryRun: o.DryRun, JSON: o.JSON, Quiet: o.Quiet, Verbose: o.Verbose,
	}
	var err error
	if c.Workdir, err = workdir(o.Workdir, h.Dir); err != nil {
		return nil, err
	}
	if o.Ask && o.Mode != "" && o.Mode != "ask" {
		return nil, &FlagError{Flag: "--ask", Value: "true", Why: "--mode " + o.Mode + " is there too", Fix: "leave one of them out"}
	}
	if o.Rootless && o.Supervised {
		return nil, &FlagError{Flag: "--supervised", Value: "true", Why: "--rootless is there too", Fix: "leave one of them out; without both, the privileged supervisor is used where there is one"}
	}
	if o.Supervised && o.AuditDir != "" {
		return nil, &FlagError{Flag: "--audit-dir", Value: o.AuditDir, Why: "the privileged supervisor keeps the audit where nobody else can change it", Fix: "leave it out, or use --rootless"}
	}
	if c.AuditDir = o.AuditDir; c.AuditDir != "" && !filepath.IsAbs(c.AuditDir) {
		c.AuditDir = filepath.Join(h.Dir, c.AuditDir)
	}
	for _, p := range o.Publish {
		pub, err := ParsePublish(p)
		if err != nil {
			return nil, err
		}
		c.Publish = append(c.Publish, pub)
	}
	given := *o
	if err := given.noSandbox(); err != nil {
		return nil, err
	}
	lo := LoadOptions(&given, h, c.Workdir)
	if !o.NoProfile {
		keys, notes := profile.Logins(o.Command, h.Environ, readLogin, time.Now())
		c.Host.Environ = append(slices.Clip(h.Environ), keys...)
		c.Hints = append(c.Hints, notes...)
		h = &c.Host
		if p, ok := profile.Match(o.Command, h.Environ); ok {
			c.Profile = p
			lo.Profiles = append(lo.Profiles, policy.Text{Name: p.Source(), YAML: string(p.Policy())})
			c.Hints = append(c.Hints, p.Notes()...)
		}
	}
	if c.Policy, err = policy.Load(lo); err != nil {
		return nil, err
	}
	if c.Policy, err = c.Policy.ResolveExecutables(executable.Finder(c.Policy.NeedsHash())); err != nil {
		return nil, err
	}
	if err = c.approvals(o); err != nil {
		return nil, err
	}
	c.Mode = c.Policy.Mode()
	c.Tier = "auto"
	if t := c.Policy.Sandbox().Tier; t.Set {
		c.Tier = t.V
	}
	c.collectWarnings(h)
	if err := c.worktree(o); err != nil {
		return nil, err
	}
	if err := c.copied(o); err != nil {
		return nil, err
	}
	if o.NoSandbox {
		return c, c.withoutSandbox()
	}
	return c, nil
}

// worktree settles whether there is one: a flag asks for it, or a policy does.
func (c *Config) worktree(o *Options) error {
	c.Worktree = o.Worktree != "" || c.Policy.Sandbox().Worktree.V
	if c.WorktreeName = o.Worktree; o.Worktree == AnyName {
		c.WorktreeName = ""
	}
	c.WorktreeEnd = o.WorktreeEnd
	switch {
	case o.Worktree == "false":
		return &FlagError{Flag: "--worktree", Value: "false", Why: "is no name, and a policy's worktree can't be turned off", Fix: "leave it out"}
	case !slices.Contains([]string{"", Merge, Discard, Keep}, o.WorktreeEnd):
		return &FlagError{Flag: "--worktree-end", Value: o.WorktreeEnd, Why: "is none of merge, discard, keep", Fix: "use one of these, or leave it out"}
	case o.WorktreeEnd != "" && !c.Worktree:
		return &FlagError{Flag: "--worktree-end", Value: o.WorktreeEnd, Why: "there is no worktree", Fix: "add --worktree"}
	}
	return nil
}

// copied settles whether the command works on a copy of the work directory.
func (c *Config) copied(o *Options) error {
	c.Copy, c.CopyEnd = o.Copy, o.CopyEnd
	switch {
	case c.Copy && o.Worktree != "":
		return &FlagError{Flag: "--copy", Value: "true", Why: "--worktree is there too, which is a copy of a repository's files", Fix: "leave one of them out"}
	case c.Copy && c.Worktree:
		return &FlagError{Flag: "--copy", Value: "true", Why: c.Policy.Sandbox().Worktree.From.Ref() + " asks for a worktree, which is a copy of a repository's files", Fix: "leave it out"}
	case !slices.Contains([]string{"", Bring, Discard, Keep}, o.CopyEnd):
		return &FlagError{Flag: "--copy-end", Value: o.CopyEnd, Why: "is none of bring, discard, keep", Fix: "use one of these, or leave it out"}
	case o.CopyEnd != "" && !c.Copy:
		return &FlagError{Flag: "--copy-end", Value: o.CopyEnd, Why: "there is no copy", Fix: "add --copy"}
	}
	return nil
}

// readLogin reads an agent's login file; what is none is not there.
func readLogin(path string) ([]byte, error) {
	b, err := readRegular(path, 1<<20)
	if errors.Is(err, errIrregular) {
		err = fs.ErrNotExist
	}
	return b, err
}

var errIrregular = errors.New("it is no regular file")

// readRegular reads the beginning of a regular file. What was opened is looked at, and a
// pipe waits for nobody: a tool in another pen may put one in its place at any moment.
func readRegular(path string, most int64) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !fi.Mode().IsRegular() {
		return nil, errIrregular
	}
	return io.ReadAll(io.LimitReader(f, most))
}

// workdir checks the directory that the command will run in and write to.
func workdir(given, current string) (string, error) {
	dir := current
	if given != "" {
		if dir = given; !filepath.IsAbs(dir) {
			dir = filepath.Join(current, dir)
		}
	}
	real, err := filepath.EvalSymlinks(dir)
	if err == nil && real == "/" {
		return "", &FlagError{Flag: "--workdir", Value: dir, Why: "is the whole machine, and the work directory is writable in the pen", Fix: "change to a project's directory, or name it with --workdir"}
	}
	if err != nil {
		return "", &FlagError{Flag: "--workdir", Value: dir, Why: "is not there", Fix: "name an existing directory"}
	}
	fi, err := os.Stat(real)
	if err != nil || !fi.IsDir() {
		return "", &FlagError{Flag: "--workdir", Value: dir, Why: "is not a directory", Fix: "name an existing directory"}
	}
	return real, nil
}

// collectWarnings gathers what loosens isolation, and what the user should know.
func (c *Config) collectWarnings(h *Host) {
	for _, w := range c.Policy.Warnings() {
		if w.Loosens {
			c.Warnings = append(c.Warnings, w.String())
		} else {
			c.Hints = append(c.Hints, w.String())
		}
	}
	env := c.Policy.Environment()
	for _, p := range env.Pass {
		if _, set := h.Lookup(p.Pattern); !set && strings.HasPrefix(p.From.File, "--env") && !strings.Contains(p.Pattern, "*") {
			c.Hints = append(c.Hints, p.From.Ref()+": there is no such variable here, so the pen has none")
		}
		for _, e := range h.Environ {
			if name := envName(e); name != "" && env.Passes(name) && LooksSecret(name) && covers(p.Pattern, name) {
				c.Warnings = append(c.Warnings, p.From.Ref()+": variable "+name+" enters the pen as it is; secrets: would keep its value out")
			}
		}
	}
	for _, r := range c.Policy.Captures() {
		c.Warnings = append(c.Warnings, r.CaptureWarning())
	}
	for _, p := range c.Publish {
		if !p.Listen.Addr().IsLoopback() {
			c.Warnings = append(c.Warnings, "--publish: port "+strconv.Itoa(int(p.Port))+" of the pen is reachable from other machines at "+p.Listen.String())
		}
	}
	if u := c.Policy.Untrusted(); u != nil {
		c.Hints = append(c.Hints, u.String())
	}
}

// covers tells whether a pattern passes a variable. Passing all of them has a
// warning of its own.
func covers(pattern, name string) bool {
	prefix, wild := strings.CutSuffix(pattern, "*")
	return pattern == name || wild && prefix != "" && strings.HasPrefix(name, prefix)
}

func envName(e string) string {
	for i := range e {
		if e[i] == '=' {
			return e[:i]
		}
	}
	return ""
}
