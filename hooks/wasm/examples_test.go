package wasm

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/hooks/hookstest"
	"github.com/penstock/penstock/hooks/wasm/wasmtest"
)

// example builds an example in C.
func example(t *testing.T, name string, defines ...string) []byte {
	t.Helper()
	wasmtest.NeedsC(t)
	b, err := os.ReadFile(filepath.Join(wasmtest.Root(t), "examples", "hooks", name))
	if err != nil {
		t.Fatal(err)
	}
	var head strings.Builder
	for _, d := range defines {
		head.WriteString("#define " + d + "\n")
	}
	return wasmtest.C(t, head.String()+string(b))
}

// TestExampleSecrets: a token goes to its issuer, a placeholder anywhere.
func TestExampleSecrets(t *testing.T) {
	h := load(t, Config{Timeout: 10 * time.Second}, example(t, "secrets.c"))
	// Put together here, so that nobody who looks for tokens finds one.
	of := func(prefix string, n int) string { return prefix + strings.Repeat("a1B2c3D4", 20)[:n] }
	github, aws, anthropic := of("ghp"+"_", 36), "AKIA"+strings.Repeat("A2", 8), of("sk-ant-"+"api03-", 80)
	for name, c := range map[string]struct {
		host, path, query, header, want string
	}{
		"nothing":             {"a.example", "/a", "b=c", "Bearer abc", ""},
		"in the query":        {"a.example", "/", "t=" + github, "", "a token of GitHub"},
		"in the path":         {"a.example", "/x/" + aws + "/y", "", "", "an access key of AWS"},
		"in a field":          {"a.example", "/", "", "Bearer " + anthropic, "a key of Anthropic"},
		"behind a quote":      {"a.example", "/", "", `x="` + anthropic + `"`, "a key of Anthropic"},
		"at home":             {"api.github.com", "/", "t=" + github, "", ""},
		"home itself":         {"github.com", "/", "t=" + github, "", ""},
		"nearly at home":      {"evilgithub.com", "/", "t=" + github, "", "a token of GitHub"},
		"home of another":     {"api.github.com", "/", "t=" + aws, "", "AWS"},
		"too short":           {"a.example", "/", "t=" + github[:30], "", ""},
		"within a word":       {"a.example", "/", "t=x" + github, "", ""},
		"a placeholder":       {"a.example", "/", "", "Bearer sk-ant-PENSTOCKph" + strings.Repeat("a", 32), ""},
		"another behind it":   {"a.example", "/", "", "sk-ant-PENSTOCKph" + strings.Repeat("a", 32) + " " + github, "a token of GitHub"},
		"of OpenAI":           {"a.example", "/", "k=" + of("sk-"+"proj-", 60), "", "a key of OpenAI"},
		"of OpenAI, old form": {"a.example", "/", "k=" + of("sk"+"-", 48), "", "a key of OpenAI"},
		"to an address":       {"", "/", "t=" + github, "", "a token of GitHub"},
	} {
		t.Run(name, func(t *testing.T) {
			r := hookstest.Request()
			r.Target.Host, r.Path, r.Query = c.host, c.path, c.query
			if c.header != "" {
				r.Header.Set("Authorization", c.header)
			}
			d, err := h.Decide(t.Context(), r)
			if err != nil || (d.Action == hooks.Next) != (c.want == "") || !strings.Contains(d.Reason, c.want) || strings.Contains(d.Reason, github) {
				t.Errorf("%+v, %v; want %q", d, err, c.want)
			}
		})
	}
}

// TestExampleSpend counts over all hosts, and what is denied costs nothing.
func TestExampleSpend(t *testing.T) {
	h := load(t, Config{Timeout: 10 * time.Second, Stateful: true}, example(t, "spend.c", "REQUESTS 3", "BYTES 1000"))
	for i, c := range []struct {
		method, host string
		size         int64
		want         string
	}{
		{"GET", "a.example", -1, ""}, {"POST", "a.example", 600, ""}, {"POST", "b.example", 401, "bytes are spent"}, {"POST", "b.example", -1, "not declared"},
		{"POST", "b.example", 1 << 62, "bytes are spent"}, {"POST", "b.example", 400, ""}, {"POST", "a.example", 1, "bytes are spent"}, {"POST", "a.example", 0, ""},
		{"POST", "a.example", 0, "requests are spent"}, {"GET", "a.example", -1, ""},
	} {
		r := hookstest.Request()
		r.Method, r.Target.Host, r.Size = c.method, c.host, c.size
		d, err := h.Decide(t.Context(), r)
		if err != nil || (d.Action == hooks.Next) != (c.want == "") || !strings.Contains(d.Reason, c.want) {
			t.Errorf("question %d: %+v, %v; want %q", i, d, err, c.want)
		}
	}
}

// TestExamplePEM: private keys leave as asterisks, and what it has made it leaves as it is.
func TestExamplePEM(t *testing.T) {
	h := load(t, Config{Timeout: 30 * time.Second}, example(t, "pem.c", "PENSTOCK_BODY (128 << 10)"))
	// Put together here, so that nobody who looks for keys finds one.
	begin, end := "-----BEGIN "+"PRIVATE KEY-----", "-----END "+"PRIVATE KEY-----"
	ec := strings.Replace(begin, "PRIVATE", "EC PRIVATE", 1)
	long := strings.Repeat("a long body \xff", 128<<10/13)
	for body, want := range map[string]string{
		"":              "",
		"nothing here-": "",
		begin:           "deny a private key in pieces",
		`{"a":"` + begin + `\nMIIE/+\n` + end + `","b":1}`:          `{"a":"` + begin + `**********` + end + `","b":1}`,
		`{"a":"` + begin + `","b":"` + end + `"}`:                   "deny a private key in pieces",
		ec + "\nx\n" + end + " " + begin + "y" + end:                ec + "***" + end + " " + begin + "*" + end,
		begin + "y" + end + begin + "y":                             "deny a private key in pieces",
		begin + end:                                                 "",
		"-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----": "",
		"-----BEGIN private KEY-----\nx":                            "",
		"-----BEGIN ":                                               "",
		long[:len(long)-100] + begin + "y" + end:                    long[:len(long)-100] + begin + "*" + end,
	} {
		r := hookstest.At(hooks.PointRequestBody)
		r.Body = &hooks.Body{Data: []byte(body), Last: true, Room: 128 << 10}
		d, err := h.Decide(t.Context(), r)
		got := ""
		if d.Change != nil {
			got = string(d.Change.Body)
		} else if d.Action != hooks.Next {
			got = d.Action.String() + " " + d.Reason
		}
		if err != nil || got != want {
			t.Errorf("%.80q: %.80q, %v; want %.80q", body, got, err, want)
		}
		if d.Change == nil {
			continue
		}
		r.Body.Data = d.Change.Body
		if d, err := h.Decide(t.Context(), r); err != nil || d.Action != hooks.Next || d.Change != nil {
			t.Errorf("its own: %+v, %v", d, err)
		}
	}
	r := hookstest.At(hooks.PointRequestBody)
	r.Body = &hooks.Body{Data: make([]byte, 128<<10+1), Last: true, Room: 128 << 10}
	if d, err := h.Decide(t.Context(), r); err == nil || d.Action != hooks.Deny {
		t.Errorf("of a longer body: %+v, %v", d, err)
	}
	if d, err := h.Decide(t.Context(), hookstest.Request()); err != nil || d.Action != hooks.Next {
		t.Errorf("of none: %+v, %v", d, err)
	}
}
