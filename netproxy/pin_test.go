package netproxy

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/penstock/penstock/audit"
	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/netproxy/secrets"
)

const (
	ours   = "sk-real-0123456789abcdef"
	theirs = "sk-evil-Zz9Yy8Xx7Ww6Vv5Uu4"
)

// pinnedPen is a pen with pin.test pinned to the secret KEY in X-Api-Key. Its
// origin answers with whose key came where.
func pinnedPen(t *testing.T, more string, options ...func(*Config)) (pn *pen, placeholder string) {
	t.Helper()
	value := secrets.NewValue(ours)
	placeholder = secrets.Placeholder([]byte("seed of the test, long enough"), "KEY", value)
	set, err := secrets.New([]secrets.Secret{{Name: "KEY", Placeholder: placeholder, Value: value, Header: "X-Api-Key", Hosts: []string{"pin.test"}}})
	if err != nil {
		t.Fatal(err)
	}
	pol := "version: 1\nsecrets: [{name: KEY, from: 'env:KEY', hosts: [pin.test], header: x-api-key}]\negress:\n  allow:\n" +
		"    - {host: pin.test, methods: [GET, POST], pin: {secret: KEY, pass_headers: [x-session], pass_query: [after_id]}}\n" + more
	pn = newPen(t, "  allow: []\n", append([]func(*Config){func(c *Config) { c.Policy, c.Secrets = parsePolicy(t, pol), set }}, options...)...)
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "" {
			c, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"realtime"}})
			if err == nil {
				c.Write(r.Context(), websocket.MessageText, []byte(fmt.Sprint(r.Header.Get("X-Api-Key") == ours)))
				c.Close(websocket.StatusNormalClosure, "")
			}
			return
		}
		io.Copy(io.Discard, r.Body)
		all := fmt.Sprint(r.Header, r.Trailer, r.URL.RawQuery)
		fmt.Fprintf(w, "ours=%v theirs=%v", r.Header.Get("X-Api-Key") == ours, strings.Contains(all, "evil"))
	})
	pn.origin("pin.test:443", h)
	pn.origin("pin.test:80", h)
	pn.origin("other.test:443", h)
	return pn, placeholder
}

