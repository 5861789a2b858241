package netproxy

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/penstock/penstock/audit"
	"github.com/penstock/penstock/netproxy/secrets"
)

// TestTokens: a request that is allowed gets a token that the proxy has got for it,
// over its own way of dialling.
func TestTokens(t *testing.T) {
	const clientSecret = "client-secret-0123456789"
	placeholder := secrets.Placeholder([]byte("seed of the test, long enough"), "TOKEN", secrets.Value{})
	set, err := secrets.New([]secrets.Secret{{Name: "TOKEN", Placeholder: placeholder, Late: true, Header: "Authorization", Prefix: "Bearer ", Hosts: []string{"api.test", "denied.test", "clear.test"},
		Parts: map[string]secrets.Value{"client_secret": secrets.NewValue(clientSecret)}}})
	if err != nil {
		t.Fatal(err)
	}
	pn := newPen(t, "  allow: []\n", func(c *Config) {
		c.Secrets = set
		c.Policy = parsePolicy(t, `version: 1
secrets: [{name: TOKEN, from: {oauth2: {token_url: 'https://login.test/token', client_id: me, client_secret: 'env:S'}}, hosts: [api.test, denied.test, clear.test], bearer: true}]
egress: {allow: [{host: api.test}, {host: clear.test}, {host: other.test}]}
`)
	})
	var given, refused, seen atomic.Int64
	var broken atomic.Bool
	pn.origin("login.test:443", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, pass, _ := r.BasicAuth(); pass != clientSecret || broken.Load() {
			http.Error(w, clientSecret, http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"access_token": "token-number-%d", "expires_in": 3600}`, given.Add(1))
	}))
	api := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen.Add(1)
		var n int64
		fmt.Sscanf(r.Header.Get("Authorization"), "Bearer token-number-%d", &n)
		body, _ := io.ReadAll(r.Body)
		if r.URL.Path == "/echo" {
			fmt.Fprint(w, r.Header.Get("Authorization"))
			return
		}
		if n <= refused.Load() {
			w.WriteHeader(http.StatusUnauthorized)
		}
		fmt.Fprintf(w, "token %d, %d bytes", n, len(body))
	})
	pn.origin("api.test:443", api)
	pn.origin("clear.test:80", api)
	ask := func(method, url, body string) (int, string) {
		t.Helper()
		r, _ := http.NewRequest(method, url, strings.NewReader(body))
		r.Header.Set("Authorization", "Bearer "+placeholder)
		resp, err := pn.client("h2").Do(r)
		if err != nil {
			return 0, err.Error()
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(b)
	}
	check := func(method, url, body string, status int, want string) {
		t.Helper()
		code, got := ask(method, url, body)
		if code != status || !strings.Contains(got, want) {
			t.Errorf("%s %s: %d %q, want %d %q", method, url, code, got, status, want)
		}
		if strings.Contains(got, "token-number") || strings.Contains(got, clientSecret) {
			t.Errorf("%s %s: the pen gets %q", method, url, got)
		}
	}
	// Not for what is denied, misplaced or in clear.
	check("GET", "https://denied.test/", "", 403, "")
	check("GET", "https://other.test/", "", 403, "not declared for this host")
	check("GET", "https://api.test/?x="+placeholder, "", 403, "declared for header Authorization only")
	check("GET", "http://clear.test/", "", 403, "clear text")
	if given.Load() != 0 {
		t.Fatal("a token was got for a request that does not get one")
	}
	check("GET", "https://api.test/", "", 200, "token 1, 0 bytes")
	check("POST", "https://api.test/", "body", 200, "token 1, 4 bytes")
	check("GET", "https://api.test/echo", "", 200, "")
	wait(t, pn.records, func(e *audit.SecretRenewal) bool { return e.Name == "TOKEN" && e.Action == "renewed" })
	wait(t, pn.records, func(e *audit.Violation) bool { return e.Kind == "secret-reflected" })

	// Refused: what has no body is sent again, once, with another.
	refused.Store(1)
	before := seen.Load()
	check("GET", "https://api.test/", "", 200, "token 2, 0 bytes")
	refused.Store(1 << 20)
	check("GET", "https://api.test/", "", 401, "token 2, 0 bytes")
	check("POST", "https://api.test/", "body", 401, "token 2, 4 bytes")
	if n := seen.Load() - before; n != 4 {
		t.Errorf("the host was asked %d times", n)
	}
	if given.Load() != 2 {
		t.Errorf("%d tokens were got", given.Load())
	}

	// One that can't be had.
	if err := set.Replace("TOKEN", secrets.Value{}); err != nil {
		t.Fatal(err)
	}
	check("GET", "https://api.test/", "", 502, "secret TOKEN has no value now")
}

// TestTokensUnavailable: the pen hears that a token can't be had, and no more.
func TestTokensUnavailable(t *testing.T) {
	set, err := secrets.New([]secrets.Secret{{Name: "KEY", Late: true, Header: "X-Key", Hosts: []string{"api.test"}, Parts: map[string]secrets.Value{"token": secrets.NewValue("hvs.token-0123456789")}}})
	if err != nil {
		t.Fatal(err)
	}
	notices := make(chan string, 10)
	pn := newPen(t, "  allow: []\n", func(c *Config) {
		c.Secrets, c.Notice = set, func(s string) { notices <- s }
		c.Policy = parsePolicy(t, `version: 1
secrets: [{name: KEY, from: {vault: {url: 'https://vault.test:8200', path: secret/data/a, field: k, token: 'env:T'}}, hosts: [api.test], header: x-key}]
egress: {allow: [{host: api.test}]}
`)
	})
	pn.origin("vault.test:8200", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, r.Header.Get("X-Vault-Token"), http.StatusForbidden)
	}))
	pn.origin("api.test:443", http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the request left") }))
	r, _ := http.NewRequest("GET", "https://api.test/", http.NoBody)
	_, placeholder, _ := strings.Cut(set.Environ()[0], "=")
	r.Header.Set("X-Key", placeholder)
	resp, err := pn.client("h1").Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	if resp.StatusCode != 502 || !strings.Contains(string(b), "secret KEY could not be had: the answer has status 403") || strings.Contains(string(b), "hvs") {
		t.Errorf("%d %s", resp.StatusCode, b)
	}
	if s := <-notices; s != "secret KEY could not be had: the answer has status 403" {
		t.Errorf("said %q", s)
	}
}
