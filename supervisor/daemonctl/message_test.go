package daemonctl

import (
	"bytes"
	"strings"
	"testing"
)

const goodOpen = `{"op":"open","version":1,"open":{"command":["true"],"workdir":"/w","tier":"bwrap","mode":"enforce","limits":{}}}`

func TestDecode(t *testing.T) {
	for _, good := range []string{
		goodOpen,
		`{"op":"join"}`, `{"op":"verify"}`, `{"op":"status","version":1}`, `{"op":"list","version":1}`, `{"op":"audit","version":1}`,
		`{"op":"network","sockets":["capture4"]}`, `{"op":"end","end":{"exit_code":0}}`, `{"op":"kill","version":1,"session":"x"}`,
		`{"op":"sessions"}`, `{"op":"error","text":"no","hint":"do"}`, `{"op":"ending","text":"killed"}`, `{"op":"ending","text":"gone","failed":true}`,
	} {
		if _, err := Decode([]byte(good)); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{
		``, `{}`, `[]`, `null`, `{"op":""}`, `{"op":"root"}`, `{"op":"join"} {"op":"join"}`, `{"op":"join","x":1}`,
		`{"op":"join","version":1}`, `{"op":"open","version":1}`, `{"op":"status"}`, `{"op":"kill","version":1}`, `{"op":"join","list":[]}`, `{"op":"error","text":"x","failed":true}`, `{"op":"join","text":"x"}`,
		`{"op":"end","end":{"exit_code":256}}`, `{"op":"end","end":{"exit_code":-1}}`, `{"op":"end","end":{"exit_code":0,"reason":"a\nb"}}`,
		`{"op":"network","sockets":["a","a","a","a","a","a","a","a","a","a","a","a","a","a","a","a"]}`, `{"op":"network","sockets":["\u001b[2J"]}`,
		strings.Replace(goodOpen, `["true"]`, `[]`, 1), strings.Replace(goodOpen, `"enforce"`, `"off"`, 1), strings.Replace(goodOpen, `"bwrap"`, `""`, 1),
		strings.Replace(goodOpen, `"bwrap"`, `"a\u0000"`, 1), strings.Replace(goodOpen, `"limits":{}`, `"limits":{"Memory":-1}`, 1),
		strings.Replace(goodOpen, `"limits":{}`, `"limits":{"CPUs":-1}`, 1), strings.Replace(goodOpen, `"limits":{}`, `"limits":{"WriteRate":-1}`, 1), strings.Replace(goodOpen, `"limits":{}`, `"limits":{"Root":1}`, 1),
		"{\"op\":\"kill\",\"version\":1,\"session\":\"\xff\"}", `{"op":"kill","version":1,"session":"` + strings.Repeat("a", 200) + `"}`,
		goodOpen + strings.Repeat(" ", MaxMessage),
	} {
		if m, err := Decode([]byte(bad)); err == nil {
			t.Errorf("%.100s: taken as %+v", bad, m)
		}
	}
}

// FuzzDecode: whatever is taken can be sent on and is the same then.
func FuzzDecode(f *testing.F) {
	f.Add([]byte(goodOpen))
	f.Add([]byte(`{"op":"network","sockets":["capture4"]}`))
	f.Add([]byte(`{"op":"end","end":{"exit_code":3,"reason":"exit"}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := Decode(b)
		if err != nil {
			return
		}
		one, err := m.Encode()
		if err != nil {
			return // escaping made it too long
		}
		again, err := Decode(one)
		if err != nil {
			t.Fatalf("%q became %q: %v", b, one, err)
		}
		if two, err := again.Encode(); err != nil || !bytes.Equal(one, two) {
			t.Fatalf("%q, then %q", one, two)
		}
	})
}
