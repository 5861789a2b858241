package netproxy

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/penstock/penstock/audit"
	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/hooks/chain"
	"github.com/penstock/penstock/netproxy/secrets"
	"github.com/penstock/penstock/policy/ask"
)

// bodyChanger makes another body of what it is asked about, as a map says; what is in there
// twice it makes again. Before it a hook is asked that denies what has DANGER in it.
type bodyChanger struct {
	mu   sync.Mutex
	made map[string]string
	seen []string // by the hook before it
}

func (c *bodyChanger) first(_ context.Context, r *hooks.Request) (hooks.Decision, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen = append(c.seen, string(r.Body.Data))
	if bytes.Contains(r.Body.Data, []byte("DANGER")) {
		return hooks.Decision{Reason: "danger"}, nil
	}
	return hooks.Decision{Action: hooks.Next}, nil
}

func (c *bodyChanger) second(_ context.Context, r *hooks.Request) (hooks.Decision, error) {
	d := hooks.Decision{Action: hooks.Next}
	if made, ok := c.made[string(r.Body.Data)]; ok {
		d.Change = &hooks.Change{Body: []byte(made)}
	}
	return d, nil
}

func (c *bodyChanger) saw() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	defer func() { c.seen = nil }()
	return strings.Join(c.seen, "|")
}

// on has the proxy ask them at points.
func (c *bodyChanger) on(on ...hooks.Point) func(*Config) {
	return func(cfg *Config) {
		cfg.Limits = Limits{} // who waits for a processor is not slow
		cfg.Hooks = []chain.Entry{
			{Name: "first", Rule: "test.yaml:18", Hook: hookFunc(c.first), On: on, Timeout: chain.MaxTimeout},
			{Name: "second", Rule: "test.yaml:19", Hook: hookFunc(c.second), On: on, Inspect: hooks.Inspect{Change: true}, Timeout: chain.MaxTimeout},
			{Name: "late", Rule: "test.yaml:20", Hook: hookFunc(func(_ context.Context, r *hooks.Request) (hooks.Decision, error) {
				if r.Size > 40 {
					return hooks.Decision{Reason: "it is long"}, nil
				}
				return hooks.Decision{Action: hooks.Next}, nil
			}), Timeout: chain.MaxTimeout},
		}
	}
}

