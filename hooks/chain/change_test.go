package chain

import (
	"bufio"
	"bytes"
	"fmt"
	"maps"
	"net/http"
	"net/textproto"
	"slices"
	"strings"
	"testing"

	"github.com/penstock/penstock/hooks"
)

// sets is a hook that changes a request.
func sets(set map[string]string, remove ...string) hooks.Hook {
	return says(hooks.Decision{Action: hooks.Next, Change: &hooks.Change{Set: set, Remove: remove}}, nil)
}

// TestChanges: what hooks make of a header is said once, under the fields' usual names,
// and without what is so already; nobody is preferred, and a deny or an odd field denies.
func TestChanges(t *testing.T) {
	next := says(hooks.Decision{Action: hooks.Next}, nil)
	many := map[string]string{}
	for i := range hooks.MaxChanges {
		many[fmt.Sprintf("x-%d", i)] = ""
	}
	for name, tt := range map[string]struct {
		hooks  []hooks.Hook
		want   hooks.Action
		reason string
		change string
	}{
		"set and removed":   {[]hooks.Hook{next, sets(map[string]string{"x-tool": "a b"}, "a", "x-none")}, hooks.Next, "", "map[X-Tool:a b] [A]"},
		"another value":     {[]hooks.Hook{sets(map[string]string{"A": "c"})}, hooks.Next, "", "map[A:c] []"},
		"so already":        {[]hooks.Hook{sets(map[string]string{"a": "b"}, "x-none")}, hooks.Next, "", ""},
		"nothing":           {[]hooks.Hook{sets(nil)}, hooks.Next, "", ""},
		"two fields":        {[]hooks.Hook{sets(map[string]string{"x-a": "1"}), sets(map[string]string{"x-b": "2"}, "a")}, hooks.Next, "", "map[X-A:1 X-B:2] [A]"},
		"two agree":         {[]hooks.Hook{sets(map[string]string{"x-a": "1"}, "a"), sets(map[string]string{"X-A": "1"}, "A")}, hooks.Next, "", "map[X-A:1] [A]"},
		"two values":        {[]hooks.Hook{sets(map[string]string{"x-a": "1"}), next, sets(map[string]string{"X-A": "2"})}, hooks.Deny, "hook a makes one thing of X-A, and hook c another", ""},
		"set, and removed":  {[]hooks.Hook{sets(map[string]string{"x-a": ""}), sets(nil, "X-A")}, hooks.Deny, "hook a makes one thing of X-A, and hook b another", ""},
		"kept, and set":     {[]hooks.Hook{sets(map[string]string{"a": "b"}), sets(map[string]string{"a": "c"})}, hooks.Deny, "hook a makes one thing of A, and hook b another", ""},
		"and a deny":        {[]hooks.Hook{sets(nil, "a"), says(hooks.Decision{Reason: "no"}, nil)}, hooks.Deny, "denied by hook b: no", ""},
		"and an ask":        {[]hooks.Hook{says(hooks.Decision{Action: hooks.Ask}, nil), sets(nil, "a")}, hooks.Next, "", "map[] [A]"},
		"and a way":         {[]hooks.Hook{says(hooks.Decision{Action: hooks.Route, Via: "corp"}, nil), sets(nil, "a")}, hooks.Next, "", "map[] [A]"},
		"with a deny":       {[]hooks.Hook{says(hooks.Decision{Change: &hooks.Change{Remove: []string{"a"}}}, nil)}, hooks.Deny, "hook a failed", ""},
		"with a way":        {[]hooks.Hook{says(hooks.Decision{Action: hooks.Route, Via: "corp", Change: &hooks.Change{Remove: []string{"a"}}}, nil)}, hooks.Deny, "hook a failed", ""},
		"32 fields":         {[]hooks.Hook{sets(many)}, hooks.Next, "", "x"},
		"33 fields":         {[]hooks.Hook{sets(many, "a")}, hooks.Deny, "more than 32 fields", ""},
		"8 KiB":             {[]hooks.Hook{sets(map[string]string{"x-a": strings.Repeat("v", hooks.MaxChange-3)})}, hooks.Next, "", "x"},
		"more than 8 KiB":   {[]hooks.Hook{sets(map[string]string{"x-a": strings.Repeat("v", hooks.MaxChange-2)})}, hooks.Deny, "or 8 KiB", ""},
		"one twice":         {[]hooks.Hook{sets(nil, "a", "A")}, hooks.Deny, "in two ways", ""},
		"no name":           {[]hooks.Hook{sets(map[string]string{"": "x"})}, hooks.Deny, "letters, digits and hyphens", ""},
		"an underscore":     {[]hooks.Hook{sets(map[string]string{"content_length": "1"})}, hooks.Deny, "letters, digits and hyphens", ""},
		"pseudo":            {[]hooks.Hook{sets(map[string]string{":path": "/x"})}, hooks.Deny, "letters, digits and hyphens", ""},
		"a colon":           {[]hooks.Hook{sets(nil, "a: b\r\nx")}, hooks.Deny, "letters, digits and hyphens", ""},
		"a blank":           {[]hooks.Hook{sets(map[string]string{"x-a": " b"})}, hooks.Deny, "blank", ""},
		"not ASCII":         {[]hooks.Hook{sets(map[string]string{"x-a": "\u00e9"})}, hooks.Deny, "printable", ""},
		"a tab":             {[]hooks.Hook{sets(map[string]string{"x-a": "a\tb"})}, hooks.Deny, "printable", ""},
		"cookies":           {[]hooks.Hook{sets(map[string]string{"cookie": "a=b"})}, hooks.Deny, "it set Cookie, which can only be removed", ""},
		"a login":           {[]hooks.Hook{sets(map[string]string{"proxy-authorization": "x"})}, hooks.Deny, "it set Proxy-Authorization", ""},
		"without a login":   {[]hooks.Hook{sets(nil, "authorization", "cookie", "proxy-authorization", "a")}, hooks.Next, "", "map[] [A]"},
		"a type":            {[]hooks.Hook{sets(map[string]string{"content-type": "a/b"})}, hooks.Deny, "it changed Content-Type, which no hook can", ""},
		"without a coding":  {[]hooks.Hook{sets(nil, "content-encoding")}, hooks.Deny, "it changed Content-Encoding", ""},
		"no more handshake": {[]hooks.Hook{sets(nil, "sec-websocket-key")}, hooks.Deny, "it changed Sec-Websocket-Key", ""},
	} {
		var entries []Entry
		for i, h := range tt.hooks {
			entries = append(entries, Entry{Name: string(rune('a' + i)), Rule: "f:" + string(rune('1'+i)), Hook: h})
		}
		c := newChain(t, entries...)
		before := fmt.Sprint(request.Header)
		d, trace := c.Request(t.Context(), request)
		got := ""
		if d.Change != nil {
			got = fmt.Sprint(d.Change.Set, " ", d.Change.Remove)
		}
		if d.Action != tt.want || !strings.Contains(d.Reason, tt.reason) || got != tt.change && (tt.change != "x" || got == "") || d.Via != "" {
			t.Errorf("%s: %+v changes %s, want %s", name, d, got, tt.change)
		}
		if d.Change != nil && (Changer(trace, "") == "" || c.Rule(Changer(trace, "")) == "") {
			t.Errorf("%s: nobody has changed it: %+v", name, trace)
		}
		if fmt.Sprint(request.Header) != before {
			t.Fatalf("%s: the header is now %v", name, request.Header)
		}
	}
	for _, name := range reserved {
		if d, _ := newChain(t, Entry{Name: "h", Hook: sets(nil, strings.ToLower(name))}).Request(t.Context(), request); d.Action != hooks.Deny {
			t.Errorf("%s can be removed", name)
		}
	}
	for _, at := range hooks.PointNames() {
		p, _ := hooks.PointNamed(at)
		q := *request
		q.Point = p
		d, trace := newChain(t, Entry{Name: "h", Hook: sets(nil, "a"), On: []hooks.Point{p}}).Request(t.Context(), &q)
		if ok := p == hooks.PointRequest; (d.Change != nil) != ok || (trace[0].Decision == "failed") == ok {
			t.Errorf("%s: %+v %+v", at, d, trace)
		}
	}
}

