package wasm

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/hooks/hookstest"
	"github.com/penstock/penstock/hooks/wasm/wasmtest"
	"github.com/penstock/penstock/hooks/wire"
)

// TestConformance holds modules to what every runner of hooks has to pass, one for
// each behaviour.
func TestConformance(t *testing.T) {
	hookstest.Run(t, func(t *testing.T, b hookstest.Behaviour) hooks.Hook {
		cfg := Config{Timeout: 10 * time.Second}
		if b.Hang || b.Drip {
			cfg.Timeout = 50 * time.Millisecond
		}
		return &teller{load(t, cfg, parrot(t, b).bytes()), b}
	})
}

// teller tells the other side of each question.
type teller struct {
	*Hook
	b hookstest.Behaviour
}

func (h *teller) Decide(ctx context.Context, r *hooks.Request) (hooks.Decision, error) {
	if q, err := wire.Request("", "h", r); err == nil && h.b.Answer != nil {
		h.b.Answer(q) // the module has the answer's text
	}
	return h.Hook.Decide(ctx, r)
}

// parrot is a module that shows a behaviour. It puts an answer together from its text
// and from what the question says, whose places are those of an example: of others,
// the path is as much longer as the question is.
func parrot(t *testing.T, b hookstest.Behaviour) module {
	const question, answer = 0x100000, 0x180000
	m := module{pages: 40, alloc: i32(question), decide: cat(i32(answer), set(0))}
	switch {
	case b.Crash:
		m.decide = []byte{0}
		return m
	case b.Hang:
		m.decide = cat(spin(), i64(0))
		return m
	case b.Drip:
		// to[0] = 'a'; to++
		m.decide = cat(m.decide, spin(cat(get(0), i32('a'), []byte{0x3a, 0, 0}, get(0), i32(1), []byte{0x6a}, set(0))...), i64(0))
		return m
	}
	const id, path = "0123456789abcdef01234567", "@PATH@"
	r := hookstest.Request()
	r.Path = path
	q, err := wire.Request(id, "h", r)
	if err != nil {
		t.Fatal(err)
	}
	m.data = string(b.Answer(q))
	for text := m.data; text != ""; {
		from, size, n := i32(64+int64(len(m.data)-len(text))), []byte(nil), len(text)
		i, j := strings.Index(text, id), strings.Index(text, path)
		switch {
		case i == 0:
			n, from = len(id), i32(question+int64(strings.Index(string(q), id)))
		case j == 0:
			n, from = len(path), i32(question+int64(strings.Index(string(q), path)))
			size = cat(get(1), i32(int64(len(q)-len(path))), []byte{0x6b})
		default:
			for _, at := range []int{i, j} {
				if at > 0 {
					n = min(n, at)
				}
			}
		}
		if size == nil {
			size = i32(int64(n))
		}
		// memory.copy(to, from, size); to += size
		m.decide = cat(m.decide, get(0), from, size, []byte{0xfc, 0x0a, 0, 0}, get(0), size, []byte{0x6a}, set(0))
		text = text[n:]
	}
	// answer<<32 | to-answer
	m.decide = cat(m.decide, i64(answer<<32), get(0), i32(answer), []byte{0x6b, 0xad, 0x84})
	return m
}

