package netproxy

import (
	"fmt"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"github.com/penstock/penstock/audit"
	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/netproxy/secrets"
)

const messageValue = `re&al "v=al\ue" 0123456789`

func messageSecrets(t testing.TB) (*secrets.Set, string) {
	t.Helper()
	set, err := secrets.New([]secrets.Secret{{Name: "WS", Hosts: []string{"api.test", "web.test"}, WebSocket: "token", Value: secrets.NewValue(messageValue)}})
	if err != nil {
		t.Fatal(err)
	}
	_, placeholder, _ := strings.Cut(set.Environ()[0], "=")
	return set, placeholder
}

// TestMessageSecret: the value is put into the first text message, which hooks have
// seen with the placeholder, and nothing but that message is another one.
func TestMessageSecret(t *testing.T) {
	for _, hooked := range []hooks.Inspect{{}, asWhole, asStream} {
		t.Run(fmt.Sprintf("%+v", hooked), func(t *testing.T) {
			set, ph := messageSecrets(t)
			h := &bodyHook{}
			options := []func(*Config){func(c *Config) { c.Secrets = set }}
			if hooked != (hooks.Inspect{}) {
				options = append(options, h.on(hooked, hooks.PointWebSocket))
			}
			pn := newPen(t, someRules, options...)
			o := newPartner(pn, func(s string) string { return fmt.Sprint(len(s)) })
			ctx, c, _ := talkTo(t, pn, "wss://api.test/")
			long := strings.Repeat("x", 200_000)
			for n, m := range []struct {
				typ      websocket.MessageType
				in, want string
			}{
				{websocket.MessageBinary, "\x00\xff", "\x00\xff"},
				{websocket.MessageText, `{"token": "` + ph + `", "x": "` + long + `"}`, `{"token": "re&al \"v=al\\ue\" 0123456789", "x": "` + long + `"}`},
				{websocket.MessageText, `{"token": "mine"}`, `{"token": "mine"}`},
				{websocket.MessageText, "", ""},
			} {
				if err := c.Write(ctx, m.typ, []byte(m.in)); err != nil {
					t.Fatal(err)
				}
				typ, b, err := c.Read(ctx)
				if err != nil || typ != m.typ || string(b) != fmt.Sprint(len(m.want)) {
					t.Fatalf("message %d: %v %.100q %v", n, typ, b, err)
				}
				if n == 0 {
					<-o.got // extensions
				}
				if got := <-o.got; got != m.want {
					t.Errorf("message %d: the upstream got %.200q", n, got)
				}
				if seen, _ := h.last(); hooked != (hooks.Inspect{}) && n != 3 && strings.Contains(seen, "re&al") {
					t.Errorf("message %d: a hook saw the value", n)
				}
			}
			if err := c.Close(websocket.StatusNormalClosure, "bye"); err != nil {
				t.Error(err)
			}
			wait(t, pn.records, func(cl *audit.FlowClose) bool { return cl.Status == 101 })
			u := wait(t, pn.records, func(*audit.SecretUse) bool { return true })
			if n := pn.records.count(func(e audit.Event) bool { _, ok := e.(*audit.SecretUse); return ok }); n != 1 || u.Name != "WS" || u.Header != "field token of the first message of a WebSocket" || u.Host != "api.test" {
				t.Errorf("%d uses recorded, %+v", n, u)
			}
		})
	}
}

