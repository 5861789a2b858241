// Package hookstest is what every runner of hooks has to pass: whatever is on the
// other side, the chain's answer is the one that was given, or a deny.
//
// It is for tests only.
package hookstest

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/hooks/chain"
	"github.com/penstock/penstock/hooks/wire"
)

// Behaviour is what the other side does with a question.
type Behaviour struct {
	// Answer returns the bytes of an answer to a question, both in the form in JSON of
	// package wire; see Protobuf for the other one. Nil: see Crash and Hang.
	Answer func(question []byte) []byte
	Crash  bool // it ends in the middle of an answer
	Hang   bool // it never answers
	Drip   bool // it answers a byte at a time, without end
}

// Start begins the other side with a behaviour and returns the hook that asks it.
type Start func(t *testing.T, b Behaviour) hooks.Hook

// ID returns the id of a question.
func ID(question []byte) string {
	var q struct {
		ID string `json:"id"`
	}
	json.Unmarshal(question, &q) //nolint:errcheck // "" is no id
	return q.ID
}

// says answers with a document, in which ID stands for the question's id.
func says(doc string) Behaviour {
	return Behaviour{Answer: func(q []byte) []byte { return []byte(strings.ReplaceAll(doc, "ID", ID(q))) }}
}

// How long a side has that may not answer, and one whose answer is what is looked at.
const (
	timeout = 300 * time.Millisecond
	patient = 10 * time.Second
)

// Request is the request that hooks are asked about.
func Request() *hooks.Request {
	return &hooks.Request{Session: "s", Flow: 7, Protocol: hooks.ProtocolHTTPS, Target: hooks.Target{Host: "a.example", Port: 443},
		Method: "POST", Path: "/x", Query: "a=\"b\"", Header: http.Header{"X-A": {"b", "c"}, "User-Agent": nil}, Size: 5,
		Process: &hooks.Process{PID: 9, Exe: hooks.Executable{Path: "/bin/\xff", SHA256: "00"}}}
}

