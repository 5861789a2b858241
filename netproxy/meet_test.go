package netproxy

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/penstock/penstock/audit"
	"github.com/penstock/penstock/hooks"
)

// meetings notes about what a hook was asked, and denies some of it.
type meetings struct {
	mu   sync.Mutex
	list []string
	deny string // protocol or host
}

func (m *meetings) Decide(_ context.Context, r *hooks.Request) (hooks.Decision, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.list = append(m.list, r.Protocol.String()+" "+r.Target.String()+r.Method+r.Path)
	if r.Protocol.String() == m.deny || r.Target.Host == m.deny {
		return hooks.Decision{Reason: "not there"}, nil
	}
	return hooks.Decision{Action: hooks.Next}, nil
}

func (m *meetings) taken() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := strings.Join(m.list, ", ")
	m.list = nil
	return s
}

// TestConnectHook: what is not read is asked about before it leaves, and a denied
// connection is one that is refused.
func TestConnectHook(t *testing.T) {
	for _, deny := range []string{"", "tcp", "tls"} {
		m := &meetings{deny: deny}
		pn := newPen(t, someRules, hookAt(m.Decide, hooks.PointConnect))
		pn.all()
		pn.origin("pass.test:443", http.HandlerFunc(hello))
		l := listen(t)
		pn.place("raw.test:22", l.Addr().String())
		go func() {
			c, err := l.Accept()
			if err == nil {
				io.WriteString(c, "hello\n")
				c.Close()
			}
		}()
		raw, err := io.ReadAll(pn.dial("raw.test:22"))
		if (string(raw) == "hello\n") != (deny != "tcp") || (err != nil) != (deny == "tcp") {
			t.Errorf("deny %q: raw: %q, %v", deny, raw, err)
		}
		if got := m.taken(); got != "tcp raw.test:22" {
			t.Errorf("asked %s", got)
		}
		nc := pn.dial("pass.test:443")
		tc := tls.Client(nc, &tls.Config{ServerName: "pass.test", InsecureSkipVerify: true})
		if err := tc.Handshake(); (err != nil) != (deny == "tls") {
			t.Errorf("deny %q: TLS: %v", deny, err)
		}
		nc.Close()
		if got := m.taken(); got != "tls pass.test:443" {
			t.Errorf("asked %s", got)
		}
		if deny == "" {
			continue
		}
		o := wait(t, pn.records, func(o *audit.FlowOpen) bool { return o.Verdict == hooks.Deny })
		if o.Rule != "test.yaml:9" || o.Reason != "denied by hook test: not there" || len(o.Hooks) != 1 || o.Hooks[0].Point != hooks.PointConnect || o.Protocol.String() != deny {
			t.Errorf("recorded %+v", o)
		}
		cl := wait(t, pn.records, func(cl *audit.FlowClose) bool { return cl.Flow == o.Flow })
		if cl.Class != "hook" || cl.BytesUp+cl.BytesDown > 0 {
			t.Errorf("closed as %+v", cl)
		}
		for _, d := range pn.dialed() {
			if strings.HasPrefix(d, map[string]string{"tcp": "raw", "tls": "pass"}[deny]) {
				t.Errorf("dialled %s", d)
			}
		}
	}
}

// TestConnectHookOnce: of a connection's requests the first one is asked about, and
// again under another policy; on the proxy port each target's is.
func TestConnectHookOnce(t *testing.T) {
	m := &meetings{deny: "paths.test"}
	pn := newPen(t, someRules, hookAt(m.Decide, hooks.PointConnect))
	pn.all()
	for _, proto := range []string{"h1", "h2"} {
		cl := pn.client(proto)
		for range 3 {
			if resp, body := get(t, cl, "https://api.test/x"); resp.StatusCode != 200 {
				t.Errorf("%s: %s %s", proto, resp.Status, body)
			}
		}
		if got := m.taken(); got != "https api.test:443" {
			t.Errorf("%s: asked %s", proto, got)
		}
		pn.p.SetPolicy(pn.p.cfg.Policy)
		get(t, cl, "https://api.test/x")
		if got := m.taken(); got != "https api.test:443" {
			t.Errorf("%s: after a change asked %s", proto, got)
		}
		for range 2 {
			if resp, body := get(t, cl, "https://paths.test/open/x"); resp.StatusCode != 403 || !strings.Contains(body, "not there") {
				t.Errorf("%s: %s %s", proto, resp.Status, body)
			}
		}
		if got := m.taken(); got != "https paths.test:443, https paths.test:443" {
			t.Errorf("%s: asked %s", proto, got)
		}
	}
	c, err := net.Dial("tcp", pn.explicit)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var in string
	for _, host := range []string{"web.test", "web.test:8080", "web.test", "web.test:8080"} {
		in += fmt.Sprintf("GET http://%s/ HTTP/1.1\r\nHost: %s\r\n\r\n", host, host)
	}
	if got, _ := say(t, c, in+"GET http://web.test/ HTTP/1.1\r\nHost: web.test\r\nConnection: close\r\n\r\n"); len(got) != 5 || got[4] != 200 {
		t.Errorf("answers %v", got)
	}
	if got := m.taken(); got != "http web.test:80, http web.test:8080" {
		t.Errorf("asked %s", got)
	}
	if d := strings.Join(pn.dialed(), " "); strings.Contains(d, "paths") {
		t.Errorf("dialled %s", d)
	}
}
