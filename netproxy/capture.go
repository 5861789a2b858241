package netproxy

import (
	"errors"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/penstock/penstock/audit"
	"github.com/penstock/penstock/audit/capture"
	"github.com/penstock/penstock/policy"
)

// captured is what is kept of a flow: what the pen sent, with its placeholders,
// and what it got. It is written when the flow ends. What can't be kept is said in
// the audit; the flow goes on.
type captured struct {
	f     *flow
	limit policy.Capture
	held  int64
	lost  error

	mu       sync.Mutex // the transport may read the body still when the flow ends
	ended    bool
	request  side
	response side
}

// side is one direction.
type side struct {
	seen   bool
	header [][2]string
	body   []byte
	limit  int64
	cut    bool
}

// maxCapturedHeader bounds the header fields that are kept of a message, in bytes.
const maxCapturedHeader = 64 << 10

var errNoCapture = errors.New("this proxy has no file for it")

// capture begins to keep what a rule asks for, with the request as it leaves
// before any secret is put in.
func (f *flow) capture(r *http.Request) {
	if f.captures == nil {
		return
	}
	c := &captured{f: f, limit: *f.captures}
	c.request.limit, c.response.limit = c.limit.Request, c.limit.Response
	f.web.captured = c
	w := f.p.cfg.Capture
	if w == nil {
		c.lost = errNoCapture
		return
	}
	n := int64(2 * maxCapturedHeader)
	for _, l := range []int64{c.limit.Request, c.limit.Response} {
		if l > 0 {
			n += l + capture.Slack
		}
	}
	if c.lost = w.Hold(n); c.lost != nil {
		return
	}
	c.held = n
	c.head(&c.request, r.Header)
	c.sent(readAlready(r.Body))
}

// readAlready is what was read of a body to judge it. What is read of it from now on
// is captured as it is read.
func readAlready(body io.ReadCloser) (b []byte) {
	if i, ok := body.(*inspected); ok {
		b, body = i.early.read, i.body
		i.early.left = 0
	}
	if h, ok := body.(*heldBody); ok && len(h.held) > len(b) {
		b = h.held // of which a hook may have read the beginning again
	}
	return b
}

// responded keeps the answer's header fields.
func (c *captured) responded(h http.Header) {
	if c != nil {
		c.head(&c.response, h)
	}
}

// private are fields whose values let whoever has them act as somebody.
var private = []string{"Authorization", "Proxy-Authorization", "Cookie", "Set-Cookie", "X-Api-Key"}

func (c *captured) head(s *side, h http.Header) {
	if c.lost != nil || s.limit == 0 {
		return
	}
	names := make([]string, 0, len(h))
	for name := range h {
		names = append(names, name)
	}
	slices.Sort(names)
	c.mu.Lock()
	defer c.mu.Unlock()
	s.seen = true
	size := 0
	for _, name := range names {
		for _, v := range h[name] {
			if slices.Contains(private, name) {
				v = "[redacted]"
			}
			name, v := c.f.p.redact(name), c.f.p.redact(v)
			if size += len(name) + len(v); size > maxCapturedHeader {
				s.cut = true
				return
			}
			s.header = append(s.header, [2]string{strings.ToValidUTF8(name, "\ufffd"), strings.ToValidUTF8(v, "\ufffd")})
		}
	}
}

// sent and got take pieces of the bodies.
func (c *captured) sent(b []byte) {
	if c != nil {
		c.piece(&c.request, b)
	}
}

func (c *captured) got(b []byte) {
	if c != nil {
		c.piece(&c.response, b)
	}
}

func (c *captured) piece(s *side, b []byte) {
	if c.lost != nil || s.limit == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return
	}
	room := int(s.limit + capture.Slack - int64(len(s.body)))
	if len(b) > room {
		b, s.cut = b[:room], true
	}
	s.body = append(s.body, b...)
}

// message is what is kept of a side: redacted, then cut.
func (c *captured) message(s *side) *capture.Message {
	if !s.seen {
		return nil
	}
	body := []byte(c.f.p.redact(string(s.body)))
	if int64(len(body)) > s.limit {
		body, s.cut = body[:s.limit], true
	}
	return &capture.Message{Header: s.header, Body: body, Truncated: s.cut}
}

// end has the exchange written, or its loss recorded.
func (c *captured) end() {
	if c == nil {
		return
	}
	c.mu.Lock()
	c.ended = true
	err := c.lost
	if err == nil {
		err = c.f.p.cfg.Capture.Put(&capture.Exchange{Flow: c.f.req.Flow, Request: c.message(&c.request), Response: c.message(&c.response)})
	}
	held := c.held
	c.held = 0
	c.mu.Unlock()
	if held > 0 {
		c.f.p.cfg.Capture.Release(held)
	}
	if err != nil {
		c.f.p.cfg.Record.Note(&audit.Limit{Kind: "capture", Count: 1, Action: "counted",
			Detail: "flow " + strconv.FormatUint(c.f.req.Flow, 10) + " is not captured: " + err.Error()})
	}
}