// TestMessageSecretMisuse: what a tool would try. Both sides are told a close, and
// neither placeholder nor value gets to where it may not be.
func TestMessageSecretMisuse(t *testing.T) {
	set, ph := messageSecrets(t)
	token := `{"token": "` + ph + `"}`
	for name, tt := range map[string]struct {
		url   string
		sends []string // "ping:" before a control frame's
		says  string   // what the upstream answers to anything
		kind  string
		why   string
	}{
		"another field":      {"wss://api.test/", []string{`{"prompt": "` + ph + `"}`}, "", "secret-misuse", "declared for field token of the first message"},
		"beside":             {"wss://api.test/", []string{`{"token": "` + ph + `", "prompt": "` + ph + `"}`}, "", "secret-misuse", "declared for field token of the first message"},
		"the second message": {"wss://api.test/", []string{token, token}, "", "secret-misuse", "declared place only"},
		"late in a long one": {"wss://api.test/", []string{token, strings.Repeat("x", 300_000) + ph}, "", "secret-misuse", "declared place only"},
		"in clear":           {"ws://web.test/", []string{token}, "", "secret-misuse", "clear text"},
		"sent back":          {"wss://api.test/", []string{token}, `{"you said": "re&al \"v=al\\ue\" 0123456789"}`, "secret-reflected", "holds the real value of secret WS"},
		"sent back, plain":   {"wss://api.test/", []string{token}, messageValue, "secret-reflected", "holds the real value of secret WS"},
	} {
		t.Run(name, func(t *testing.T) {
			pn := newPen(t, someRules, func(c *Config) { c.Secrets = set })
			o := newPartner(pn, func(string) string { return tt.says })
			ctx, c, _ := talkTo(t, pn, tt.url)
			for _, m := range tt.sends {
				c.Write(ctx, websocket.MessageText, []byte(m)) //nolint:errcheck // it may be closed in the middle
			}
			_, b, err := c.Read(ctx)
			if websocket.CloseStatus(err) != websocket.StatusPolicyViolation || !strings.Contains(err.Error(), "secret WS") {
				t.Fatalf("%q, %v", b, err) // no close: there is nothing to wait for
			}
			got, code := o.all()
			if all := strings.Join(got, "\n"); code != websocket.StatusPolicyViolation || strings.Contains(all, ph) || len(got) > 2 {
				t.Errorf("the upstream got %d messages, closed with %v", len(got), code)
			}
			v := wait(t, pn.records, func(v *audit.Violation) bool { return true })
			if v.Kind != tt.kind || !strings.Contains(v.Detail, tt.why) || v.Action != "closed" {
				t.Errorf("%+v", v)
			}
			cl := wait(t, pn.records, func(cl *audit.FlowClose) bool { return cl.Status == 101 })
			if cl.Class != tt.kind || !strings.Contains(cl.Error, tt.why) || strings.Contains(cl.Error, "re&al") {
				t.Errorf("%+v", cl)
			}
		})
	}
}

// TestMessageSecretFrames: the same where frames are cut as a tool likes, and in those
// that are no message.
func TestMessageSecretFrames(t *testing.T) {
	set, ph := messageSecrets(t)
	f := func(first byte, payload string) string { return frame(first, true, 0, payload) }
	g := func(first byte, payload string) string { return frame(first, false, 0, payload) }
	const misuse, reflected = "secret-misuse", "secret-reflected"
	for name, c := range map[string]struct {
		pens, upstreams, kind string
	}{
		"by ping":               {f(0x89, "x"+ph), "", misuse},
		"by close":              {f(0x88, "\x03\xe8"+ph), "", misuse},
		"by pong, in the midst": {f(0x01, "a") + f(0x8a, ph) + f(0x80, "b"), "", misuse},
		"in fragments":          {f(0x01, ph[:20]) + f(0x80, ph[20:]), "", misuse},
		"binary":                {f(0x82, `{"token": "`+ph+`"}`), "", misuse},
		"back by ping":          {"", g(0x89, messageValue), reflected},
		"back by close":         {"", g(0x88, "\x03\xe8"+messageValue), reflected},
		"back in fragments":     {"", g(0x01, messageValue[:9]) + g(0x80, messageValue[9:]), reflected},
	} {
		t.Run(name, func(t *testing.T) {
			pn := newPen(t, someRules, func(c *Config) { c.Secrets = set })
			up, down := asMessages(t, pn, c.pens, c.upstreams)
			for side, got := range map[string][]string{"upstream": unframed(up), "pen": unframed(down)} {
				all := strings.Join(got, "\n")
				if strings.Contains(all, ph[20:]) || strings.Contains(all, messageValue[9:]) || len(got) == 0 || !strings.HasPrefix(got[len(got)-1], "88 1008 ") {
					t.Errorf("the %s got %q", side, got)
				}
			}
			if v := wait(t, pn.records, func(*audit.Violation) bool { return true }); v.Kind != c.kind {
				t.Errorf("%+v", v)
			}
		})
	}
}

// TestMessageSecretElsewhere: where no value may go, messages are nobody's to read, and
// what is compressed stays so.
func TestMessageSecretElsewhere(t *testing.T) {
	set, err := secrets.New([]secrets.Secret{{Name: "WS", Hosts: []string{"other.test"}, WebSocket: "token", Value: secrets.NewValue(messageValue)}})
	if err != nil {
		t.Fatal(err)
	}
	pn := newPen(t, someRules, func(c *Config) { c.Secrets = set })
	newPartner(pn, func(s string) string { return s })
	ctx, c, resp := talkTo(t, pn, "wss://api.test/")
	if resp.Header.Get("Sec-Websocket-Extensions") == "" {
		t.Error("not compressed")
	}
	if err := c.Write(ctx, websocket.MessageText, []byte(messageValue)); err != nil {
		t.Fatal(err)
	}
	if _, b, err := c.Read(ctx); err != nil || string(b) != messageValue {
		t.Errorf("%q, %v", b, err)
	}
}
