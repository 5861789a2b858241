package guest_test

import (
	"strings"
	"testing"

	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/hooks/hookstest"
	"github.com/penstock/penstock/hooks/wasm/guest"
	"github.com/penstock/penstock/hooks/wire"
)

// TestJudge: a guest reads what Penstock writes, and the other way round.
func TestJudge(t *testing.T) {
	question, err := wire.Request("7", "h", hookstest.Request())
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		d    guest.Decision
		want hooks.Action
		why  string
	}{
		"next":       {guest.Next(), hooks.Next, ""},
		"deny":       {guest.Deny("no"), hooks.Deny, "no"},
		"ask":        {guest.Ask("why"), hooks.Ask, "why"},
		"route":      {guest.Route("corp"), hooks.Route, ""},
		"change":     {guest.Change(map[string]string{"x-tool": "agent"}, "user-agent"), hooks.Next, ""},
		"body":       {guest.ChangeBody([]byte("tea")), hooks.Next, ""},
		"no body":    {guest.ChangeBody(nil), hooks.Next, ""},
		"forgotten":  {guest.Decision{}, hooks.Deny, ""},
		"reply":      {guest.Decision{Word: "reply", Reply: &guest.Reply{Status: 418, Body: []byte("tea")}}, hooks.Reply, ""},
		"not a word": {guest.Decision{Word: "allow"}, hooks.Deny, "its answer has a decision that is not known"},
	} {
		t.Run(name, func(t *testing.T) {
			d, err := wire.Decision("7", guest.Judge(question, func(r *guest.Request) guest.Decision {
				if r.Hook != "h" || r.Host != "a.example" || r.Port != 443 || r.Method != "POST" || r.Path != "/x" || r.Query != `a="b"` ||
					r.Header("x-a") != "b" || r.Header("x-b") != "" || r.Size == nil || *r.Size != 5 || r.Process.PID != 9 {
					t.Errorf("%+v", r)
				}
				return c.d
			}), wire.MaxDecision)
			if err != nil {
				d.Reason = err.Error()
			}
			if d.Action != c.want || d.Reason != c.why {
				t.Errorf("%+v, want %s: %s", d, c.want, c.why)
			}
			if body := strings.HasSuffix(name, "body"); body && (d.Change == nil || d.Change.Body == nil || string(d.Change.Body) != map[string]string{"body": "tea"}[name]) {
				t.Errorf("it makes %+v of the body", d.Change)
			} else if !body && (d.Change != nil) != (name == "change") || !body && d.Change != nil && (d.Change.Set["x-tool"] != "agent" || len(d.Change.Remove) != 1 || d.Change.Remove[0] != "user-agent") {
				t.Errorf("it changes %+v", d.Change)
			}
			if (d.Via == "corp") != (d.Action == hooks.Route) {
				t.Errorf("routed via %q", d.Via)
			}
			if d.Action == hooks.Reply && (d.Answer.Status != 418 || string(d.Answer.Body) != "tea") {
				t.Errorf("%+v", d.Answer)
			}
		})
	}
	if guest.Judge([]byte("{"), func(*guest.Request) guest.Decision { return guest.Next() }) != nil {
		t.Error("half a question is answered")
	}
}
