package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/penstock/penstock/audit"
)

// TestDescribeHooks: a flow's line says which fields of its header hooks have changed.
func TestDescribeHooks(t *testing.T) {
	for text, want := range map[string]string{
		`[{"hook":"tools","decision":"next","set":["X-Tool","X-Trace"],"removed":["User-Agent"]}]`:                     "X-Tool, X-Trace set by hook tools; User-Agent removed by hook tools",
		`[{"hook":"a","decision":"next"},{"hook":"b","decision":"next","removed":["X-A"]},{"hook":"c","set":["X-B"]}]`: "X-A removed by hook b; X-B set by hook c",
		`[{"hook":"a","decision":"deny","reason":"no"}]`:                                                               "",
		`[]`: "",
	} {
		var r audit.Record
		if err := json.Unmarshal([]byte(`{"type":"flow_open","flow":1,"verdict":"allow","method":"GET","host":"a.example","port":443,"protocol":"https","path":"/","rule":"p.yaml:3","hooks":`+text+`}`), &r); err != nil {
			t.Fatal(err)
		}
		_, words := describe(&r)
		got := strings.Join(words, "|")
		if w := "allow|#1|GET|https://a.example/|p.yaml:3"; got != strings.TrimSuffix(w+"|"+want, "|") {
			t.Errorf("%s: %s", text, got)
		}
	}
}