// Run holds a runner to every behaviour.
func Run(t *testing.T, start Start) {
	const next = `{"version":1,"id":"ID","decision":"next"}`
	for name, c := range map[string]struct {
		b    Behaviour
		want hooks.Action
		why  string // in the reason of a deny
	}{
		"next":                  {says(next), hooks.Next, ""},
		"next, with blanks":     {says(" " + next + " "), hooks.Next, ""},
		"deny":                  {says(`{"version":1,"id":"ID","decision":"deny","reason":"not today"}`), hooks.Deny, "denied by hook h: not today"},
		"deny, nothing said":    {says(`{"version":1,"id":"ID","decision":"deny"}`), hooks.Deny, "denied by hook h"},
		"ask":                   {says(`{"version":1,"id":"ID","decision":"ask","reason":"is this right?"}`), hooks.Ask, "hook h asks: is this right?"},
		"ask, nothing said":     {says(`{"version":1,"id":"ID","decision":"ask"}`), hooks.Ask, "hook h asks"},
		"ask, an escape":        {says(`{"version":1,"id":"ID","decision":"ask","reason":"\u001b[2J"}`), hooks.Ask, `"\x1b[2J"`},
		"ask with a reply":      {says(`{"version":1,"id":"ID","decision":"ask","reply":{"status":200}}`), hooks.Deny, "failed"},
		"route":                 {says(`{"version":1,"id":"ID","decision":"route","via":"corp_2"}`), hooks.Next, ""},
		"route nowhere":         {says(`{"version":1,"id":"ID","decision":"route"}`), hooks.Deny, "failed"},
		"route, no name":        {says(`{"version":1,"id":"ID","decision":"route","via":"http://x"}`), hooks.Deny, "failed"},
		"next with a via":       {says(`{"version":1,"id":"ID","decision":"next","via":"corp"}`), hooks.Deny, "failed"},
		"two vias":              {says(`{"version":1,"id":"ID","decision":"route","via":"a","via":"b"}`), hooks.Deny, "no decision in"},
		"change":                {says(`{"version":1,"id":"ID","decision":"next","set":{"x-tool":"an \"agent\""},"remove":["x-a","x-none"]}`), hooks.Next, ""},
		"change of nothing":     {says(`{"version":1,"id":"ID","decision":"next","set":{},"remove":["x-none"]}`), hooks.Next, ""},
		"a field set twice":     {says(`{"version":1,"id":"ID","decision":"next","set":{"x-a":"b","x-a":"c"}}`), hooks.Deny, "no decision in"},
		"a field in two cases":  {says(`{"version":1,"id":"ID","decision":"next","set":{"x-a":"b","X-A":"c"}}`), hooks.Deny, "it changed a field in two ways"},
		"set and removed":       {says(`{"version":1,"id":"ID","decision":"next","set":{"x-a":"b"},"remove":["X-A"]}`), hooks.Deny, "it changed a field in two ways"},
		"a line break set":      {says(`{"version":1,"id":"ID","decision":"next","set":{"x-a":"b\r\nHost: c"}}`), hooks.Deny, "no printable ASCII"},
		"the length set":        {says(`{"version":1,"id":"ID","decision":"next","set":{"content-length":"1"}}`), hooks.Deny, "it changed Content-Length"},
		"the host removed":      {says(`{"version":1,"id":"ID","decision":"next","remove":["HOST"]}`), hooks.Deny, "it changed Host"},
		"a credential set":      {says(`{"version":1,"id":"ID","decision":"next","set":{"authorization":"Bearer x"}}`), hooks.Deny, "it set Authorization"},
		"null set":              {says(`{"version":1,"id":"ID","decision":"next","set":null}`), hooks.Deny, "no decision in"},
		"a field set to null":   {says(`{"version":1,"id":"ID","decision":"next","set":{"x-a":null}}`), hooks.Deny, "no decision in"},
		"lists set":             {says(`{"version":1,"id":"ID","decision":"next","set":{"x-a":["b"]}}`), hooks.Deny, "no decision in"},
		"two sets":              {says(`{"version":1,"id":"ID","decision":"next","set":{"x-a":"b"},"set":{"x-a":"b"}}`), hooks.Deny, "no decision in"},
		"deny with a change":    {says(`{"version":1,"id":"ID","decision":"deny","set":{"x-a":"b"}}`), hooks.Deny, "failed"},
		"ask with a change":     {says(`{"version":1,"id":"ID","decision":"ask","remove":["x-a"]}`), hooks.Deny, "failed"},
		"route with a change":   {says(`{"version":1,"id":"ID","decision":"route","via":"corp","set":{"x-a":"b"}}`), hooks.Deny, "failed"},
		"reply":                 {says(`{"version":1,"id":"ID","decision":"reply","reply":{"status":418,"headers":{"x-a":["b"]},"body":"aGk="}}`), hooks.Reply, ""},
		"reply, bad status":     {says(`{"version":1,"id":"ID","decision":"reply","reply":{"status":100}}`), hooks.Deny, "failed"},
		"reply without one":     {says(`{"version":1,"id":"ID","decision":"reply"}`), hooks.Deny, "failed"},
		"next with a reply":     {says(`{"version":1,"id":"ID","decision":"next","reply":{"status":200}}`), hooks.Deny, "failed"},
		"allow":                 {says(`{"version":1,"id":"ID","decision":"allow"}`), hooks.Deny, "a decision that is not known"},
		"no decision":           {says(`{"version":1,"id":"ID"}`), hooks.Deny, "a decision that is not known"},
		"decision in capitals":  {says(`{"version":1,"id":"ID","decision":"NEXT"}`), hooks.Deny, "a decision that is not known"},
		"key in capitals":       {says(`{"version":1,"id":"ID","DECISION":"next"}`), hooks.Deny, "no decision in"},
		"two decisions":         {says(`{"version":1,"id":"ID","decision":"deny","decision":"next"}`), hooks.Deny, "no decision in"},
		"an unknown key":        {says(`{"version":1,"id":"ID","decision":"next","allow":true}`), hooks.Deny, "no decision in"},
		"another version":       {says(`{"version":2,"id":"ID","decision":"next"}`), hooks.Deny, "version 2"},
		"another question's id": {says(`{"version":1,"id":"x","decision":"next"}`), hooks.Deny, "another question"},
		"no id":                 {says(`{"version":1,"decision":"next"}`), hooks.Deny, "another question"},
		"two objects":           {says(next + next), hooks.Deny, "failed"},
		"null":                  {says(`null`), hooks.Deny, "no decision in"},
		"garbage":               {says("\x00\xff\x1b[2J next"), hooks.Deny, "no decision in"},
		"nothing":               {says(""), hooks.Deny, "failed"},
		"half of it":            {says(next[:len(next)/2]), hooks.Deny, "failed"},
		"too much":              {says(`{"version":1,"id":"ID","decision":"next","reason":"` + strings.Repeat("a", wire.MaxDecision) + `"}`), hooks.Deny, "failed"},
		"a terminal's escape":   {says(`{"version":1,"id":"ID","decision":"deny","reason":"\u001b[2J"}`), hooks.Deny, `"\x1b[2J"`},
		"many words":            {says(`{"version":1,"id":"ID","decision":"deny","reason":"` + strings.Repeat("a", 64<<10) + `"}`), hooks.Deny, "aaaa..."},
		"many escapes":          {says(`{"version":1,"id":"ID","decision":"ask","reason":"` + strings.Repeat(`\u0007`, 8<<10) + `"}`), hooks.Ask, `\a\a`},
		"crash":                 {Behaviour{Crash: true}, hooks.Deny, "failed"},
		"hang":                  {Behaviour{Hang: true}, hooks.Deny, "in time"},
		"drip":                  {Behaviour{Drip: true}, hooks.Deny, "failed"},
	} {
		t.Run(name, func(t *testing.T) {
			within := patient
			if c.why == "failed" || c.why == "in time" {
				within = timeout
			}
			d := ask(t, start(t, c.b), within)
			if d.Action != c.want || !strings.Contains(d.Reason, c.why) {
				t.Errorf("%s: %s; want %s: %s", d.Action, d.Reason, c.want, c.why)
			}
			if len(d.Reason) > 2000 {
				t.Errorf("the reason has %d bytes", len(d.Reason))
			}
			for i := range len(d.Reason) {
				if d.Reason[i] < 0x20 || d.Reason[i] > 0x7e {
					t.Errorf("the reason %q is not printable", d.Reason)
				}
			}
			if (d.Via != "") != (name == "route") || name == "route" && d.Via != "corp_2" {
				t.Errorf("routed via %q", d.Via)
			}
			if (d.Change != nil) != (name == "change") || d.Change != nil && (len(d.Change.Set) != 1 || d.Change.Set["X-Tool"] != `an "agent"` || !slices.Equal(d.Change.Remove, []string{"X-A"})) {
				t.Errorf("it changes %+v", d.Change)
			}
			if d.Action == hooks.Reply && (d.Answer.Status != 418 || string(d.Answer.Body) != "hi" || d.Answer.Header.Get("X-A") != "b") {
				t.Errorf("the reply is %+v", d.Answer)
			}
		})
	}
	points(t, start)
	bodies(t, start)
	t.Run("flood", func(t *testing.T) { flood(t, start) })
	t.Run("bytes that text has not", func(t *testing.T) {
		r := Request()
		r.Query = "\xff"
		if d, _ := newChain(t, start(t, says(next)), patient).Request(t.Context(), r); d.Action != hooks.Deny || !strings.Contains(d.Reason, "UTF-8") {
			t.Errorf("%+v", d)
		}
	})
}

