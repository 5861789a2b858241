package secrets

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/penstock/penstock/hooks"
)

const real = "sk-ant-api03-REALREALREALREAL-0123456789"

func newSet(t testing.TB) (*Set, string) {
	t.Helper()
	s, err := New([]Secret{
		{Name: "ANTHROPIC_API_KEY", Hosts: []string{"api.anthropic.com", "*.anthropic.example"}, Header: "x-api-key", Value: NewValue(real)},
		{Name: "OPENAI_API_KEY", Hosts: []string{"api.openai.com"}, Header: "Authorization", Value: NewValue("sk-proj-REAL2REAL2REAL2")},
	})
	if err != nil {
		t.Fatal(err)
	}
	return s, s.secrets[0].Placeholder
}

func host(name string) hooks.Target { return hooks.Target{Host: name, Port: 443} }

func TestPlaceholder(t *testing.T) {
	s, ph := newSet(t)
	if !strings.HasPrefix(ph, "sk-ant-api03-"+marker) || strings.Contains(ph, "REAL") {
		t.Errorf("placeholder %q", ph)
	}
	for _, e := range s.Environ() {
		if strings.Contains(e, "REAL") {
			t.Errorf("environment has the value: %q", e)
		}
	}
	seed := []byte("0123456789abcdef")
	a, b := Placeholder(seed, "A", NewValue(real)), Placeholder(seed, "A", NewValue("sk-ant-api03-other-value"))
	if a != b {
		t.Error("the same seed and name gave different placeholders")
	}
	random, again := Placeholder(nil, "A", NewValue(real)), Placeholder(nil, "A", NewValue(real))
	if a == Placeholder(seed, "B", NewValue(real)) || random == again {
		t.Error("placeholders repeat")
	}
}

func TestNewRefuses(t *testing.T) {
	ok := Secret{Name: "K", Hosts: []string{"a.example"}, Header: "X-Key", Value: NewValue("0123456789")}
	for name, change := range map[string]func(*Secret){
		"no name":          func(s *Secret) { s.Name = "" },
		"no host":          func(s *Secret) { s.Hosts = nil },
		"no header":        func(s *Secret) { s.Header = "" },
		"framing header":   func(s *Secret) { s.Header = "host" },
		"empty value":      func(s *Secret) { s.Value = NewValue("") },
		"line break":       func(s *Secret) { s.Value = NewValue("0123456789\r\nX-Evil: 1") },
		"trailing newline": func(s *Secret) { s.Value = NewValue("0123456789\n") },
		"space":            func(s *Secret) { s.Value = NewValue("0123456789 ") },
		"a placeholder":    func(s *Secret) { s.Value = NewValue(Placeholder(nil, "x", Value{})) },
		"bad placeholder":  func(s *Secret) { s.Placeholder = "x" },
	} {
		c := ok
		change(&c)
		_, err := New([]Secret{c})
		if err == nil {
			t.Errorf("%s: no error", name)
		} else if strings.Contains(err.Error(), "0123456789") {
			t.Errorf("%s: the error quotes the value: %v", name, err)
		}
	}
	if _, err := New([]Secret{ok, ok}); err == nil {
		t.Error("declared twice: no error")
	}
}

