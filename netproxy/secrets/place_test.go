package secrets

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/penstock/penstock/policy"
)

const odd = `re&al "v=al\ue" 0123456789` // needs escapes in a query and in JSON

// placesSet has one secret for each kind of place.
func placesSet(t testing.TB) (*Set, map[string]string) {
	t.Helper()
	at := []string{"api.example", "*.wide.example"}
	list := []Secret{
		{Name: "BASIC", Hosts: at, Header: "Authorization", Basic: true, User: "bot", Value: NewValue("p4ss:word-0123")},
		{Name: "QUERY", Hosts: at, Query: "api key", Value: NewValue(odd)},
		{Name: "FIELD", Hosts: at, JSON: "client_secret", Value: NewValue(odd)},
		{Name: "DEEP", Hosts: at, JSON: "auth.key", Value: NewValue("deep-0123456789")},
		{Name: "NEAR", Hosts: []string{"git.wide.example"}, Query: "api key", Value: NewValue("near-0123456789")},
	}
	ph := map[string]string{}
	for i := range list {
		list[i].Placeholder = Placeholder([]byte("0123456789abcdef"), list[i].Name, list[i].Value)
		ph[list[i].Name] = list[i].Placeholder
	}
	s, err := New(list)
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(s.Donate())
	if err != nil {
		t.Fatal(err)
	}
	var d Donation
	if err := json.Unmarshal(b, &d); err != nil {
		t.Fatal(err)
	}
	if s, err = d.Set(); err != nil { // all of it travels
		t.Fatal(err)
	}
	return s, ph
}

func TestPlaceQuery(t *testing.T) {
	s, ph := placesSet(t)
	q, near := ph["QUERY"], ph["NEAR"]
	for name, c := range map[string]struct{ host, in, want string }{ // "" = violation
		"alone":          {"api.example", "api+key=" + q, "api+key=re%26al+%22v%3Dal%5Cue%22+0123456789"},
		"among others":   {"api.example", "a=1&api%20key=" + q + "&&b", "a=1&api%20key=re%26al+%22v%3Dal%5Cue%22+0123456789&&b"},
		"escaped":        {"api.example", "api+key=%50" + q[1:], "api+key=re%26al+%22v%3Dal%5Cue%22+0123456789"},
		"nothing":        {"api.example", "api+key=x&%zz", "api+key=x&%zz"},
		"another name":   {"api.example", "key=" + q, ""},
		"with a tail":    {"api.example", "api+key=" + q + "x", ""},
		"as a name":      {"api.example", q + "=x", ""},
		"another host":   {"evil.example", "api+key=" + q, ""},
		"semicolon":      {"api.example", "a;api+key=" + q, ""},
		"base64":         {"api.example", "api+key=" + base64.StdEncoding.EncodeToString([]byte(q)), ""},
		"beside":         {"api.example", "api+key=" + q + "&x=" + q, ""},
		"other secret":   {"api.example", "api+key=" + ph["FIELD"], ""},
		"wide":           {"a.wide.example", "api+key=" + q, "api+key=re%26al+%22v%3Dal%5Cue%22+0123456789"},
		"nearer":         {"git.wide.example", "api+key=" + near, "api+key=near-0123456789"},
		"less near":      {"git.wide.example", "api+key=" + q, ""},
		"nearer, others": {"a.wide.example", "api+key=" + near, ""},
	} {
		err := s.Scan("GET", "/x?"+c.in, nil, host(c.host))
		if (err != nil) != (c.want == "") {
			t.Errorf("%s: %v", name, err)
		}
		if c.want == "" {
			continue
		}
		got, used, err := s.SwapQuery(c.in, host(c.host), true)
		if err != nil || got != c.want || (len(used) > 0) != (got != c.in) {
			t.Errorf("%s: %s %v %v", name, got, used, err)
		}
	}
	if _, _, err := s.SwapQuery("api+key="+q, host("api.example"), false); err == nil {
		t.Error("in clear text")
	}
	if err := s.Scan("GET", "/"+q+"?x", nil, host("api.example")); err == nil {
		t.Error("in the path")
	}
	if got := s.Redact("GET /?k=re%26al+%22v%3Dal%5Cue%22+0123456789"); strings.Contains(got, "re%26al") {
		t.Error("the escaped value is not redacted")
	}
}

