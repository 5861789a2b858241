package netproxy

import (
	"context"
	"crypto/ed25519"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/penstock/penstock/audit"
	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/hooks/chain"
	"github.com/penstock/penstock/netproxy/desk"
	"github.com/penstock/penstock/policy"
	"github.com/penstock/penstock/policy/approval"
)

// signed is a desk with nobody at it that has one token.
func signed(t *testing.T, record func(audit.Event) error, rule string, most uint32) *desk.Desk {
	t.Helper()
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	token, err := approval.Sign(key, &approval.Statement{ID: approval.NewID(), Answer: "allow", Rule: rule, Audience: approval.Any,
		From: time.Now().Unix(), Until: time.Now().Add(time.Hour).Unix(), Max: most})
	if err != nil {
		t.Fatal(err)
	}
	set, err := approval.NewSet(&approval.Given{Tokens: []string{token}}, []policy.Approver{{Name: "desk", Key: key.Public().(ed25519.PublicKey)}}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return desk.New(nil, set, record)
}

// TestSignedAnswer: a token has the requests go out that it is about, as often as it
// says, and no other one over the same connection. What a hook makes of a request's
// header is judged again, and is no second use.
func TestSignedAnswer(t *testing.T) {
	for _, proto := range []string{"h1", "h2"} {
		pn := newPen(t, "  ask: [{host: api.test}]", func(c *Config) {
			c.Limits = Limits{} // who waits for a processor is not slow
			c.Desk = signed(t, c.Record.Append, `{host: api.test, methods: [POST], paths: ["/a"]}`, 2)
			c.Hooks = []chain.Entry{{Name: "test", Rule: "test.yaml:9", Hook: hookFunc(func(_ context.Context, r *hooks.Request) (hooks.Decision, error) {
				d := hooks.Decision{Action: hooks.Next}
				if r.Header.Get("X-Tool") == "" {
					d.Change = &hooks.Change{Set: map[string]string{"X-Tool": "agent"}}
				}
				return d, nil
			})}}
		})
		pn.origin("api.test:443", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.Header.Get("X-Tool")) }))
		client := pn.client(proto)
		for i, c := range []struct{ method, path, want string }{
			{"POST", "/a", "200 OK agent"}, {"POST", "/b", "403"}, {"PUT", "/a", "403"}, {"POST", "/a/", "403"}, {"POST", "/a?x", "200 OK agent"}, {"POST", "/a", "403"},
		} {
			if s := <-fetched(t, client, request(t, c.method, "https://api.test"+c.path, "body")); !strings.HasPrefix(s, c.want) || c.want == "403" && !strings.Contains(s, "there is nobody to ask; nobody has approved") {
				t.Errorf("%s, %d: %+v: %s", proto, i, c, s)
			}
		}
		if n := pn.records.count(func(e audit.Event) bool { a, ok := e.(*audit.Ask); return ok && a.Action == "allowed" }); n != 2 {
			t.Errorf("%d answers are recorded", n)
		}
		o := wait(t, pn.records, func(o *audit.FlowOpen) bool { return o.Verdict == hooks.Allow })
		if !strings.HasPrefix(o.Reason, "approved by token ") {
			t.Errorf("%+v", o)
		}
	}
}