func TestSwap(t *testing.T) {
	s, ph := newSet(t)
	ph2 := s.secrets[1].Placeholder
	basic := func(u, p string) string { return "Basic " + base64.StdEncoding.EncodeToString([]byte(u+":"+p)) }
	for _, tt := range []struct {
		name, host, header, value string
		clear                     bool
		want                      string // "" = violation
	}{
		{"whole value", "api.anthropic.com", "X-Api-Key", ph, false, real},
		{"wildcard host", "eu.anthropic.example", "X-Api-Key", ph, false, real},
		{"bearer", "api.openai.com", "Authorization", "Bearer " + ph2, false, "Bearer sk-proj-REAL2REAL2REAL2"},
		{"basic password", "api.openai.com", "Authorization", basic("u", ph2), false, basic("u", "sk-proj-REAL2REAL2REAL2")},
		{"basic user", "api.openai.com", "Authorization", basic(ph2, ""), false, basic("sk-proj-REAL2REAL2REAL2", "")},
		{"untouched", "api.openai.com", "Authorization", "Bearer other", false, "Bearer other"},
		{"apex of wildcard", "anthropic.example", "X-Api-Key", ph, false, ""},
		{"look-alike", "evilanthropic.example", "X-Api-Key", ph, false, ""},
		{"other host", "evil.example", "X-Api-Key", ph, false, ""},
		{"other secret's host", "api.openai.com", "X-Api-Key", ph, false, ""},
		{"other header", "api.anthropic.com", "X-Other", ph, false, ""},
		{"other secret's header", "api.openai.com", "Authorization", ph, false, ""},
		{"in clear", "api.anthropic.com", "X-Api-Key", ph, true, ""},
		{"with a tail", "api.anthropic.com", "X-Api-Key", ph + "x", false, ""},
		{"two of them", "api.openai.com", "Authorization", "Bearer " + ph2 + " " + ph2, false, ""},
		{"basic with both", "api.openai.com", "Authorization", basic(ph, ph2), false, ""},
		{"base64 alone", "api.openai.com", "Authorization", "Bearer " + base64.StdEncoding.EncodeToString([]byte(ph2)), false, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := http.Header{tt.header: {tt.value}}
			_, err := s.Swap(h, host(tt.host), !tt.clear)
			var v *Violation
			if tt.want == "" {
				if !errors.As(err, &v) {
					t.Fatalf("no violation: %v", err)
				}
				if strings.Contains(h.Get(tt.header), "REAL") || strings.Contains(err.Error(), "REAL") {
					t.Error("the value got out")
				}
				return
			}
			if err != nil || h.Get(tt.header) != tt.want {
				t.Errorf("got %v", err)
			}
		})
	}
	p, err := New([]Secret{{Name: "K", Hosts: []string{"a.example"}, Header: "authorization", Prefix: "Bearer ", Value: NewValue("0123456789")}})
	if err != nil {
		t.Fatal(err)
	}
	kp := p.secrets[0].Placeholder
	for in, want := range map[string]string{kp: "Bearer 0123456789", "bearer " + kp: "Bearer 0123456789", "Token " + kp: "", basic("u", kp): "", "Bearer  " + kp: ""} {
		h := http.Header{"Authorization": {in}}
		_, err := p.Swap(h, host("a.example"), true)
		if want == "" && err == nil || want != "" && h.Get("Authorization") != want {
			t.Errorf("prefix: %.12q: %v", in, err)
		}
	}
	if _, err := s.Swap(http.Header{"X-Api-Key": {ph}}, hooks.Target{Port: 443}, true); err == nil {
		t.Error("swapped for no host")
	}
}

func TestScan(t *testing.T) {
	s, ph := newSet(t)
	pct := ""
	for i := range len(ph) {
		pct += fmt.Sprintf("%%%02X", ph[i])
	}
	b64 := base64.URLEncoding.EncodeToString
	for _, tt := range []struct {
		name, method, uri string
		h                 http.Header
		host              string
		bad               bool
	}{
		{"declared place", "POST", "/v1/messages", http.Header{"X-Api-Key": {ph}}, "api.anthropic.com", false},
		{"nothing", "GET", "/", http.Header{"Accept": {"*/*"}}, "evil.example", false},
		{"path", "GET", "/" + ph, nil, "api.anthropic.com", true},
		{"query", "GET", "/?k=" + ph, nil, "api.anthropic.com", true},
		{"escaped", "GET", "/?k=" + pct, nil, "api.anthropic.com", true},
		{"base64 at 0", "GET", "/?k=" + b64([]byte(ph)), nil, "evil.example", true},
		{"base64 at 1", "GET", "/?k=" + b64([]byte("x"+ph)), nil, "evil.example", true},
		{"base64 at 2", "GET", "/?k=" + b64([]byte("xy"+ph+"z")), nil, "evil.example", true},
		{"other header", "GET", "/", http.Header{"Cookie": {"a=" + ph}}, "api.anthropic.com", true},
		{"other host", "GET", "/", http.Header{"X-Api-Key": {ph}}, "evil.example", true},
		{"header name", "GET", "/", http.Header{ph: {"1"}}, "api.anthropic.com", true},
		{"method", ph, "/", nil, "api.anthropic.com", true},
		{"trace", "TRACE", "/", http.Header{"X-Api-Key": {ph}}, "api.anthropic.com", true},
		{"host name", "GET", "/", nil, strings.ToLower(coreOf(ph)) + ".evil.example", true},
		{"earlier session", "GET", "/", http.Header{"X-Api-Key": {Placeholder(nil, "x", Value{})}}, "api.anthropic.com", true},
	} {
		err := s.Scan(tt.method, tt.uri, tt.h, host(tt.host))
		if (err != nil) != tt.bad {
			t.Errorf("%s: %v", tt.name, err)
		}
		if err != nil && strings.Contains(err.Error(), coreOf(ph)) {
			t.Errorf("%s: the error quotes the placeholder", tt.name)
		}
	}
}

