package secrets

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/penstock/penstock/hooks"
)

// messagesSet has a secret for the first message, and one for a header.
func messagesSet(t testing.TB) (*Set, string, string) {
	t.Helper()
	s, err := New([]Secret{
		{Name: "WS", Hosts: []string{"api.example", "*.wide.example"}, WebSocket: "payload.token", Value: NewValue(`re&al "v=al\ue" 0123456789`)},
		{Name: "HEADER", Hosts: []string{"api.example"}, Header: "X-Key", Value: NewValue("other-value-0123456789")},
	})
	if err != nil {
		t.Fatal(err)
	}
	// As the proxy gets it.
	doc, err := json.Marshal(s.Donate())
	if err != nil {
		t.Fatal(err)
	}
	var d Donation
	if err := json.Unmarshal(doc, &d); err != nil {
		t.Fatal(err)
	}
	if s, err = d.Set(); err != nil {
		t.Fatal(err)
	}
	return s, s.secrets[0].Placeholder, s.secrets[1].Placeholder
}

func api(host string) hooks.Target { return hooks.Target{Host: host, Port: 443} }

// sent is what leaves of a message.
func sent(m *Messages, text bool, message string) (string, []Swapped, error) {
	doc, rest, used, err := m.Sent(text, strings.NewReader(message))
	if err == nil && rest != nil {
		doc, err = io.ReadAll(rest)
	}
	return string(doc), used, err
}