// A tool that has a key of its own for a pinned host tries every place for it.
func TestPin(t *testing.T) {
	pn, ph := pinnedPen(t, "    - {host: other.test}\n    - {host: '*'}\n")
	b64 := base64.StdEncoding.EncodeToString
	header := func(kv ...string) func(*http.Request) {
		return func(r *http.Request) {
			for i := 0; i < len(kv); i += 2 {
				r.Header[kv[i]] = append(r.Header[kv[i]], kv[i+1])
			}
		}
	}
	query := func(q string) func(*http.Request) { return func(r *http.Request) { r.URL.RawQuery = q } }
	for name, c := range map[string]struct {
		change func(*http.Request)
		want   int
	}{
		"nothing":       {header(), 200},
		"our secret":    {header("X-Api-Key", ph), 200},
		"usual headers": {header("Anthropic-Version", "2023-06-01", "User-Agent", "claude-cli/2.1 (external, cli)", "X-Stainless-Runtime-Version", "v22.14.0", "Anthropic-Beta", "claude-code-20250219,oauth-2025-04-20", "X-Request-Id", "550e8400-e29b-41d4-a716-446655440000", "X-App", "cli"), 200},
		"excepted":      {header("X-Session", "550e8400-e29b-41d4-a716-446655440000"), 200},
		"usual query":   {query("beta=true&model=gpt-4o-realtime-preview-2024-12-17&limit=20&page_token=3&max_tokens=5&after_id=msgbatch_013Zva2CMHLNnXjNJJKqJ2EF"), 200},

		"their key":                {header("X-Api-Key", theirs), 403},
		"both":                     {header("X-Api-Key", ph, "X-Api-Key", theirs), 403},
		"ours twice":               {header("X-Api-Key", ph, "X-Api-Key", ph), 403},
		"joined":                   {header("X-Api-Key", ph+", "+theirs), 403},
		"behind a scheme":          {header("X-Api-Key", "Bearer "+ph), 403},
		"their user, our password": {header("X-Api-Key", "Basic "+b64([]byte("evil:"+ph))), 403},
		"empty":                    {header("X-Api-Key", ""), 403},
		"bearer":                   {header("X-Api-Key", ph, "Authorization", "Bearer "+theirs), 403},
		"basic":                    {header("Authorization", "Basic "+b64([]byte("evil:x"))), 403},
		"any scheme":               {header("Authorization", "Negotiate evil"), 403},
		"short":                    {header("Authorization", "x"), 403},
		"cookie":                   {header("Cookie", "sessionKey=evil"), 403},
		"api-key":                  {header("Api-Key", theirs), 403},
		"x-goog-api-key":           {header("X-Goog-Api-Key", theirs), 403},
		"x-amz-security-token":     {header("X-Amz-Security-Token", "evil"), 403},
		"another name":             {header("X-Honeycomb-Team", theirs), 403},
		"a UUID":                   {header("X-Account", "550e8400-e29b-41d4-a716-446655440000"), 403},
		"underscores":              {header("X_Api_Key", theirs), 403},
		"trailer":                  {func(r *http.Request) { r.Trailer = http.Header{"X-Api-Key": {theirs}} }, 403},
		"trailer, odd":             {func(r *http.Request) { r.Trailer = http.Header{"X-Other": {"evil"}} }, 403},
		"query":                    {query("key=evil"), 403},
		"query, capitals":          {query("apiKey=evil"), 403},
		"query, escaped":           {query("%61pi%5Fkey=evil"), 403},
		"query, escaped twice":     {query("%2561pi%256bey=evil"), 403},
		"query, semicolon":         {query("a=1;access_token=evil"), 403},
		"query, nested":            {query("user[token]=evil"), 403},
		"query, signed":            {query("X-Amz-Signature=evil"), 403},
		"query, odd name":          {query("x=" + theirs), 403},
		"query, no name":           {query(theirs), 403},
		"query, bad escape":        {query("key%=1"), 403},
	} {
		t.Run(name, func(t *testing.T) {
			for _, proto := range []string{"h1", "h2"} {
				method, body := "GET", io.Reader(nil)
				if strings.HasPrefix(name, "trailer") {
					method, body = "POST", struct{ io.Reader }{strings.NewReader("x")}
				}
				req, _ := http.NewRequest(method, "https://pin.test/v1/x", body)
				c.change(req)
				resp, err := pn.client(proto).Do(req)
				if err != nil {
					t.Fatal(err)
				}
				b, _ := io.ReadAll(resp.Body)
				resp.Body.Close()
				if resp.StatusCode != c.want {
					t.Errorf("%s: %s %s", proto, resp.Status, b)
				}
				switch {
				case c.want == 200:
					if string(b) != "ours=true theirs=false" {
						t.Errorf("%s: %s", proto, b)
					}
				case !strings.Contains(string(b), "secret KEY") || strings.Contains(string(b), theirs) || !strings.Contains(string(b), "test.yaml:5"):
					t.Errorf("%s: the answer says %s", proto, b)
				}
			}
		})
	}
	wait(t, pn.records, func(e *audit.FlowClose) bool { return e.Class == "foreign-credential" })
	wait(t, pn.records, func(e *audit.FlowOpen) bool { return e.Verdict == hooks.Deny && e.Rule == "test.yaml:5" })
	wait(t, pn.records, func(e *audit.SecretUse) bool { return e.Name == "KEY" && e.Host == "pin.test" })

	// A connection that was opened ahead and never used was not denied by the pin.
	pn.dial("pin.test:443").Close()
	wait(t, pn.records, func(e *audit.FlowOpen) bool {
		return e.Reason == "it was closed before it sent anything" && e.Target.Host == "pin.test" && e.Rule == ""
	})

	// Another rule that allows the host does not lift the pin, nor does clear text.
	for method, url := range map[string]string{"PUT": "https://pin.test/", "GET": "http://pin.test/"} {
		req, _ := http.NewRequest(method, url, nil)
		req.Header.Set("X-Api-Key", theirs)
		resp, err := pn.client("h1").Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != 403 {
			t.Errorf("%s %s: %s", method, url, resp.Status)
		}
	}
	if resp, body := get(t, pn.client("h1"), "http://pin.test/"); resp.StatusCode != 403 || !strings.Contains(body, "in clear text") {
		t.Errorf("in clear text: %s %s", resp.Status, body)
	}
	req, _ := http.NewRequest("POST", "https://other.test/", struct{ io.Reader }{strings.NewReader("x")})
	req.Trailer = http.Header{"X-Api-Key": {ph}}
	resp, err := pn.client("h2").Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 403 {
		t.Errorf("placeholder in a trailer: %s", resp.Status)
	}
	// Our placeholder goes nowhere else; their key may, where nothing is pinned.
	for key, want := range map[string]int{ph: 403, theirs: 200} {
		req, _ := http.NewRequest("GET", "https://other.test/", nil)
		req.Header.Set("X-Api-Key", key)
		resp, err := pn.client("h1").Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("other host: %s", resp.Status)
		}
	}
}

