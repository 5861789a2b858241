package wire_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/hooks/wire"
)

// TestDecision: what each answer is taken for. What is none is a deny with an error.
func TestDecision(t *testing.T) {
	const id = `"version":1,"id":"q"`
	for _, tt := range []struct{ doc, want string }{
		{`{` + id + `,"decision":"next"}`, "next"},
		{` {` + id + `,"decision":"next","set":{"x-a":"b"},"remove":["x-b"]} `, "next set map[x-a:b] remove [x-b]"},
		{`{` + id + `,"decision":"next","body":"aGk="}`, `next body "hi"`},
		{`{` + id + `,"decision":"next","body":""}`, `next body ""`},
		{`{` + id + `,"decision":"next","set":{}}`, "next set map[] remove []"},
		{`{` + id + `,"decision":"deny","reason":"no"}`, "deny no"},
		{`{` + id + `,"decision":"ask","reason":"well?"}`, "ask well?"},
		{`{` + id + `,"decision":"route","via":"corp","reason":"near"}`, "route near via corp"},
		{`{` + id + `,"decision":"reply","reply":{"status":418,"headers":{"x-a":["b"]},"body":"aGk="}}`, `reply 418 map[x-a:[b]] "hi"`},

		{`{"version":2,"id":"q","decision":"next"}`, "its answer is of version 2, not 1"},
		{`{"id":"q","decision":"next"}`, "its answer is of version 0, not 1"},
		{`{"version":1,"id":"r","decision":"next"}`, "its answer is to another question"},
		{`{` + id + `,"decision":"next","reply":{"status":200}}`, "its answer has a reply that does not go with the decision"},
		{`{` + id + `,"decision":"deny","reply":{"status":200}}`, "its answer has a reply that does not go with the decision"},
		{`{` + id + `,"decision":"reply"}`, "its answer has a reply that does not go with the decision"},
		{`{` + id + `,"decision":"reply","reply":null}`, "its answer has a reply that does not go with the decision"},
		{`{` + id + `,"decision":"next","via":"corp"}`, "its answer has a via that does not go with the decision"},
		{`{` + id + `,"decision":"route"}`, "its answer has a via that does not go with the decision"},
		{`{` + id + `,"decision":"deny","set":{"x-a":"b"}}`, "its answer has a change that does not go with the decision"},
		{`{` + id + `,"decision":"ask","remove":[]}`, "its answer has a change that does not go with the decision"},
		{`{` + id + `,"decision":"route","via":"corp","body":"aGk="}`, "its answer has a change that does not go with the decision"},
		{`{` + id + `,"decision":"allow"}`, "its answer has a decision that is not known"},
		{`{` + id + `,"decision":"Next"}`, "its answer has a decision that is not known"},
		{`{` + id + `}`, "its answer has a decision that is not known"},
		{`{` + id + `,"decision":"next"}{}`, "there is more than one object in its answer"},
		{`{` + id + `,"decision":"next"}]`, "there is more than one object in its answer"},
		{`{` + id + `,"decision":"next"` + strings.Repeat(" ", wire.MaxDecision) + `}`, "its answer has more than 131072 bytes"},
	} {
		wantDecision(t, tt.doc, tt.want)
	}
	for _, s := range []string{
		``, ` `, `{`, `null`, `[]`, `"next"`, `{"version"}`, `{"version":}`, `{1:2}`,
		`{` + id + `,"decision":"next"`, `{` + id + `,"decision":"next",}`, `{` + id + `,"decision":"next","decision":"next"}`,
		`{` + id + `,"decision":"deny","Decision":"next"}`, `{` + id + `,"decision":"next","extra":1}`, `{"version":"1","id":"q","decision":"next"}`,
		`{` + id + `,"decision":["next"]}`, `{` + id + `,"decision":"next","set":null}`, `{` + id + `,"decision":"next","remove":null}`,
		`{` + id + `,"decision":"next","remove":"x-a"}`, `{` + id + `,"decision":"next","set":[]}`, `{` + id + `,"decision":"next","set":{"x-a":null}}`,
		`{` + id + `,"decision":"next","set":{"x-a":1}}`, `{` + id + `,"decision":"next","set":{"x-a":"b","x-a":"b"}}`,
		`{` + id + `,"decision":"next","body":null}`, `{` + id + `,"decision":"next","body":[104]}`, `{` + id + `,"decision":"next","body":"a"}`,
		`{` + id + `,"decision":"reply","reply":{"status":200,"more":1}}`, `{` + id + `,"decision":"reply","reply":{"status":"200"}}`,
	} {
		wantDecision(t, s, "its answer is no decision in JSON")
	}
}

