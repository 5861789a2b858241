package netproxy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/penstock/penstock/audit"
	"github.com/penstock/penstock/audit/capture"
	"github.com/penstock/penstock/netproxy/secrets"
)

const captureRules = `  allow:
    - {host: api.test, capture: {request: 1KiB, response: 1KiB}}
    - {host: half.test, capture: {response: 100B}}
    - {host: open.test}
  deny:
    - {host: api.test, paths: ["/denied"]}
`

// capturing is a pen whose rules capture into a file, with a secret for api.test.
func capturing(t *testing.T, out io.WriteCloser, limit int64) (pn *pen, w *capture.Writer, placeholder string) {
	t.Helper()
	value := secrets.NewValue(ours)
	placeholder = secrets.Placeholder([]byte("seed of the test, long enough"), "KEY", value)
	set, err := secrets.New([]secrets.Secret{{Name: "KEY", Placeholder: placeholder, Value: value, Header: "X-Key", Hosts: []string{"api.test"}}})
	if err != nil {
		t.Fatal(err)
	}
	if out != nil {
		w = capture.NewWriter(out, limit)
		t.Cleanup(func() { w.Close() })
	}
	pn = newPen(t, captureRules, func(c *Config) { c.Secrets, c.Capture = set, w })
	for _, name := range []string{"api.test:443", "half.test:443", "open.test:443"} {
		pn.origin(name, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			b, _ := io.ReadAll(r.Body)
			w.Header().Set("Set-Cookie", "id=cookie-value")
			w.Header().Set("X-Got", fmt.Sprint(len(b), r.Header.Get("X-Key") == ours))
			w.Header()["Date"] = nil
			io.WriteString(w, r.URL.Query().Get("say"))
		}))
	}
	return pn, w, placeholder
}

// captureFile is a writer into a file; read ends it and returns what is in the file.
func captureFile(t *testing.T) (w *capture.Writer, read func() *capture.Index) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "c")
	out, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	w = capture.NewWriter(out, capture.MaxFile)
	t.Cleanup(func() { w.Close() })
	return w, func() *capture.Index {
		t.Helper()
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		x, err := capture.Read(bytes.NewReader(raw))
		if err != nil {
			t.Fatal(err)
		}
		return x
	}
}

// ask posts a body and waits for the end of its flow, whose number it returns.
func (pn *pen) ask(url, body string, header ...string) uint64 {
	pn.t.Helper()
	req, err := http.NewRequest("POST", url, strings.NewReader(body))
	if err != nil {
		pn.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := pn.client("h1").Do(req)
	if err != nil {
		pn.t.Fatal(err)
	}
	io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	open := wait(pn.t, pn.records, func(e *audit.FlowOpen) bool { return e.Path == req.URL.Path })
	wait(pn.t, pn.records, func(e *audit.FlowClose) bool { return e.Flow == open.Flow })
	return open.Flow
}

// What rules ask for is in the file: what the pen sent and got, cut at the limit,
// without a credential of anybody's.
func TestCapture(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c")
	out, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	pn, w, ph := capturing(t, out, capture.MaxFile)
	long := strings.Repeat("x", 3000)
	whole := pn.ask("https://api.test/whole?say=hello", "the body", "X-Key", ph, "Authorization", "Bearer of-the-pen", "Cookie", "a=of-the-pen", "X-Other", "1")
	cut := pn.ask("https://api.test/cut?say="+long, long)
	half := pn.ask("https://half.test/half?say=hello", "not kept")
	denied := pn.ask("https://api.test/denied", "not kept")
	other := pn.ask("https://open.test/open", "not kept")
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, never := range []string{ours, "of-the-pen", "cookie-value", "not kept"} {
		if bytes.Contains(raw, []byte(never)) {
			t.Errorf("%q is in the file", never)
		}
	}
	x, err := capture.Read(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	of := func(flow uint64) *capture.Exchange {
		e, err := x.Of(flow)
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	header := func(m *capture.Message) string { return fmt.Sprint(m.Header) }
	if e := of(whole); e == nil || string(e.Request.Body) != "the body" || string(e.Response.Body) != "hello" || e.Request.Truncated || e.Response.Truncated {
		t.Errorf("%s", raw)
	} else if q, a := header(e.Request), header(e.Response); !strings.Contains(q, "[X-Key "+ph+"]") || !strings.Contains(q, "[Authorization [redacted]]") ||
		!strings.Contains(q, "[Cookie [redacted]]") || !strings.Contains(q, "[X-Other 1]") || !strings.Contains(a, "[X-Got 8 true]") || !strings.Contains(a, "[Set-Cookie [redacted]]") {
		t.Errorf("%s\n%s", q, a)
	}
	if e := of(cut); e == nil || string(e.Request.Body) != long[:1024] || string(e.Response.Body) != long[:1024] || !e.Request.Truncated || !e.Response.Truncated {
		t.Errorf("not cut at the limit: %+v", e)
	}
	if e := of(half); e == nil || e.Request != nil || string(e.Response.Body) != "hello" {
		t.Errorf("%+v", e)
	}
	if of(denied) != nil || of(other) != nil {
		t.Error("more was kept than rules ask for")
	}
}

// A value that crosses the limit leaves no half of it: it is redacted first.
func TestCaptureRedactsBeforeItCuts(t *testing.T) {
	pn, _, _ := capturing(t, nil, 0)
	f := &flow{p: pn.p}
	c := &captured{f: f, request: side{seen: true, limit: 100}}
	for i := range len(ours) {
		c.request.body, c.request.cut = nil, false
		c.sent([]byte(strings.Repeat("x", 100-i)))
		for _, b := range []byte(ours) {
			c.sent([]byte{b})
		}
		if m := c.message(&c.request); bytes.Contains(m.Body, []byte(ours[:4])) && i >= 4 || len(m.Body) > 100 {
			t.Fatalf("%q", m.Body)
		}
	}
	c.request.body = nil
	c.sent(bytes.Repeat([]byte("y"), 1<<20))
	if len(c.request.body) > 100+capture.Slack || !c.request.cut {
		t.Errorf("%d bytes are held", len(c.request.body))
	}
}

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errors.New("no space left") }
func (fullDisk) Close() error              { return nil }

type nowhere struct{ io.Writer }

func (nowhere) Close() error { return nil }

// What can't be kept does not hold a flow up, and is said.
func TestCaptureLost(t *testing.T) {
	for name, c := range map[string]struct {
		out   io.WriteCloser
		limit int64
		why   string
	}{
		"no file":   {nil, 0, "no file"},
		"full file": {nowhere{io.Discard}, 10, "as long as it may be"},
	} {
		t.Run(name, func(t *testing.T) {
			pn, _, _ := capturing(t, c.out, c.limit)
			flow := pn.ask("https://api.test/x?say=hello", "body")
			wait(t, pn.records, func(e *audit.Limit) bool {
				return e.Kind == "capture" && strings.Contains(e.Detail, c.why) && strings.Contains(e.Detail, fmt.Sprint("flow ", flow, " "))
			})
		})
	}
	t.Run("write fails", func(t *testing.T) {
		pn, w, _ := capturing(t, fullDisk{}, capture.MaxFile)
		pn.ask("https://api.test/1", "body")
		if err := w.Close(); err == nil || w.Lost() != 1 {
			t.Errorf("%v, %d lost", err, w.Lost())
		}
		pn.ask("https://api.test/2", "body")
		wait(t, pn.records, func(e *audit.Limit) bool { return e.Kind == "capture" && strings.Contains(e.Detail, "no space left") })
	})
}
