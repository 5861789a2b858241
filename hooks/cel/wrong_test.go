package cel

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/penstock/penstock/hooks"
)

// TestWrongExpressions: what is no expression, or one of other types, does not become a
// condition: the first thing that is wrong is named, and where it is.
func TestWrongExpressions(t *testing.T) {
	deep := strings.Repeat("(", maxDepth+1) + "true" + strings.Repeat(")", maxDepth+1)
	for text, want := range map[string]string{
		`size(request.path request.host) == 1`: `1:19 there is "request" where ) should be`,
		`size(request.path,) == 1`:             `1:19 an argument is missing after the comma`,
		`if(true)`:                             `1:1 "if" is a word of CEL's own`,
		`has(1)`:                               `1:1 has() is about a field`,
		`has((request.size))`:                  `1:1 has() is about a field`,
		`size(1, 2) == 1`:                      `1:1 size() is not there for int and int`,
		`string(true) == "true"`:               `1:1 string() is not there for bool`,
		`size(1) == 1`:                         `1:1 size() is not there for int`,
		`request.path.reverse() == "/"`:        `1:14 there is no function "reverse"`,
		`request.path.size(1) == 1`:            `1:14 size() is not there for string and int`,
		`request.port.lowerAscii() == "a"`:     `1:14 lowerAscii() is not there for int`,
		`request.path.startsWith(1)`:           `1:14 startsWith() is not there for string and int`,
		`request.path.startsWith("a" #)`:       `1:29 the character '#' means nothing here`,
		`request.port.matches("4")`:            `1:14 matches() is not there for int and string`,
		`request.path.matches("a", "b")`:       `1:14 matches() is not there for string and string and string`,
		`matches(request.path, request.query)`: `1:23 the pattern of matches() is not a text in quotes`,
		`request.path.matches("(")`:            "1:22 the pattern of matches() is wrong: error parsing regexp: missing closing ): `(`",
		`request.path.matches("[a-z]{900}")`:   `1:22 the pattern of matches() is too large`,

		`["a"].exists(#, true)`:             `1:14 the character '#' means nothing here`,
		`["a"].exists(a #, a)`:              `1:16 the character '#' means nothing here`,
		`["a"].exists(a b)`:                 `1:16 there is "b" where , should be`,
		`["a"].exists(in, true)`:            `1:14 there is "in" where a name for the list's elements should be`,
		`["a"].exists(a, b)`:                `1:17 nothing is called "b"`,
		`["a"].all(a, a == "a"`:             `1:22 there is the end where ) should be`,
		`["a"].exists(a, 1)`:                `1:17 exists() is not there for int`,
		`["a"].exists(a, a)`:                `1:17 exists() is not there for string`,
		`["a"].exists(a, true) && a == "a"`: `1:26 nothing is called "a"`,
		`["a"].exists(a, ["a"].exists(b, ["a"].exists(c, true)))`: `1:39 exists() and all() nest too deeply`,

		"request.path == \"\xff\"":                  `1:1 the expression is not UTF-8`,
		strings.Repeat(" ", MaxExpression) + "true": `1:1 the expression has 4100 bytes, more than 4096`,
		deep: `1:65 the expression nests too deeply`,

		`request.path == "abc`:               `1:17 the text in quotes does not end`,
		"request.path == \"a\nb\"":           `1:17 the text in quotes does not end`,
		`request.path == """abc"`:            `1:17 the text in quotes does not end`,
		`request.path == "\q"`:               `1:18 the escape in the text is not known`,
		`request.path == "\`:                 `1:18 the escape in the text is not known`,
		`request.path == "\u12"`:             `1:18 the escape in the text is not known`,
		`request.path == "\xg0"`:             `1:18 the escape in the text is not known`,
		`request.path == "\400"`:             `1:18 the escape in the text is not known`,
		`request.path == "\ud800"`:           `1:18 the escape in the text is not known`,
		`1.5 < 2`:                            `1:1 there are only whole numbers here`,
		`request.size < 0xg`:                 `1:16 "0xg" is not a whole number`,
		`request.size < 9999999999999999999`: `1:16 "9999999999999999999" is not a whole number`,
		`request.size < 1_000`:               `1:16 "1_000" is not a whole number`,
		`request.size < 10k`:                 `1:16 "10k" is not a whole number`,
		`request.size & 1`:                   `1:14 the character '&' means nothing here`,

		`request.(path)`:                     `1:9 there is "(" where a name should be`,
		`request.path.0`:                     `1:14 there is "0" where a name should be`,
		`request.#`:                          `1:9 the character '#' means nothing here`,
		`request.path#`:                      `1:13 the character '#' means nothing here`,
		`request#`:                           `1:8 the character '#' means nothing here`,
		`request.headers["a" == ""`:          `1:26 there is the end where ] should be`,
		`request.headers[#] == ""`:           `1:17 the character '#' means nothing here`,
		`request.headers[x] == ""`:           `1:17 nothing is called "x"`,
		`request.headers[1] == ""`:           `1:16 [] is not there for map(string, string) and int`,
		`request.path[1] == ""`:              `1:13 [] is not there for string and int`,
		`has(request.headers["a"])`:          `1:1 has() is about a field`,
		`request.port.x == 1`:                `1:14 a int has no field "x"`,
		`request.headers == request.headers`: `1:17 == is not there for map(string, string) and map(string, string)`,
		`request == 1`:                       `1:9 == is not there for object and int`,
		`(#`:                                 `1:2 the character '#' means nothing here`,
		`(true`:                              `1:6 there is the end where ) should be`,
		`== 1`:                               `1:1 there is "==" where a value should be`,
		`true true`:                          `1:6 there is "true" where an operator such as &&, or the end should be`,

		`request.path in [request.path]`: `1:18 a list is of texts in quotes, or of numbers that are written out`,
		`1 in [1, "a"]`:                  `1:10 a list is of texts in quotes, or of numbers that are written out`,
		`1 in [1 2]`:                     `1:9 there is "2" where ] should be`,
		`1 in [1, #`:                     `1:10 the character '#' means nothing here`,
		`1 in [x]`:                       `1:7 nothing is called "x"`,
		`"a" in []`:                      `1:8 the list is empty`,
		`"a" in [1]`:                     `1:5 in is not there for string and list(int)`,
		`["a"] == ["a"]`:                 `1:7 == is not there for list(string) and list(string)`,
		`["a"]`:                          `1:1 the expression is of type list(string), not bool`,

		`1 ? true : false`:      `1:1 ? is not there for int`,
		`true ? true`:           `1:12 there is the end where : should be`,
		`true ? # : true`:       `1:8 the character '#' means nothing here`,
		`true ? x : true`:       `1:8 nothing is called "x"`,
		`true ? true : x`:       `1:15 nothing is called "x"`,
		`(true ? 1 : "a") == 1`: `1:9 ?: is not there for int and string`,
		`true ? ["a"] : ["b"]`:  `1:8 ?: is not there for list(string) and list(string)`,
		`1 && true`:             `1:3 && is not there for int and bool`,
		`true || request.path`:  `1:6 || is not there for bool and string`,
		`true && `:              `1:9 there is the end where a value should be`,
		`true < `:               `1:8 there is the end where a value should be`,
		`1 + "a" == 1`:          `1:3 + is not there for int and string`,
		`"a" - "a" == ""`:       `1:5 - is not there for string and string`,
		`1 + `:                  `1:5 there is the end where a value should be`,
		`!#`:                    `1:2 the character '#' means nothing here`,
		`!1`:                    `1:1 ! is not there for int`,
		`-"a" == "a"`:           `1:1 - is not there for string`,
		`true == request.path`:  `1:6 == is not there for bool and string`,
	} {
		c, err := Language{}.Compile(text)
		var e *hooks.ConditionError
		if !errors.As(err, &e) || e.Error() == "" || c != nil {
			t.Errorf("%q: %v, %v", text, c, err)
			continue
		}
		if got := where(e); got != want {
			t.Errorf("%q:\n%s, want\n%s", text, got, want)
		}
	}
}

