package netproxy

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/penstock/penstock/audit"
	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/hooks/chain"
)

// TestBodyHookCutOff: of a request whose body ends too early, before the hook could say
// anything, nothing leaves, not its head either.
func TestBodyHookCutOff(t *testing.T) {
	h := &bodyHook{}
	pn := newPen(t, someRules, h.on(asWhole, hooks.PointRequestBody))
	pn.all()
	c := pn.tls("api.test:443", "api.test", "http/1.1")
	fmt.Fprint(c, "POST / HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
	c.CloseWrite()
	io.Copy(io.Discard, c) //nolint:errcheck // the end is all that is waited for
	c.Close()
	o := wait(t, pn.records, func(o *audit.FlowOpen) bool { return o.Method == "POST" })
	if _, asked := h.last(); o.Verdict != hooks.Deny || !strings.Contains(o.Reason, "did not end well") || len(pn.dialed()) > 0 || len(asked) > 0 {
		t.Errorf("%+v, after %v and %v", o, pn.dialed(), asked)
	}
}

// TestBodyHookLate: a request whose body is denied while its answer is there already and
// has not begun to be the pen's gets the denial.
func TestBodyHookLate(t *testing.T) {
	h := &bodyHook{}
	cut := make(chan error, 1)
	answered := hookFunc(func(ctx context.Context, _ *hooks.Request) (hooks.Decision, error) {
		select {
		case err := <-cut: // the request's body is denied: the origin has seen its end
			if err == nil {
				return hooks.Decision{Reason: "the body arrived whole"}, nil
			}
			return hooks.Decision{Action: hooks.Next}, nil
		case <-ctx.Done():
			return hooks.Decision{}, ctx.Err()
		}
	})
	pn := newPen(t, someRules, func(cfg *Config) {
		cfg.Hooks = []chain.Entry{
			{Name: "upload", Rule: "test.yaml:9", Hook: h, On: []hooks.Point{hooks.PointRequestBody}, Inspect: asStream, Timeout: 10 * time.Second},
			{Name: "answer", Rule: "test.yaml:10", Hook: answered, On: []hooks.Point{hooks.PointResponseBody}, Timeout: 10 * time.Second},
		}
	})
	pn.origin("api.test:443", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.NewResponseController(w).EnableFullDuplex() //nolint:errcheck // it can
		w.Header().Set("Content-Length", "7")
		io.WriteString(w, "welcome")
		http.NewResponseController(w).Flush() //nolint:errcheck // its body tells
		_, err := io.Copy(io.Discard, r.Body)
		cut <- err
	}))
	body, more := io.Pipe()
	go func() {
		more.Write([]byte(strings.Repeat("0123456789", 20_000))) //nolint:errcheck // the answer tells
		more.Write([]byte("SECRET"))                             //nolint:errcheck
		more.Close()
	}()
	r, err := http.NewRequestWithContext(t.Context(), "POST", "https://api.test/", body)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := pn.client("h1").Do(r)
	if err != nil {
		t.Fatal(err)
	}
	b, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	if resp.StatusCode != 403 || !strings.Contains(string(b), "it is secret") || strings.Contains(string(b), "welcome") {
		t.Errorf("%s %s", resp.Status, b)
	}
}
