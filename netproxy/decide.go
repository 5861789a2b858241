package netproxy

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/hooks/chain"
	"github.com/penstock/penstock/hooks/exec"
	"github.com/penstock/penstock/hooks/extauthz"
	"github.com/penstock/penstock/hooks/service"
	"github.com/penstock/penstock/hooks/webhook"
	"github.com/penstock/penstock/netproxy/secrets"
	"github.com/penstock/penstock/policy"
)

// HooksOf returns the chain of a policy's hooks, whose expressions must be
// compiled (policy.CompileConditions), and of further ones that are asked after
// them. asker makes what asks anybody but an expression.
func HooksOf(p *policy.Policy, asker func(*policy.Hook) (hooks.Hook, error), more ...chain.Entry) (*chain.Chain, error) {
	var entries []chain.Entry
	for _, h := range p.Hooks() {
		e := chain.Entry{Name: h.Name, Rule: h.From.Ref(), Hook: h.Compiled(), On: h.Points(), About: h.About, Inspect: h.Inspect, Timeout: h.Timeout, Concurrency: h.Concurrent()}
		if _, ok := h.Asks.(*policy.Expression); !ok {
			var err error
			if e.Hook, err = asker(&h); err != nil {
				return nil, err
			}
		}
		entries = append(entries, e)
	}
	return chain.New(append(entries, more...))
}

// asker makes what asks who is not in this process.
func (g *generation) asker(h *policy.Hook) (hooks.Hook, error) {
	switch r := h.Asks.(type) {
	case *policy.Webhook:
		return g.webhook(h, r)
	case *policy.Service:
		return g.service(h, r)
	case *policy.Module:
		if m := g.p.cfg.HookModules[h.Name]; m != nil {
			return m, nil
		}
		return nil, fmt.Errorf("make hook %s: it has no module", h.Name)
	case *policy.Program:
		return g.process(h, r)
	default:
		return nil, fmt.Errorf("make hook %s: nobody here can ask %T", h.Name, r)
	}
}

// webhook makes what asks one of the policy's webhooks, with connections of its
// own that nothing else uses and that are not judged: it is asked on the word of
// the policy's author, at public addresses.
func (g *generation) webhook(h *policy.Hook, w *policy.Webhook) (hooks.Hook, error) {
	key, ok := g.p.cfg.HookKeys[h.Name]
	if !ok {
		return nil, fmt.Errorf("make hook %s: it has no key", h.Name)
	}
	t, err := g.asking(h, nil, flavourHTTP2)
	if err != nil {
		return nil, err
	}
	return webhook.New(h.Name, w.URL, key, t)
}

// service makes what asks one of the policy's services: HTTP/2 and
// nothing else, at public addresses and those that the hook names.
func (g *generation) service(h *policy.Hook, s *policy.Service) (hooks.Hook, error) {
	f := flavourHTTP2
	if strings.HasPrefix(s.URL, "http:") {
		f = flavourH2C
	}
	t, err := g.asking(h, s.Dial(), f)
	if err != nil {
		return nil, err
	}
	t.Protocols.SetHTTP1(false)
	if s.Own {
		return service.New(h.Name, s.URL, t)
	}
	return extauthz.New(h.Name, s.URL, t)
}

// asking makes a hook's own connections.
func (g *generation) asking(h *policy.Hook, d *policy.Dial, f flavour) (*http.Transport, error) {
	roots, err := g.roots()
	if err != nil {
		return nil, err
	}
	cert, err := g.p.cfg.ClientCerts.Of(secrets.CertOfHook(h.Name))
	if err != nil {
		return nil, err
	}
	t := g.newTransport(roots, d, f, "")
	if cert != nil {
		t.TLSClientConfig.Certificates = []tls.Certificate{*cert}
	}
	t.MaxResponseHeaderBytes = 64 << 10
	if t.MaxConnsPerHost = h.Concurrency; t.MaxConnsPerHost == 0 {
		t.MaxConnsPerHost = chain.DefaultConcurrency
	}
	g.atEnd(t.CloseIdleConnections)
	return t, nil
}

// process makes what asks one of the policy's hooks that are processes.
func (g *generation) process(h *policy.Hook, p *policy.Program) (hooks.Hook, error) {
	if g.p.cfg.HookProcess == nil {
		return nil, fmt.Errorf("make hook %s: nobody here starts processes", h.Name)
	}
	start := func(ctx context.Context) (*exec.Process, error) { return g.p.cfg.HookProcess(ctx, h.Name) }
	if p.Once {
		return exec.NewOnce(h.Name, start), nil
	}
	stays := exec.New(h.Name, start)
	g.atEnd(func() { stays.Close() })
	return stays, nil
}

// atEnd has f called when the policy is not used any more.
func (g *generation) atEnd(f func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.ends = append(g.ends, f)
}