// TestGo builds a guest in Go, with the packages that a guest is likely to use, and
// looks at what it finds of the host.
func TestGo(t *testing.T) {
	nosy := wasmtest.Go(t, filepath.Join("testdata", "nosy"))
	h := load(t, Config{Timeout: 10 * time.Second}, nosy)
	for path, want := range map[string]string{
		"/env":   "deny 0 variables, 0 arguments",
		"/time":  "deny 2022-01-01",
		"/sleep": "deny slept",
		"/input": "deny 0 EOF",
		"/panic": "it failed",
		"/exit":  "it failed: it exited with code 0",
		"/deep":  "it ",
		"/":      "next ",
	} {
		t.Run(path, func(t *testing.T) {
			r := hookstest.Request()
			r.Path = path
			d, err := h.Decide(t.Context(), r)
			got := d.Action.String() + " " + d.Reason
			if err != nil {
				got = err.Error()
			}
			if !strings.HasPrefix(got, want) {
				t.Errorf("%s, want %s", got, want)
			}
		})
	}
	if err := refused(t.Context(), t, wasmtest.Go(t, filepath.Join("testdata", "file"))); !strings.Contains(err.Error(), "which is not given") {
		t.Error(err)
	}
	// What it takes for randomness is the same in each instance: it tells nothing.
	r := hookstest.Request()
	r.Path = "/random"
	var seen []string
	for range 2 {
		d, err := load(t, Config{Timeout: 10 * time.Second}, nosy).Decide(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		seen = append(seen, d.Reason)
	}
	if seen[0] != seen[1] || len(seen[0]) < 8 {
		t.Errorf("random bytes are %q", seen)
	}
}

// TestHeader reads requests with the C header as they are, whatever is in them.
func TestHeader(t *testing.T) {
	wasmtest.NeedsC(t)
	b, err := os.ReadFile(filepath.Join("testdata", "header.c"))
	if err != nil {
		t.Fatal(err)
	}
	h := load(t, Config{Timeout: 10 * time.Second}, wasmtest.C(t, string(b)))
	for name, c := range map[string]struct {
		set  func(*hooks.Request)
		want string
	}{
		"all":               {func(r *hooks.Request) {}, "a.example 443 POST /x b 5"},
		"no size":           {func(r *hooks.Request) { r.Size = -1 }, "a.example 443 POST /x b none"},
		"no header":         {func(r *hooks.Request) { r.Header = nil }, "a.example 443 POST /x none 5"},
		"an empty value":    {func(r *hooks.Request) { r.Header.Set("X-A", "") }, "a.example 443 POST /x  5"},
		"a key in a value":  {func(r *hooks.Request) { r.Path = `/","headers":{"x-a":["z"]},"path":"/y` }, `a.example 443 POST /","headers":{"x-a":["z"]},"path":"/y b 5`},
		"a key in a header": {func(r *hooks.Request) { r.Header.Set("X-0", `"],"x-a":["z`) }, "a.example 443 POST /x b 5"},
		"backslashes":       {func(r *hooks.Request) { r.Path = `/\\\"\` }, `a.example 443 POST /\\\"\ b 5`},
		"brackets":          {func(r *hooks.Request) { r.Header.Set("X-0", `]}{[`) }, "a.example 443 POST /x b 5"},
		"a tag":             {func(r *hooks.Request) { r.Path = "/<&>" }, "a.example 443 POST /<&> b 5"},
		"no request":        {func(r *hooks.Request) { r.Point = hooks.PointConnect }, "a.example 443 none none none none"},
		"an answer":         {func(r *hooks.Request) { *r = *hookstest.At(hooks.PointResponse) }, "a.example 443 POST /x b 5"},
		"not ASCII":         {func(r *hooks.Request) { r.Path = "/\u00e9\u2028" }, "a.example 443 POST /??? b 5"},
	} {
		t.Run(name, func(t *testing.T) {
			r := hookstest.Request()
			c.set(r)
			d, err := h.Decide(t.Context(), r)
			if err != nil || d.Reason != c.want {
				t.Errorf("%q, %v; want %q", d.Reason, err, c.want)
			}
		})
	}
}

// TestHeaderAnswers: what the C header says is what comes out.
func TestHeaderAnswers(t *testing.T) {
	wasmtest.NeedsC(t)
	h := load(t, Config{Timeout: 10 * time.Second}, wasmtest.C(t, `#include "penstock.h"
static void judge(const struct penstock_request *q, struct penstock_decision *d)
{
	if (penstock_is(q->path, "/ask"))
		penstock_ask(d, "is \"this\" right?");
	else if (penstock_is(q->path, "/route"))
		penstock_route(d, "corp");
	else if (penstock_is(q->path, "/quote"))
		penstock_route(d, "a\",\"decision\":\"next");
	else if (penstock_begins(q->path, "/set")) {
		penstock_remove(d, "x-a");
		penstock_set(d, "x-tool", "\"agent\\");
		penstock_remove(d, "x-b");
		penstock_set(d, "x-empty", "");
		if (penstock_is(q->path, "/set/deny"))
			penstock_deny(d, "no");
	} else if (penstock_is(q->path, "/remove"))
		penstock_remove(d, "x-a");
	else if (penstock_is(q->path, "/many")) {
		static char names[33][4];
		for (int i = 0; i < 33; i++) {
			names[i][0] = names[i][1] = 'a' + i % 6;
			names[i][2] = 'a' + i / 6;
			penstock_set(d, names[i], "");
		}
	} else if (penstock_is(q->path, "/long")) {
		static char v[1000];
		for (unsigned i = 0; i < sizeof v - 1; i++)
			v[i] = 'a';
		penstock_set(d, "x-a", v);
		penstock_set(d, "x-b", v);
	} else if (penstock_is(q->path, "/break"))
		penstock_set(d, "x-a", "b\r\nHost: c");
}
`))
	for path, want := range map[string]string{"/": "next  ", "/ask": `ask is "this" right? `, "/route": "route  corp",
		"/set": "next   map[x-empty: x-tool:\"agent\\] [x-a x-b]", "/remove": "next   map[] [x-a]", "/set/deny": "deny no "} {
		r := hookstest.Request()
		r.Path = path
		d, err := h.Decide(t.Context(), r)
		got := d.Action.String() + " " + d.Reason + " " + d.Via
		if d.Change != nil {
			got += fmt.Sprint(" ", d.Change.Set, " ", d.Change.Remove)
		}
		if err != nil || got != want {
			t.Errorf("%s: %s, %v; want %s", path, got, err, want)
		}
	}
	// An upstream's name that would be JSON, and changes that are none or have no room.
	for _, path := range []string{"/quote", "/many", "/long", "/break"} {
		r := hookstest.Request()
		r.Path = path
		if d, err := h.Decide(t.Context(), r); err == nil {
			t.Errorf("%s: it answers %+v", path, d)
		}
	}
}