func where(e *hooks.ConditionError) string {
	return fmt.Sprintf("%d:%d %s", e.Line, e.Column, e.Message)
}

// TestDecisions: what a hook's expression says, and nothing that is none.
func TestDecisions(t *testing.T) {
	for says, want := range map[string]hooks.Decision{
		"next":               {Action: hooks.Next},
		"next: because":      {Action: hooks.Next},
		"deny":               {},
		"deny:  too large ":  {Reason: "too large"},
		"ask: is that meant": {Action: hooks.Ask, Reason: "is that meant"},
		"route: corporate":   {Action: hooks.Route, Via: "corporate"},
		"route:direct":       {Action: hooks.Route, Via: "direct"},
		"allow":              {}, "": {}, "NEXT": {}, " next": {}, "next ": {}, "reply": {}, "denied": {},
	} {
		h, err := Language{}.CompileHook(`request.query`, hooks.PointRequest)
		if err != nil {
			t.Fatal(err)
		}
		d, err := h.Decide(t.Context(), &hooks.Request{Point: hooks.PointRequest, Query: says})
		if d.Action != want.Action || d.Reason != want.Reason || d.Via != want.Via || d.Answer != nil || d.Change != nil {
			t.Errorf("%q: %+v, %v", says, d, err)
		}
		if word, _, _ := strings.Cut(says, ":"); errors.Is(err, errAction) == (word == "next" || word == "deny" || word == "ask" || word == "route") {
			t.Errorf("%q: %v", says, err)
		}
	}
}

