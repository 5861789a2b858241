package secrets

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/penstock/penstock/hooks"
)

// TestReplace: a value changes while requests are on their way; the former ones stay
// recognised.
func TestReplace(t *testing.T) {
	s, err := New([]Secret{
		{Name: "K", Hosts: []string{"a.example"}, Header: "X-Key", Value: NewValue("value-number-0"), Parts: map[string]Value{"client": NewValue("part-number-0")}},
		{Name: "L", Hosts: []string{"a.example"}, Header: "X-Late", Late: true},
		{Name: "Q", Hosts: []string{"a.example"}, Query: "q", Value: NewValue("query value&0")},
		{Name: "J", Hosts: []string{"a.example"}, JSON: "j", Value: NewValue("field-value-0")},
	})
	if err != nil {
		t.Fatal(err)
	}
	to := hooks.Target{Host: "a.example", Port: 443}
	swap := func(header string, i int) (string, []Swapped, error) {
		h := http.Header{header: {s.secrets[i].Placeholder}}
		used, err := s.Swap(h, to, true)
		return h[header][0], used, err
	}
	if _, _, err := swap("X-Late", 1); !errors.As(err, new(*NoValueError)) {
		t.Errorf("a value that has not come yet: %v", err)
	}
	got, used, err := swap("X-Key", 0)
	if err != nil || got != "value-number-0" {
		t.Fatal(got, err)
	}
	// The placeholder stays what it is, whatever the value.
	before := s.Environ()
	for n := 1; n <= remembered; n++ {
		if err := s.Replace("K", NewValue(fmt.Sprintf("value-number-%d", n))); err != nil {
			t.Fatal(err)
		}
	}
	if now := s.Environ(); strings.Join(now, " ") != strings.Join(before, " ") {
		t.Errorf("%v became %v", before, now)
	}
	got, now, err := swap("X-Key", 0)
	if err != nil || got != fmt.Sprintf("value-number-%d", remembered) {
		t.Errorf("%s, %v", got, err)
	}
	for n := range remembered + 1 {
		v := fmt.Sprintf("value-number-%d", n)
		if r := s.Redact("x " + v); strings.Contains(r, v) {
			t.Errorf("not redacted: %s", r)
		}
		if _, err := s.Response(http.Header{"X": {v}}, http.NoBody, now); !errors.As(err, new(*Reflection)) {
			t.Errorf("%s comes back: %v", v, err)
		}
	}
	if err := s.Replace("K", NewValue("value-number-last")); err != nil {
		t.Fatal(err)
	}
	// The first is forgotten, but by the request that it went out with.
	if r := s.Redact("value-number-0"); r != "value-number-0" {
		t.Errorf("remembers more than it says: %s", r)
	}
	body, err := s.Response(http.Header{}, io.NopCloser(strings.NewReader("it was value-number-0")), used)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(body); !errors.As(err, new(*Reflection)) || strings.Contains(string(b), "number-0") {
		t.Errorf("%q, %v", b, err)
	}

	// What can't be used changes nothing.
	for _, bad := range []string{"two\nlines", " leading", strings.Repeat("x", maxValue+1), s.secrets[2].Placeholder} {
		if err := s.Replace("K", NewValue(bad)); err == nil || strings.Contains(err.Error(), bad) {
			t.Errorf("%.20q: %v", bad, err)
		}
	}
	if s.Replace("NONE", NewValue("12345678")) == nil || s.Replace("K.other", NewValue("12345678")) == nil {
		t.Error("a secret that is not there was replaced")
	}
	if got, _, _ := swap("X-Key", 0); got != "value-number-last" {
		t.Error(got)
	}

	// A part is redacted, and never goes out.
	if err := s.Replace("K.client", NewValue("part-number-1")); err != nil {
		t.Fatal(err)
	}
	if r := s.Redact("part-number-0 part-number-1"); strings.Contains(r, "part") {
		t.Error(r)
	}

	// It is donated as it is now.
	d, err := s.Donate().Set()
	if err != nil {
		t.Fatal(err)
	}
	if v, ok := d.Current("K.client"); !ok || !v.Equal(NewValue("part-number-1")) {
		t.Error("the part was not donated")
	}

	// None takes the value away, in every place.
	for _, name := range []string{"K", "Q", "J"} {
		if err := s.Replace(name, Value{}); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := swap("X-Key", 0); !errors.As(err, new(*NoValueError)) {
		t.Error(err)
	}
	if _, _, err := s.SwapQuery("q="+s.secrets[2].Placeholder, to, true); !errors.As(err, new(*NoValueError)) {
		t.Error(err)
	}
	r := &http.Request{Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(`{"j":"` + s.secrets[3].Placeholder + `"}`))}
	if _, err := s.SwapBody(r, to, true); !errors.As(err, new(*NoValueError)) {
		t.Error(err)
	}
	if r := s.Redact("value-number-last query value&0 query+value%260"); strings.Contains(r, "last") || strings.Contains(r, "value") {
		t.Error(r)
	}
}
