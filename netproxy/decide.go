package netproxy

import (
	"bytes"
	"io"
	"net/http"
	"strconv"

	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/hooks/chain"
	"github.com/penstock/penstock/policy"
)

// HooksOf returns the chain of a policy's hooks, which must be compiled
// (policy.CompileConditions), and of further ones that are asked after them.
func HooksOf(p *policy.Policy, more ...chain.Entry) (*chain.Chain, error) {
	var entries []chain.Entry
	for _, h := range p.Hooks() {
		entries = append(entries, chain.Entry{Name: h.Name, Rule: h.From.Ref(), Hook: h.Compiled(), About: h.About, Timeout: h.Timeout, Concurrency: h.Concurrency})
	}
	return chain.New(append(entries, more...))
}

// decide judges the request by the policy and, if that lets it out, by the hooks.
// It returns nil if the request may leave, else what the pen is told.
func (f *flow) decide(r *http.Request) *http.Response {
	v := f.gen.policy.Decide(&f.req)
	f.verdict(v, f.p.cfg.Permissive)
	f.open.Hooks = nil
	if !f.allowed {
		return f.deny(r, v)
	}
	if f.gen.hooks.Len() == 0 {
		return nil
	}
	d, trace := f.gen.hooks.Request(r.Context(), &f.req)
	f.open.Hooks = trace
	if d.Action == hooks.Next {
		return nil
	}
	// Like a rule that denies, a hook holds in audit mode too.
	v = policy.Verdict{Reason: f.p.cfg.Secrets.Redact(d.Reason)}
	f.verdict(v, false)
	f.open.Rule, f.class = d.Rule, "hook"
	resp := f.deny(r, v)
	if d.Action == hooks.Reply && f.begun {
		resp.Body.Close()
		return replied(r, d.Answer)
	}
	return resp
}

// replied is a hook's own answer. What is recorded is the refusal.
func replied(r *http.Request, a *hooks.Answer) *http.Response {
	h := a.Header
	h[VerdictHeader] = []string{"reply"}
	h["Cache-Control"] = []string{"no-store"}
	h["X-Content-Type-Options"] = []string{"nosniff"}
	h["Content-Length"] = []string{strconv.Itoa(len(a.Body))}
	return &http.Response{StatusCode: a.Status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: h, ContentLength: int64(len(a.Body)), Body: io.NopCloser(bytes.NewReader(a.Body)), Request: r}
}
