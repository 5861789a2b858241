package extauthz

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/penstock/penstock/hooks"
)

// Method is what is called.
const Method = "/envoy.service.auth.v3.Authorization/Check"

// MaxAnswer bounds a CheckResponse, in bytes.
const MaxAnswer = 128 << 10

// prefix is what stands before a message of gRPC: a flag and its length.
const prefix = 5

// Hook asks one service. It is safe for concurrent use.
type Hook struct {
	name string
	url  string
	rt   http.RoundTripper
}

var _ hooks.Hook = (*Hook)(nil)

// New returns a hook that asks a service, https://HOST:PORT or http://HOST:PORT, through
// rt, which verifies who answers, speaks HTTP/2 only and belongs to this hook alone.
func New(name, target string, rt http.RoundTripper) (*Hook, error) {
	u, err := url.Parse(target)
	switch {
	case err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || u.Path != "" || u.RawQuery != "" || u.Fragment != "":
		return nil, fmt.Errorf("make hook %s: it needs https:// or http:// and HOST:PORT", name)
	case rt == nil:
		return nil, fmt.Errorf("make hook %s: there is no way to ask it", name)
	}
	return &Hook{name, u.String() + Method, rt}, nil
}

// Decide implements hooks.Hook.
func (h *Hook) Decide(ctx context.Context, r *hooks.Request) (hooks.Decision, error) {
	q, err := question(h.name, r)
	if err != nil {
		return hooks.Decision{}, err
	}
	body := make([]byte, prefix, prefix+len(q))
	binary.BigEndian.PutUint32(body[1:], uint32(len(q)))
	body = append(body, q...)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, h.url, bytes.NewReader(body))
	if err != nil {
		return hooks.Decision{}, err
	}
	req.GetBody = nil // no second time: a question that may have been asked is not asked again
	req.Header.Set("Content-Type", "application/grpc")
	req.Header.Set("Te", "trailers")
	req.Header.Set("User-Agent", "penstock")
	if t, ok := ctx.Deadline(); ok {
		req.Header.Set("Grpc-Timeout", strconv.FormatInt(max(time.Until(t).Milliseconds(), 1), 10)+"m")
	}
	resp, err := h.rt.RoundTrip(req)
	if err != nil {
		return hooks.Decision{}, fmt.Errorf("it can't be asked: %w", err)
	}
	defer resp.Body.Close()
	doc, err := reply(resp)
	if err != nil {
		return hooks.Decision{}, err
	}
	return answer(doc)
}

// reply returns the one message of a call that went well.
func reply(resp *http.Response) ([]byte, error) {
	kind, _, _ := strings.Cut(resp.Header.Get("Content-Type"), ";")
	switch {
	case resp.ProtoMajor != 2:
		return nil, errors.New("it does not speak HTTP/2")
	case resp.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("it answered with status %d", resp.StatusCode)
	case kind != "application/grpc" && kind != "application/grpc+proto":
		return nil, errors.New("its answer is not application/grpc")
	}
	if resp.Header.Get("Grpc-Status") != "" { // of an answer that has no message
		return nil, failed(resp.Header)
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, prefix+MaxAnswer+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("its answer does not end well: %w", err)
	case len(b) > prefix+MaxAnswer:
		return nil, fmt.Errorf("its answer has more than %d bytes", MaxAnswer)
	case resp.Trailer.Get("Grpc-Status") != "0" || len(resp.Trailer["Grpc-Status"]) != 1:
		return nil, failed(resp.Trailer)
	case len(b) < prefix:
		return nil, errors.New("its answer has no message")
	case b[0] != 0:
		return nil, errors.New("its answer is compressed, which it was not asked for")
	case binary.BigEndian.Uint32(b[1:]) != uint32(len(b)-prefix):
		return nil, errors.New("its answer is not one message")
	}
	return b[prefix:], nil
}

// failed is what a call came to that was not answered.
func failed(h http.Header) error {
	code, text := h.Get("Grpc-Status"), h.Get("Grpc-Message")
	if s, err := url.PathUnescape(text); err == nil {
		text = s
	}
	switch {
	case code == "":
		return errors.New("its answer has no end")
	case text == "":
		return fmt.Errorf("it answered with status %s of gRPC", code)
	}
	return fmt.Errorf("it answered with status %s of gRPC: %s", code, text)
}
