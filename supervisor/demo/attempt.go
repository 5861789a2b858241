package demo

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/penstock/penstock/supervisor/internal/origin"
)

// Names of the demo's small internet. All but stranger stand in the policy.
const (
	api      = "api." + origin.Domain
	paste    = "paste." + origin.Domain
	db       = "db." + origin.Domain
	stranger = "stranger." + origin.Domain
)

// secretVariable holds a credential: a real one outside, a placeholder inside.
const secretVariable = "DEMO_TOKEN"

// Ports are where the origin listens.
type Ports struct {
	HTTPS, HTTP, TCP, UDP uint16
}

// outcome is what became of an attempt, as the client in the pen saw it.
type outcome struct {
	Attempt string `json:"attempt"`
	Allowed bool   `json:"allowed"`
	Detail  string `json:"detail"` // the answer, or the reason
}

// attempt is one thing that the client tries.
type attempt struct {
	what    string // for a person
	allowed bool   // what the policy says of it
	arrives string // what the origin must see if allowed, as Arrival.String
	try     func(ctx context.Context, c *client) (allowed bool, detail string)
}

// attempts lists all of them, in order. It is the same list inside and outside
// of the pen.
func attempts(p Ports) []attempt {
	at := func(host string, port uint16) string { return fmt.Sprintf("%s:%d", host, port) }
	secure := func(host, path string) string { return "https://" + at(host, p.HTTPS) + path }
	hello := "GET " + secure(api, "/v1/hello")
	return []attempt{
		{what: "GET /v1/hello from " + api, allowed: true, arrives: hello, try: get(secure(api, "/v1/hello"))},
		{what: "the same through the proxy variables", allowed: true, arrives: hello,
			try: func(ctx context.Context, c *client) (bool, string) {
				return c.through(http.ProxyFromEnvironment).fetch(ctx, http.MethodGet, secure(api, "/v1/hello"), "")
			}},
		{what: "the same with a token that is not in the pen", allowed: true, arrives: hello,
			try: func(ctx context.Context, c *client) (bool, string) {
				return c.withToken().fetch(ctx, http.MethodGet, secure(api, "/v1/hello"), "")
			}},
		{what: "raw TCP to " + db, allowed: true, arrives: "tcp", try: echo(at(db, p.TCP))},

		{what: "POST to " + api + ", which may only be read", try: func(ctx context.Context, c *client) (bool, string) {
			return c.fetch(ctx, http.MethodPost, secure(api, "/v1/hello"), "data")
		}},
		{what: "GET /admin, outside /v1/", try: get(secure(api, "/admin"))},
		{what: "GET /v1/%2e%2e/admin, the same in disguise", try: get(secure(api, "/v1/%2e%2e/admin"))},
		{what: "GET from " + paste + ", which a deny rule names", try: get(secure(paste, "/"))},
		{what: "GET from " + stranger + ", which no rule names", try: get(secure(stranger, "/"))},
		{what: "the same through the proxy variables", try: func(ctx context.Context, c *client) (bool, string) {
			return c.through(http.ProxyFromEnvironment).fetch(ctx, http.MethodGet, secure(stranger, "/"), "")
		}},
		{what: "Host: " + stranger + " in a connection to " + api, try: func(ctx context.Context, c *client) (bool, string) {
			c = c.through(nil)
			c.host = stranger
			return c.fetch(ctx, http.MethodGet, secure(api, "/v1/hello"), "")
		}},
		{what: "the token sent to " + db + " instead of " + api, try: func(ctx context.Context, c *client) (bool, string) {
			return c.withToken().fetch(ctx, http.MethodGet, "http://"+at(db, p.HTTP)+"/", "")
		}},
		{what: "a literal address, 203.0.113.7", try: get("https://203.0.113.7/")},
		{what: "a literal IPv6 address, 2001:db8::7", try: get("https://[2001:db8::7]/")},
		{what: "the cloud's metadata service, 169.254.169.254", try: get("http://169.254.169.254/latest/meta-data/")},
		{what: "this machine's own loopback, by its name in the pen", try: get("https://" + at("host.penstock.internal", p.HTTPS) + "/")},
		{what: "raw TCP to " + stranger + ":22", try: echo(stranger + ":22")},
		{what: "UDP to 203.0.113.7:443", try: datagram("203.0.113.7:443")},
		{what: "UDP to " + api, try: datagram(at(api, p.UDP))},
	}
}

func get(target string) func(context.Context, *client) (bool, string) {
	return func(ctx context.Context, c *client) (bool, string) {
		return c.fetch(ctx, http.MethodGet, target, "")
	}
}

// echo sends a line over TCP and waits for it to come back.
func echo(target string) func(context.Context, *client) (bool, string) {
	return func(ctx context.Context, _ *client) (bool, string) {
		var d net.Dialer
		conn, err := d.DialContext(ctx, "tcp", target)
		if err != nil {
			return false, brief(err)
		}
		defer conn.Close()
		deadline, _ := ctx.Deadline()
		conn.SetDeadline(deadline)
		if _, err := fmt.Fprintln(conn, "hello"); err != nil {
			return false, brief(err)
		}
		buf := make([]byte, 64)
		n, err := conn.Read(buf)
		if err != nil {
			return false, brief(err)
		}
		return true, "echoed " + strings.TrimSpace(string(buf[:n]))
	}
}

// datagram sends UDP until the kernel says that nobody takes it.
func datagram(target string) func(context.Context, *client) (bool, string) {
	return func(ctx context.Context, _ *client) (bool, string) {
		var d net.Dialer
		conn, err := d.DialContext(ctx, "udp", target)
		if err != nil {
			return false, brief(err)
		}
		defer conn.Close()
		deadline, _ := ctx.Deadline()
		conn.SetDeadline(deadline)
		if _, err := conn.Write([]byte("hello")); err != nil {
			return false, brief(err)
		}
		if _, err := conn.Read(make([]byte, 64)); err != nil {
			return false, brief(err)
		}
		return true, "answered"
	}
}

// brief is the innermost part of a network error.
func brief(err error) string {
	for {
		switch e := err.(type) {
		case *url.Error:
			err = e.Err
		case *net.OpError:
			err = e.Err
		case *tls.CertificateVerificationError:
			return "certificate not trusted: " + e.Err.Error()
		default:
			return err.Error()
		}
	}
}