func TestMessagesSent(t *testing.T) {
	s, ph, other := messagesSet(t)
	const value = `"re&al \"v=al\\ue\" 0123456789"`
	escaped := `\u0050` + strings.TrimPrefix(ph, "P")
	for name, tt := range map[string]struct {
		in, want string // "" for a violation
		uses     int
	}{
		"the field":          {`{"type": "auth", "payload": {"token": "` + ph + `", "x": [1]}}`, `{"type": "auth", "payload": {"token": ` + value + `, "x": [1]}}`, 1},
		"escaped":            {`{"payload":{"token":"` + escaped + `"}}`, `{"payload":{"token":` + value + `}}`, 1},
		"no placeholder":     {`{"payload":{"token":"mine"}}`, `{"payload":{"token":"mine"}}`, 0},
		"no JSON":            {"hello", "hello", 0},
		"empty":              {"", "", 0},
		"another field":      {`{"token": "` + ph + `"}`, "", 0},
		"beside":             {`{"payload": {"token": "` + ph + `"}, "prompt": "` + ph + `"}`, "", 0},
		"a part":             {`{"payload": {"token": "Bearer ` + ph + `"}}`, "", 0},
		"in a list":          {`[{"payload": {"token": "` + ph + `"}}]`, "", 0},
		"no JSON, with it":   {ph, "", 0},
		"base64":             {base64.StdEncoding.EncodeToString([]byte("x" + ph)), "", 0},
		"the other's":        {`{"payload": {"token": "` + other + `"}}`, "", 0},
		"behind the end":     {`{} {"payload": {"token": "` + ph + `"}}`, `{} {"payload": {"token": ` + value + `}}`, 1},
		"long":               {`{"x": "` + strings.Repeat("x", maxJSON) + `"}`, `{"x": "` + strings.Repeat("x", maxJSON) + `"}`, 0},
		"long, with it":      {`{"payload": {"token": "` + ph + `"}, "x": "` + strings.Repeat("x", maxJSON) + `"}`, "", 0},
		"long, with it late": {strings.Repeat("x", maxJSON) + ph, "", 0},
	} {
		m := s.Messages(api("api.example"), true)
		got, used, err := sent(m, true, tt.in)
		var v *Violation
		if bad := tt.want == "" && tt.in != ""; bad != errors.As(err, &v) || !bad && (err != nil || got != tt.want) || len(used) != tt.uses {
			t.Errorf("%s: %.200q %v %v", name, got, used, err)
		}
		// No later message is the place, whatever the first one was.
		if _, _, err := sent(m, true, `{"payload": {"token": "`+ph+`"}}`); !errors.As(err, &v) {
			t.Errorf("%s: a second message: %v", name, err)
		}
	}
	// Binary messages are none of text, and the place is not used up by them.
	m := s.Messages(api("a.wide.example"), true)
	if got, _, err := sent(m, false, "\x00\xff"); err != nil || got != "\x00\xff" {
		t.Errorf("%q, %v", got, err)
	}
	if _, _, err := sent(m, false, `{"payload": {"token": "`+ph+`"}}`); !errors.As(err, new(*Violation)) {
		t.Errorf("binary: %v", err)
	}
	if got, used, err := sent(m, true, `{"payload": {"token": "`+ph+`"}}`); err != nil || len(used) != 1 || got != `{"payload": {"token": `+value+`}}` {
		t.Errorf("%q, %v, %v", got, used, err)
	}
	m = s.Messages(api("api.example"), false)
	if _, _, err := sent(m, true, `{"payload": {"token": "`+ph+`"}}`); err == nil || !strings.Contains(err.Error(), "clear text") {
		t.Errorf("in clear: %v", err)
	}
	if m = s.Messages(api("other.example"), true); m != nil {
		t.Error("messages to another host are read")
	}
	if m = (*Set)(nil).Messages(api("api.example"), true); m != nil {
		t.Error("the nil Set")
	}
	s.secrets[0].Late = true
	for upgrade, want := range map[bool]int{true: 1, false: 0} {
		if got := s.Wanted(nil, "", false, upgrade, nil, api("api.example")); len(got) != want {
			t.Errorf("wanted: %q", got)
		}
	}
	if err := s.Replace("WS", Value{}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := sent(s.Messages(api("api.example"), true), true, `{"payload": {"token": "`+ph+`"}}`); !errors.As(err, new(*NoValueError)) {
		t.Errorf("expired: %v", err)
	}
}

func TestMessagesReceived(t *testing.T) {
	s, ph, other := messagesSet(t)
	const value = `re&al "v=al\ue" 0123456789`
	m := s.Messages(api("api.example"), true)
	for name, tt := range map[string]struct {
		in string
		ok bool
	}{
		"nothing":     {`{"ok": true}`, true},
		"empty":       {"", true},
		"placeholder": {ph + other, true},
		"value":       {`x` + value + `y`, false},
		"in JSON":     {`{"x": "re&al \"v=al\\ue\" 0123456789"}`, false},
		"base64":      {base64.StdEncoding.EncodeToString([]byte("u:" + value)), false},
		"begun":       {`re&al "v=al\ue" 012345678`, true},
	} {
		for cut, r := range map[string]io.Reader{"whole": strings.NewReader(tt.in), "bytes": iotest.OneByteReader(strings.NewReader(tt.in))} {
			got, err := io.ReadAll(m.Received(r))
			if tt.ok && (err != nil || string(got) != tt.in) || !tt.ok && !errors.As(err, new(*Reflection)) || strings.Contains(string(got), value) {
				t.Errorf("%s, %s: %q, %v", name, cut, got, err)
			}
		}
		if err := m.Control(true, []byte(tt.in)); (err == nil) != tt.ok {
			t.Errorf("%s: control frame: %v", name, err)
		}
	}
	if err := m.Control(false, []byte(value)); err != nil {
		t.Error(err)
	}
	if err := m.Control(false, []byte("x"+ph)); !errors.As(err, new(*Violation)) {
		t.Error(err)
	}
}

// FuzzMessage: the value is only in the declared field of what leaves, and no
// placeholder leaves at all.
func FuzzMessage(f *testing.F) {
	s, ph, _ := messagesSet(f)
	f.Add(`{"payload": {"token": "@"}}`, true)
	f.Add(`{"payload": {"token": "@", "token": "@"}, "x": "@"}`, true)
	f.Add("\xff@", false)
	f.Fuzz(func(t *testing.T, in string, text bool) {
		in = strings.ReplaceAll(in, "@", ph)
		got, used, err := sent(s.Messages(api("api.example"), true), text, in)
		if err != nil {
			return
		}
		if strings.Contains(got, ph) || len(used) == 0 && got != in {
			t.Errorf("%q is %q", in, got)
		}
		if len(used) > 0 && (!text || !bytes.Contains([]byte(got), jsonText(`re&al "v=al\ue" 0123456789`))) {
			t.Errorf("%q is %q, with %v", in, got, used)
		}
	})
}