func TestPlaceBasic(t *testing.T) {
	s, ph := placesSet(t)
	basic := func(u, p string) string { return "Basic " + base64.StdEncoding.EncodeToString([]byte(u+":"+p)) }
	for in, ok := range map[string]bool{
		basic("bot", ph["BASIC"]): true, "basic" + basic("bot", ph["BASIC"])[5:]: true,
		basic("evil", ph["BASIC"]): false, basic(ph["BASIC"], ""): false, basic("bot", ph["BASIC"]+"x"): false, "Bearer " + ph["BASIC"]: false, ph["BASIC"]: false,
	} {
		h := http.Header{"Authorization": {in}}
		_, err := s.Swap(h, host("api.example"), true)
		if ok != (err == nil) || ok && h.Get("Authorization") != basic("bot", "p4ss:word-0123") {
			t.Errorf("%q: %v %v", in, h, err)
		}
	}
	pin := &policy.Pin{Secret: "BASIC"}
	h := http.Header{}
	if err := s.Pinned(pin, h, nil, "", host("api.example"), true); err != nil {
		t.Fatal(err)
	}
	if s.Inject(pin, h, nil); h.Get("Authorization") != basic("bot", "p4ss:word-0123") {
		t.Error("not put in")
	}
	if err := s.Pinned(pin, http.Header{"Authorization": {basic("evil", ph["BASIC"])}}, nil, "", host("api.example"), true); err == nil {
		t.Error("another user with our password")
	}
}

func swapBody(s *Set, doc, to, contentType string) (string, []Swapped, error) {
	h := http.Header{"Content-Type": {contentType}}
	body, deferred := s.Body(io.NopCloser(strings.NewReader(doc)), h, host(to))
	r := &http.Request{Header: h, Body: body, ContentLength: int64(len(doc))}
	var used []Swapped
	if deferred {
		var err error
		if used, err = s.SwapBody(r, host(to), true); err != nil {
			return "", nil, err
		}
	}
	b, err := io.ReadAll(r.Body)
	if err != nil {
		return "", nil, err
	}
	if r.ContentLength != int64(len(b)) {
		return "", nil, errors.New("the length is wrong")
	}
	return string(b), used, nil
}

