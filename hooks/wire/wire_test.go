package wire_test

import (
	"testing"

	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/hooks/wire"
)

// FuzzDecision: what is believed is a decision that was made about this question.
func FuzzDecision(f *testing.F) {
	for _, s := range []string{
		`{"version":1,"id":"q","decision":"next"}`, `{"version":1,"id":"q","decision":"deny","reason":"x"}`,
		`{"version":1,"id":"q","decision":"reply","reply":{"status":200,"headers":{"x-a":["b"]},"body":"aGk="}}`,
		`{"version":1,"id":"q","decision":"next","set":{"X-A":"b"},"remove":["x-c"]}`, `{"version":1,"id":"q","decision":"next","set":{"X-A":"b","X-A":"c"}}`,
		`{"version":1,"id":"q","decision":"next","body":"aGk="}`, `{"version":1,"id":"q","decision":"next","body":null}`, `{"version":1,"id":"q","decision":"next","body":[1]}`, `{"version":1,"id":"q","decision":"deny","body":""}`,
		`{"version":1,"id":"q","decision":"route","via":"a"}`, `{"version":1,"id":"q","decision":"ask"}`,
		`{"version":1,"id":"q","decision":"deny","decision":"next"}`, `{"version":1,"ID":"q","decision":"next"}`, `null`, `[]`, `{}`, "", `{"version":1,"id":"q","decision":"next"}{}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		d, err := wire.Decision("q", doc, wire.MaxDecision)
		if err != nil {
			if d.Action != hooks.Deny || d.Answer != nil || d.Change != nil {
				t.Errorf("an error with %+v", d)
			}
			return
		}
		if d.Action == hooks.Allow || d.Action > hooks.Route || (d.Answer != nil) != (d.Action == hooks.Reply) || (d.Via != "") != (d.Action == hooks.Route) || d.Change != nil && d.Action != hooks.Next {
			t.Errorf("%q is believed as %+v", doc, d)
		}
		if _, err := wire.Decision("r", doc, wire.MaxDecision); err == nil {
			t.Errorf("%q answers any question", doc)
		}
	})
}
