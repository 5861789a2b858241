package netproxy

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/penstock/penstock/audit"
	"github.com/penstock/penstock/hooks"
)

// TestWhen: a condition sees each request as the proxy does, before anything of
// it has left, and what can't be decided is denied and recorded with the reason.
func TestWhen(t *testing.T) {
	const rules = `  allow:
    - host: api.test
      when: request.size < 10 && request.headers["x-team"] == "blue" && !request.headers.accept.contains("evil")
`
	type seen struct{ path, length, team string }
	for _, proto := range []string{"h1", "h2"} {
		t.Run(proto, func(t *testing.T) {
			pn := newPen(t, rules)
			var got []seen
			pn.origin("api.test:443", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				io.Copy(io.Discard, r.Body)
				got = append(got, seen{r.URL.Path, r.Header.Get("Content-Length"), r.Header.Get("X-Team")})
			}))
			cl := pn.client(proto)
			for _, c := range []struct {
				path, body, team string
				chunked          bool
				why              string // "": it is allowed
			}{
				{path: "/small", body: "123456789", team: "blue"},
				{path: "/none", team: "blue"},
				{path: "/large", body: "0123456789", team: "blue", why: "its when is false"},
				{path: "/chunked", body: "1", team: "blue", chunked: true, why: "its when can't be decided: request.size is not known"},
				{path: "/red", team: "red", why: "its when is false"},
				{path: "/nobody", why: `its when can't be decided: request.headers has no "x-team"`},
			} {
				var body io.Reader = strings.NewReader(c.body)
				if c.chunked {
					body = struct{ io.Reader }{body}
				}
				r, err := http.NewRequestWithContext(t.Context(), "POST", "https://api.test"+c.path, body)
				if err != nil {
					t.Fatal(err)
				}
				r.Header.Set("Accept", "text/plain")
				if c.team != "" {
					r.Header.Set("x-TEAM", c.team)
				}
				resp, err := cl.Do(r)
				if err != nil {
					t.Fatal(err)
				}
				answer, _ := io.ReadAll(resp.Body)
				resp.Body.Close()
				o := wait(t, pn.records, func(o *audit.FlowOpen) bool { return o.Path == c.path })
				if c.why == "" {
					if resp.StatusCode != 200 || o.Verdict != hooks.Allow {
						t.Errorf("%s: %s %s", c.path, resp.Status, answer)
					}
					continue
				}
				if resp.StatusCode != 403 || o.Verdict != hooks.Deny || !strings.Contains(o.Reason, c.why) || !strings.Contains(string(answer), c.why) {
					t.Errorf("%s: %s %s; recorded %q, want %q", c.path, resp.Status, answer, o.Reason, c.why)
				}
			}
			if len(got) != 2 {
				t.Errorf("the origin has %v", got)
			}
		})
	}
}
