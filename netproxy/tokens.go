package netproxy

import (
	"net/http"

	"github.com/penstock/penstock/audit"
	"github.com/penstock/penstock/netproxy/secrets"
	"github.com/penstock/penstock/netproxy/tokens"
)

// asksForTokens makes what asks token endpoints and Vaults: like a webhook's, on the
// word of the policy's author, at public addresses and those of egress.hosts, with
// connections that nothing else uses.
func (g *generation) asksForTokens() (http.RoundTripper, error) {
	roots, err := g.roots()
	if err != nil {
		return nil, err
	}
	t := g.newTransport(roots, nil, flavourHTTP2, "")
	t.MaxResponseHeaderBytes = 64 << 10
	g.mu.Lock()
	defer g.mu.Unlock()
	g.ends = append(g.ends, t.CloseIdleConnections)
	return t, nil
}

// renewed records what became of a secret that somebody else has.
func (p *Proxy) renewed(c tokens.Change) {
	p.cfg.Record.Note(&audit.SecretRenewal{Name: c.Name, Action: c.Action, Reason: c.Reason})
	if c.Action == "failed" && p.cfg.Notice != nil {
		p.cfg.Notice("secret " + c.Name + " could not be had: " + p.redact(c.Reason))
	}
}

// fetched waits until the secrets of a request that somebody else has are here.
func (f *flow) fetched(r *http.Request) error {
	if f.p.tokens == nil || !f.confidential() {
		return nil
	}
	return f.p.tokens.Ready(r.Context(), f.p.cfg.Secrets.Wanted(r.Header, r.URL.RawQuery, f.web.body.deferred, f.web.upgrade, f.pin, f.req.Target))
}

// again sends a request anew that was answered with 401, if other values of its
// secrets can be had: once, and only what has no body.
func (f *flow) again(r *http.Request, t http.RoundTripper, resp *http.Response, sent *http.Request, used []secrets.Swapped) (*http.Response, []secrets.Swapped, error) {
	if resp.StatusCode != http.StatusUnauthorized || len(used) == 0 || !f.p.tokens.Refused(f.p.cfg.Secrets.Sent(used)) || !repeatable(sent) {
		return resp, used, nil
	}
	out, more, err := f.withSecrets(r)
	if err != nil {
		return resp, used, nil //nolint:nilerr // the answer that there is says why
	}
	resp.Body.Close()
	resp, err = t.RoundTrip(f.readable(out))
	return resp, more, err
}