func newChain(t *testing.T, h hooks.Hook, within time.Duration) *chain.Chain {
	t.Helper()
	c, err := chain.New([]chain.Entry{{Name: "h", Hook: h, On: all(), Timeout: within, Concurrency: 8}})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func ask(t *testing.T, h hooks.Hook, within time.Duration) hooks.Decision {
	t.Helper()
	d, _ := newChain(t, h, within).Request(t.Context(), Request())
	return d
}

// flood asks from many sides at once: each gets the answer to its own question.
func flood(t *testing.T, start Start) {
	c, err := chain.New([]chain.Entry{{Name: "h", Timeout: 30 * time.Second, Concurrency: 8, Hook: start(t, Behaviour{Answer: func(q []byte) []byte {
		var asked struct {
			ID   string `json:"id"`
			Path string `json:"path"`
		}
		json.Unmarshal(q, &asked) //nolint:errcheck // "" is no path
		out, _ := json.Marshal(map[string]any{"version": 1, "id": asked.ID, "decision": "deny", "reason": asked.Path})
		return out
	}})}})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			r := Request()
			r.Path = "/" + strings.Repeat("x", i)
			if d, _ := c.Request(t.Context(), r); d.Reason != "denied by hook h: "+r.Path {
				t.Errorf("question %d: %s", i, d.Reason)
			}
		})
	}
	wg.Wait()
}