func TestValueIsNeverPrinted(t *testing.T) {
	s, _ := newSet(t)
	c := s.secrets[0]
	for _, f := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		// The last ones are how a set looks inside another package's struct, where
		// fmt can't call its methods.
		for _, v := range []any{c, &c, c.Value, s, s.Donate(), struct{ set Set }{*s}, struct{ d *Donation }{s.Donate()}, s.secrets, &Renewal{"A", NewValue("REAL")}, struct{ r *Renewal }{&Renewal{"A", NewValue("REAL")}}} {
			if out := fmt.Sprintf(f, v); strings.Contains(out, "REAL") || strings.Contains(out, fmt.Sprintf("%x", "REAL")) {
				t.Errorf("%s prints the value: %s", f, out)
			}
		}
	}
	for _, v := range []any{c, &c, c.Value, map[string]any{"x": c}} {
		if out, err := json.Marshal(v); err == nil {
			t.Errorf("JSON %s", out)
		}
	}
	//lint:ignore SA9005 that nothing of it is encoded is what is tested
	if out, _ := json.Marshal(s); bytes.Contains(out, []byte("REAL")) {
		t.Errorf("JSON %s", out)
	}
	if got := s.Redact("error: header x-api-key: " + real + "!"); strings.Contains(got, real) || !strings.Contains(got, "ANTHROPIC_API_KEY") {
		t.Errorf("Redact: %s", got)
	}
}

func TestDonation(t *testing.T) {
	s, ph := newSet(t)
	doc, err := json.Marshal(s.Donate())
	if err != nil {
		t.Fatal(err)
	}
	var d Donation
	if err := json.Unmarshal(doc, &d); err != nil {
		t.Fatal(err)
	}
	s2, err := d.Set()
	if err != nil {
		t.Fatal(err)
	}
	h := http.Header{"X-Api-Key": {ph}}
	if _, err := s2.Swap(h, host("api.anthropic.com"), true); err != nil || h.Get("X-Api-Key") != real {
		t.Error("the donated set does not know the placeholder")
	}
	var none *Set
	doc, _ = json.Marshal(none.Donate())
	var d0 Donation
	if err := json.Unmarshal(doc, &d0); err != nil {
		t.Fatal(err)
	}
	if s, err := d0.Set(); s != nil || err != nil {
		t.Errorf("empty donation: %v, %v", s, err)
	}
}

func TestBody(t *testing.T) {
	s, ph := newSet(t)
	for lead := range 200 {
		for _, text := range []string{ph, base64.StdEncoding.EncodeToString([]byte("abc" + ph)), base64.StdEncoding.EncodeToString([]byte("a" + ph))} {
			doc := strings.Repeat("-", lead) + text + strings.Repeat("-", 7)
			for _, r := range []io.Reader{strings.NewReader(doc), iotest.OneByteReader(strings.NewReader(doc)), iotest.HalfReader(strings.NewReader(doc)), iotest.DataErrReader(strings.NewReader(doc))} {
				out, err := io.ReadAll(s.scanned(io.NopCloser(r)))
				var v *Violation
				if !errors.As(err, &v) || v.Secret != "ANTHROPIC_API_KEY" {
					t.Fatalf("lead %d: %v", lead, err)
				}
				if bytes.Contains(out, []byte(coreOf(ph))) {
					t.Fatalf("lead %d: the placeholder got through", lead)
				}
			}
		}
	}
	clean := strings.Repeat(marker+"0123456789 ", 1000)
	out, err := io.ReadAll(s.scanned(io.NopCloser(iotest.HalfReader(strings.NewReader(clean)))))
	if err != nil || string(out) != clean {
		t.Errorf("clean body: %v, %d bytes of %d", err, len(out), len(clean))
	}
	var none *Set
	b := io.NopCloser(strings.NewReader("x"))
	if got, deferred := none.Body(b, nil, host("a.example")); got != b || deferred {
		t.Error("no secrets: the body is wrapped")
	}
}

