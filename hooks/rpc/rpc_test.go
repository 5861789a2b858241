package rpc

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
)

const method = "/a.B/C"

func TestNewRefuses(t *testing.T) {
	for _, u := range []string{"a.example:1", "ftp://a.example:1", "https://", "https://u@a.example", "https://a.example/x", "https://a.example?x", "https://a.example#x", ":"} {
		if _, err := New("h", u, method, &http.Transport{}); err == nil {
			t.Errorf("%s is taken", u)
		}
	}
	if _, err := New("h", "https://a.example:1", method, nil); err == nil {
		t.Error("no way is taken")
	}
}

// TestReply: what is no answer of gRPC by HTTP/2 is none, whatever the transport does.
// Package extauthz has the same with real connections.
func TestReply(t *testing.T) {
	yes := func() *http.Response {
		return &http.Response{ProtoMajor: 2, StatusCode: 200, Header: http.Header{"Content-Type": {"application/grpc+proto"}}, Trailer: http.Header{"Grpc-Status": {"0"}},
			Body: io.NopCloser(strings.NewReader("\x00\x00\x00\x00\x02\x0a\x00"))}
	}
	for name, c := range map[string]struct {
		change func(*http.Response)
		limit  int
		why    string
	}{
		"as it should be":   {func(*http.Response) {}, 2, ""},
		"HTTP/1":            {func(r *http.Response) { r.ProtoMajor = 1 }, 2, "HTTP/2"},
		"another status":    {func(r *http.Response) { r.StatusCode = 201 }, 2, "status 201"},
		"JSON":              {func(r *http.Response) { r.Header.Set("Content-Type", "application/grpc+json") }, 2, "not application/grpc"},
		"too long":          {func(*http.Response) {}, 1, "more than 1 bytes"},
		"no end":            {func(r *http.Response) { r.Trailer = nil }, 2, "no end"},
		"given up":          {func(r *http.Response) { r.Trailer.Set("Grpc-Status", "4") }, 2, "did not answer in time"},
		"an end by two":     {func(r *http.Response) { r.Trailer.Add("Grpc-Status", "0") }, 2, "status 0"},
		"an end before":     {func(r *http.Response) { r.Header.Set("Grpc-Status", "0") }, 2, "status 0"},
		"refused, in words": {func(r *http.Response) { r.Trailer = http.Header{"Grpc-Status": {"7"}, "Grpc-Message": {"not%20today"}} }, 2, "status 7 of gRPC: not today"},
		"cut off":           {func(r *http.Response) { r.Body = io.NopCloser(iotest.ErrReader(io.ErrUnexpectedEOF)) }, 2, "does not end well"},
		"no message":        {func(r *http.Response) { r.Body = http.NoBody }, 2, "no message"},
		"compressed":        {func(r *http.Response) { r.Body = io.NopCloser(strings.NewReader("\x01\x00\x00\x00\x00")) }, 2, "compressed"},
		"more behind it":    {func(r *http.Response) { r.Body = io.NopCloser(strings.NewReader("\x00\x00\x00\x00\x00\x00")) }, 2, "not one message"},
	} {
		r := yes()
		c.change(r)
		doc, err := reply(r, c.limit)
		if c.why == "" {
			if err != nil || string(doc) != "\x0a\x00" {
				t.Errorf("%s: %q, %v", name, doc, err)
			}
		} else if err == nil || !strings.Contains(err.Error(), c.why) {
			t.Errorf("%s: %q, %v", name, doc, err)
		}
	}
}
