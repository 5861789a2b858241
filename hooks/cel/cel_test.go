package cel

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/penstock/penstock/hooks"
)

func mustCompile(t testing.TB, text string) hooks.Condition {
	t.Helper()
	c, err := Language{}.Compile(text)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return c
}

// TestErrorsSayWhere: the place in the expression, and what to write instead.
func TestErrorsSayWhere(t *testing.T) {
	for _, tt := range []struct {
		text, message, hint string
		line, column        int
	}{
		{`request.pth == "/"`, `request has no field "pth"`, "it has headers, host, method, path", 1, 9},
		{`path == "/"`, `nothing is called "path"`, "write request.path", 1, 1},
		{"true &&\n request.port == \"443\"", "== is not there for int and string", "compare values of one type", 2, 15},
		{`request.port = 443`, `the character '=' means nothing here`, "write ==", 1, 14},
		{`request.path`, "the expression is of type string, not bool", `request.method == "GET"`, 1, 1},
		{`now() > 1`, `there is no function "now"`, "startsWith", 1, 1},
		{`request.path.matches(request.query)`, "the pattern of matches() is not a text in quotes", "for example", 1, 22},
		{`request.path.startsWith("/x"`, "there is the end where ) should be", "", 1, 29},
		{"request.host == \"\u00e9\" && x", `nothing is called "x"`, "request", 1, 24},
		{"", "the expression is empty", "for example", 1, 1},
	} {
		_, err := Language{}.Compile(tt.text)
		var e *hooks.ConditionError
		if !errors.As(err, &e) {
			t.Errorf("%q: %v", tt.text, err)
			continue
		}
		if !strings.Contains(e.Message, tt.message) || !strings.Contains(e.Hint, tt.hint) || e.Line != tt.line || e.Column != tt.column {
			t.Errorf("%q: %d:%d %s; %s", tt.text, e.Line, e.Column, e.Message, e.Hint)
		}
	}
}

// TestPenCannotMakeItDear: whatever the pen sends, one evaluation ends soon, with
// an error where the limit is met.
func TestPenCannotMakeItDear(t *testing.T) {
	long := strings.Repeat("a", 60<<10)
	r := &hooks.Request{Path: "/" + long, Query: long, Size: -1, Header: http.Header{"X": {long}}}
	list := "[" + strings.TrimSuffix(strings.Repeat("'a',", 300), ",") + "]"
	for _, text := range []string{
		list + ".exists(a, " + list + ".exists(b, a + b == request.query))",
		list + ".exists(a, request.query.contains(a + 'b'))",
		list + ".exists(a, request.headers.x.matches('(a|aa)+$b') || a == 'b')",
		list + ".all(a, request.query.size() > 1 && (request.query + request.query).size() > 2)",
		list + ".exists(a, request.headers[request.query + a] == a)",
	} {
		if ok, err := mustCompile(t, text).Holds(r); ok || !errors.Is(err, errCost) {
			t.Errorf("%.80s: %v, %v", text, ok, err)
		}
	}
	if ok, err := mustCompile(t, `request.query.contains("b") || request.headers.x.endsWith("a")`).Holds(r); !ok || err != nil {
		t.Errorf("the longest request there is can't be judged: %v", err)
	}
}

// TestErrorsRepeatNothing of what the pen sent.
func TestErrorsRepeatNothing(t *testing.T) {
	r := &hooks.Request{Path: "/", Query: "evil\x1b[31m", Size: -1, Header: http.Header{"X": {"evil\x1b[31m"}}}
	for _, text := range []string{"request.headers[request.query] == ''", "int(request.headers.x) == 1", "request.size > 1", "request.headers[request.headers.x] == ''"} {
		if _, err := mustCompile(t, text).Holds(r); err == nil || strings.Contains(err.Error(), "evil") {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// TestHeaderNames: the pen chooses the spelling, an expression has one.
func TestHeaderNames(t *testing.T) {
	r := &hooks.Request{Header: http.Header{}}
	r.Header.Add("X-API-key", "a")
	r.Header.Add("x-api-KEY", "b")
	for text, want := range map[string]bool{
		`"x-api-key" in request.headers`: true, `"X-Api-Key" in request.headers`: false, `request.headers["x-api-key"] == "a, b"`: true,
		`request.headers["x-api-key"] == "a"`: false, `["x-api-key"].exists(n, n in request.headers)`: true,
	} {
		if ok, err := mustCompile(t, text).Holds(r); ok != want || err != nil {
			t.Errorf("%s: %v, %v", text, ok, err)
		}
	}
}

func BenchmarkHolds(b *testing.B) {
	r := &hooks.Request{Method: "PUT", Path: "/my-bucket/a/b/c", Size: 1000, Header: http.Header{"Content-Type": {"application/json"}}}
	for name, text := range map[string]string{
		"path_and_size": `request.path.startsWith("/my-bucket/") && request.size < 1000000`,
		"header":        `request.headers["content-type"] == "application/json"`,
		"pattern":       `request.path.matches("^/[a-z-]+/a/")`,
	} {
		c := mustCompile(b, text)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if ok, err := c.Holds(r); !ok || err != nil {
					b.Fatal(ok, err)
				}
			}
		})
	}
}
