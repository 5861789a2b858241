package e2e

import (
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/penstock/penstock/internal/world"
)

// TestCurlBudget: a flood of curl processes reaches the origin as often as the
// rule says, and the user hears of it.
func TestCurlBudget(t *testing.T) {
	world.Tool(t, "curl")
	w := world.New(t)
	var reached, bytes atomic.Int64
	w.HTTPS("api.example.com", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		bytes.Add(n)
		reached.Add(1)
	}))
	p := newPen(t, w)
	if world.Bare() {
		t.Skip("nothing to compare without a pen")
	}
	p.Allow = []string{"{host: api.example.com, methods: [GET], budget: {requests: 10, per: hour}}", "{host: api.example.com, methods: [PUT], budget: {bytes_out: 64KiB}}"}
	r := p.Sh(`for i in 1 2 3 4 5 6; do for j in 1 2 3 4 5; do curl -sS -o /dev/null -w "%{http_code}\n" https://api.example.com/ & done; wait; done
curl -sSi https://api.example.com/ | grep -iE 'retry-after|used up'
head -c 1000000 /dev/zero | curl -sS -T - -o /dev/null -w 'upload %{http_code}\n' https://api.example.com/; true`)
	if ok, no := strings.Count(r.Stdout, "200\n"), strings.Count(r.Stdout, "429\n"); ok != 10 || no < 20 || bytes.Load() > 64<<10 {
		t.Errorf("%d passed, %d were refused, %d bytes went out: %s", ok, no, bytes.Load(), r)
	}
	if n := reached.Load(); n < 10 || n > 11 { // the upload began, too
		t.Errorf("%d reached the origin", n)
	}
	for _, want := range []string{"Retry-After: 3", "is used up: 10 requests per hour, again in 3"} {
		if !strings.Contains(strings.ReplaceAll(r.Stdout, "retry-after", "Retry-After"), want) {
			t.Errorf("no %q in %s", want, r)
		}
	}
	if !strings.Contains(r.Stderr, "10 of 10 requests per hour") {
		t.Errorf("the user was not told: %s", r)
	}
	kinds := ""
	for _, rec := range p.Audit() {
		if rec.Str("type") == "limit" && rec.Str("kind") == "budget" {
			kinds += rec.Str("action") + " "
		}
	}
	if !strings.HasPrefix(kinds, "near reached ") {
		t.Errorf("limits in the audit: %s", kinds)
	}
}
