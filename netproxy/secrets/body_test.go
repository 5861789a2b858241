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
	h := http.Header{"X-Api-Key": {ph}}
	used, err := s.Swap(h, host("api.anthropic.com"), true)
	if err != nil || len(used) != 1 {
		t.Fatal(err)
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

// However an answer is cut into reads, no more than the first bytes of a value
// get through, and what only looks like one is whole.
func TestResponseInPieces(t *testing.T) {
	s, ph := newSet(t)
	used, err := s.Swap(http.Header{"X-Api-Key": {ph}}, host("api.anthropic.com"), true)
	if err != nil {
		t.Fatal(err)
	}
	cuts := map[string]func(io.Reader) io.Reader{
		"one byte": iotest.OneByteReader, "half": iotest.HalfReader, "error with data": iotest.DataErrReader,
		"both": func(r io.Reader) io.Reader { return iotest.DataErrReader(iotest.OneByteReader(r)) },
	}
	encoded := base64.StdEncoding.EncodeToString([]byte("user:" + real))
	for name, cut := range cuts {
		for _, text := range []string{"key: " + real + ".", encoded, strings.Repeat("x", 4096-len(real)/2) + real} {
			r, err := s.Response(nil, io.NopCloser(cut(strings.NewReader(text))), used)
			if err != nil {
				t.Fatal(err)
			}
			out, err := io.ReadAll(r)
			var refl *Reflection
			if !errors.As(err, &refl) || bytes.Contains(out, []byte(real[:minHold])) || bytes.Contains(out, []byte(encoded[8:8+minHold+4])) {
				t.Errorf("%s: %q, %v", name, out, err)
			}
			if n, again := r.Read(make([]byte, 10)); n != 0 || again == nil {
				t.Errorf("%s: %d bytes after the end, %v", name, n, again)
			}
		}
		almost := real[:len(real)-1]
		for _, text := range []string{"", "x", almost, almost + "?" + almost, almost[:9] + almost, strings.Repeat(almost+" ", 5000), real[:minHold]} {
			for _, size := range []int{1, 7, 5000} {
				if size != 7 && len(text) > 5000 {
					continue
				}
				r, err := s.Response(nil, io.NopCloser(cut(strings.NewReader(text))), used)
				if err != nil {
					t.Fatal(err)
				}
				var out []byte
				buf := make([]byte, size)
				for err = nil; err == nil; {
					var n int
					n, err = r.Read(buf)
					out = append(out, buf[:n]...)
				}
				if err != io.EOF || string(out) != text {
					t.Errorf("%s, reads of %d: %d of %d bytes, %v", name, size, len(out), len(text), err)
				}
			}
		}
	}
	// An event is not kept back because its end looks like nothing.
	pr, pw := io.Pipe()
	r, _ := s.Response(nil, pr, used)
	go pw.Write([]byte("data: s\n\n"))
	if n, err := r.Read(make([]byte, 100)); n != 9 || err != nil {
		t.Errorf("%d bytes of an event, %v", n, err)
	}
	pw.Close()
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
