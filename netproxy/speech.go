package netproxy

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"net/http"

	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/netproxy/secrets"
	"github.com/penstock/penstock/netproxy/speech"
	"github.com/penstock/penstock/policy"
)

// maxHeld bounds what is held of all requests of a session that are judged by
// their bodies, in bytes.
const maxHeld = 128 << 20

var errTooMuchHeld = errors.New("too much is held of other requests that are judged by their bodies")

// heldBody is a body of which a part was read to judge it: that part, then the rest.
// It is held until the flow ends.
type heldBody struct {
	f    *flow
	body io.ReadCloser
	held []byte
	at   int  // what of held was read again
	all  bool // held is the whole
	err  error
}

// reading reads a body from its beginning and keeps what it reads.
type reading struct {
	*heldBody
	pos int // what of held was read
}

func (r *reading) Read(p []byte) (int, error) {
	b := r.heldBody
	if r.pos < len(b.held) {
		n := copy(p, b.held[r.pos:])
		r.pos += n
		return n, nil
	}
	if b.err != nil {
		return 0, b.err
	}
	n, err := b.body.Read(p)
	if n > 0 {
		b.f.holds += int64(n)
		if b.f.p.held.Add(int64(n)) > maxHeld {
			err = errTooMuchHeld
		}
		b.held = append(b.held, p[:n]...)
		r.pos += n
	}
	b.err = err
	return n, err
}

// Read passes on what was judged, then the rest.
func (b *heldBody) Read(p []byte) (int, error) {
	if b.at < len(b.held) {
		n := copy(p, b.held[b.at:])
		b.at += n
		return n, nil
	}
	if b.err != nil {
		return 0, b.err
	}
	n, err := b.body.Read(p)
	return n, err
}

func (b *heldBody) Close() error { return b.body.Close() }

// release forgets what is held of a flow's body.
func (f *flow) release() {
	if f.holds > 0 {
		f.p.held.Add(-f.holds)
		f.holds = 0
	}
}

// Whole implements secrets.Whole.
func (b *heldBody) Whole() (doc []byte, ok bool) {
	if b.all {
		doc, b.at = b.held[b.at:], len(b.held)
	}
	return doc, b.all
}

// said is what a request's body says, read as far as the rules that are asked want
// to know, and once.
type said struct {
	held   *heldBody
	header http.Header
	limit  int64 // of whole documents

	docError error // of reading it whole

	push      *speech.Push
	pushError error
	calls     *speech.Calls
	callError error
	asks      *speech.Operations
	askError  error
}

// judge says why the rule does not allow the body, "" if it does.
func (s *said) judge(rule *policy.Rule) string {
	switch {
	case rule.Git() != nil:
		if s.push == nil && s.pushError == nil {
			s.push, s.pushError = readPush(&reading{heldBody: s.held}, s.header)
		}
		if s.pushError != nil {
			return s.pushError.Error()
		}
		return s.push.Judge(rule.Git())
	case rule.JSONRPC() != nil:
		if s.calls == nil && s.callError == nil {
			if s.callError = s.document(); s.callError == nil {
				s.calls, s.callError = speech.ReadCalls(s.held.held)
			}
		}
		if s.callError != nil {
			return s.callError.Error()
		}
		return s.calls.Judge(rule.JSONRPC())
	case rule.GraphQL() != nil:
		if s.asks == nil && s.askError == nil {
			if s.askError = s.document(); s.askError == nil {
				s.asks, s.askError = speech.ReadOperations(s.held.held)
			}
		}
		if s.askError != nil {
			return s.askError.Error()
		}
		return s.asks.Judge(rule.GraphQL())
	}
	return "nobody can judge it"
}

// document reads the body whole, once.
func (s *said) document() error {
	if s.held.all || s.docError != nil {
		return s.docError
	}
	n, err := io.Copy(io.Discard, io.LimitReader(&reading{heldBody: s.held}, s.limit+1))
	if err == nil && n > s.limit {
		err = speech.ErrLong
	}
	s.held.all, s.docError = err == nil, err
	return err
}