func zipped(t *testing.T, s string) string {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	io.WriteString(z, s)
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestRequestBodyChanges: what a hook makes of a body is what leaves, framed as what it is,
// with the secret; rules, requests' hooks and the hooks before have judged it, and what
// they have something against, or can't be made, does not leave.
func TestRequestBodyChanges(t *testing.T) {
	const rules = `  allow:
    - {host: api.test}
    - {host: rpc.test, jsonrpc: {methods: [ping]}}
    - {host: small.test, when: request.size < 10}
`
	value := secrets.NewValue(changeValue)
	placeholder := secrets.Placeholder([]byte("seed of the test, long enough"), "KEY", value)
	set, err := secrets.New([]secrets.Secret{{Name: "KEY", Placeholder: placeholder, Value: value, Header: "X-Key", Hosts: []string{"api.test"}}})
	if err != nil {
		t.Fatal(err)
	}
	ping, evil := `{"jsonrpc":"2.0","id":1,"method":"ping"}`, `{"jsonrpc":"2.0","id":1,"method":"evil"}`
	c := &bodyChanger{made: map[string]string{"a card": "a [card]", "gone": "", "danger": "DANGER", "again": "again!", "again!": "again!!",
		"same": "same", "long": strings.Repeat("x", 41), "steal": placeholder, ping: evil, "tiny": "not so tiny"}}
	pn := newPen(t, rules, c.on(hooks.PointRequestBody), func(cfg *Config) { cfg.Secrets = set })
	type arrival struct {
		header http.Header
		body   string
		length int64
		coding []string
	}
	var mu sync.Mutex
	var last *arrival
	for _, host := range []string{"api.test:443", "rpc.test:443", "small.test:443"} {
		pn.origin(host, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			b, err := io.ReadAll(r.Body)
			if err != nil || len(r.Trailer) > 0 {
				t.Errorf("%q, %v, with %v", b, err, r.Trailer)
			}
			mu.Lock()
			defer mu.Unlock()
			last = &arrival{r.Header.Clone(), string(b), r.ContentLength, r.TransferEncoding}
		}))
	}
	const hash = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
	for _, proto := range []string{"h1", "h2"} {
		cl := pn.client(proto)
		for _, tt := range []struct {
			host, body string
			chunked    bool
			zip        bool
			hash       string // X-Amz-Content-Sha256
			want, why  string // what arrives, or why nothing does
			rule       string
			seen       string // by the first hook
		}{
			{"api.test", "a card", false, false, "", "a [card]", "", "test.yaml:4", "a card|a [card]"},
			{"api.test", "a card", true, false, "", "a [card]", "", "test.yaml:4", "a card|a [card]"},
			{"api.test", "a card", false, true, "", "a [card]", "", "test.yaml:4", "a card|a [card]"},
			{"api.test", "gone", true, true, "", "", "", "test.yaml:4", "gone"},
			{"api.test", "gone", false, false, "", "", "", "test.yaml:4", "gone"},
			{"api.test", "same", false, false, "", "same", "", "test.yaml:4", "same"},
			{"api.test", "other", true, false, "", "other", "", "test.yaml:4", "other"},
			{"api.test", "danger", false, false, "", "", "denied by hook first: danger", "test.yaml:18", "danger|DANGER"},
			{"api.test", "again", false, false, "", "", "hook second failed, which denies: it changed again a body", "test.yaml:19", "again|again!"},
			{"api.test", "long", false, false, "", "", "denied by hook late: it is long", "test.yaml:20", "long"},
			{"api.test", "steal", false, false, "", "", "hook second changes the body, to what can't leave", "test.yaml:19", "steal"},
			{"api.test", "a card", false, false, hash, "a [card]", "", "test.yaml:4", "a card|a [card]"},
			{"api.test", "a card", false, false, "UNSIGNED-PAYLOAD", "a [card]", "", "test.yaml:4", "a card|a [card]"},
			{"api.test", "a card", false, false, "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "", "changes the body, which is signed in parts", "test.yaml:19", "a card"},
			{"rpc.test", ping, false, false, "", "", "evil", "", ping},
			{"small.test", "tiny", false, false, "", "", "its when is false", "", "tiny"},
		} {
			name := fmt.Sprintf("%s %s %s chunked %t zip %t %s", proto, tt.host, tt.body, tt.chunked, tt.zip, tt.hash)
			mu.Lock()
			last = nil
			mu.Unlock()
			c.saw()
			sent := tt.body
			if tt.zip {
				sent = zipped(t, sent)
			}
			r := request(t, "POST", "https://"+tt.host+"/", sent)
			if tt.chunked {
				r.ContentLength, r.Body, r.GetBody = -1, io.NopCloser(strings.NewReader(sent)), nil
				r.Trailer = http.Header{"X-Sum": {"7"}}
			}
			if tt.zip {
				r.Header.Set("Content-Encoding", "gzip")
			}
			if tt.hash != "" {
				r.Header.Set(awsHash, tt.hash)
			}
			if tt.host == "api.test" {
				r.Header.Set("X-Key", placeholder)
			} else {
				r.Header.Set("Content-Type", "application/json")
			}
			for _, name := range []string{"Content-MD5", "Digest", "Content-Digest", "Repr-Digest", "X-Amz-Checksum-Crc32"} {
				r.Header.Set(name, "digest")
			}
			if tt.body == "other" || tt.body == "same" {
				r.Trailer, r.Header["Digest"] = nil, nil
			}
			before := pn.records.count(opened)
			s := <-fetched(t, cl, r)
			if n := pn.records.count(opened) - before; n != 1 {
				t.Errorf("%s: %d records", name, n)
			}
			open := lastOpen(pn)
			mu.Lock()
			got := last
			mu.Unlock()
			if seen := c.saw(); seen != tt.seen {
				t.Errorf("%s: first was asked about %q", name, seen)
			}
			if tt.why != "" {
				if !strings.HasPrefix(s, "403") || !strings.Contains(s, tt.why) || got != nil || open.Verdict != hooks.Deny || tt.rule != "" && open.Rule != tt.rule {
					t.Errorf("%s: %s, arrived %+v, recorded %+v", name, s, got, open)
				}
				continue
			}
			if !strings.HasPrefix(s, "200") || got == nil {
				t.Errorf("%s: %s", name, s)
				continue
			}
			changed := tt.want != tt.body
			if got.body != tt.want || changed && (got.length != int64(len(tt.want)) || len(got.coding) > 0) || got.header.Get("X-Key") != changeValue || open.Rule != tt.rule {
				t.Errorf("%s: arrived %+v, recorded %+v", name, got, open)
			}
			for _, field := range []string{"Content-Encoding", "Content-Md5", "Digest", "Content-Digest", "Repr-Digest", "X-Amz-Checksum-Crc32"} {
				if changed && got.header[field] != nil || field == "Repr-Digest" && !changed && got.header[field] == nil {
					t.Errorf("%s: arrived with %s: %q", name, field, got.header[field])
				}
			}
			said := tt.hash
			if said == hash {
				said = fmt.Sprintf("%x", sha256.Sum256([]byte(got.body)))
			}
			if sum := got.header.Get(awsHash); sum != said {
				t.Errorf("%s: arrived with a hash of %q", name, sum)
			}
			var trace *hooks.Rewritten
			for _, h := range open.Hooks {
				if h.Body != nil {
					trace = h.Body
				}
			}
			if (trace != nil) != changed || changed && (trace.Before != int64(len(tt.body)) || trace.After != int64(len(tt.want)) || len(trace.SHA256) != 64) {
				t.Errorf("%s: recorded %+v", name, open.Hooks)
			}
		}
	}
	if n := pn.p.held.Load() + pn.p.kept.Held(); n != 0 {
		t.Errorf("%d bytes are held", n)
	}
}

