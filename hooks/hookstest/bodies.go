package hookstest

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/hooks/chain"
	"github.com/penstock/penstock/hooks/wire"
)

// bodies asks about whole bodies: what the other side makes of one is what passes, or the
// body is denied.
func bodies(t *testing.T, start Start) {
	const body = "a body of some bytes"
	said := func(s string) string {
		return `{"version":1,"id":"ID","decision":"next","body":"` + base64.StdEncoding.EncodeToString([]byte(s)) + `"}`
	}
	may := hooks.Inspect{Change: true, Max: 256 << 10}
	large := strings.Repeat("0123456789abcdef", 16<<10) // longer than any decision but one with a body
	for name, c := range map[string]struct {
		inspect hooks.Inspect
		answer  string
		want    string // that passes
		why     string // in the reason of a deny
	}{
		"another":             {may, said("another \x00\xff"), "another \x00\xff", ""},
		"the same":            {may, said(body), body, ""},
		"nothing":             {may, said(""), "", ""},
		"the longest":         {may, said(large), large, ""},
		"too long":            {may, said(large + "x"), "", "to more than its max_body"},
		"longer than asked":   {hooks.Inspect{Change: true, Max: 32}, said(strings.Repeat("x", 33)), "", "to more than its max_body"},
		"far too long":        {hooks.Inspect{Change: true, Max: 32}, said(strings.Repeat("x", wire.MaxDecision+64)), "", "its answer has more than"},
		"not allowed":         {hooks.Inspect{}, said("another"), "", "does not allow (change: body)"},
		"not allowed, same":   {hooks.Inspect{}, said(body), "", "does not allow (change: body)"},
		"not allowed, long":   {hooks.Inspect{}, said(large), "", "its answer has more than"},
		"of a stream":         {hooks.Inspect{Stream: true}, said("another"), "", "where there is none, or only a part"},
		"no base64":           {may, `{"version":1,"id":"ID","decision":"next","body":"a body!!"}`, "", "no decision in"},
		"half of base64":      {may, `{"version":1,"id":"ID","decision":"next","body":"YWJ"}`, "", "no decision in"},
		"null":                {may, `{"version":1,"id":"ID","decision":"next","body":null}`, "", "no decision in"},
		"numbers":             {may, `{"version":1,"id":"ID","decision":"next","body":[97,98]}`, "", "no decision in"},
		"an object":           {may, `{"version":1,"id":"ID","decision":"next","body":{}}`, "", "no decision in"},
		"two":                 {may, `{"version":1,"id":"ID","decision":"next","body":"YWJj","body":"YWJk"}`, "", "no decision in"},
		"in capitals":         {may, `{"version":1,"id":"ID","decision":"next","Body":"YWJj"}`, "", "no decision in"},
		"with a field":        {may, `{"version":1,"id":"ID","decision":"next","body":"YWJj","set":{"x-a":"b"}}`, "", "changed a request where that can't be"},
		"with a field less":   {may, `{"version":1,"id":"ID","decision":"next","body":"YWJj","remove":["x-a"]}`, "", "changed a request where that can't be"},
		"a field, no body":    {may, `{"version":1,"id":"ID","decision":"next","set":{"x-a":"b"}}`, "", "changed a request where that can't be"},
		"with a deny":         {may, `{"version":1,"id":"ID","decision":"deny","body":"YWJj"}`, "", "does not go with the decision"},
		"with a route":        {may, `{"version":1,"id":"ID","decision":"route","via":"a","body":"YWJj"}`, "", "does not go with the decision"},
		"with a reply":        {may, `{"version":1,"id":"ID","decision":"reply","reply":{"status":200},"body":"YWJj"}`, "", "does not go with the decision"},
		"to another question": {may, `{"version":1,"id":"x","decision":"next","body":"YWJj"}`, "", "another question"},
	} {
		for _, p := range []hooks.Point{hooks.PointRequestBody, hooks.PointResponseBody} {
			t.Run("body: "+name+" at "+p.String(), func(t *testing.T) {
				pass(t, start(t, says(c.answer)), p, c.inspect, At(p), body, c.want, c.why)
			})
		}
	}
	t.Run("body: of a range", func(t *testing.T) {
		r := At(hooks.PointResponseBody)
		r.Response.Status = http.StatusPartialContent
		pass(t, start(t, says(said("another"))), r.Point, may, r, body, "", "a range")
		r = At(hooks.PointRequestBody)
		r.Header.Set("Content-Range", "bytes 0-3/8")
		pass(t, start(t, says(said("another"))), r.Point, may, r, body, "", "a range")
	})
	t.Run("body: of a message", func(t *testing.T) {
		pass(t, start(t, says(said("another"))), hooks.PointWebSocket, may, At(hooks.PointWebSocket), body, "", "where there is none")
	})
	t.Run("body: at another point", func(t *testing.T) {
		for _, p := range all() {
			d, trace := newChain(t, start(t, says(said("another"))), patient).Request(t.Context(), At(p))
			if len(trace) != 1 || d.Action != hooks.Deny && p != hooks.PointSessionEnd || d.Change != nil || trace[0].Decision != "failed" {
				t.Errorf("%s: %+v %+v", p, d, trace)
			}
		}
	})
}

// pass asks about a body and looks at what passes.
func pass(t *testing.T, h hooks.Hook, p hooks.Point, i hooks.Inspect, r *hooks.Request, body, want, why string) {
	t.Helper()
	c, err := chain.New([]chain.Entry{{Name: "h", Hook: h, On: []hooks.Point{p}, Inspect: i, Timeout: patient}})
	if err != nil {
		t.Fatal(err)
	}
	held := &chain.Held{Max: 4 << 20}
	b := c.Inspect(t.Context(), r, strings.NewReader(body), "", nil, held)
	begun := b.Begin()
	got, err := io.ReadAll(b)
	made, changed := b.Changed()
	var denied *chain.Denied
	switch trace := b.Traces(); {
	case why != "":
		if !errors.As(err, &denied) || !i.Stream && begun == nil || !strings.Contains(denied.Decision.Reason, why) || len(got) > 0 || changed || len(trace) != 1 || trace[0].Body != nil {
			t.Errorf("%.100q passes, %v, %v, %+v", got, err, changed, trace)
		}
	case err != nil || string(got) != want || changed != (want != body) || changed && !bytes.Equal(made, got):
		t.Errorf("%.100q passes, %v, changed %t", got, err, changed)
	case len(trace) != 1 || (trace[0].Body != nil) != changed || changed && (trace[0].Body.Before != int64(len(body)) || trace[0].Body.After != int64(len(want)) || len(trace[0].Body.SHA256) != 64):
		t.Errorf("recorded %+v", trace)
	}
	if b.Close(); held.Held() != 0 {
		t.Errorf("%d bytes are held", held.Held())
	}
}
