package hookstest

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/penstock/penstock/hooks"
)

// At returns the request that hooks are asked about at a point.
func At(p hooks.Point) *hooks.Request {
	r := Request()
	r.Point = p
	if p.Answered() {
		r.Response = &hooks.Response{Status: 404, Header: http.Header{"X-B": {"c"}}, Size: 7}
	}
	if p.Bodied() {
		r.Body = &hooks.Body{Data: []byte("abc\xff"), Offset: 8, Seen: 2, Last: true, Trailer: http.Header{"X-T": {"d"}}}
	}
	if p.Spoken() {
		r.Message = &hooks.Message{In: true, Binary: true}
	}
	if p.Called() {
		r.Tool = &hooks.Tool{Name: "search", Arguments: []byte(`{"q": ["<a>", 1.0]}`)}
	}
	if p.Sessional() {
		r = &hooks.Request{Session: "s", Point: p, Run: &hooks.Run{Command: []string{"a", "b"}, Dir: "/d", User: "u", Tier: "t", Mode: "enforce"}}
		if p == hooks.PointSessionEnd {
			r.Run.End = &hooks.End{ExitCode: 3, Reason: "exit", Duration: 1}
		}
	}
	if p.Named() {
		r = &hooks.Request{Session: "s", Target: hooks.Target{Host: "a.example"}, Point: p, Lookup: &hooks.Lookup{Type: "A", Rule: "p.yaml:3"}}
	}
	if p == hooks.PointConnect {
		r.Protocol, r.Method, r.Path, r.Query, r.Header, r.Size = hooks.ProtocolTCP, "", "", "", nil, 0
	}
	return r
}

// all are the points.
func all() (out []hooks.Point) {
	for _, name := range hooks.PointNames() {
		p, _ := hooks.PointNamed(name)
		out = append(out, p)
	}
	return out
}

// points asks at each point: the other side is told which it is and what is there,
// and nothing that it says means more than it does there.
func points(t *testing.T, start Start) {
	for _, p := range all() {
		for name, c := range map[string]struct {
			answer string
			want   hooks.Action
		}{
			"next":                  {`{"version":1,"id":"ID","decision":"next"}`, hooks.Next},
			"deny":                  {`{"version":1,"id":"ID","decision":"deny"}`, hooks.Deny},
			"reply":                 {`{"version":1,"id":"ID","decision":"reply","reply":{"status":418}}`, map[bool]hooks.Action{true: hooks.Reply}[p.Replies()]},
			"ask":                   {`{"version":1,"id":"ID","decision":"ask"}`, map[bool]hooks.Action{true: hooks.Ask}[p == hooks.PointRequest || p == hooks.PointConnect || p == hooks.PointToolCall]},
			"route":                 {`{"version":1,"id":"ID","decision":"route","via":"direct"}`, map[bool]hooks.Action{true: hooks.Next}[p == hooks.PointRequest || p == hooks.PointConnect || p == hooks.PointToolCall]},
			"change":                {`{"version":1,"id":"ID","decision":"next","set":{"x-tool":"a"}}`, map[bool]hooks.Action{true: hooks.Next}[p == hooks.PointRequest]},
			"another question's id": {`{"version":1,"id":"x","decision":"next"}`, hooks.Deny},
			"another point":         {`{"version":1,"id":"ID","decision":"next","point":"request"}`, hooks.Deny},
		} {
			t.Run(p.String()+": "+name, func(t *testing.T) {
				asked := make(chan []byte, 1) // the last question
				d, trace := newChain(t, start(t, Behaviour{Answer: func(q []byte) []byte {
					select {
					case <-asked:
					default:
					}
					asked <- q
					return []byte(strings.ReplaceAll(c.answer, "ID", ID(q)))
				}}), patient).Request(t.Context(), At(p))
				if want := c.want; p == hooks.PointSessionEnd {
					if d.Action != hooks.Next || len(trace) != 1 || want == hooks.Next != (trace[0].Decision == "next") {
						t.Errorf("%+v %+v", d, trace)
					}
				} else if d.Action != want || len(trace) != 1 || trace[0].Point != p {
					t.Errorf("%+v %+v", d, trace)
				}
				var q struct {
					Point, Path, Host, Protocol string

					Port     int
					Headers  map[string][]string
					Response *struct {
						Status  int
						Headers map[string][]string
						Size    int
					}
					Body *struct {
						Data         []byte
						Offset, Seen int
						Last         bool
						Trailers     map[string][]string
					}
					Message *struct{ Direction, Type string }
					Tool    *struct {
						Name      string
						Arguments struct{ Q []any }
					}
					Lookup *struct{ Type, Rule string }
					Run    *struct {
						Command []string
						End     *struct {
							Exit int `json:"exit_code"`
						}
					}
				}
				if err := json.Unmarshal(<-asked, &q); err != nil || q.Point != p.String() {
					t.Errorf("asked %+v, %v", q, err)
				}
				if (q.Path != "") != p.Web() || (q.Headers != nil) != p.Web() {
					t.Errorf("told of a request %+v", q)
				}
				if r := q.Response; (r != nil) != p.Answered() || r != nil && (r.Status != 404 || r.Size != 7 || len(r.Headers["x-b"]) != 1) {
					t.Errorf("told of the answer %+v", r)
				}
				if b := q.Body; (b != nil) != p.Bodied() || b != nil && (string(b.Data) != "abc\xff" || b.Offset != 8 || b.Seen != 2 || !b.Last || len(b.Trailers["x-t"]) != 1) {
					t.Errorf("told of the body %+v", b)
				}
				if m := q.Message; (m != nil) != p.Spoken() || m != nil && (m.Direction != "in" || m.Type != "binary") {
					t.Errorf("told of the message %+v", m)
				}
				if l := q.Tool; (l != nil) != p.Called() || l != nil && (l.Name != "search" || len(l.Arguments.Q) != 2 || l.Arguments.Q[0] != "<a>") {
					t.Errorf("told of the tool %+v", l)
				}
				if l := q.Lookup; (l != nil) != p.Named() || l != nil && (l.Type != "A" || l.Rule != "p.yaml:3" || q.Host != "a.example" || q.Port != 0 || q.Protocol != "") {
					t.Errorf("told of the name %+v %+v", q, l)
				}
				if r := q.Run; (r != nil) != p.Sessional() || r != nil && (len(r.Command) != 2 || (r.End != nil) != (p == hooks.PointSessionEnd) || r.End != nil && r.End.Exit != 3) {
					t.Errorf("told of the session %+v", r)
				}
			})
		}
	}
}