// TestChangeTrace: the trace has the names of what has changed, and no value.
func TestChangeTrace(t *testing.T) {
	_, trace := newChain(t, Entry{Name: "h", Hook: sets(map[string]string{"x-b": "value", "x-a": "value", "a": "b"}, "x-none")}).Request(t.Context(), request)
	if s := fmt.Sprint(*trace[0].Fields); s != "{[X-A X-B] []}" {
		t.Error(s)
	}
	if by := Changer(trace, "X-B") + Changer(trace, "A"); by != "h" {
		t.Error(by)
	}
}

// FuzzChange: a change that is taken is what a receiver of the header reads, and none of
// what frames a message or says where it goes.
func FuzzChange(f *testing.F) {
	for _, s := range []string{"x-a", "Host", "content-length", "x_a", "a:b", "proxy-authorization", "te"} {
		f.Add(s, "value")
		f.Add("x-b", s)
	}
	f.Add("x-a", "b\r\nHost: c")
	f.Add("x-a", " b\t")
	f.Fuzz(func(t *testing.T, name, value string) {
		c, err := changed(&hooks.Request{}, &hooks.Change{Set: map[string]string{name: value}})
		if err != nil {
			return
		}
		var b bytes.Buffer
		h := http.Header{"Host": {"a"}, "Content-Length": {"0"}}
		if err := c.Of(h).Write(&b); err != nil {
			t.Fatal(err)
		}
		b.WriteString("\r\n")
		read, err := textproto.NewReader(bufio.NewReader(&b)).ReadMIMEHeader()
		want := h.Clone()
		want[http.CanonicalHeaderKey(name)] = []string{value}
		if err != nil || !maps.EqualFunc(http.Header(read), want, slices.Equal) {
			t.Errorf("%q: %q is read as %v, %v", name, value, read, err)
		}
		if len(want) != 3 {
			t.Errorf("%q is taken", name)
		}
	})
}