// about says what the rule has allowed.
func (s *said) about(rule *policy.Rule) string {
	switch {
	case rule.Git() != nil:
		return s.push.About()
	case rule.JSONRPC() != nil:
		return s.calls.About()
	}
	return s.asks.About()
}

// settle has the rules that look at the body judge it, and returns the verdict for
// the whole request, or the answer to one that is denied. Nothing of it has left,
// and what is judged is what is sent on.
func (f *flow) settle(r *http.Request, v policy.Verdict) (policy.Verdict, *http.Response) {
	held, again := r.Body.(*heldBody) // a hook has changed what was judged
	if !again {
		held = &heldBody{f: f, body: r.Body}
		r.Body = held
	}
	s := &said{held: held, header: r.Header}
	for _, rule := range v.Bodies {
		if j := rule.JSONRPC(); j != nil {
			s.limit = max(s.limit, j.Limit())
		}
		if g := rule.GraphQL(); g != nil {
			s.limit = max(s.limit, g.Limit())
		}
	}
	var agreed []*policy.Rule
	var why string
	for _, rule := range v.Bodies {
		no := s.judge(rule)
		if no == "" {
			agreed = append(agreed, rule)
		} else if why == "" {
			why = no
		}
	}
	f.calls = s.calls
	if err := s.held.err; err != nil && !errors.Is(err, io.EOF) {
		// It can't be judged what it says, in audit mode neither.
		var misuse *secrets.Violation
		if errors.As(err, &misuse) {
			return v, f.misused(r, misuse)
		}
		v = policy.Verdict{Reason: "the body could not be read: " + f.p.redact(err.Error())}
		f.verdict(v, false)
		return v, f.deny(r, v)
	}
	v = f.gen.policy.Settle(v, &f.req, agreed, why)
	if len(agreed) > 0 {
		v.Reason += ": " + s.about(agreed[0])
	}
	if f.verdict(v, f.p.cfg.Permissive); !f.allowed && v.Action == hooks.Deny {
		if s.push != nil {
			return v, f.refusePush(r, s.push, v)
		}
		return v, f.deny(r, v)
	}
	return v, nil
}

// readPush reads the beginning of a push. A compressed one is read whole, so that
// what unpacks here unpacks to the same everywhere.
func readPush(body io.Reader, h http.Header) (*speech.Push, error) {
	switch enc := h["Content-Encoding"]; {
	case len(enc) == 0:
		return speech.ReadPush(body)
	case len(enc) > 1 || enc[0] != "gzip" && enc[0] != "x-gzip":
		return nil, errors.New("it is compressed in a way that can't be judged")
	}
	packed, err := whole(body, speech.MaxPack)
	if err != nil {
		return nil, err
	}
	in := bytes.NewReader(packed)
	z, err := gzip.NewReader(in)
	if err != nil {
		return nil, errors.New("it is not compressed as it says")
	}
	z.Multistream(false)
	plain, err := whole(z, speech.MaxPack)
	if err != nil {
		return nil, errors.New("what it is compressed from is too long or malformed")
	}
	if in.Len() > 0 {
		return nil, errors.New("there is more behind what is compressed")
	}
	return speech.ReadPush(bytes.NewReader(plain))
}

// whole reads a body of at most limit bytes.
func whole(body io.Reader, limit int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(body, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = errors.New("the body is too long to be judged")
	}
	return b, err
}

// maxDrain bounds what is read of a push that was denied, so that git reads the
// answer instead of failing to send.
const maxDrain = 256 << 20

// refusePush denies a push in the words that git shows, if it can.
func (f *flow) refusePush(r *http.Request, p *speech.Push, v policy.Verdict) *http.Response {
	resp := f.deny(r, v)
	report := p.Report(v.Reason)
	if report == nil || !f.begun {
		return resp
	}
	io.CopyN(io.Discard, r.Body, maxDrain) //nolint:errcheck // it is for git's sake
	resp.Body.Close()
	h := resp.Header
	delete(h, "X-Content-Type-Options")
	h["Content-Type"] = []string{"application/x-git-receive-pack-result"}
	a := &hooks.Answer{Status: http.StatusOK, Header: h, Body: report}
	resp = replied(r, a)
	resp.Header[VerdictHeader] = []string{"deny"}
	return resp
}