func wantDecision(t *testing.T, doc, want string) {
	t.Helper()
	d, err := wire.Decision("q", []byte(doc), wire.MaxDecision)
	got := strings.TrimSpace(d.Action.String() + " " + d.Reason)
	if d.Via != "" {
		got += " via " + d.Via
	}
	if c := d.Change; c != nil && c.Body != nil {
		got += fmt.Sprintf(" body %q", c.Body)
	} else if c != nil {
		got += fmt.Sprint(" set ", c.Set, " remove ", c.Remove)
	}
	if a := d.Answer; a != nil {
		got += fmt.Sprintf(" %d %v %q", a.Status, a.Header, a.Body)
	}
	if err != nil {
		if got != "deny" {
			t.Errorf("%.100s: an error with %s", doc, got)
		}
		got = err.Error()
	}
	if got != want {
		t.Errorf("%.100s: %s; want %s", doc, got, want)
	}
}

// TestQuestionIsText: what can't be said in JSON as it is is not asked, which denies: what
// the hook would judge is not what is there. Only the path of a program is made text.
func TestQuestionIsText(t *testing.T) {
	ok := hooks.Request{Protocol: hooks.ProtocolHTTPS, Target: hooks.Target{Host: "a.example", Port: 443}, Method: "GET", Path: "/", Header: http.Header{"X-A": {"b"}}}
	for name, change := range map[string]func(*hooks.Request){
		"nothing":     func(*hooks.Request) {},
		"a program":   func(r *hooks.Request) { r.Process = &hooks.Process{Exe: hooks.Executable{Path: "/\xff"}} },
		"! path":      func(r *hooks.Request) { r.Path = "/\xff" },
		"! query":     func(r *hooks.Request) { r.Query = "\xff" },
		"! header":    func(r *hooks.Request) { r.Header = http.Header{"X-A": {"b", "\xff"}} },
		"! its name":  func(r *hooks.Request) { r.Header = http.Header{"X-\xff": {"b"}} },
		"! an answer": func(r *hooks.Request) { r.Response = &hooks.Response{Status: 200, Header: http.Header{"X": {"\xff"}}} },
		"! a trailer": func(r *hooks.Request) { r.Body = &hooks.Body{Trailer: http.Header{"X": {"\xff"}}} },
		"! a coding":  func(r *hooks.Request) { r.Body = &hooks.Body{Encoding: "\xff"} },
		"! a tool":    func(r *hooks.Request) { r.Tool = &hooks.Tool{Name: "\xff", Arguments: []byte("{}")} },
		"! arguments": func(r *hooks.Request) { r.Tool = &hooks.Tool{Name: "t", Arguments: []byte(`"` + "\xff" + `"`)} },
		"! a rule":    func(r *hooks.Request) { r.Lookup = &hooks.Lookup{Rule: "\xff"} },
		"! a command": func(r *hooks.Request) { r.Run = &hooks.Run{Command: []string{"a", "\xff"}} },
		"! a folder":  func(r *hooks.Request) { r.Run = &hooks.Run{Dir: "/\xff"} },
	} {
		r := ok
		change(&r)
		doc, err := wire.Request("q", "h", &r)
		if strings.HasPrefix(name, "!") != (err != nil) || err == nil && !json.Valid(doc) || err != nil && doc != nil {
			t.Errorf("%s: %s, %v", name, doc, err)
		}
	}
}

// TestLimit: an answer may have so many bytes, and a changed body those of its room more.
func TestLimit(t *testing.T) {
	for room, want := range map[int64]int{-1: wire.MaxDecision, 0: wire.MaxDecision, 3: wire.MaxDecision + 4, hooks.MaxBody: wire.MaxDecision + (hooks.MaxBody+2)/3*4, 1 << 40: wire.MaxDecision + (hooks.MaxBody+2)/3*4} {
		if got := wire.Limit(&hooks.Request{Body: &hooks.Body{Room: room}}); got != want {
			t.Errorf("%d: %d, want %d", room, got, want)
		}
	}
	if got := wire.Limit(&hooks.Request{}); got != wire.MaxDecision {
		t.Error(got)
	}
}
