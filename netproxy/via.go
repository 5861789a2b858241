package netproxy

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/netproxy/dialguard"
	"github.com/penstock/penstock/netproxy/secrets"
	"github.com/penstock/penstock/netproxy/upstream"
	"github.com/penstock/penstock/policy"
)

// upstream returns the one of a policy's entry that is a proxy.
func (g *generation) upstream(u *policy.Upstream) *upstream.Upstream {
	g.mu.Lock()
	defer g.mu.Unlock()
	if known := g.upstreams[u.Name]; known != nil {
		return known
	}
	n := upstream.New(upstream.Config{
		Proxy: u, Login: g.p.cfg.Logins.Of(u.Name),
		Certificate: func() (*tls.Certificate, error) { return g.p.cfg.ClientCerts.Of(secrets.CertOfUpstream(u.Name)) }, Roots: g.roots, Answer: g.p.limits.UpstreamProxy, Dial: g.p.cfg.Dialer.Dial,
	})
	g.upstreams[u.Name] = n
	return n
}

// dial is the only way out. d is the permission for addresses of t; the address
// of an upstream proxy has one of its own. by is as with ways.
func (g *generation) dial(ctx context.Context, t hooks.Target, d *policy.Dial, by string) (nc net.Conn, err error) {
	ways, err := g.ways(&t, by)
	for _, via := range ways {
		if via == nil {
			nc, err = g.p.cfg.Dialer.Dial(ctx, t, d)
		} else {
			var asked hooks.Target
			if asked, err = g.p.cfg.Dialer.Delegate(t, d); err != nil {
				break
			}
			nc, err = via.Tunnel(ctx, asked)
		}
		var e *upstream.Error
		var refused *dialguard.RefusedError
		if err == nil || ctx.Err() != nil || errors.As(err, &e) && e.Answered() || errors.As(err, &refused) {
			break // what a proxy says counts, and what the guard does
		}
	}
	if err != nil {
		return nil, &dialError{err}
	}
	return nc, nil
}

// absolute returns the upstream to which a request in clear goes with its whole
// URL, nil if it goes another way: directly, or as WebSocket, by SOCKS or to a
// fixed address through a tunnel.
func (f *flow) absolute(ctx context.Context) (*upstream.Upstream, error) {
	if f.binding.tls || f.flavour != flavourHTTP1 || f.web.upgrade {
		return nil, nil
	}
	ways, err := f.gen.ways(&f.req.Target, f.routed.via)
	if err != nil {
		return nil, &dialError{err}
	}
	via, err := first(ctx, ways)
	if err != nil {
		return nil, &dialError{err}
	}
	if via == nil || !via.Web() {
		return nil, nil
	}
	asked, err := f.p.cfg.Dialer.Delegate(f.req.Target, f.dial)
	if err != nil {
		return nil, &dialError{err}
	}
	if asked != f.req.Target {
		return nil, nil
	}
	return via, nil
}

// forProxy makes the request line and Host of the one target, whatever spelling
// the pen has used, and logs in.
func (f *flow) forProxy(r *http.Request, via *upstream.Upstream) (out *http.Request, login string, err error) {
	out = new(http.Request)
	*out = *r
	out.Host = strings.TrimSuffix(f.req.Target.String(), ":80")
	u := *r.URL
	u.Host = out.Host
	if u.Opaque != "" { // a path that has to stay as it is
		u.Opaque = "//" + out.Host + u.Opaque
	}
	out.URL = &u
	if login, err = via.Authorization(r.Context()); via.LogsIn() && err == nil {
		out.Header = r.Header.Clone()
		if login != "" {
			out.Header["Proxy-Authorization"] = []string{login}
		}
		// An answer is searched for the login, which can't be done in a compressed one.
		out.Header["Accept-Encoding"] = []string{"identity"}
	}
	return out, login, err
}

// proxyURL has the transport write whole URLs. The name is never looked up: the
// transport's dial function knows the way.
func proxyURL(*http.Request) (*url.URL, error) {
	return &url.URL{Scheme: "http", Host: "upstream.invalid:80"}, nil
}

// fromProxy looks at what came from a proxy that was given a whole URL: its own
// refusals are explained, and nothing that holds the login goes on.
func (f *flow) fromProxy(resp *http.Response, via *upstream.Upstream, login string) error {
	if upstream.Own(resp) {
		resp.Body.Close()
		return via.Failed(f.req.Target, upstream.Refusal(resp))
	}
	if !via.LogsIn() {
		return nil
	}
	body, err := f.p.cfg.Logins.Response(via.Name(), login, resp.Header, resp.Body)
	if err != nil {
		resp.Body.Close()
		return err
	}
	resp.Body = &trailerGuard{body, resp, func(h http.Header) error {
		_, err := f.p.cfg.Logins.Response(via.Name(), login, h, http.NoBody)
		return err
	}}
	return nil
}

// redact removes what a person or a log must not see.
func (p *Proxy) redact(s string) string { return p.cfg.Logins.Redact(p.cfg.Secrets.Redact(s)) }
