// Package rpc calls one method of a service of gRPC for a hook: a message, and the one that
// answers it, by HTTP/2. What the messages say is who calls it's to know.
//
// # Hazards
//
// An answer may look like one before it is: it is one only where the call's end says so, as
// one whole message with nothing behind it, uncompressed, within the limit. A call that
// failed is not made again: it may have been answered. The other side is believed as
// far as TLS says who it is, which is the transport's to verify; in clear it is asked on
// the host's loopback only, where whoever listens at the port answers.
package rpc

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

	"github.com/penstock/penstock/hooks/wire"
)

// prefix is what stands before a message of gRPC: a flag and its length.
const prefix = 5

// deadlineExceeded is the status of a call that the other side has given up.
const deadlineExceeded = "4"

// Method is one of a service's. It is safe for concurrent use.
type Method struct {
	url string
	rt  http.RoundTripper
}

// New returns a method, /package.Service/Method, of the service at target, https://HOST:PORT
// or http://HOST:PORT, for a hook. It is called through rt, which verifies who answers,
// speaks HTTP/2 only and belongs to this hook alone.
func New(hook, target, method string, rt http.RoundTripper) (*Method, error) {
	u, err := url.Parse(target)
	switch {
	case err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || u.Path != "" || u.RawQuery != "" || u.Fragment != "":
		return nil, fmt.Errorf("make hook %s: it needs https:// or http:// and HOST:PORT", hook)
	case rt == nil:
		return nil, fmt.Errorf("make hook %s: there is no way to ask it", hook)
	}
	return &Method{u.String() + method, rt}, nil
}

// Call returns the message of at most limit bytes that one is answered with.
func (m *Method) Call(ctx context.Context, message []byte, limit int) ([]byte, error) {
	body := make([]byte, prefix, prefix+len(message))
	binary.BigEndian.PutUint32(body[1:], uint32(len(message)))
	body = append(body, message...)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, m.url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.GetBody = nil // no second time: a question that may have been asked is not asked again
	req.Header.Set("Content-Type", "application/grpc")
	req.Header.Set("Te", "trailers")
	req.Header.Set("User-Agent", "penstock")
	if t, ok := ctx.Deadline(); ok {
		// Rounded up: the other side does not give up before we do.
		left := max((time.Until(t) + time.Millisecond - 1).Milliseconds(), 1)
		req.Header.Set("Grpc-Timeout", strconv.FormatInt(left, 10)+"m")
	}
	resp, err := m.rt.RoundTrip(req)
	if err != nil {
		return nil, fmt.Errorf("it can't be asked: %w", err)
	}
	defer resp.Body.Close()
	return reply(resp, limit)
}

// reply returns the one message of a call that went well.
func reply(resp *http.Response, limit int) ([]byte, error) {
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
	b, err := io.ReadAll(io.LimitReader(resp.Body, int64(prefix+limit)+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("its answer does not end well: %w", err)
	case len(b) > prefix+limit:
		return nil, wire.LongError(limit)
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
	case code == deadlineExceeded:
		return errors.New("it did not answer in time")
	case text == "":
		return fmt.Errorf("it answered with status %s of gRPC", code)
	}
	return fmt.Errorf("it answered with status %s of gRPC: %s", code, text)
}