func TestPlaceJSON(t *testing.T) {
	s, ph := placesSet(t)
	f, deep := ph["FIELD"], ph["DEEP"]
	value := string(jsonText(odd))
	const kind = "application/json; charset=utf-8"
	for name, c := range map[string]struct{ host, kind, in, want string }{ // "" = violation
		"field":           {"api.example", kind, ` {"a": [1,{}], "client_secret" : "` + f + `", "b":"é"}`, ` {"a": [1,{}], "client_secret" : ` + value + `, "b":"é"}`},
		"in an object":    {"api.example", kind, `{"x":{"y":1},"auth":{"z":[],"key":"` + deep + `"}}`, `{"x":{"y":1},"auth":{"z":[],"key":"deep-0123456789"}}`},
		"both":            {"api.example", "application/vnd.x+json", `{"auth":{"key":"` + deep + `"},"client_secret":"` + f + `"}`, `{"auth":{"key":"deep-0123456789"},"client_secret":` + value + `}`},
		"escaped":         {"api.example", kind, `{"client_\u0073ecret":"\u0050` + f[1:] + `"}`, `{"client_\u0073ecret":` + value + `}`},
		"nothing":         {"api.example", kind, `{"client_secret":"x"}`, `{"client_secret":"x"}`},
		"no JSON":         {"api.example", kind, `{"client_secret":`, `{"client_secret":`},
		"another field":   {"api.example", kind, `{"prompt":"` + f + `"}`, ""},
		"also elsewhere":  {"api.example", kind, `{"client_secret":"` + f + `","x":"` + f + `"}`, ""},
		"deeper":          {"api.example", kind, `{"x":{"client_secret":"` + f + `"}}`, ""},
		"in a list":       {"api.example", kind, `[{"client_secret":"` + f + `"}]`, ""},
		"less deep":       {"api.example", kind, `{"key":"` + deep + `"}`, ""},
		"through a list":  {"api.example", kind, `{"auth":[{"key":"` + deep + `"}]}`, ""},
		"as a key":        {"api.example", kind, `{"` + f + `":"client_secret"}`, ""},
		"with a tail":     {"api.example", kind, `{"client_secret":"` + f + `x"}`, ""},
		"after bad JSON":  {"api.example", kind, `{,"client_secret":"` + f + `"}`, ""},
		"too long":        {"api.example", kind, `{"x":"` + strings.Repeat("x", maxJSON) + `","client_secret":"` + f + `"}`, ""},
		"too deep":        {"api.example", kind, strings.Repeat("[", 1000) + `{"client_secret":"` + f + `"}`, ""},
		"another host":    {"evil.example", kind, `{"client_secret":"` + f + `"}`, ""},
		"no content type": {"api.example", "text/plain", `{"client_secret":"` + f + `"}`, ""},
		"a second secret": {"api.example", kind, `{"client_secret":"` + deep + `"}`, ""},
	} {
		got, used, err := swapBody(s, c.in, c.host, c.kind)
		var v *Violation
		if c.want == "" != errors.As(err, &v) || got != c.want || err == nil && (len(used) > 0) != (got != c.in) {
			t.Errorf("%s: %.200s %v %v", name, got, used, err)
		}
	}
	long := `{"x":"` + strings.Repeat("x", 2*maxJSON) + `"}`
	if got, _, err := swapBody(s, long, "api.example", kind); err != nil || got != long {
		t.Errorf("a long body: %d bytes, %v", len(got), err)
	}
	if _, err := s.SwapBody(&http.Request{Body: io.NopCloser(strings.NewReader(`{"client_secret":"` + f + `"}`))}, host("api.example"), false); err == nil {
		t.Error("in clear text")
	}
}

// FuzzJSON: the value comes out only as the declared field's value, and the
// document says the same otherwise.
func FuzzJSON(f *testing.F) {
	s, ph := placesSet(f)
	f.Add(`{"client_secret":"PH","a":[{"client_secret":"x"}]}`)
	f.Add(`{"auth":{"key":"PH"},"client_secret":"\u0050H"}`)
	f.Add(`[{"a":1}] {"client_secret":"PH"}`)
	f.Add(`{"client_secret":"PH"`)
	f.Fuzz(func(t *testing.T, doc string) {
		doc = strings.ReplaceAll(doc, "PH", ph["FIELD"])
		out, used, err := swapBody(s, doc, "api.example", "application/json")
		if err != nil {
			return
		}
		if strings.Contains(out, marker) {
			t.Errorf("a placeholder got through: %s", out)
		}
		if len(used) == 0 && out != doc {
			t.Errorf("changed: %s", out)
		}
		var before, after any
		if json.Unmarshal([]byte(doc), &before) != nil {
			return
		}
		if err := json.Unmarshal([]byte(out), &after); err != nil {
			t.Fatalf("%s is no JSON: %v", out, err)
		}
		if o, ok := before.(map[string]any); ok && o["client_secret"] == ph["FIELD"] {
			o["client_secret"] = odd
		}
		a, _ := json.Marshal(before)
		b, _ := json.Marshal(after)
		if string(a) != string(b) && strings.Count(doc, "client_") < 2 { // of several fields of one name Unmarshal takes the last
			t.Errorf("%s became %s", doc, out)
		}
	})
}