// decide judges the request by the policy and, if that lets it out, by the hooks; what
// they make of it is judged again. It returns nil if the request may leave, else what
// the pen is told.
func (f *flow) decide(r *http.Request) *http.Response {
	v := f.gen.policy.Decide(&f.req)
	f.calls = nil
	if f.routed = (routed{}); !f.rewritten { // the record says who changed it
		f.open.Hooks = nil
	}
	if len(v.Bodies) > 0 {
		var refused *http.Response
		if v, refused = f.settle(r, v); refused != nil {
			return refused
		}
	}
	would := f.p.cfg.Permissive && v.Action != hooks.Ask
	v = f.asked(r.Context(), f.web.client, v)
	f.verdict(v, would)
	if !f.allowed {
		return f.deny(r, v)
	}
	if f.gen.hooks.Len() == 0 {
		return nil
	}
	if l, ok := r.Context().Value(linkKey{}).(*link); !ok || !f.meets(r.Context(), l.pen, f.web.client) {
		return f.deny(r, f.said())
	}
	d, ok := f.hooked(r.Context(), f.web.client, &f.req)
	if ok && d.Change != nil {
		f.rewrite(r, d.Change)
		return f.decide(r)
	}
	if ok && f.calling(r.Context()) {
		return nil
	}
	resp := f.deny(r, f.said())
	if d.Action == hooks.Reply && f.begun {
		resp.Body.Close()
		return replied(r, d.Answer)
	}
	return resp
}

// overrule takes an allow back because a hook says so. Like a rule that denies, a
// hook holds in audit mode too.
func (f *flow) overrule(d hooks.Decision) {
	f.refuse(f.p.cfg.Secrets.Redact(d.Reason), "hook")
	f.open.Rule = d.Rule
}

// said is the verdict as it is recorded.
func (f *flow) said() policy.Verdict { return policy.Verdict{Reason: f.open.Reason} }

// routed is a way by a hook's word. The zero value is none.
type routed struct{ hook, via string }

// via is the upstream by which the flow leaves, nil for none.
func (f *flow) via() *policy.Upstream {
	switch f.routed.via {
	case "":
		return f.gen.policy.Route(&f.req.Target)
	case policy.Direct:
		return nil
	}
	return f.gen.policy.Proxy(f.routed.via)
}

// route takes the way of hooks, if that may be; else it is denied as the decision says.
// rule is where one of them stands.
func (f *flow) route(by routed, rule string) (no hooks.Decision, ok bool) {
	if was := f.routed; was.via != "" && was.via != by.via {
		return chain.Torn(was.hook, was.via, by.hook, by.via, rule), false
	}
	if why := f.gen.policy.Reroute(by.hook, &f.req.Target, by.via); why != "" {
		return hooks.Decision{Rule: rule, Reason: "hook " + by.hook + " routes via " + by.via + ", which can't be: " + why}, false
	}
	if f.routed.via == "" {
		f.routed = by
	}
	return no, true
}

// met is what hooks have nothing against that a connection of the pen meets.
type met struct {
	mu      sync.Mutex
	gen     *generation // whose hooks they are
	targets map[hooks.Target]routed
}

// maxMet bounds the targets that are remembered of one connection.
const maxMet = 64

// meeting says whether hooks are asked about connections to the flow's target: about its
// name too, since a tool needs no answer of the resolver to connect to one (it has an
// older one, or names it to the explicit proxy).
func (f *flow) meeting() bool {
	return f.asks(hooks.PointConnect) || f.req.Target.Host != "" && f.asks(hooks.PointDNS)
}

// meets asks the hooks about a connection of the pen to the flow's target, unless
// they were. false: it is denied, which is the flow's verdict. client and ctx are as
// with asked.
func (f *flow) meets(ctx context.Context, c, client *conn) bool {
	if !f.meeting() {
		return true
	}
	m := &c.met
	m.mu.Lock()
	if m.gen != f.gen || len(m.targets) >= maxMet {
		m.gen, m.targets = f.gen, map[hooks.Target]routed{}
	}
	by, ok := m.targets[f.req.Target]
	m.mu.Unlock()
	if ok {
		f.routed = by
		return true
	}
	if host := f.req.Target.Host; host != "" {
		q := f.p.nameQuestion(host, &hooks.Lookup{Rule: f.open.Rule})
		q.Flow, q.Process = f.req.Flow, f.req.Process
		if _, ok := f.hooked(ctx, client, q); !ok {
			return false
		}
	}
	q := hooks.Request{Session: f.p.cfg.Session, Flow: f.req.Flow, Protocol: f.req.Protocol, Target: f.req.Target, Process: f.req.Process, Point: hooks.PointConnect}
	if _, ok := f.hooked(ctx, client, &q); !ok {
		return false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.gen == f.gen {
		m.targets[f.req.Target] = f.routed
	}
	return true
}

// replied is a hook's own answer. What is recorded is the refusal.
func replied(r *http.Request, a *hooks.Answer) *http.Response {
	h := a.Header
	h[VerdictHeader] = []string{"reply"}
	h["Cache-Control"] = []string{"no-store"}
	h["X-Content-Type-Options"] = []string{"nosniff"}
	body := a.Body
	if a.Status == http.StatusNoContent || a.Status == http.StatusNotModified {
		body = nil // there is none (RFC 9110 sections 15.3.5 and 15.4.5): one would break the answer off
	} else {
		h["Content-Length"] = []string{strconv.Itoa(len(body))}
	}
	return &http.Response{StatusCode: a.Status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: h, ContentLength: int64(len(body)), Body: io.NopCloser(bytes.NewReader(body)), Request: r}
}
