//go:build linux || darwin

package supervisor

import (
	"fmt"
	"time"

	"github.com/penstock/penstock/agent/shim"
	"github.com/penstock/penstock/audit"
	"github.com/penstock/penstock/netproxy/ca"
	"github.com/penstock/penstock/netproxy/secrets"
	"github.com/penstock/penstock/sandbox"
	"github.com/penstock/penstock/sandbox/layout"
	"github.com/penstock/penstock/supervisor/config"
	"github.com/penstock/penstock/supervisor/terminal"
)

// How long the steps that wait for another process may take. They are bounds
// for a machine under load, not waits.
const (
	buildTimeout = 30 * time.Second // pen and proxy up
	endTimeout   = 10 * time.Second // proxy's flows closed and summed up
	killGrace    = 5 * time.Second  // between TERM and KILL at a time limit
	endTime      = time.Second      // a pen of which something is gone has ended
)

// session is one run in progress.
type session struct {
	cfg   *config.Config
	stdio Stdio
	say   *printer
	undo  undo

	backend  sandbox.Backend
	caps     []sandbox.Capability
	id       string         // of the session
	audit    *audit.Session // nil: an overseer's
	started  time.Time
	secrets  *secrets.Set
	logins   *secrets.Logins // for upstream proxies
	certs    *secrets.ClientCerts
	modules  []audit.PolicyFile // that hooks are, as they were read
	ca       *ca.Files
	trust    *ca.Trust
	spec     *sandbox.Spec
	files    *layout.Plan
	withheld []string
	bounds   sandbox.Limits
	rlimits  []shim.Rlimit
	term     *terminal.Terminal

	proxy *proxyProcess
	line  *shim.Conn
	pen   pen
	// explicit is how requests come to the proxy where the pen has no network of its own.
	explicit *explicit
	sigs     *signals

	ending func() // ends what is to be over before the last record; may be nil
	ran    bool   // the command was executed
	ended  bool   // its last record is written
	lost   error  // the proxy ended before that, by itself
	reason string // why it ended

	machine
}

// summed says what the session is, in which the command sees the mounts of shown.
func (s *session) summed(shown []sandbox.Mount) *announcement {
	c := s.cfg
	a := &announcement{
		// Lists are never null in JSON.
		Policies: []string{}, Writable: []string{}, Secrets: []string{}, Published: []string{},
		Supervisor: "rootless", Tier: s.backend.Name(), Mode: string(c.Mode), Default: c.Policy.Default().String(), Rules: len(c.Policy.Rules()),
		Command: c.Command, Workdir: c.Workdir, Protected: append([]string{}, s.files.Protected...), Hidden: append([]string{}, s.files.Hidden...),
		Withheld:     append([]string{}, s.withheld...),
		Capabilities: s.caps, Warnings: append([]string{}, c.Warnings...), Hints: append([]string{}, c.Hints...),
	}
	for _, f := range c.Policy.Files() {
		a.Policies = append(a.Policies, f.Name)
	}
	if c.Profile != nil {
		a.Profile = c.Profile.Name
	}
	for _, m := range shown {
		if m.Kind == sandbox.Bind && m.Write {
			a.Writable = append(a.Writable, m.Target)
		}
	}
	for _, d := range c.Policy.Secrets() {
		a.Secrets = append(a.Secrets, d.Name)
	}
	for _, p := range c.Publish {
		a.Published = append(a.Published, fmt.Sprintf("port %d of the pen at %s", p.Port, p.Listen))
	}
	return a
}
