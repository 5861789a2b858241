package secrets

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/penstock/penstock/policy"
)

func TestCredentialName(t *testing.T) {
	for name, want := range map[string]bool{
		"Authorization": true, "X-Goog-Api-Key": true, "apiKey": true, "APIKEY": true, "api_key": true, "hapikey": true, "Ocp-Apim-Subscription-Key": true,
		"X-Amz-Security-Token": true, "Private-Token": true, "X-Trackertoken": true, "user[token]": true, "X-Vault-Token": true, "xc-auth": true, "X-Auth-Email": true,
		"Cookie": true, "Cookie2": true, "client_secret": true, "Dd-Application-Key": true, "X-Ms-Signature": true, "sig": true, "X-Amz-Credential": true, "pwd": true,
		"openai-insecure-api-key.x": true, "base64url.bearer.authorization.k8s.io": true, "accessToken": true,
		"Content-Type": false, "X-App": false, "page_token": false, "pageToken": false, "nextPageToken": false, "max_tokens": false, "author": false, "keyword": false,
		"Anthropic-Beta": false, "X-Stainless-Package-Version": false, "model": false, "q": false, "limit": false, "realtime": false, "graphql-transport-ws": false, "": false,
	} {
		if got := credentialName(name); got != want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestKeyLike(t *testing.T) {
	for v, want := range map[string]bool{
		"sk-ant-api03-A1b2C3d4E5f6G7h8": true, "550e8400-e29b-41d4-a716-446655440000": true, "0123456789abcdef0123456789abcdef": true,
		"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.x": true, "AKIAIOSFODNN7EXAMPLEX1Y2Z3": true, "a, b, ghp_Zz9Yy8Xx7Ww6": true, "glpat-x1Y2z3-W4v5": true,
		"": false, "true": false, "2023-06-01": false, "gpt-4o-realtime-preview-2024-12-17": false, "claude-cli/2.1.197 (external, cli)": false,
		"claude-code-20250219,oauth-2025-04-20,interleaved-thinking-2025-05-14": false, "application/vnd.github.v3+json": false, "gl-node/20.11.0 gdcl/7.2.0 gax/4.3": false,
		"2026-11-23T05:33:38Z": false, "repo:penstock/penstock is:open": false, "1700000000000": false, "en-US,en;q=0.9": false, "HelloWorldFooBar": false,
	} {
		if got := keyLike(v); got != want {
			t.Errorf("%q: %v", v, got)
		}
	}
}

// FuzzPinned: whatever stands round it, a random key is found in every place
// that is looked at, and no error repeats it.
func FuzzPinned(f *testing.F) {
	s, ph := newSet(f)
	pin := &policy.Pin{Secret: "ANTHROPIC_API_KEY"}
	f.Add("x-thing", "a ", " b", []byte("0123456789abcdef0123456789"))
	f.Add("a=1&b", "", "%", []byte{0xff, 0})
	f.Add("x", "Bearer ", "", []byte("\x00\x00"))
	f.Fuzz(func(t *testing.T, name, before, after string, seed []byte) {
		if len(seed) < 16 {
			return
		}
		key := hex.EncodeToString(seed[:16])
		check := func(h http.Header, query string) {
			t.Helper()
			err := s.Pinned(pin, h, nil, query, host("api.anthropic.com"), true)
			var v *Foreign
			if !errors.As(err, &v) {
				t.Fatalf("%q %q: %v", h, query, err)
			}
			if strings.Contains(err.Error(), key) {
				t.Errorf("the error repeats the key: %v", err)
			}
		}
		h := http.CanonicalHeaderKey(name)
		if !harmless(h) {
			check(http.Header{h: {before + key + after}}, "")
		}
		check(http.Header{"X-Api-Key": {ph + before + key}}, "")
		check(http.Header{"Authorization": {before}, "X-Api-Key": {ph}}, "")
		check(nil, url.Values{name: {before + key + after}}.Encode())
		check(nil, "a=b&"+base64.RawURLEncoding.EncodeToString(append([]byte(key), before...))+"=x")
		if err := s.Pinned(pin, http.Header{"X-Api-Key": {ph}}, nil, "", host("api.anthropic.com"), true); err != nil {
			t.Fatal(err)
		}
	})
}

func BenchmarkPinned(b *testing.B) {
	s, ph := newSet(b)
	b.ReportAllocs()
	pin := &policy.Pin{Secret: "ANTHROPIC_API_KEY"}
	h := http.Header{"Accept": {"*/*"}, "User-Agent": {"claude-cli/2.1.197 (external, cli)"}, "Content-Type": {"application/json"}, "X-Api-Key": {ph}, "Anthropic-Version": {"2023-06-01"},
		"Anthropic-Beta": {"claude-code-20250219,oauth-2025-04-20,interleaved-thinking-2025-05-14"}, "X-App": {"cli"}, "X-Stainless-Runtime-Version": {"v22.14.0"}}
	for b.Loop() {
		if err := s.Pinned(pin, h, nil, "beta=true", host("api.anthropic.com"), true); err != nil {
			b.Fatal(err)
		}
	}
}
