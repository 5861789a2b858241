// Package config turns flags, files and the caller's environment into one
// Config for a run.
//
// Its hazard is the environment: what is passed into the pen by oversight is a
// leaked credential, so a variable enters only by a name on the allow-list, in
// the policy or on the command line, never because it was not excluded. It
// starts nothing and writes nothing; only supervisor and cmd import it.
package config

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/penstock/penstock/agent/profile"
	"github.com/penstock/penstock/policy"
	"github.com/penstock/penstock/policy/approval"
)

// Options are the flags of `penstock run`, as typed.
type Options struct {
	Sandbox      string
	NoSandbox    bool // what --sandbox none needs beside it
	Policies     []string
	Allow, Deny  []string
	Mode         string
	Ask          bool // mode ask
	Workdir      string
	Write, Read  []string
	Hide         []string
	Env          []string
	Publish      []string
	AddHost      []string
	Upstream     string
	CA           []string
	AuditDir     string
	EphemeralCA  bool
	TrustProject bool
	Rootless     bool   // without the privileged supervisor, even if there is one
	Supervised   bool   // with the privileged supervisor, or not at all
	Socket       string // the privileged supervisor's; "": the usual one
	CI           bool
	DryRun       bool
	JSON         bool
	Quiet        bool
	Verbose      bool
	NoProfile    bool
	Worktree     string   // name of a worktree, AnyName for one that is made up, "" for none
	Approvals    []string // files of tokens
	Audience     string   // of this session, for such tokens
	Copy         bool     // of the work directory
	CopyEnd      string   // Bring, Discard, Keep, or "": asked for on a terminal
	WorktreeEnd  string   // Merge, Discard, Keep, or "": asked for on a terminal
	Command      []string
}

// AnyName as Options.Worktree asks for a worktree of any name.
const AnyName = "true"

// What is done with a worktree or a copy at a session's end.
const (
	Merge   = "merge"   // a worktree into the branch that it began from, if the command succeeded
	Bring   = "bring"   // a copy's changes into the work directory, if the command succeeded
	Discard = "discard" // a worktree with its branch
	Keep    = "keep"
)

// Host is what the run takes from the caller's machine, as values, so that
// resolving a Config can be tested without one.
type Host struct {
	UID, GID int
	User     string
	Home     string // absolute
	Dir      string // the caller's working directory, absolute, symlinks resolved
	Environ  []string
	Self     string // absolute path of the penstock binary
}

// Getenv returns the value of the caller's variable, or "".
func (h *Host) Getenv(name string) string {
	v, _ := h.Lookup(name)
	return v
}

// Lookup returns the caller's variable and whether it is set.
func (h *Host) Lookup(name string) (string, bool) {
	for i := len(h.Environ) - 1; i >= 0; i-- {
		if k, v, ok := strings.Cut(h.Environ[i], "="); ok && k == name {
			return v, true
		}
	}
	return "", false
}

// Paths are the directories that Penstock keeps on the host, per the XDG Base
// Directory Specification.
type Paths struct {
	Config string // policy.yaml
	State  string // audit, trust store
	Data   string // certificate authority
	Cache  string // trust bundles
}

// DefaultPaths derives the directories from the host's environment.
func DefaultPaths(h *Host) Paths {
	dir := func(variable, fallback string) string {
		base := h.Getenv(variable)
		if !filepath.IsAbs(base) { // the specification: a relative path is to be ignored
			base = filepath.Join(h.Home, fallback)
		}
		return filepath.Join(base, "penstock")
	}
	return Paths{
		Config: dir("XDG_CONFIG_HOME", ".config"),
		State:  dir("XDG_STATE_HOME", ".local/state"),
		Data:   dir("XDG_DATA_HOME", ".local/share"),
		Cache:  dir("XDG_CACHE_HOME", ".cache"),
	}
}

// Publish is one port of the pen that is made reachable from the host.
type Publish struct {
	Listen netip.AddrPort // on the host
	Port   uint16         // in the pen
}

// ParsePublish parses [ADDR:]PORT[:PORT]: the host's address (default
// 127.0.0.1) and port, and the pen's port (default the same). An IPv6 address
// stands in brackets.
func ParsePublish(s string) (Publish, error) {
	bad := func(why string) (Publish, error) {
		return Publish{}, &FlagError{Flag: "--publish", Value: s, Why: why, Fix: "use [ADDR:]PORT[:PORT], e.g. 8080, 8080:3000 or 127.0.0.1:8080:3000"}
	}
	rest, addr := s, netip.MustParseAddr("127.0.0.1")
	if strings.HasPrefix(s, "[") {
		text, after, ok := strings.Cut(s[1:], "]:")
		if !ok {
			return bad("an IPv6 address needs ']:' and a port behind it")
		}
		a, err := netip.ParseAddr(text)
		if err != nil || a.Zone() != "" {
			return bad("not an IP address")
		}
		addr, rest = a, after
	} else if strings.Count(s, ":") == 2 || strings.Contains(strings.SplitN(s, ":", 2)[0], ".") {
		text, after, ok := strings.Cut(s, ":")
		if !ok {
			return bad("no port")
		}
		a, err := netip.ParseAddr(text)
		if err != nil {
			return bad("not an IP address")
		}
		addr, rest = a, after
	}
	outer, inner, two := strings.Cut(rest, ":")
	if !two {
		inner = outer
	}
	o, err1 := strconv.ParseUint(outer, 10, 16)
	i, err2 := strconv.ParseUint(inner, 10, 16)
	if err1 != nil || err2 != nil || i == 0 {
		return bad("a port is a number from 1 to 65535")
	}
	return Publish{Listen: netip.AddrPortFrom(addr.Unmap(), uint16(o)), Port: uint16(i)}, nil
}

// FlagError is a flag that can't be used as it was given.
type FlagError struct {
	Flag, Value, Why, Fix string
}

func (e *FlagError) Error() string { return fmt.Sprintf("%s %q: %s", e.Flag, e.Value, e.Why) }

// Hint says what to type instead.
func (e *FlagError) Hint() string { return e.Fix }

// Config is one run, resolved. It holds no secret's value.
type Config struct {
	Host    Host
	Paths   Paths
	Tier    string
	Mode    policy.Mode
	Policy  *policy.Policy
	Command []string
	Workdir string // absolute, symlinks resolved
	Publish []Publish
	// Approvals are the tokens that answer questions, nil for none.
	Approvals *approval.Given

	Worktree     bool   // the pen gets a copy of the repository's files
	WorktreeName string // "": made up
	WorktreeEnd  string // see Options
	Copy         bool   // the pen gets a copy of the work directory
	CopyEnd      string // see Options

	AuditDir    string
	EphemeralCA bool
	Rootless    bool   // see Options
	Supervised  bool   // see Options
	Socket      string // see Options
	CI          bool
	DryRun      bool
	JSON        bool // of DryRun
	Quiet       bool
	Verbose     bool

	// Profile is the recognised agent's, or nil.
	Profile *profile.Profile
	// Warnings are printed at start and stand in the session's record.
	Warnings []string
	// Hints are printed at start unless Quiet.
	Hints []string
}
