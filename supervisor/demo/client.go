package demo

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// patience bounds one attempt: nothing may hang.
const patience = 5 * time.Second

// client is the agent of the demo. It knows nothing of Penstock but what every
// program in a pen is given: a resolver, a bundle of roots, the environment.
type client struct {
	token string // the variable's value, as the pen has it
	proxy func(*http.Request) (*url.URL, error)
	auth  bool
	host  string // Host header, if not the URL's
}

// through returns a client that takes the proxy from f; nil is no proxy.
func (c *client) through(f func(*http.Request) (*url.URL, error)) *client {
	n := *c
	n.proxy = f
	return &n
}

// withToken returns a client that sends the token.
func (c *client) withToken() *client {
	n := *c
	n.auth = true
	return &n
}

// fetch makes one request on a connection of its own.
func (c *client) fetch(ctx context.Context, method, target, body string) (bool, string) {
	req, err := http.NewRequestWithContext(ctx, method, target, strings.NewReader(body))
	if err != nil {
		return false, brief(err)
	}
	if c.auth {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	if c.host != "" {
		req.Host = c.host
	}
	transport := &http.Transport{
		Proxy: c.proxy, DisableKeepAlives: true, ForceAttemptHTTP2: true,
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12},
	}
	defer transport.CloseIdleConnections()
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return false, brief(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil {
		return false, brief(err)
	}
	return resp.StatusCode == http.StatusOK, fmt.Sprintf("%d %s", resp.StatusCode, reason(answer))
}

// reason is the line of an answer that says why. Penstock's own answers have
// what was denied in their first line and the reason in the second.
func reason(body []byte) string {
	first, rest, _ := strings.Cut(strings.TrimSpace(string(body)), "\n")
	if second, _, _ := strings.Cut(rest, "\n"); strings.HasPrefix(first, "penstock: ") && second != "" {
		return second
	}
	return first
}

// Client is the main of the client in the pen: it makes every attempt and
// writes one line of JSON for each. token is the value of the secret's variable.
func Client(ctx context.Context, out io.Writer, ports, token string) error {
	var p Ports
	if err := json.Unmarshal([]byte(ports), &p); err != nil {
		return fmt.Errorf("read the demo's ports: %w", err)
	}
	c := &client{token: token}
	enc := json.NewEncoder(out)
	for _, a := range attempts(p) {
		ctx, cancel := context.WithTimeout(ctx, patience)
		allowed, detail := a.try(ctx, c)
		cancel()
		if err := enc.Encode(outcome{Attempt: a.what, Allowed: allowed, Detail: detail}); err != nil {
			return fmt.Errorf("report an attempt: %w", err)
		}
	}
	return nil
}
