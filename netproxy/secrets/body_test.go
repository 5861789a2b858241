package secrets

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
)

func TestResponse(t *testing.T) {
	s, ph := newSet(t)
	h := http.Header{"X-Api-Key": {ph}, "Accept-Encoding": {"gzip, br"}}
	used, err := s.Swap(h, host("api.anthropic.com"), true)
	if err != nil || len(used) != 1 {
		t.Fatal(err)
	}
	if got := h.Get("Accept-Encoding"); got != "identity" {
		t.Errorf("Accept-Encoding %q", got)
	}
	body := func(text string) io.ReadCloser { return io.NopCloser(iotest.HalfReader(strings.NewReader(text))) }
	for name, text := range map[string]string{
		"plain":      `{"headers":{"x-api-key":"` + real + `"}}`,
		"base64":     base64.StdEncoding.EncodeToString([]byte("user:" + real)),
		"base64 URL": base64.URLEncoding.EncodeToString([]byte("u:" + real + "?>~")),
		"late":       strings.Repeat("data: x\n\n", 10000) + real,
	} {
		r, err := s.Response(http.Header{"Content-Type": {"a/b"}}, body(text), used)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		out, err := io.ReadAll(r)
		var refl *Reflection
		if !errors.As(err, &refl) || refl.Secret != "ANTHROPIC_API_KEY" || bytes.Contains(out, []byte(real)) || strings.Contains(err.Error(), "REAL") {
			t.Errorf("%s: %v", name, err)
		}
	}
	var refl *Reflection
	if _, err := s.Response(http.Header{"X-Echo": {"k=" + real}}, body(""), used); !errors.As(err, &refl) {
		t.Errorf("header: %v", err)
	}
	// The other secret was not sent: its value is not looked for.
	clean := "sk-proj-REAL2REAL2REAL2 and sk-ant-api03-REALREAL"
	r, err := s.Response(nil, body(clean), used)
	if err != nil {
		t.Fatal(err)
	}
	if out, err := io.ReadAll(r); err != nil || string(out) != clean {
		t.Errorf("clean: %q, %v", out, err)
	}
	b := body("x")
	if r, _ := s.Response(nil, b, nil); r != b {
		t.Error("wrapped although nothing was swapped")
	}
}

func BenchmarkResponse(b *testing.B) {
	s, ph := newSet(b)
	used, err := s.Swap(http.Header{"X-Api-Key": {ph}}, host("api.anthropic.com"), true)
	if err != nil {
		b.Fatal(err)
	}
	event := []byte("event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"Hello\"}}\n\n")
	doc := bytes.Repeat(event, 1<<20/len(event))
	buf := make([]byte, 32<<10)
	b.SetBytes(int64(len(doc)))
	for b.Loop() {
		r, _ := s.Response(nil, io.NopCloser(bytes.NewReader(doc)), used)
		for {
			if _, err := r.Read(buf); err != nil {
				break
			}
		}
	}
}
