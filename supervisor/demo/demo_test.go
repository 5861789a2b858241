package demo

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/penstock/penstock/policy"
	"github.com/penstock/penstock/supervisor/internal/origin"
)

// start makes a demo with an origin, and no pen.
func start(t *testing.T) *demo {
	t.Helper()
	o, err := origin.Start(api, paste, db, stranger)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { o.Close() })
	return &demo{Options: Options{Out: io.Discard}, dir: t.TempDir(), origin: o, secret: "real-secret"}
}

func TestPolicyParses(t *testing.T) {
	if _, err := policy.Parse("policy.yaml", policy.CommandLine, []byte(start(t).policy())); err != nil {
		t.Error(err)
	}
}

func TestAttemptsAreDistinct(t *testing.T) {
	seen := map[string]bool{}
	allowed := 0
	for _, a := range attempts(Ports{HTTPS: 1, HTTP: 2, TCP: 3, UDP: 4}) {
		if a.allowed {
			allowed++
			if a.arrives == "" {
				t.Errorf("%s: allowed, but nothing has to arrive", a.what)
			}
		}
		key := fmt.Sprintf("%s/%t", a.what, a.allowed)
		if seen[key] {
			t.Errorf("%s is there twice", a.what)
		}
		seen[key] = true
	}
	if allowed < 3 || len(seen)-allowed < 10 {
		t.Errorf("%d allowed and %d denied attempts show too little", allowed, len(seen)-allowed)
	}
}

// TestDifferencesAreFound feeds the comparison reports that are not as they
// should be: the demonstration must be able to fail.
func TestDifferencesAreFound(t *testing.T) {
	list := []attempt{{what: "one", allowed: true, arrives: "tcp"}, {what: "two"}}
	report := func(one, two bool) []byte {
		var b bytes.Buffer
		enc := json.NewEncoder(&b)
		enc.Encode(outcome{Attempt: "one", Allowed: one})
		enc.Encode(outcome{Attempt: "two", Allowed: two})
		return b.Bytes()
	}
	tests := []struct {
		name    string
		report  []byte
		arrives int
		want    string
	}{
		{"an allowed attempt failed", report(false, false), 1, "one: allowed=false"},
		{"a denied attempt succeeded", report(true, true), 1, "two: allowed=true"},
		{"something else arrived", report(true, false), 2, "arrived outside"},
		{"nothing arrived", report(true, false), 0, "arrived outside"},
		{"the client stopped", report(true, false)[:20], 1, "did not report"},
		{"no token", report(true, false), 1, "real token"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := start(t)
			for range tt.arrives {
				knock(t, d.origin.TCP)
			}
			d.compare(list, tt.report)
			if all := strings.Join(d.report.Differences, "\n"); !strings.Contains(all, tt.want) {
				t.Errorf("differences %q do not mention %q", all, tt.want)
			}
		})
	}
}

// knock makes one TCP arrival and waits until it was remembered.
func knock(t *testing.T, port uint16) {
	t.Helper()
	c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintln(c, "x")
	if _, err := c.Read(make([]byte, 4)); err != nil {
		t.Fatal(err)
	}
}

func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{
		"403 denied":     "403 denied",
		"\x1b[2Jcleared": "?[2Jcleared",
		"a\u202eb":       "a?b",
	} {
		if got := printable(in); got != want {
			t.Errorf("printable(%q) = %q, want %q", in, got, want)
		}
	}
	if got := printable(strings.Repeat("x", 1000)); len(got) > 250 {
		t.Errorf("a long answer prints %d bytes", len(got))
	}
}
