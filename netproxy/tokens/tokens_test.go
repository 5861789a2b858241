package tokens

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock/penstock/netproxy/secrets"
	"github.com/penstock/penstock/policy"
)

const credentials = "client s+cret/0123456789"

// rig is a Keeper and who it asks: a real HTTP server, over pipes, so that time can
// be the bubble's.
type rig struct {
	t    *testing.T
	set  *secrets.Set
	keep *Keeper

	mu      sync.Mutex
	asked   []string
	answer  http.HandlerFunc
	changes []string
}

// pipes is a listener of net.Pipe connections.
type pipes struct {
	c    chan net.Conn
	done chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.c:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}
func (p *pipes) Close() error   { return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "pipe"} }

// newRig makes one of a secret named K, whose from is given in YAML.
func newRig(t *testing.T, from string, parts map[string]secrets.Value) *rig {
	t.Helper()
	f, err := policy.Parse("p.yaml", policy.User, []byte("version: 1\nsecrets: [{name: K, from: "+from+", hosts: [api.example], bearer: true}]\n"))
	if err != nil {
		t.Fatal(err)
	}
	pol, err := policy.New([]*policy.File{f})
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t}
	r.set, err = secrets.New([]secrets.Secret{{Name: "K", Hosts: []string{"api.example"}, Header: "Authorization", Prefix: "Bearer ", Late: true, Parts: parts}})
	if err != nil {
		t.Fatal(err)
	}
	l := &pipes{make(chan net.Conn), make(chan struct{})}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		q.ParseForm()
		user, pass, _ := q.BasicAuth()
		r.mu.Lock()
		r.asked = append(r.asked, strings.Join(slices.DeleteFunc([]string{q.Method, q.Host, q.URL.Path, q.PostForm.Encode(), user, pass, q.Header.Get("X-Vault-Token"), q.Header.Get("X-Vault-Namespace")}, func(s string) bool { return s == "" }), " "))
		answer := r.answer
		r.mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		answer(w, q)
	})}
	go srv.Serve(l) //nolint:errcheck // until Close
	tr := &http.Transport{DialTLSContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		here, there := net.Pipe()
		select {
		case l.c <- there:
			return here, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}}
	r.keep = New(Config{Set: r.set, Declared: pol.Secrets(), Ask: func() (http.RoundTripper, error) { return tr, nil }, Told: func(c Change) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.changes = append(r.changes, strings.TrimSpace(c.Name+" "+c.Action+" "+c.Reason))
	}})
	t.Cleanup(func() {
		r.keep.Close()
		close(l.done)
		srv.Close()
		tr.CloseIdleConnections()
	})
	return r
}

func (r *rig) answers(f http.HandlerFunc) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = f
}

func (r *rig) says(format string, args ...any) {
	r.answers(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintf(w, format, args...) })
}

func (r *rig) ready() error { return r.keep.Ready(r.t.Context(), []string{"K", "OTHER"}) }

// is checks what the value is and how often was asked for it.
func (r *rig) is(want string, asked int) {
	r.t.Helper()
	v, _ := r.set.Current("K")
	r.mu.Lock()
	defer r.mu.Unlock()
	if !v.Equal(secrets.NewValue(want)) || len(r.asked) != asked {
		r.t.Errorf("the value is %q: %v; asked %q, want %d times", want, v.Equal(secrets.NewValue(want)), r.asked, asked)
	}
}

func clientSecret() map[string]secrets.Value {
	return map[string]secrets.Value{policy.PartClientSecret: secrets.NewValue(credentials)}
}

const endpoint = "{oauth2: {token_url: 'https://login.example/token', client_id: 'me:1', client_secret: 'env:S', scopes: [a, b], audience: x}}"

func TestClientCredentials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, endpoint, clientSecret())
		r.says(`{"access_token": "token-number-1", "token_type": "bearer", "expires_in": 600}`)
		// One question for all who wait.
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() {
				if err := r.ready(); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		r.is("token-number-1", 1)
		if want := "POST login.example:443 /token audience=x&grant_type=client_credentials&scope=a+b me%3A1 client+s%2Bcret%2F0123456789"; r.asked[0] != want {
			t.Errorf("asked %q, want %q", r.asked[0], want)
		}
		pass(9*time.Minute - time.Second)
		r.says(`{"access_token": "token-number-2", "expires_in": "60"}`)
		r.ready()
		r.is("token-number-1", 1)
		pass(time.Second) // a minute before its end
		r.ready()
		r.is("token-number-2", 2)
		// Of a short life a quarter.
		pass(44 * time.Second)
		r.ready()
		r.is("token-number-2", 2)
		pass(time.Second)
		// It can't be had: kept while it lives, asked again after a pause.
		r.answers(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusBadRequest)
			w.Write([]byte(`{"error": "invalid_client", "error_description": "` + credentials + `"}`)) //nolint:errcheck // as far as it gets
		})
		for range 10 {
			if err := r.ready(); err != nil {
				t.Error(err)
			}
		}
		r.is("token-number-2", 3)
		pass(15 * time.Second)
		err := r.ready()
		if !errors.As(err, new(*UnavailableError)) || err.Error() != "secret K could not be had: the answer has status 400 (invalid_client)" {
			t.Errorf("got %v", err)
		}
		if r.ready() == nil {
			t.Error("an expired value is ready")
		}
		r.is("", 4)
		pass(pause)
		r.says(`{"access_token": "token-number-3"}`)
		r.ready()
		r.is("token-number-3", 5)
		pass(unsaid - time.Second)
		r.ready()
		r.is("token-number-3", 5)
		want := []string{"K renewed", "K renewed", "K failed the answer has status 400 (invalid_client)", "K expired", "K renewed"}
		if !slices.Equal(r.changes, want) {
			t.Errorf("told %q", r.changes)
		}
	})
}

func TestRefreshToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, "{oauth2: {token_url: 'https://login.example/token', client_id: me, client_secret: 'env:S', refresh_token: 'file:/r', client_auth: body}}",
			map[string]secrets.Value{policy.PartClientSecret: secrets.NewValue("client"), policy.PartRefreshToken: secrets.NewValue("refresh-1")})
		r.says(`{"access_token": "token-number-1", "expires_in": 1, "refresh_token": "refresh-2"}`)
		r.ready()
		r.says(`{"access_token": "token-number-2", "expires_in": 60}`)
		pass(time.Second)
		r.ready()
		r.is("token-number-2", 2)
		want := []string{
			"POST login.example:443 /token client_id=me&client_secret=client&grant_type=refresh_token&refresh_token=refresh-1",
			"POST login.example:443 /token client_id=me&client_secret=client&grant_type=refresh_token&refresh_token=refresh-2",
		}
		if !slices.Equal(r.asked, want) {
			t.Errorf("asked %q", r.asked)
		}
		if s := r.set.Redact("refresh-1 refresh-2"); strings.Contains(s, "refresh") {
			t.Error(s)
		}
	})
}

// TestRefused: 401 has one other token got, and not another for that one.
func TestRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, endpoint, clientSecret())
		n := 0
		r.answers(func(w http.ResponseWriter, _ *http.Request) {
			n++
			fmt.Fprintf(w, `{"access_token": "token-number-%d", "expires_in": 600}`, n)
		})
		if r.keep.Refused([]string{"K", "OTHER"}) {
			t.Error("what was not there was refused")
		}
		r.ready()
		if !r.keep.Refused([]string{"K"}) || r.keep.Refused([]string{"K"}) {
			t.Error("not once")
		}
		r.ready()
		r.is("token-number-2", 2)
		for range 5 {
			if r.keep.Refused([]string{"K"}) {
				t.Error("the value that came of a refusal is renewed at once")
			}
			r.ready()
		}
		r.is("token-number-2", 2)
		pass(9 * time.Minute)
		r.ready()
		if !r.keep.Refused([]string{"K"}) {
			t.Error("no other one after a regular renewal")
		}
	})
}

// TestHostileEndpoint: whatever it answers, nothing of it or of us is in the error,
// and nothing is put in force.
func TestHostileEndpoint(t *testing.T) {
	for name, tt := range map[string]struct {
		answer http.HandlerFunc
		want   string
	}{
		"redirect": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "https://evil.example/")
			w.WriteHeader(http.StatusTemporaryRedirect)
		}, "the answer has status 307, and redirects are not followed"},
		"endless": {func(w http.ResponseWriter, _ *http.Request) {
			for range maxAnswer {
				if _, err := w.Write([]byte("          ")); err != nil {
					return
				}
			}
		}, "the answer has more than 262144 bytes"},
		"silent": {func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, "there was no answer within 20s"},
		"slow": {func(w http.ResponseWriter, r *http.Request) {
			w.Write([]byte(`{`)) //nolint:errcheck // as far as it gets
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}, "there was no answer within 20s"},
		"hangs up":   {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "it can't be asked: EOF"},
		"HTML":       {func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Type", "text/html") }, "the answer is not application/json"},
		"empty":      {func(http.ResponseWriter, *http.Request) {}, "the answer is not of the form that it should have"},
		"no token":   {says(`{"expires_in": 3600}`), "the answer has no access_token"},
		"number":     {says(`{"access_token": 12345678}`), "the answer is not of the form that it should have"},
		"list":       {says(`[{"access_token": "12345678"}]`), "the answer is not of the form that it should have"},
		"line break": {says(`{"access_token": "token\r\nX-Evil: 1"}`), `replace secret "K": byte 6 of the value is a control character (a line break at its end?)`},
		"long":       {says(`{"access_token": "` + strings.Repeat("x", 20000) + `"}`), `replace secret "K": the value has 20000 bytes, more than 16384`},
		"other type": {says(`{"access_token": "12345678", "token_type": "DPoP"}`), "the answer has a token of another type than Bearer"},
		"bad life":   {says(`{"access_token": "12345678", "expires_in": {}}`), "the answer is not of the form that it should have"},
		"minus":      {says(`{"access_token": "12345678", "expires_in": -5}`), "the answer is not of the form that it should have"},
		"other words": {func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(401)
			w.Write([]byte(`{"error": "client s+cret"}`))
		}, "the answer has status 401"}, //nolint:errcheck // as far as it gets
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, endpoint, clientSecret())
				r.answers(tt.answer)
				err := r.ready()
				if err == nil || err.Error() != "secret K could not be had: "+tt.want {
					t.Errorf("got %v", err)
				}
				r.is("", 1)
			})
		})
	}
}