// TestResponseBodyChanges: the same the other way.
func TestResponseBodyChanges(t *testing.T) {
	c := &bodyChanger{made: map[string]string{"a phrase": "[marked] a phrase", "gone": "", "danger": "DANGER", "again": "again!", "again!": "again!!", "range": "a range"}}
	pn := newPen(t, someRules, c.on(hooks.PointResponseBody))
	pn.origin("api.test:443", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h, body := w.Header(), r.URL.Path[1:]
		if body = strings.ReplaceAll(body, "-", " "); r.URL.RawQuery == "zip" {
			body = zipped(t, body)
			h.Set("Content-Encoding", "gzip")
		}
		for _, name := range []string{"Etag", "Last-Modified", "Accept-Ranges", "Content-Md5", "Digest", "Content-Digest", "X-Goog-Hash", "X-Amz-Checksum-Sha256", "Signature"} {
			h.Set(name, "old")
		}
		h.Set("X-Mine", "mine")
		if r.URL.RawQuery == "length" {
			h.Set("Content-Length", fmt.Sprint(len(body)))
		} else {
			h.Set("Trailer", "X-Sum")
		}
		if r.URL.Path == "/range" {
			h.Set("Content-Range", "bytes 0-4/10")
			w.WriteHeader(http.StatusPartialContent)
		}
		io.WriteString(w, body)
		if r.URL.RawQuery != "length" {
			h.Set("X-Sum", "7")
		}
	}))
	for _, proto := range []string{"h1", "h2"} {
		cl := pn.client(proto)
		cl.Transport.(*http.Transport).DisableCompression = true
		for _, tt := range []struct{ body, want, why, seen string }{
			{"a phrase", "[marked] a phrase", "", "a phrase|[marked] a phrase"},
			{"gone", "", "", "gone"},
			{"other", "other", "", "other"},
			{"danger", "", "denied by hook first: danger", "danger|DANGER"},
			{"again", "", "it changed again a body", "again|again!"},
			{"range", "", "it changed a body that is a part of another (a range)", "range"},
		} {
			for _, query := range []string{"", "zip", "length"} {
				name := proto + " " + tt.body + " " + query
				c.saw()
				r := request(t, "GET", "https://api.test/"+strings.ReplaceAll(tt.body, " ", "-")+"?"+query, "")
				r.Header.Set("Accept-Encoding", "gzip")
				resp, err := cl.Do(r)
				if err != nil {
					t.Fatal(name, err)
				}
				got, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if seen := c.saw(); seen != tt.seen || err != nil {
					t.Errorf("%s: first was asked about %q, %v", name, seen, err)
				}
				flow := lastOpen(pn).Flow
				closed := wait(t, pn.records, func(cl *audit.FlowClose) bool { return cl.Flow == flow })
				if tt.why != "" {
					if resp.StatusCode != 403 || !strings.Contains(string(got), tt.why) || closed.Class != "hook" || resp.Header.Get("X-Mine") != "" {
						t.Errorf("%s: %s %q, closed %+v", name, resp.Status, got, closed)
					}
					continue
				}
				h := resp.Header
				if tt.want == tt.body {
					if h.Get("Etag") != "old" || query != "length" && resp.Trailer.Get("X-Sum") != "7" || query != "zip" && string(got) != tt.body {
						t.Errorf("%s: %q %v %v", name, got, h, resp.Trailer)
					}
					continue
				}
				if string(got) != tt.want || resp.ContentLength != int64(len(tt.want)) || len(resp.Trailer) > 0 || h.Get("X-Mine") != "mine" {
					t.Errorf("%s: %q of %d, %v %v", name, got, resp.ContentLength, h, resp.Trailer)
				}
				for _, field := range []string{"Etag", "Last-Modified", "Accept-Ranges", "Content-Md5", "Digest", "Content-Digest", "X-Goog-Hash", "X-Amz-Checksum-Sha256", "Signature", "Content-Encoding"} {
					if h[field] != nil {
						t.Errorf("%s: with %s: %q", name, field, h[field])
					}
				}
				n := 0
				for _, x := range closed.Hooks {
					if x.Body != nil {
						n++
						if x.Hook != "second" || x.Body.Before != int64(len(tt.body)) || x.Body.After != int64(len(tt.want)) {
							t.Errorf("%s: recorded %+v", name, x)
						}
					}
				}
				if n != 1 {
					t.Errorf("%s: closed %+v", name, closed)
				}
			}
		}
	}
	if n := pn.p.kept.Held(); n != 0 {
		t.Errorf("%d bytes are held", n)
	}
}

