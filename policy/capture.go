package policy

import (
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Capture is the capture: of an allow rule: how much of a request and of its answer
// is kept beside the audit, header fields included. It is immutable.
type Capture struct {
	Request  int64 `json:"request,omitempty"`  // bytes of the body; 0: nothing of the request
	Response int64 `json:"response,omitempty"` // the same of the answer
}

// MaxCapture is the most that a rule may ask for, in bytes.
const MaxCapture = 1 << 20

const captureExample = "for example capture: {request: 64KiB, response: 64KiB}"

// capture reads {request: 64KiB, response: 64KiB}.
func (p *parser) capture(n *yaml.Node) *Capture {
	c := &Capture{}
	size := func(key string, to *int64) field {
		return field{key, func(n *yaml.Node) {
			v, ok := p.size(n, "capture."+key)
			if ok && (v < 1 || v > MaxCapture) {
				p.fail(n, captureExample, "capture.%s is not from 1B to %s", key, sizeText(MaxCapture))
			}
			*to = v
		}}
	}
	seen := p.fields(n, "capture", []field{size("request", &c.Request), size("response", &c.Response)})
	if seen != nil && len(seen) == 0 {
		p.fail(n, captureExample, "the capture keeps nothing")
	}
	return c
}

// finishCapture checks the capture of a rule.
func finishCapture(r *Rule, fail failer) {
	amount := func(n int64) bool { return 0 <= n && n <= MaxCapture }
	switch {
	case r.Deny:
		fail("capture", "leave it out: what is denied never leaves", "capture has no meaning in a deny rule")
	case !amount(r.capture.Request) || !amount(r.capture.Response) || *r.capture == Capture{}:
		fail("capture", captureExample, "this is not a capture")
	case r.protocol&(bitTLS|bitTCP) != 0:
		fail("capture", "remove capture, or let the rule be inspected (protocol http or https)",
			"capture can't be seen in %s", protocolText(r.protocol&(bitTLS|bitTCP)))
	}
}

// String is the capture as it is written.
func (c *Capture) String() string {
	var parts []string
	for _, p := range []struct {
		key string
		n   int64
	}{{"request", c.Request}, {"response", c.Response}} {
		if p.n > 0 {
			parts = append(parts, p.key+": "+sizeText(p.n))
		}
	}
	return "{" + strings.Join(parts, ", ") + "}"
}

// captured collects how much is kept of a request: whatever rule allows it, the
// most that any of those it matches says, so that their order does not matter.
func (s *search) captured(b *bucket) {
	for _, r := range b.captures {
		switch {
		case protocolBit(s.c.r.Protocol)&bitsWeb == 0 || !r.matchFlow(s.c.r.Protocol, s.c.r.Target.Port):
		case !r.matchProcess(s.c.r.Process) || !r.matchRequest(&s.c):
		case s.capture == nil:
			s.capture = r.capture
		case r.capture.Request > s.capture.Request || r.capture.Response > s.capture.Response:
			s.capture = &Capture{max(r.capture.Request, s.capture.Request), max(r.capture.Response, s.capture.Response)}
		}
	}
}

// Captures returns the rules that keep what requests and answers say.
func (p *Policy) Captures() []*Rule {
	var list []*Rule
	for _, r := range p.d.Rules {
		if r.capture != nil {
			list = append(list, r)
		}
	}
	return list
}

// CaptureWarning says what a rule with capture: loosens.
func (r *Rule) CaptureWarning() string {
	return fmt.Sprintf("%s: capture: what is sent to %s and what comes back is kept in a file beside the audit", r.Ref(), r.about())
}