// TestFields: each name of each point is what it says.
func TestFields(t *testing.T) {
	for _, tt := range []struct {
		on    hooks.Point
		names string
		want  string
		r     hooks.Request
	}{
		{hooks.PointRequest, "request.host request.method request.path request.query request.protocol", "a.example PUT /p q https",
			hooks.Request{Target: hooks.Target{Host: "a.example"}, Method: "PUT", Path: "/p", Query: "q", Protocol: hooks.ProtocolHTTPS}},
		{hooks.PointRequestBody, "body.text body.encoding", "data gzip", hooks.Request{Body: &hooks.Body{Data: []byte("data"), Encoding: "gzip"}}},
		{hooks.PointWebSocket, "message.direction message.type body.text", "in binary data", hooks.Request{Message: &hooks.Message{In: true, Binary: true}, Body: &hooks.Body{Data: []byte("data")}}},
		{hooks.PointWebSocket, "message.direction message.type body.text", "out text data", hooks.Request{Message: &hooks.Message{}, Body: &hooks.Body{Data: []byte("data")}}},
		{hooks.PointDNS, "request.host lookup.type lookup.rule", "a.example AAAA f:1", hooks.Request{Target: hooks.Target{Host: "a.example"}, Lookup: &hooks.Lookup{Type: "AAAA", Rule: "f:1"}}},
		{hooks.PointToolCall, "tool.name tool.arguments", `exec {"a":1}`, hooks.Request{Tool: &hooks.Tool{Name: "exec", Arguments: []byte(`{"a":1}`)}}},
		{hooks.PointSessionStart, "run.program run.command run.dir run.user run.agent run.tier run.mode", "npm npm i x /w u claude bwrap audit",
			hooks.Request{Run: &hooks.Run{Command: []string{"npm", "i", "x"}, Dir: "/w", User: "u", Agent: "claude", Tier: "bwrap", Mode: "audit"}}},
		{hooks.PointSessionStart, "run.program run.command", " ", hooks.Request{Run: &hooks.Run{}}},
	} {
		text := strings.ReplaceAll(tt.names, " ", ` + " " + `)
		h, err := Language{}.CompileHook(`"deny:" + `+text, tt.on)
		if err != nil {
			t.Fatal(tt.names, err)
		}
		tt.r.Point = tt.on
		if d, err := h.Decide(t.Context(), &tt.r); err != nil || d.Reason != strings.TrimSpace(tt.want) {
			t.Errorf("%s: %q, %v; want %q", tt.names, d.Reason, err, tt.want)
		}
	}
	// A name of a header has one spelling, however it is written in the expression.
	r := &hooks.Request{Header: http.Header{"X": {"a"}}, Query: "y"}
	for text, want := range map[string]bool{`has(request.headers.x)`: true, `has(request.headers.X)`: false, `request.headers.x == "a"`: true} {
		if ok, err := mustCompile(t, text).Holds(r); ok != want || err != nil {
			t.Errorf("%s: %v, %v", text, ok, err)
		}
	}
	for text, want := range map[string]string{
		`request.headers.X == "a"`: `request.headers has no "X"`, `request.headers["y"] == "a"`: `request.headers has no "y"`,
		`request.headers[request.query] == "a"`: `request.headers has no such key`,
	} {
		if ok, err := mustCompile(t, text).Holds(r); ok || err == nil || err.Error() != want {
			t.Errorf("%s: %v, %v", text, ok, err)
		}
	}
}
