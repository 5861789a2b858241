package doctor

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strings"

	"github.com/penstock/penstock/sandbox"
	"github.com/penstock/penstock/supervisor/config"
)

// State of a finding.
type State string

// The states. Warn is something that works less well or could not be tried;
// with Fail a pen can't be run as it should.
const (
	OK   State = "ok"
	Warn State = "warn"
	Fail State = "fail"
)

// Finding is what was found about one thing.
type Finding struct {
	Group  string `json:"group"` // system, pen, supervisor, files, session, clients
	Name   string `json:"name"`
	State  State  `json:"state"`
	Detail string `json:"detail"`        // one line
	Fix    string `json:"fix,omitempty"` // one line: what to do about it
}

// Options of Run.
type Options struct {
	Host     *config.Host
	Backends []sandbox.Backend
	// Trials are of what is to be a tier, and can be tried already; Tiers makes them.
	Trials []Trial
	// Socket is where the privileged supervisor listens, if not at the usual place.
	Socket string
	// Clients leaves out the probes of installed clients when false.
	Clients bool
	// Report is called with each finding as soon as it is known; may be nil.
	Report func(Finding)
}

// examination is one run of the doctor.
type examination struct {
	Options
	ctx      context.Context
	findings []Finding
	// supervised says that the privileged supervisor answered.
	supervised bool
}

// Run examines this machine and returns all findings. The error says that the
// examination itself could not be made.
func Run(ctx context.Context, o Options) ([]Finding, error) {
	x := &examination{Options: o, ctx: ctx}
	x.system()
	x.network()
	x.tiers()
	x.limits()
	if err := x.supervisor(); err != nil {
		return x.findings, err
	}
	x.files()
	if err := x.pens(); err != nil {
		return x.findings, err
	}
	return x.findings, nil
}

// Failed reports whether a finding is a failure.
func Failed(findings []Finding) bool {
	for _, f := range findings {
		if f.State == Fail {
			return true
		}
	}
	return false
}

func (x *examination) add(f Finding) {
	x.findings = append(x.findings, f)
	if x.Report != nil {
		x.Report(f)
	}
}

func (x *examination) ok(group, name, format string, args ...any) {
	x.add(Finding{Group: group, Name: name, State: OK, Detail: fmt.Sprintf(format, args...)})
}

// bad adds a finding that is not ok. A fix that the error knows wins over the given one.
func (x *examination) bad(state State, group, name string, err error, fix string) {
	if h := hint(err); h != "" {
		fix = h
	}
	x.add(Finding{Group: group, Name: name, State: state, Detail: oneLine(err.Error()), Fix: oneLine(fix)})
}

// capabilities adds a finding per control.
func (x *examination) capabilities(prefix string, caps []sandbox.Capability) {
	for _, c := range caps {
		x.capability("pen", prefix+" "+c.Control, c)
	}
}

// capability adds the finding of one control.
func (x *examination) capability(group, name string, c sandbox.Capability) {
	detail := string(c.State)
	if c.By != "" {
		detail += " by " + c.By
	}
	if c.Detail != "" {
		detail += ": " + c.Detail
	}
	f := Finding{Group: group, Name: name, State: OK, Detail: oneLine(detail), Fix: oneLine(c.Fix)}
	// What a tier can't have by its nature nobody can mend.
	if c.State != sandbox.Enforced && c.Control != "kernel" {
		f.State = Warn
	}
	x.add(f)
}

// tiers asks each backend to try its controls.
func (x *examination) tiers() {
	if len(x.Backends) == 0 {
		x.bad(Fail, "pen", "tier", fmt.Errorf("no sandbox tier runs on %s", runtime.GOOS), "run penstock on Linux")
		return
	}
	for _, b := range x.Backends {
		caps, err := b.Probe(x.ctx)
		x.capabilities(b.Name(), caps)
		if err != nil {
			x.bad(Fail, "pen", b.Name(), err, "")
		} else if len(caps) == 0 {
			x.ok("pen", b.Name(), "works")
		}
	}
}

// hint returns what an error advises.
func hint(err error) string {
	for err != nil {
		if h, ok := err.(interface{ Hint() string }); ok && h.Hint() != "" {
			return h.Hint()
		}
		u, ok := err.(interface{ Unwrap() error })
		if !ok {
			return ""
		}
		err = u.Unwrap()
	}
	return ""
}

// oneLine makes text of programs and files fit for one line of a terminal.
func oneLine(s string) string {
	const most = 300
	var b strings.Builder
	for _, r := range strings.TrimSpace(s) {
		switch {
		case r == '\n' || r == '\t':
			b.WriteString("; ")
		case r < 0x20 || r == 0x7f || (r >= 0x80 && r < 0xa0) || (r >= 0x202a && r <= 0x202e) || (r >= 0x2066 && r <= 0x2069):
			b.WriteByte('?')
		default:
			b.WriteRune(r)
		}
		if b.Len() > most {
			return b.String() + "…"
		}
	}
	return b.String()
}

// exists reports whether a path exists and can be looked at.
func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