func says(s string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte(s)) } //nolint:errcheck // as far as it gets
}

// TestVault speaks the API as Vault's documentation has it.
func TestVault(t *testing.T) {
	const token = "hvs.0123456789"
	parts := func() map[string]secrets.Value {
		return map[string]secrets.Value{policy.PartToken: secrets.NewValue(token)}
	}
	paths := func(list []string) (out []string) {
		for _, a := range list {
			if !strings.HasSuffix(a, " "+token+" team/a") {
				t.Errorf("asked %q", a)
			}
			out = append(out, strings.TrimSuffix(strings.Replace(a, " vault.example:8200 /v1/", " ", 1), " "+token+" team/a"))
		}
		return out
	}
	t.Run("kv 2", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, "{vault: {url: 'https://vault.example:8200', path: secret/data/app, field: key, token: 'env:T', namespace: team/a}}", parts())
			r.answers(func(w http.ResponseWriter, q *http.Request) {
				switch q.URL.Path {
				case "/v1/secret/data/app":
					w.Write([]byte(`{"lease_duration": 0, "data": {"data": {"key": "value-in-vault", "n": 1}, "metadata": {"version": 3}}}`)) //nolint:errcheck // as far as it gets
				case "/v1/auth/token/lookup-self":
					w.Write([]byte(`{"data": {"ttl": 600, "renewable": true}}`)) //nolint:errcheck // as far as it gets
				case "/v1/auth/token/renew-self":
					w.Write([]byte(`{"auth": {"lease_duration": 100, "renewable": false}}`)) //nolint:errcheck // as far as it gets
				}
			})
			if err := r.ready(); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			r.is("value-in-vault", 2)
			pass(301 * time.Second) // half of the token's life
			synctest.Wait()
			r.ready()
			pass(time.Hour)
			want := []string{"GET secret/data/app", "GET auth/token/lookup-self", "POST auth/token/renew-self", "GET secret/data/app"}
			if got := paths(r.asked); !slices.Equal(got, want) {
				t.Errorf("asked %q", got)
			}
			if want := []string{"K renewed", "K.token renewed", "K renewed"}; !slices.Equal(r.changes, want) {
				t.Errorf("told %q", r.changes)
			}
		})
	})
	t.Run("lease", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, "{vault: {url: 'https://vault.example:8200', path: database/creds/app, field: password, kv: 1, token: 'env:T', namespace: team/a}}", parts())
			n := 0
			r.answers(func(w http.ResponseWriter, q *http.Request) {
				if q.URL.Path != "/v1/database/creds/app" {
					w.WriteHeader(http.StatusForbidden)
					return
				}
				n++
				fmt.Fprintf(w, `{"lease_duration": 3600, "renewable": true, "data": {"username": "u", "password": "password-%d"}}`, n)
			})
			r.ready()
			pass(59*time.Minute - time.Second)
			r.ready()
			r.is("password-1", 2)
			pass(time.Second)
			r.ready()
			r.is("password-2", 3)
		})
	})
	for name, tt := range map[string]struct{ doc, want string }{
		"kv 1 answer": {`{"data": {"key": "value"}}`, "the answer has no data.data: kv: 1 is for other engines"},
		"no field":    {`{"data": {"data": {"other": "value"}}}`, "the answer has no text in the field"},
		"number":      {`{"data": {"data": {"key": 1}}}`, "the answer has no text in the field"},
		"deleted":     {`{"data": {"data": null}}`, "the answer has no text in the field"},
		"no data":     {`{}`, "the answer has no data.data: kv: 1 is for other engines"},
		"wrong":       {`{"data": "` + token + `"}`, "the answer is not of the form that it should have"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, "{vault: {url: 'https://vault.example:8200', path: secret/data/app, field: key, token: 'env:T'}}", parts())
				r.says("%s", tt.doc)
				if err := r.ready(); err == nil || err.Error() != "secret K could not be had: "+tt.want {
					t.Errorf("got %v", err)
				}
			})
		})
	}
}

// FuzzLife: whatever an endpoint says of a life, it is one.
func FuzzLife(f *testing.F) {
	for _, s := range []string{"3600", `"3600"`, "1e300", "-1", "null", `""`, "0.5", `"x"`, "{}"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, doc string) {
		var l life
		if json.Unmarshal([]byte(doc), &l) == nil && (l < 0 || time.Duration(l) > maxLife) {
			t.Errorf("%s is %s", doc, time.Duration(l))
		}
	})
}

// pass lets the bubble's time pass.
func pass(d time.Duration) { <-time.After(d) }
