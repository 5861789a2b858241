package policy

import (
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Mode is whether the policy is enforced or only observed.
type Mode string

// The modes.
const (
	Enforce Mode = "enforce"
	Audit   Mode = "audit" // what no rule decides is allowed and recorded; denies still deny
	asking  Mode = "ask"   // enforced, with default: ask
)

// SandboxSettings is the effective sandbox section, bounded by the limits. Zero
// means that nothing was said.
type SandboxSettings struct {
	Tier      Value[string]        `json:"tier"`       // bwrap, gvisor, microvm, firecracker, wasm, darwin, auto
	Tiers     Value[[]string]      `json:"tiers"`      // those that may be used; auto takes the strongest that runs here
	MinTier   Value[string]        `json:"min_tier"`   // the strongest limits.tier: auto may not choose a weaker one
	Memory    Value[int64]         `json:"memory"`     // bytes
	CPUs      Value[float64]       `json:"cpus"`       // processors
	PIDs      Value[int64]         `json:"pids"`       // processes and threads
	OpenFiles Value[int64]         `json:"open_files"` // descriptors per process
	ReadRate  Value[int64]         `json:"read_rate"`  // bytes per second, of each disk
	WriteRate Value[int64]         `json:"write_rate"`
	Timeout   Value[time.Duration] `json:"timeout"` // from release to kill
	Idle      Value[time.Duration] `json:"idle"`    // without a sign of life, until kill
	// OnViolation is what is done with a pen that does what only an attack does:
	// Continue when nothing was said.
	OnViolation Value[string] `json:"on_violation"`
	// Worktree gives the pen a copy of the repository's files in place of them.
	Worktree Value[bool] `json:"worktree"`
}

// What is done at a violation, from the mildest to the strictest.
const (
	Continue = "continue" // it was refused and is recorded; that is all
	Freeze   = "freeze"   // the pen stands still until somebody looks
	Kill     = "kill"     // the session ends
)

func violations() []string { return []string{Continue, Freeze, Kill} }

// strictness orders the words of on_violation.
func strictness(s string) int { return slices.Index(violations(), s) }

// PathGrant is one path of the filesystem section.
type PathGrant struct {
	Path  string `json:"path"`  // absolute and clean: "~" and relative paths are resolved
	Given string `json:"given"` // as written
	From  Source `json:"from"`
}

// FilesystemSettings is the effective filesystem section: what all layers said,
// without the sandbox's own defaults. Where entries meet, hide wins over all
// and protect over write.
type FilesystemSettings struct {
	Write   []PathGrant `json:"write,omitempty"`
	Read    []PathGrant `json:"read,omitempty"`
	Hide    []PathGrant `json:"hide,omitempty"` // with those of limits
	Protect []PathGrant `json:"protect,omitempty"`
}

// EnvPattern is one entry of environment.pass: NAME, PREFIX_* or *.
type EnvPattern struct {
	Pattern string `json:"pattern"`
	From    Source `json:"from"`
}

// EnvValue is one entry of environment.set.
type EnvValue struct {
	Name  string `json:"name"`
	Value string `json:"value"`
	From  Source `json:"from"`
}

// EnvironmentSettings is the effective environment section.
type EnvironmentSettings struct {
	Pass []EnvPattern `json:"pass,omitempty"`
	Set  []EnvValue   `json:"set,omitempty"` // one for each name
	// Proxy says whether HTTP_PROXY and its kin are set; true unless turned off.
	Proxy Value[bool] `json:"proxy_variables"`
}

// ProxyVariables says whether HTTP_PROXY and its kin are to be set.
func (e *EnvironmentSettings) ProxyVariables() bool { return !e.Proxy.Set || e.Proxy.V }

// Passes says whether a variable of the host's environment may enter the pen.
// Names of secrets are not the policy's to pass: set their placeholders last.
func (e *EnvironmentSettings) Passes(name string) bool {
	for _, p := range e.Pass {
		if prefix, ok := strings.CutSuffix(p.Pattern, "*"); ok && strings.HasPrefix(name, prefix) || p.Pattern == name {
			return true
		}
	}
	return false
}

// Secret says what variable of the pen gets a placeholder and where the real
// value is put in. The value itself is never in a policy.
type Secret struct {
	Name  string   `json:"name"`  // variable in the pen
	Hosts []string `json:"hosts"` // canonical names or *.name

	// Where the value is, or who it is got from.
	Origin
	OAuth2 *OAuth2 `json:"oauth2,omitempty"`
	Vault  *Vault  `json:"vault,omitempty"`
	AWS    *AWS    `json:"aws,omitempty"` // with header Authorization

	// Where the value goes: into a header, a query parameter, a field of a JSON body,
	// or one of the first text message of a WebSocket. Basic says that it is the password of User in the header.
	Header string `json:"header,omitempty"` // canonical, e.g. X-Api-Key
	Prefix string `json:"prefix,omitempty"` // before the value in the header, e.g. "Bearer "
	Basic  bool   `json:"basic,omitempty"`
	User   string `json:"user,omitempty"`
	Query  string `json:"query,omitempty"`
	JSON   string `json:"json,omitempty"` // keys with dots between
	// WebSocket is as JSON, in a message.
	WebSocket string `json:"websocket,omitempty"`

	From Source `json:"from"`
}

// Covers says whether the secret may be sent to a canonical host name.
func (s *Secret) Covers(host string) bool {
	for _, h := range s.Hosts {
		name, wild := strings.CutPrefix(h, "*.")
		if (hostPattern{name, wild}).matches(host) {
			return true
		}
	}
	return false
}

// HostEntry is one entry of egress.hosts.
type HostEntry struct {
	Name string     `json:"name"`
	Addr netip.Addr `json:"addr"`
	From Source     `json:"from"`
}

// Limits bound every layer below the one that sets them.
type Limits struct {
	Egress    Value[[]LimitPattern] `json:"egress"`
	Protocols Value[[]string]       `json:"protocols"`
	Via       Value[[]string]       `json:"via"` // upstreams by name, or direct
	Tier      Value[string]         `json:"tier"`
	Hide      []PathGrant           `json:"hide,omitempty"`
	Write     Value[[]PathGrant]    `json:"write"`
	Modes     Value[[]string]       `json:"modes"`
	CA        Value[bool]           `json:"ca"`
	Approvers Value[bool]           `json:"approvers"`
	Memory    Value[int64]          `json:"memory"`
	CPUs      Value[float64]        `json:"cpus"`
	PIDs      Value[int64]          `json:"pids"`
	OpenFiles Value[int64]          `json:"open_files"`
	ReadRate  Value[int64]          `json:"read_rate"`
	WriteRate Value[int64]          `json:"write_rate"`
	Timeout   Value[time.Duration]  `json:"timeout"`
	Idle      Value[time.Duration]  `json:"idle"`

	OnViolation Value[string] `json:"on_violation"` // the mildest
}

// LimitPattern is a host pattern or an address range of limits.egress.
type LimitPattern struct {
	host hostPattern
	cidr netip.Prefix
	From Source
}

// String returns the pattern as written, canonical.
func (p LimitPattern) String() string {
	if p.cidr.IsValid() {
		return p.cidr.String()
	}
	return p.host.String()
}

// Limits returns what the file bounds, for who enforces a part of it by other
// means than a Policy. Paths in it are as written.
func (f *File) Limits() Limits { return f.limits }

// Hidden returns what the file hides by its own filesystem section and by its
// limits. Paths in it are as written.
func (f *File) Hidden() []PathGrant { return append(slices.Clone(f.fs.Hide), f.limits.Hide...) }

// File is one parsed policy file: what it says, before it meets other layers.
type File struct {
	Name   string
	Layer  Layer
	SHA256 string // of the bytes that were parsed, in hexadecimal

	rules     []*Rule
	def       Value[string]
	askTime   Value[time.Duration]
	via       Value[string]
	upstreams []Upstream
	hosts     []HostEntry
	ca        []PathGrant
	approvers []Approver
	sandbox   SandboxSettings
	fs        FilesystemSettings
	env       EnvironmentSettings
	secrets   []Secret
	hooks     []Hook
	limits    Limits
	mode      Value[string] // from --mode only
	warnings  []Warning
	joined    bool // paths are resolved, see UnderFloor
}

// Warning is something that is legal and that its author should know: it
// loosens the pen, or has no effect.
type Warning struct {
	From    Source `json:"from"`
	Message string `json:"message"` // printable
	Loosens bool   `json:"loosens,omitempty"`
}

// String returns where and what.
func (w Warning) String() string { return w.From.Ref() + ": " + w.Message }
