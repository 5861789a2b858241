package config

import (
	"fmt"

	"github.com/penstock/penstock/sandbox/none"
)

// noSandbox takes --sandbox none out of the options, since no policy knows it: not a
// file, not a list of tiers, not a layer below. Two flags ask for it, so that one
// that is pasted does not.
func (o *Options) noSandbox() error {
	switch {
	case o.Sandbox == none.Name && !o.NoSandbox:
		return &FlagError{Flag: "--sandbox", Value: none.Name, Why: "runs the command as you, on all of your files, and holds back nothing that is hostile",
			Fix: "leave it out; or, if that is what you want, add --no-sandbox-i-know"}
	case o.NoSandbox && o.Sandbox != none.Name:
		return &FlagError{Flag: "--no-sandbox-i-know", Value: "true", Why: "there is a sandbox", Fix: "leave it out, or add --sandbox none"}
	case o.NoSandbox && o.Supervised:
		return &FlagError{Flag: "--supervised", Value: "true", Why: "the privileged supervisor runs nothing without a sandbox", Fix: "leave out --sandbox none"}
	}
	if o.NoSandbox {
		o.Sandbox = ""
	}
	return nil
}

// withoutSandbox refuses what a policy, or a flag, asks for and only a sandbox keeps.
func (c *Config) withoutSandbox() error {
	c.Tier = none.Name
	s, fs, l := c.Policy.Sandbox(), c.Policy.Filesystem(), c.Policy.Limits()
	switch {
	case c.Worktree && s.Worktree.V:
		return &isolationError{s.Worktree.From.Ref(), "a worktree"}
	case c.Worktree:
		return &isolationError{"--worktree", "a worktree"}
	case c.Copy:
		return &isolationError{"--copy", "a copy of the work directory"}
	case s.MinTier.Set:
		return &isolationError{s.MinTier.From.Ref(), "at least tier " + s.MinTier.V}
	case s.Tier.Set && s.Tier.V != "auto":
		return &isolationError{s.Tier.From.Ref(), "tier " + s.Tier.V}
	case s.Tiers.Set:
		return &isolationError{s.Tiers.From.Ref(), "one of its tiers"}
	case len(fs.Hide) > 0:
		return &isolationError{fs.Hide[0].From.Ref(), "what is hidden: " + fs.Hide[0].Given}
	case len(fs.Protect) > 0:
		return &isolationError{fs.Protect[0].From.Ref(), "what is protected: " + fs.Protect[0].Given}
	case l.Write.Set:
		return &isolationError{l.Write.From.Ref(), "bounds of what can be written"}
	}
	if c.Approvals != nil && len(c.Approvals.Executables) > 0 {
		return &isolationError{"--approvals", "rules by process, which a command without a sandbox can be any of"}
	}
	for _, r := range c.Policy.Rules() {
		if r.AsksProcess() {
			return &isolationError{r.Source.Ref(), "rules by process, which a command without a sandbox can be any of: " + r.Text}
		}
	}
	c.Warnings = append([]string{"NO SANDBOX: the command runs as " + c.Host.User + ", and can read and change every file of that user's, Penstock's own keys and records among them"}, c.Warnings...)
	return nil
}

// isolationError is what a sandbox has to keep, where there is to be none.
type isolationError struct{ from, what string }

func (e *isolationError) Error() string {
	return fmt.Sprintf("%s: it asks for %s, which --sandbox none can't keep", e.from, e.what)
}

// Hint says how it could be kept.
func (e *isolationError) Hint() string { return "leave out --sandbox none and --no-sandbox-i-know" }
