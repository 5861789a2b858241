// Package webhook asks a hook over HTTPS. Each question is a POST of a request in
// the form of package wire, signed with a key that the two sides share; the answer
// is 200 with a decision in that form. There are no redirects, no retries, no
// cookies and no credentials but the signature.
//
// # Hazards
//
// The pen chooses most of the question's bytes: they are a JSON string in a body
// whose length is known, and nothing of them is in the question's URL or header.
// The other side is believed as far as TLS says who it is: that is the transport's
// to verify. It may answer late, much or nonsense: the chain bounds the first, this
// package the second, and the third is an error, which denies.
package webhook

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/hooks/wire"
)

// Fields of a question's header. The signature is "v1=" and the HMAC-SHA256, in
// lower-case hexadecimal, of the time, a dot and the body.
const (
	TimeHeader      = "Penstock-Time" // seconds since 1970 in decimal
	SignatureHeader = "Penstock-Signature"
)

// MinKey is the least length of a key, in bytes.
const MinKey = 16

// Hook asks one URL. It is safe for concurrent use.
type Hook struct {
	name string
	url  string
	key  []byte
	rt   http.RoundTripper
}

var _ hooks.Hook = (*Hook)(nil)

// New returns a hook that asks a URL of https through rt, which verifies who
// answers, follows nothing and belongs to this hook alone.
func New(name, rawURL string, key []byte, rt http.RoundTripper) (*Hook, error) {
	u, err := url.Parse(rawURL)
	switch {
	case err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.Fragment != "":
		return nil, fmt.Errorf("make hook %s: it needs a URL of https", name)
	case len(key) < MinKey:
		return nil, fmt.Errorf("make hook %s: its key has less than %d bytes", name, MinKey)
	case rt == nil:
		return nil, fmt.Errorf("make hook %s: there is no way to ask it", name)
	}
	return &Hook{name, u.String(), key, rt}, nil
}

// Sign returns the value of SignatureHeader for a body that is sent at a time.
func Sign(key []byte, seconds string, body []byte) string {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(seconds + "."))
	mac.Write(body)
	return "v1=" + hex.EncodeToString(mac.Sum(nil))
}

// Decide implements hooks.Hook.
func (h *Hook) Decide(ctx context.Context, r *hooks.Request) (hooks.Decision, error) {
	id := wire.NewID()
	body, err := wire.Request(id, h.name, r)
	if err != nil {
		return hooks.Decision{}, err
	}
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, h.url, bytes.NewReader(body))
	if err != nil {
		return hooks.Decision{}, err
	}
	q.GetBody = nil // no second time: a question that may have been asked is not asked again
	now := strconv.FormatInt(time.Now().Unix(), 10)
	q.Header.Set("Content-Type", "application/json")
	q.Header.Set("User-Agent", "penstock")
	q.Header.Set(TimeHeader, now)
	q.Header.Set(SignatureHeader, Sign(h.key, now, body))
	resp, err := h.rt.RoundTrip(q)
	if err != nil {
		return hooks.Decision{}, fmt.Errorf("it can't be asked: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return hooks.Decision{}, fmt.Errorf("it answered with status %d", resp.StatusCode)
	}
	if t, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type")); err != nil || t != "application/json" {
		return hooks.Decision{}, errors.New("its answer is not application/json")
	}
	limit := wire.Limit(r)
	doc, err := io.ReadAll(io.LimitReader(resp.Body, int64(limit)+1))
	if err != nil {
		return hooks.Decision{}, fmt.Errorf("its answer does not end well: %w", err)
	}
	return wire.Decision(id, doc, limit)
}
