package chain

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/penstock/penstock/hooks"
)

// maker is a hook that makes another body of each, and remembers what it was asked about.
type maker struct {
	make func(string) string
	seen []string
	room []int64
}

func (m *maker) Prompt() {}

func (m *maker) Decide(_ context.Context, r *hooks.Request) (hooks.Decision, error) {
	m.seen, m.room = append(m.seen, string(r.Body.Data)), append(m.room, r.Body.Room)
	if len(r.Body.Trailer) > 0 {
		m.seen = append(m.seen, "trailers")
	}
	if strings.Contains(string(r.Body.Data), "SECRET") {
		return hooks.Decision{Reason: "it is secret"}, nil
	}
	d := hooks.Decision{Action: hooks.Next}
	if m.make != nil {
		d.Change = &hooks.Change{Body: []byte(m.make(string(r.Body.Data)))}
	}
	return d, nil
}

func replacing(from, to string) func(string) string {
	return func(s string) string { return strings.ReplaceAll(s, from, to) }
}

var changing = hooks.Inspect{Change: true}

// TestChangedBody: each hook gets what the one before has made, decoded and without
// trailers, also where it was compressed, and that is what there is in the end; the hooks
// before it get that as well, and nobody changes it any more.
func TestChangedBody(t *testing.T) {
	for _, encoding := range []string{"", "gzip", "deflate"} {
		sent := packed(t, encoding, []byte("a card, a name"))
		first, second, stream, third := &maker{}, &maker{make: replacing("card", "[c]")}, &maker{}, &maker{make: replacing("name", "[n]")}
		entries := []Entry{{Name: "first", Hook: first}, {Name: "second", Hook: second, Inspect: changing}, {Name: "stream", Hook: stream, Inspect: hooks.Inspect{Stream: true}}, {Name: "third", Hook: third, Inspect: changing}}
		held := &Held{Max: 64 << 20}
		b := inspect(t, bytes.NewReader(sent), encoding, held, entries...)
		if err := b.Begin(); err != nil {
			t.Fatal(encoding, err)
		}
		body, ok := b.Changed()
		if got, err := io.ReadAll(b); !ok || string(body) != "a [c], a [n]" || err != nil || !bytes.Equal(got, body) {
			t.Errorf("%s: %q %q %v", encoding, body, got, err)
		}
		trace := b.Traces()
		if trace[0].Body != nil || trace[1].Body == nil || trace[1].Body.Before != 14 || trace[1].Body.After != 13 || trace[2].Body != nil || trace[3].Body == nil || trace[3].Body.Before != 13 || Rewriter(trace) != "third" {
			t.Errorf("%s: %+v", encoding, trace)
		}
		for name, c := range map[string]struct {
			got  *maker
			want string
			room int64
		}{"first": {first, "a card, a name|trailers", 0}, "second": {second, "a card, a name|trailers", hooks.DefaultBody}, "stream": {stream, "a [c], a name", 0}, "third": {third, "a [c], a name", hooks.DefaultBody}} {
			if got := strings.Join(c.got.seen, "|"); got != c.want || c.got.room[0] != c.room {
				t.Errorf("%s: %s was asked about %q with room for %d", encoding, name, got, c.got.room)
			}
		}

		q := *request
		q.Point = hooks.PointRequestBody
		c := newChain(t, entries...)
		again := c.InspectChanged(t.Context(), &q, bytes.NewReader(body), held)
		if err := again.Begin(); err != nil {
			t.Errorf("%s: %v", encoding, err)
		}
		if _, ok := again.Changed(); ok || first.seen[2] != "a [c], a [n]" || len(stream.seen) < 2 || again.Traces()[1].Body != nil {
			t.Errorf("%s: asked again about %q", encoding, first.seen)
		}
		again.Close()
		second.make = replacing("[c]", "[c] ")
		again = c.InspectChanged(t.Context(), &q, bytes.NewReader(body), held)
		var denied *Denied
		if err := again.Begin(); !errors.As(err, &denied) || denied.Decision.Reason != "hook second failed, which denies: it changed again a body that it was asked about after a change" || again.Traces()[1].Decision != "failed" || again.Traces()[1].Body != nil {
			t.Errorf("%s: %v %+v", encoding, err, again.Traces())
		}
		again.Close()
	}
}

