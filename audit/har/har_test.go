package har

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/penstock/penstock/audit"
	"github.com/penstock/penstock/audit/capture"
	"github.com/penstock/penstock/hooks"
)

func schema(t testing.TB) *jsonschema.Schema {
	t.Helper()
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	s, err := c.Compile("testdata/har-1.2.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// valid checks a file against the schema and returns its entries.
func valid(t testing.TB, s *jsonschema.Schema, file []byte) []entry {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(file))
	if err == nil {
		err = s.Validate(doc)
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, file)
	}
	var har struct {
		Log struct{ Entries []entry }
	}
	if err := json.Unmarshal(file, &har); err != nil {
		t.Fatal(err)
	}
	return har.Log.Entries
}

// recorded writes events through the audit's own writer and makes an archive.
func recorded(t testing.TB, events ...audit.Event) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s.jsonl")
	f, err := os.Create(path) // the writer closes it
	if err != nil {
		t.Fatal(err)
	}
	w, err := audit.NewWriter(f, "20261123-100000-abcde")
	if err != nil {
		t.Fatal(err)
	}
	w.Redact("KEY", "hunter22hunter22")
	for _, e := range events {
		if err := w.Append(e); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	hw := New(&out, "0.1.0")
	if f, err = os.Open(path); err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	in := audit.NewScanner(f)
	for in.Scan() {
		r, err := audit.ParseRecord(in.Bytes())
		if err == nil {
			err = hw.Record(r)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := hw.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func some() []audit.Event {
	ap := netip.MustParseAddrPort
	to := func(host string, port uint16) hooks.Target { return hooks.Target{Host: host, Port: port} }
	return []audit.Event{
		&audit.SessionStart{Argv: []string{"sh"}, Mode: audit.ModeEnforce},
		&audit.FlowOpen{Flow: 1, Conn: 3, Protocol: hooks.ProtocolHTTPS, Version: "HTTP/2.0", Target: to("api.example.com", 443), Method: "GET", Path: "/v1/a%20b",
			Query: "key=s3cr3t&q=x%20y", Verdict: hooks.Allow, Rule: "policy.yaml:3", Mode: audit.ModeEnforce},
		&audit.FlowClose{Flow: 1, BytesUp: 120, BytesDown: 4500, Duration: 12500 * time.Microsecond, Status: 200, Upstream: ap("[2001:db8::7]:443")},
		&audit.FlowOpen{Flow: 2, Protocol: hooks.ProtocolHTTP, Version: "HTTP/1.1", Target: to("evil.example", 8080), Method: "POST", Path: "/\u202e\"},{\"x", Verdict: hooks.Deny,
			Reason: "no rule allows hunter22hunter22", Mode: audit.ModeEnforce, PID: 42, Exe: "/tmp/\u202ecurl"},
		&audit.FlowClose{Flow: 2, Status: 403, Class: "denied"},
		&audit.FlowOpen{Flow: 3, Protocol: hooks.ProtocolTCP, Target: hooks.Target{Addr: netip.MustParseAddr("2001:db8::1"), Port: 22}, Verdict: hooks.Deny, Mode: audit.ModeEnforce},
		&audit.FlowClose{Flow: 3, Class: "denied"},
		&audit.FlowOpen{Flow: 4, Protocol: hooks.ProtocolHTTPS, Version: "HTTP/1.1", Target: hooks.Target{Addr: netip.MustParseAddr("2001:db8::1"), Port: 443}, Method: "GET", Path: "/ws",
			Verdict: hooks.Allow, Mode: audit.ModeEnforce, Via: "corp"},
		&audit.FlowClose{Flow: 4, Status: 101, Duration: time.Hour, Upstream: ap("192.0.2.9:3128")},
		&audit.FlowOpen{Flow: 5, Protocol: hooks.ProtocolHTTPS, Version: "HTTP/1.1", Target: to("open.example", 443), Method: "GET", Path: "/", Verdict: hooks.Allow, Mode: audit.ModeEnforce},
	}
}

func TestArchive(t *testing.T) {
	file := recorded(t, some()...)
	list := valid(t, schema(t), file)
	if len(list) != 4 {
		t.Fatalf("%d entries:\n%s", len(list), file)
	}
	for _, secret := range []string{"s3cr3t", "hunter22", "x%20y", "\u202e"} {
		if bytes.Contains(file, []byte(secret)) {
			t.Errorf("%q is in the file", secret)
		}
	}
	for i, want := range []string{
		"GET https://api.example.com/v1/a%20b?key=%5Bredacted%5D&q=%5Bredacted%5D HTTP/2.0 200 2001:db8::7 allow policy.yaml:3 12.5 3",
		"POST http://evil.example:8080/%E2%80%AE%22%7D,%7B%22x HTTP/1.1 403  deny  0 ",
		"GET https://[2001:db8::1]/ws HTTP/1.1 101  allow  3.6e+06 ",
		"GET https://open.example/ HTTP/1.1 0  allow  0 ",
	} {
		e := list[i]
		if got := fmt.Sprint(e.Request.Method, " ", e.Request.URL, " ", e.Request.Version, " ", e.Response.Status, " ", e.ServerIP, " ", e.Verdict, " ", e.Rule, " ", e.Time, " ", e.Connection); got != want {
			t.Errorf("entry %d:\n%s, want\n%s", i, got, want)
		}
		if sum := e.Timings.Send + e.Timings.Wait + e.Timings.Receive; sum != e.Time {
			t.Errorf("entry %d: times add up to %g, not %g", i, sum, e.Time)
		}
	}
	if e := list[0]; e.Request.BodySize != 120 || e.Response.BodySize != 4500 || e.Response.Content.Size != 4500 || len(e.Request.Query) != 2 || e.Request.Query[1] != (pair{"q", redacted}) {
		t.Errorf("%+v", e)
	}
	if e := list[1]; e.Reason != "no rule allows [secret KEY]" || e.PID != 42 || e.Exe != "/tmp/\u202ecurl" || e.Class != "denied" {
		t.Errorf("%+v", e)
	}
	if e := list[2]; e.Via != "corp" || e.ViaAddress != "192.0.2.9:3128" || e.ResourceType != "websocket" {
		t.Errorf("%+v", e)
	}
	if e := list[3]; !strings.Contains(e.Comment, "no end") {
		t.Errorf("%+v", e)
	}
	if !bytes.Contains(file, []byte("1 flows that are not HTTP are left out")) {
		t.Error("what is left out is not said")
	}
}

func TestEmptyArchive(t *testing.T) {
	if list := valid(t, schema(t), recorded(t)); len(list) != 0 {
		t.Errorf("%v", list)
	}
}

// widest remembers the longest write.
type widest struct{ bytes, longest int }

func (w *widest) Write(b []byte) (int, error) {
	w.bytes, w.longest = w.bytes+len(b), max(w.longest, len(b))
	return len(b), nil
}

// Entries are written as they come, and a writer that fails ends it.
func TestStreamed(t *testing.T) {
	var out widest
	hw := New(&out, "0.1.0")
	for i := range uint64(50_000) {
		open := &audit.Record{Type: audit.TypeFlowOpen, Session: "s", Flow: i + 1, Protocol: "https", Host: "a.example", Port: 443, Method: "GET", Path: "/"}
		end := &audit.Record{Type: audit.TypeFlowClose, Session: "s", Flow: i + 1, Status: 200}
		if hw.Record(open) != nil || hw.Record(end) != nil {
			t.Fatal(hw.err)
		}
	}
	if err := hw.Close(); err != nil || hw.entries != 50_000 || out.longest > 4096 || out.bytes < 50_000*300 {
		t.Errorf("%v, %d entries, %+v", err, hw.entries, out)
	}
	full := New(failing{}, "0.1.0")
	if err := full.Record(&audit.Record{Type: audit.TypeFlowOpen, Protocol: "http"}); err == nil || full.Close() == nil {
		t.Error("a full disk went unnoticed")
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, os.ErrClosed }

// What rules have captured of a flow is in its entry.
func TestCaptured(t *testing.T) {
	store, err := audit.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	ses, err := store.Create(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	defer ses.File.Close()
	f, err := ses.CreateCapture()
	if err != nil {
		t.Fatal(err)
	}
	if fi, err := f.Stat(); err != nil || fi.Mode() != 0o600 {
		t.Errorf("%v %v", fi, err)
	}
	w := capture.NewWriter(f, capture.MaxFile)
	w.Put(&capture.Exchange{Flow: 1,
		Request:  &capture.Message{Header: [][2]string{{"Content-Type", "text/plain"}, {"X", "\u202e\"},{"}}, Body: []byte("gr\u00fc\u00df")},
		Response: &capture.Message{Header: [][2]string{{"Content-Type", "image/png"}, {"Location", "/there"}, {"Content-Encoding", "br"}}, Body: []byte{0xff, 0}, Truncated: true}})
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	hw := New(&out, "0.1.0")
	hw.CapturesOf(store)
	for i := range uint64(2) {
		hw.Record(&audit.Record{Type: audit.TypeFlowOpen, Session: ses.ID, Flow: i + 1, Protocol: "https", Host: "a.example", Port: 443, Method: "POST", Path: "/"})
	}
	hw.Record(&audit.Record{Type: audit.TypeFlowOpen, Session: "20261123-100000-abcde", Flow: 1, Protocol: "https", Host: "a.example", Port: 443, Method: "POST", Path: "/"})
	if err := hw.Close(); err != nil {
		t.Fatal(err)
	}
	list := valid(t, schema(t), out.Bytes())
	if len(list) != 3 {
		t.Fatalf("%s", out.Bytes())
	}
	e := list[0]
	if p := e.Request.PostData; p == nil || p.Text != "gr\u00fc\u00df" || p.MimeType != "text/plain" || len(e.Request.Headers) != 2 || e.Request.Headers[1].Value != "\u202e\"},{" {
		t.Errorf("%+v", e.Request)
	}
	if c := e.Response.Content; c.Text != "/wA=" || c.Encoding != "base64" || c.MimeType != "image/png" || !strings.Contains(c.Comment, "br") || e.Response.RedirectURL != "/there" || !e.Response.Truncated {
		t.Errorf("%+v", e.Response)
	}
	for _, e := range list[1:] {
		if e.Request.PostData != nil || len(e.Request.Headers) != 0 {
			t.Errorf("another flow's: %+v", e)
		}
	}
}

// An independent program reads it: har-validator holds the schemas of the HAR's
// own authors.
func TestHarValidator(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a.har")
	if err := os.WriteFile(file, recorded(t, some()...), 0o600); err != nil {
		t.Fatal(err)
	}
	dirs := []string{os.Getenv("PENSTOCK_CLIENTS"), "/var/cache/penstock/clients", filepath.Join(os.Getenv("HOME"), ".cache/penstock/clients")}
	for i := range dirs {
		dirs[i] = filepath.Join(dirs[i], "lib/node_modules")
	}
	cmd := exec.CommandContext(t.Context(), "node", "-e", `
		let validate
		try { validate = require("har-validator") } catch { process.exit(77) }
		validate.har(JSON.parse(require("fs").readFileSync(process.argv[1])))
			.then(() => console.log("valid"), e => { console.log(JSON.stringify(e.errors)); process.exit(1) })`, file)
	cmd.Env = append(os.Environ(), "NODE_PATH="+strings.Join(dirs, ":"))
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() == 77 {
		if os.Getenv("CI") == "true" {
			t.Fatalf("node's har-validator is missing: %v", err)
		}
		t.Skip("node's har-validator is missing: .ci/install")
	}
	if err != nil || string(out) != "valid\n" {
		t.Errorf("%v: %s", err, out)
	}
}

// FuzzArchive holds that whatever a pen makes of its records, the file is valid,
// has one entry for each flow, and its URLs lead where the record says.
func FuzzArchive(f *testing.F) {
	f.Add("https", "api.example.com", uint16(443), "GET", "/v1?x#y", "key", "because", 200, "192.0.2.1:443")
	f.Add("http", "2001:db8::1", uint16(8080), "", "//evil.example/\x00\xff%zz", "a&b=c\"}", "\u202e", -1, "")
	f.Add("https", "a@evil.example/", uint16(0), "POST", "…+12", "", "\"},{", 1000, "x")
	s := schema(f)
	f.Fuzz(func(t *testing.T, protocol, host string, port uint16, method, path, key, reason string, status int, upstream string) {
		status = max(0, min(status, 999))
		var out bytes.Buffer
		hw := New(&out, "0.1.0")
		open := &audit.Record{Type: audit.TypeFlowOpen, Time: time.Unix(1, 0), Session: "s", Flow: 1, Protocol: protocol, Host: host, Port: int(port), Method: method, Path: path,
			QueryKeys: []string{key, key}, Reason: reason, Rule: reason, Exe: path, Verdict: "allow"}
		end := &audit.Record{Type: audit.TypeFlowClose, Session: "s", Flow: 1, Status: status, Upstream: upstream, Error: reason}
		if hw.Record(open) != nil || hw.Record(end) != nil || hw.Close() != nil {
			t.Fatal(hw.err)
		}
		for _, c := range out.Bytes() {
			if c < ' ' && c != '\n' || c == 0x7f {
				t.Fatalf("control byte in %q", out.String())
			}
		}
		if protocol != "http" && protocol != "https" {
			return
		}
		var har struct {
			Log struct{ Entries []entry }
		}
		if err := json.Unmarshal(out.Bytes(), &har); err != nil || len(har.Log.Entries) != 1 {
			t.Fatalf("%v: %s", err, out.Bytes())
		}
		u, err := url.Parse(har.Log.Entries[0].Request.URL)
		if err != nil {
			if _, perr := netip.ParseAddr(host); perr == nil || !strings.ContainsAny(host, ":[]%") && plain(host) {
				t.Fatal(err)
			}
			return // no host of a record
		}
		if u.Scheme != protocol || u.User != nil || u.Fragment != "" || plain(host) && !strings.EqualFold(u.Hostname(), host) {
			t.Fatalf("%q leads to %+v, not to %q", har.Log.Entries[0].Request.URL, u, host)
		}
		valid(t, s, out.Bytes())
	})
}

// plain are the bytes of names.
func plain(host string) bool {
	return host != "" && strings.Trim(host, "abcdefghijklmnopqrstuvwxyz0123456789.-_") == ""
}
