package wasm

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/hooks/hookstest"
	"github.com/penstock/penstock/hooks/wasm/wasmtest"
)

// TestHeaderBody: the C header reads the bytes of a body as they are, and what it makes of
// one comes out; what has no room has no answer, whatever is said then.
func TestHeaderBody(t *testing.T) {
	wasmtest.NeedsC(t)
	h := load(t, Config{Timeout: 30 * time.Second}, wasmtest.C(t, `#define PENSTOCK_BODY 70000
#include "penstock.h"
static void judge(const struct penstock_request *q, struct penstock_decision *d)
{
	static char reason[64];
	struct penstock_body b;
	int there = penstock_body(q, &b);
	struct penstock_text message = penstock_more(q, "message");

	if (penstock_is(q->path, "/there"))
		penstock_deny(d, there ? "a body" : "no body");
	else if (penstock_is(q->path, "/about")) {
		reason[0] = '0' + b.offset;
		reason[1] = '0' + b.seen;
		reason[2] = '0' + b.last;
		reason[3] = '0' + b.room;
		reason[4] = b.encoding.at ? b.encoding.at[0] : '-';
		reason[5] = message.at && penstock_has(message, "\"out\"") ? 'o' : '-';
		penstock_deny(d, reason);
	} else if (penstock_is(q->path, "/same"))
		penstock_change_body(d, b.data, b.size);
	else if (penstock_is(q->path, "/upper")) {
		for (size_t i = 0; i < b.size; i++)
			if ('a' <= b.data[i] && b.data[i] <= 'z')
				b.data[i] -= 32;
		penstock_change_body(d, b.data, b.size);
	} else if (penstock_is(q->path, "/twice")) {
		b.data[0] = '?';
		penstock_body(q, &b);
		penstock_change_body(d, b.data, b.size);
	} else if (penstock_is(q->path, "/empty"))
		penstock_change_body(d, b.data, 0);
	else if (penstock_is(q->path, "/deny")) {
		penstock_change_body(d, b.data, b.size);
		penstock_deny(d, "no");
	} else if (penstock_is(q->path, "/more"))
		penstock_change_body(d, b.data, PENSTOCK_BODY + 1);
	else if (penstock_is(q->path, "/nothing"))
		penstock_change_body(d, 0, 1);
	else
		penstock_route(d, "direct");
}
`))
	ask := func(path string, at hooks.Point, body *hooks.Body) string {
		r := hookstest.At(at)
		if r.Path = path; body != nil {
			r.Body = body
		}
		if r.Message != nil {
			r.Message.In = false
		}
		d, err := h.Decide(t.Context(), r)
		switch {
		case err != nil:
			return "failed"
		case d.Change != nil && d.Change.Body != nil:
			return "body " + string(d.Change.Body)
		}
		return strings.TrimSpace(fmt.Sprint(d.Action, " ", d.Reason))
	}
	whole := func(s string) *hooks.Body { return &hooks.Body{Data: []byte(s), Last: true, Room: 9} }
	var all strings.Builder
	for i := range 256 {
		all.WriteByte(byte(i))
	}
	long := strings.Repeat(all.String(), 70000/256)
	// What would be JSON, if it were read where the question is.
	hostile := `"},"message":{"direction":"in"},"id":"x","a":"` + strings.Repeat("b", 100)
	for _, c := range []struct {
		path string
		at   hooks.Point
		body *hooks.Body
		want string
	}{
		{"/there", hooks.PointRequest, nil, "deny no body"}, {"/there", hooks.PointResponseBody, whole(""), "deny a body"},
		{"/about", hooks.PointRequestBody, &hooks.Body{Offset: 3, Seen: 2, Last: false, Encoding: "br"}, "deny 3200b-"},
		{"/about", hooks.PointRequestBody, whole("x"), "deny 0019--"},
		{"/about", hooks.PointWebSocket, &hooks.Body{Data: []byte(hostile), Last: true}, "deny 0010-o"},
		{"/same", hooks.PointRequestBody, whole(""), "body "}, {"/same", hooks.PointRequestBody, whole("a"), "body a"}, {"/same", hooks.PointRequestBody, whole("ab"), "body ab"}, {"/same", hooks.PointRequestBody, whole("abc"), "body abc"},
		{"/same", hooks.PointResponseBody, whole(long), "body " + long}, {"/same", hooks.PointRequestBody, whole(long + "\xff"), "body " + long + "\xff"},
		{"/upper", hooks.PointRequestBody, whole("a Tea"), "body A TEA"}, {"/twice", hooks.PointRequestBody, whole("tea"), "body tea"}, {"/empty", hooks.PointRequestBody, whole("tea"), "body "},
		{"/deny", hooks.PointRequestBody, whole("tea"), "deny no"}, {"/more", hooks.PointRequestBody, whole("tea"), "failed"}, {"/nothing", hooks.PointRequestBody, whole("tea"), "failed"},
		{"/else", hooks.PointRequestBody, whole(strings.Repeat("x", 70000)), "route"}, {"/else", hooks.PointRequestBody, whole(strings.Repeat("x", 70001)), "failed"}, {"/else", hooks.PointRequestBody, whole("again"), "route"},
	} {
		if got := ask(c.path, c.at, c.body); got != c.want {
			t.Errorf("%s at %s: %.80q, want %.80q", c.path, c.at, got, c.want)
		}
	}
}