// TestChangedBodyAsks: a person whom hooks leave a request to is asked once, and again only
// if the changed body makes other words of it.
func TestChangedBodyAsks(t *testing.T) {
	changes := &bodyChanger{made: map[string]string{"card": "[c]", "long": "much longer"}}
	pn, p := asking(t, someRules, changes.on(hooks.PointRequestBody), func(c *Config) {
		c.Hooks[2].Hook = hookFunc(func(_ context.Context, r *hooks.Request) (hooks.Decision, error) {
			d := hooks.Decision{Action: hooks.Ask, Reason: "may it?"}
			if r.Size > 5 {
				d.Reason = "may it, too?"
			}
			return d, nil
		})
	})
	arrived := make(chan string, 2)
	pn.origin("api.test:443", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		arrived <- string(b)
	}))
	for body, questions := range map[string][]string{"card": {"may it?"}, "long": {"may it?", "may it, too?"}} {
		got := fetched(t, pn.client("h1"), request(t, "POST", "https://api.test/", body))
		for _, words := range questions {
			if q := p.says(t, "api.test:443", ask.Answer{Allow: true, Scope: ask.Once}); !strings.HasSuffix(q.By, "hook late asks: "+words) {
				t.Errorf("%s: %+v", body, q)
			}
		}
		if s := <-got; s != "200 OK " || len(p.asked) != 0 {
			t.Errorf("%s: %s, %d questions more", body, s, len(p.asked))
		}
		if b := <-arrived; b != changes.made[body] {
			t.Errorf("%s: arrived %q", body, b)
		}
	}
	got := fetched(t, pn.client("h1"), request(t, "POST", "https://api.test/", "long"))
	p.says(t, "api.test:443", ask.Answer{Allow: true, Scope: ask.Once})
	p.says(t, "api.test:443", ask.Answer{Scope: ask.Once})
	if s := <-got; !strings.HasPrefix(s, "403") || len(arrived) != 0 {
		t.Error(s)
	}
}

// TestChangedBodyCapture: of a request that is captured which leaves, of an answer which the
// pen gets.
func TestChangedBodyCapture(t *testing.T) {
	w, captured := captureFile(t)
	c := &bodyChanger{made: map[string]string{"a card": "a [c]", "an answer": "marked"}}
	pn := newPen(t, "  allow: [{host: api.test, capture: {request: 1KiB, response: 1KiB}}]\n", c.on(hooks.PointRequestBody, hooks.PointResponseBody), func(c *Config) { c.Capture = w })
	pn.origin("api.test:443", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		io.WriteString(w, "an answer")
	}))
	flow := pn.ask("https://api.test/", "a card", "Digest", "old")
	x := captured()
	e, err := x.Of(flow)
	if err != nil || e == nil || e.Request == nil || e.Response == nil || string(e.Request.Body) != "a [c]" || string(e.Response.Body) != "marked" || strings.Contains(fmt.Sprint(e.Request.Header), "Digest") {
		t.Errorf("captured %+v, %v", e, err)
	}
}
