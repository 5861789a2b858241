package webhook

import (
	"bytes"
	"context"
	"crypto/hmac"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/hooks/hookstest"
)

var key = []byte("a key of sixteen bytes or more")

// server answers questions over TLS, and checks them.
func server(t *testing.T, b hookstest.Behaviour) hooks.Hook {
	t.Helper()
	schema, err := jsonschema.NewCompiler().Compile("../../docs/schema/hook.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	end := make(chan struct{})
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		if doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(q)); err != nil || schema.Validate(doc) != nil {
			t.Errorf("the question is not of the schema: %s: %v", q, schema.Validate(doc))
		}
		if got := r.Header.Get(SignatureHeader); !hmac.Equal([]byte(got), []byte(Sign(key, r.Header.Get(TimeHeader), q))) || r.Method != "POST" {
			t.Errorf("the question is signed %q", got)
		}
		w.Header().Set("Content-Type", "application/json")
		switch {
		case b.Crash:
			w.Header().Set("Content-Length", "100")
			io.WriteString(w, `{"version":1`)
			panic(http.ErrAbortHandler)
		case b.Hang:
			select {
			case <-end:
			case <-r.Context().Done():
			}
		case b.Drip:
			for r.Context().Err() == nil {
				if _, err := io.WriteString(w, " "); err != nil {
					return
				}
				w.(http.Flusher).Flush()
			}
		default:
			w.Write(b.Answer(q))
		}
	}))
	t.Cleanup(func() { close(end); s.CloseClientConnections(); s.Close() })
	h, err := New("h", s.URL+"/penstock?a=b", key, s.Client().Transport)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestConformance(t *testing.T) { hookstest.Run(t, server) }

// TestOnly200: no status, type or redirect says more than an answer would.
func TestOnly200(t *testing.T) {
	for name, h := range map[string]http.HandlerFunc{
		"redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/other", http.StatusTemporaryRedirect)
		},
		"204": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) },
		"500 with an answer": func(w http.ResponseWriter, r *http.Request) {
			q, _ := io.ReadAll(r.Body)
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusInternalServerError)
			json.NewEncoder(w).Encode(map[string]any{"version": 1, "id": hookstest.ID(q), "decision": "next"})
		},
		"another type": func(w http.ResponseWriter, r *http.Request) {
			q, _ := io.ReadAll(r.Body)
			w.Header().Set("Content-Type", "text/html")
			json.NewEncoder(w).Encode(map[string]any{"version": 1, "id": hookstest.ID(q), "decision": "next"})
		},
	} {
		asked := 0
		s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { asked++; h(w, r) }))
		defer s.Close()
		hook, err := New("h", s.URL, key, s.Client().Transport)
		if err != nil {
			t.Fatal(err)
		}
		if d, err := hook.Decide(t.Context(), hookstest.Request()); err == nil || asked != 1 {
			t.Errorf("%s: %+v, %v; asked %d times", name, d, err, asked)
		}
	}
}

// TestWhoAnswers is verified: another certificate answers nothing.
func TestWhoAnswers(t *testing.T) {
	s := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("somebody else was asked") }))
	defer s.Close()
	hook, err := New("h", s.URL, key, &http.Transport{})
	if err != nil {
		t.Fatal(err)
	}
	if d, err := hook.Decide(t.Context(), hookstest.Request()); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("%+v, %v", d, err)
	}
}

func TestNewRefuses(t *testing.T) {
	for _, u := range []string{"http://a.example/", "https://", "https://u:p@a.example/", "https://a.example/#x", "a.example", ":", "file:///etc/passwd"} {
		if _, err := New("h", u, key, &http.Transport{}); err == nil {
			t.Errorf("%s is taken", u)
		}
	}
	if _, err := New("h", "https://a.example/", key[:8], &http.Transport{}); err == nil || strings.Contains(err.Error(), string(key[:8])) {
		t.Errorf("a short key: %v", err)
	}
	if _, err := New("h", "https://a.example/", key, nil); err == nil {
		t.Error("no way to ask is taken")
	}
}

