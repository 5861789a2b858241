package audit

import (
	"encoding/json"
	"testing"
)

// TestActed: what is left of the hooks of a flow, and in which words.
func TestActed(t *testing.T) {
	for _, tt := range []struct{ in, out, text, changes string }{
		{`[]`, `null`, "", ""},
		{`[{"hook":"a","decision":"next","duration_us":7}]`, `null`, "", ""},
		{
			`[{"hook":"a","decision":"next","set":["X-A"]},{"hook":"b","decision":"route","reason":"corp"},{"hook":"a","decision":"next"},{"hook":"b","decision":"route","reason":"corp"}]`,
			`[{"hook":"a","decision":"next","set":["X-A"]},{"hook":"b","decision":"route","reason":"corp"}]`,
			"X-A set by hook a; routed by hook b: corp", "X-A set by hook a",
		},
		// At another point the same word is another one.
		{
			`[{"hook":"a","decision":"deny"},{"hook":"a","point":"response","decision":"deny","reason":"no"}]`,
			`[{"hook":"a","decision":"deny"},{"hook":"a","point":"response","decision":"deny","reason":"no"}]`,
			"denied by hook a at request; denied by hook a at response: no", "",
		},
		{
			`[{"hook":"a","decision":"ask","reason":"is it?"},{"hook":"b","decision":"reply"},{"hook":"c","point":"request_body","decision":"failed","reason":"it panicked"}]`,
			`[{"hook":"a","decision":"ask","reason":"is it?"},{"hook":"b","decision":"reply"},{"hook":"c","point":"request_body","decision":"failed","reason":"it panicked"}]`,
			"left to a person by hook a: is it?; answered by hook b; hook c failed at request_body: it panicked", "",
		},
		{
			`[{"hook":"a","point":"request_body","decision":"next","removed":["X-B","X-C"],"body":{"before":1,"after":0,"sha256":"e3"}}]`,
			`[{"hook":"a","point":"request_body","decision":"next","removed":["X-B","X-C"],"body":{"before":1,"after":0,"sha256":"e3"}}]`,
			"X-B, X-C removed by hook a; body changed by hook a: 1 bytes to 0", "X-B, X-C removed by hook a; body changed by hook a: 1 bytes to 0",
		},
		// A record of somebody who writes otherwise.
		{`[{"hook":"a","decision":"explode"}]`, `[{"hook":"a","decision":"explode"}]`, "hook a explode at request", ""},
	} {
		var list []Asked
		if err := json.Unmarshal([]byte(tt.in), &list); err != nil {
			t.Fatal(err)
		}
		if got, err := json.Marshal(Acted(list)); err != nil || string(got) != tt.out {
			t.Errorf("%s\ngot  %s %v\nwant %s", tt.in, got, err, tt.out)
		}
		if got := ActedText(list); got != tt.text {
			t.Errorf("%s\ngot  %s\nwant %s", tt.in, got, tt.text)
		}
		if got := Changes(list); got != tt.changes {
			t.Errorf("%s\ngot  %s\nwant %s", tt.in, got, tt.changes)
		}
	}
}