// FuzzBody compares the streaming search with a search of the whole, whatever
// the borders between reads.
func FuzzBody(f *testing.F) {
	seed := []byte("0123456789abcdef")
	ph := Placeholder(seed, "A", NewValue("0123456789"))
	s, err := New([]Secret{{Name: "A", Hosts: []string{"a.example"}, Header: "X", Value: NewValue("0123456789"), Placeholder: ph}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte("hello "+ph), uint8(3), uint8(6))
	f.Add([]byte(base64.StdEncoding.EncodeToString([]byte("x"+ph))), uint8(16), uint8(1))
	f.Add([]byte(ph[:len(ph)-1]), uint8(1), uint8(0))
	f.Add([]byte(marker+marker+ph), uint8(1), uint8(0))
	f.Fuzz(func(t *testing.T, doc []byte, size, at uint8) {
		// Hide one in there: random bytes would never hit it.
		if int(at) < len(doc) && size%2 == 0 {
			doc = append(append(bytes.Clone(doc[:at]), ph...), doc[at:]...)
		}
		whole, _ := s.scan.find(doc)
		r := s.scanned(io.NopCloser(bytes.NewReader(doc)))
		var out []byte
		buf := make([]byte, int(size)+1)
		var err error
		for err == nil {
			var n int
			n, err = r.Read(buf)
			out = append(out, buf[:n]...)
		}
		if (err == io.EOF) != (whole < 0) {
			t.Fatalf("streaming says %v, the whole %d", err, whole)
		}
		if err == io.EOF && !bytes.Equal(out, doc) {
			t.Fatal("the body was changed")
		}
		if !bytes.HasPrefix(doc, out) {
			t.Fatal("what was passed on is not the beginning")
		}
	})
}

// FuzzText compares the search for encoded placeholders with decoding.
func FuzzText(f *testing.F) {
	s, _ := newSet(f)
	f.Add("", "a", "/?k=")
	f.Add("%41", "%4", "+/=")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		_ = s.Scan(a, b, http.Header{c: {a}}, host("x.example"))
		ph := s.secrets[0].Placeholder
		if i, _ := s.find(a + ph + b); i < 0 {
			t.Error("plain not found")
		}
		if i, _ := s.find(base64.StdEncoding.EncodeToString([]byte(a + ph + b))); i < 0 {
			t.Error("base64 not found")
		}
		h := http.Header{"X-Api-Key": {a + ph + b}}
		if _, err := s.Swap(h, host("evil.example"), true); err == nil || strings.Contains(h.Get("X-Api-Key"), real) {
			t.Error("swapped for another host")
		}
	})
}

func BenchmarkBody(b *testing.B) {
	s, _ := newSet(b)
	doc := bytes.Repeat([]byte("The quick brown Penguin jumps over {\"PEN\": 1}, \n"), 1<<20/49)
	buf := make([]byte, 32<<10)
	b.SetBytes(int64(len(doc)))
	for b.Loop() {
		r := s.scanned(io.NopCloser(bytes.NewReader(doc)))
		for {
			if _, err := r.Read(buf); err != nil {
				if err != io.EOF {
					b.Fatal(err)
				}
				break
			}
		}
	}
}

func BenchmarkScanSwap(b *testing.B) {
	s, ph := newSet(b)
	b.ReportAllocs()
	h := http.Header{"Accept": {"*/*"}, "User-Agent": {"claude-cli/2.1.197 (external, cli)"}, "Content-Type": {"application/json"}, "X-Api-Key": {ph}, "Anthropic-Version": {"2023-06-01"}}
	t := host("api.anthropic.com")
	for b.Loop() {
		if err := s.Scan("POST", "/v1/messages?beta=true", h, t); err != nil {
			b.Fatal(err)
		}
		h["X-Api-Key"][0] = ph
		if _, err := s.Swap(h, t, true); err != nil {
			b.Fatal(err)
		}
		h["X-Api-Key"][0] = ph
	}
}