// TestSign has the signature of a known question, for those who check it:
// printf '1700000000.{"version":1}' | openssl dgst -sha256 -hmac 0123456789abcdef
func TestSign(t *testing.T) {
	const want = "v1=d4d5218e4060ea8d4e3266cccc3a4dad71e647b6992c00beec425264a92b2c5f"
	if got := Sign([]byte("0123456789abcdef"), "1700000000", []byte(`{"version":1}`)); got != want {
		t.Errorf("%s", got)
	}
}

// TestEndless: an answer without end is read as far as the longest one may be.
func TestEndless(t *testing.T) {
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		for {
			if _, err := w.Write(bytes.Repeat([]byte(" "), 64<<10)); err != nil {
				return
			}
		}
	}))
	defer s.Close()
	hook, err := New("h", s.URL, key, s.Client().Transport)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if _, err := hook.Decide(ctx, hookstest.Request()); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("%v", err)
	}
}

// TestCutOff: an answer that is whole by its words, and not by its length or its end, is
// none, in HTTP/1 and in HTTP/2.
func TestCutOff(t *testing.T) {
	for _, two := range []bool{false, true} {
		for _, length := range []bool{false, true} {
			s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				q, _ := io.ReadAll(r.Body)
				answer, _ := json.Marshal(map[string]any{"version": 1, "id": hookstest.ID(q), "decision": "next"})
				w.Header().Set("Content-Type", "application/json")
				if length {
					w.Header().Set("Content-Length", strconv.Itoa(len(answer)+1))
				}
				w.Write(answer)
				w.(http.Flusher).Flush()
				panic(http.ErrAbortHandler)
			}))
			s.EnableHTTP2 = two
			s.StartTLS()
			defer s.Close()
			hook, err := New("h", s.URL, key, s.Client().Transport)
			if err != nil {
				t.Fatal(err)
			}
			if d, err := hook.Decide(t.Context(), hookstest.Request()); err == nil || d.Action != hooks.Deny {
				t.Errorf("HTTP/2 %t, with a length %t: %+v, %v", two, length, d, err)
			}
		}
	}
}

// BenchmarkDecide is a question over loopback and its answer, both sides.
func BenchmarkDecide(b *testing.B) {
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q, _ := io.ReadAll(r.Body)
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(map[string]any{"version": 1, "id": hookstest.ID(q), "decision": "next"})
	}))
	defer s.Close()
	h, err := New("h", s.URL, key, s.Client().Transport)
	if err != nil {
		b.Fatal(err)
	}
	r := hookstest.Request()
	b.ReportAllocs()
	for b.Loop() {
		if d, err := h.Decide(b.Context(), r); d.Action != hooks.Next {
			b.Fatal(d, err)
		}
	}
}

// TestChangesOfTheSchema: the schema has the bounds of a change.
func TestChangesOfTheSchema(t *testing.T) {
	schema, err := jsonschema.NewCompiler().Compile("../../docs/schema/hook.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]bool{
		`{"version":1,"id":"q","decision":"next"}`:                                         true,
		`{"version":1,"id":"q","decision":"next","set":{"X-A":"b c","x-b":""}}`:            true,
		`{"version":1,"id":"q","decision":"next","set":{"x":"b"},"remove":["User-Agent"]}`: true,
		`{"version":1,"id":"q","decision":"next","set":{"x-a":" b"}}`:                      false,
		`{"version":1,"id":"q","decision":"next","set":{"x-a":"b\r\n"}}`:                   false,
		`{"version":1,"id":"q","decision":"next","set":{"x_a":"b"}}`:                       false,
		`{"version":1,"id":"q","decision":"next","set":{"x-a":["b"]}}`:                     false,
		`{"version":1,"id":"q","decision":"next","set":null}`:                              false,
		`{"version":1,"id":"q","decision":"next","remove":[":path"]}`:                      false,
		`{"version":1,"id":"q","decision":"deny","remove":["x-a"]}`:                        false,
		`{"version":1,"id":"q","decision":"route","via":"corp","set":{}}`:                  false,
	} {
		doc, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(doc); (err == nil) != want {
			t.Errorf("%s: %v", text, err)
		}
	}
}