// TestChangedBodyDenied: what a hook makes of a body is nothing if a later one denies that,
// if it is no change, or if there is no room; nothing of either body passes then.
func TestChangedBodyDenied(t *testing.T) {
	for name, c := range map[string]struct {
		inspect hooks.Inspect
		make    func(string) string
		held    int64
		why     string
	}{
		"denied by the next": {changing, replacing("card", "SECRET"), 1 << 20, "denied by hook next: it is secret"},
		"longer than max":    {hooks.Inspect{Change: true, Max: 16}, func(string) string { return strings.Repeat("x", 17) }, 1 << 20, "to more than its max_body"},
		"not allowed":        {hooks.Inspect{}, replacing("card", "c"), 1 << 20, "does not allow"},
		"over":               {hooks.Inspect{Over: true, Max: 4}, replacing("car", "c"), 1 << 20, "where there is none, or only a part"},
		"no room":            {changing, func(string) string { return strings.Repeat("x", 20_000) }, 16 << 10, "too much of bodies"},
	} {
		t.Run(name, func(t *testing.T) {
			held := &Held{Max: c.held}
			b := inspect(t, strings.NewReader("a card"), "", held, Entry{Name: "maker", Hook: &maker{make: c.make}, Inspect: c.inspect}, Entry{Name: "next", Hook: &maker{}})
			begun := b.Begin()
			got, err := io.ReadAll(b)
			var denied *Denied
			if begun == nil || len(got) > 0 || !errors.As(err, &denied) || !strings.Contains(denied.Decision.Reason, c.why) {
				t.Errorf("%q, %v, %v", got, begun, err)
			}
		})
	}
	for _, i := range []hooks.Inspect{{Change: true, Stream: true}, {Change: true, Over: true, Max: 1}, {Change: true, Raw: true}} {
		if _, err := New([]Entry{{Name: "a", Hook: &maker{}, On: []hooks.Point{hooks.PointRequestBody}, Inspect: i}}); err == nil {
			t.Errorf("%+v is taken", i)
		}
	}
}

// TestChangedBodyOfAPart: a part of another body has no other one in its place, and a change
// of a body is nothing but that.
func TestChangedBodyOfAPart(t *testing.T) {
	body := &hooks.Change{Body: []byte("b")}
	for name, tt := range map[string]struct {
		change *hooks.Change
		as     func(*hooks.Request)
		why    string
	}{
		"a body":         {body, func(*hooks.Request) {}, ""},
		"a part is sent": {body, func(r *hooks.Request) { r.Header = http.Header{"Content-Range": {"bytes 0-1/9"}} }, errBodyRange.Error()},
		"206":            {body, func(r *hooks.Request) { r.Response = &hooks.Response{Status: 206} }, errBodyRange.Error()},
		"226":            {body, func(r *hooks.Request) { r.Response = &hooks.Response{Status: 226} }, errBodyRange.Error()},
		"a part comes": {body, func(r *hooks.Request) {
			r.Response = &hooks.Response{Status: 200, Header: http.Header{"Content-Range": {"bytes 0-1/9"}}}
		}, errBodyRange.Error()},
		"the asked range": {body, func(r *hooks.Request) {
			r.Header, r.Response = http.Header{"Content-Range": {"bytes 0-1/9"}}, &hooks.Response{Status: 200}
		}, ""},
		"and a field":  {&hooks.Change{Body: []byte("b"), Set: map[string]string{"X-A": "b"}}, func(*hooks.Request) {}, errChange.Error()},
		"and one less": {&hooks.Change{Body: []byte("b"), Remove: []string{"X-A"}}, func(*hooks.Request) {}, errChange.Error()},
		"a field":      {&hooks.Change{Set: map[string]string{"X-A": "b"}}, func(*hooks.Request) {}, errChange.Error()},
	} {
		q := *request
		q.Point = hooks.PointResponseBody
		tt.as(&q)
		c := newChain(t, Entry{Name: "h", On: []hooks.Point{q.Point}, Inspect: changing, Hook: says(hooks.Decision{Action: hooks.Next, Change: tt.change}, nil)})
		b := c.Inspect(t.Context(), &q, strings.NewReader("a"), "", nil, &Held{Max: 1 << 20})
		err := b.Begin()
		got, _ := io.ReadAll(b)
		b.Close()
		var denied *Denied
		if tt.why == "" && (err != nil || string(got) != "b") || tt.why != "" && (!errors.As(err, &denied) || !strings.Contains(err.Error(), tt.why) || len(got) > 0) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

// TestChangedBodyOwn: the memory of a hook may become something else when it has answered.
func TestChangedBodyOwn(t *testing.T) {
	mine := []byte("mine")
	h := hookFunc(func(context.Context, *hooks.Request) (hooks.Decision, error) {
		return hooks.Decision{Action: hooks.Next, Change: &hooks.Change{Body: mine}}, nil
	})
	b := inspect(t, strings.NewReader("yours"), "", nil, Entry{Hook: h, Inspect: changing})
	if err := b.Begin(); err != nil {
		t.Fatal(err)
	}
	copy(mine, "evil")
	if got, err := io.ReadAll(b); err != nil || string(got) != "mine" {
		t.Errorf("%q, %v", got, err)
	}
}