// What HTTP's grammar lets through in odd spellings.
func TestPinRaw(t *testing.T) {
	pn, _ := pinnedPen(t, "")
	for name, in := range map[string]string{
		"case":                "GET / HTTP/1.1\r\nHost: pin.test\r\naUTHORIZATION: x\r\nConnection: close\r\n\r\n",
		"userinfo":            "GET https://evil:key@pin.test/ HTTP/1.1\r\nHost: pin.test\r\nConnection: close\r\n\r\n",
		"unannounced trailer": "POST / HTTP/1.1\r\nHost: pin.test\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n1\r\nx\r\n0\r\nX-Api-Key: evil\r\n\r\n",
		"announced trailer":   "POST / HTTP/1.1\r\nHost: pin.test\r\nTrailer: authorization\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n1\r\nx\r\n0\r\nAuthorization: evil\r\n\r\n",
		"nominated":           "GET / HTTP/1.1\r\nHost: pin.test\r\nAuthorization: evil\r\nProxy-Authorization: Basic evil\r\nConnection: close, authorization\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			_, last := say(t, pn.tls("pin.test:443", "pin.test"), in)
			if strings.Contains(last, "theirs=true") || strings.Contains(last, "ours=false") {
				t.Errorf("the origin got it: %s", last)
			}
			if name == "case" && !strings.Contains(last, "header Authorization is a place for credentials") {
				t.Errorf("answer: %s", last)
			}
		})
	}
}

func TestPinWebSocket(t *testing.T) {
	pn, _ := pinnedPen(t, "")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	dial := func(protocols ...string) (string, int) {
		c, resp, err := websocket.Dial(ctx, "wss://pin.test/", &websocket.DialOptions{HTTPClient: pn.client("h1"), Subprotocols: protocols})
		if err != nil {
			return "", resp.StatusCode
		}
		defer c.CloseNow()
		_, b, err := c.Read(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return string(b), 101
	}
	if got, status := dial("realtime", "openai-beta.realtime-v1"); status != 101 || got != "true" {
		t.Errorf("ours: %d %q", status, got)
	}
	for _, p := range []string{"openai-insecure-api-key.evil", "base64url.bearer.authorization.k8s.io.ZXZpbA", theirs} {
		if _, status := dial("realtime", p); status != 403 {
			t.Errorf("%s: %d", p, status)
		}
	}
}

// Without the secret's value nothing goes to the host; in audit mode the pin
// holds as well; and unread bytes can't be pinned.
func TestPinFailsClosed(t *testing.T) {
	pn, _ := pinnedPen(t, "    - {host: pin.test, ports: [22, 443], protocol: tcp}\n", func(c *Config) { c.Secrets = nil })
	resp, body := get(t, pn.client("h1"), "https://pin.test/")
	if resp.StatusCode != 403 || !strings.Contains(body, "has no value in this session") {
		t.Errorf("no secret: %s %s", resp.Status, body)
	}
	c := pn.dial("pin.test:22")
	io.WriteString(c, "SSH-2.0-evil\r\n")
	if b, err := io.ReadAll(c); err == nil && len(b) > 0 {
		t.Errorf("raw: %q", b)
	}
	if d := pn.dialed(); len(d) != 0 {
		t.Errorf("dialled %v", d)
	}

	pn, _ = pinnedPen(t, "", func(c *Config) { c.Permissive = true })
	req, _ := http.NewRequest("PUT", "https://pin.test/", nil) // no rule allows it
	req.Header.Set("Authorization", "evil")
	resp, err := pn.client("h1").Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 403 {
		t.Errorf("audit mode: %s", resp.Status)
	}
	wait(t, pn.records, func(e *audit.FlowOpen) bool {
		return e.Verdict == hooks.Deny && e.Mode == "enforce" && e.Rule == "test.yaml:5"
	})
}
