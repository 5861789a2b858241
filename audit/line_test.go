package audit

import (
	"bytes"
	"encoding/json"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/penstock/penstock/hooks"
)

var update = flag.Bool("update", false, "rewrite golden files")

// encoded returns the line of one event, made at a fixed time.
func encoded(e Event) []byte {
	var l line
	prev := genesis("20261122-201501-x7k2q")
	l.begin("20261122-201501-x7k2q", 7, time.Date(2026, 11, 22, 20, 15, 1, 42, time.FixedZone("", 3600)), typeName(e), &prev)
	l.encode(e)
	l.end()
	return l.buf
}

func schema(t testing.TB) *jsonschema.Schema {
	t.Helper()
	s, err := jsonschema.NewCompiler().Compile("../docs/schema/audit.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestRecordsAreOfTheSchema(t *testing.T) {
	s := schema(t)
	long := strings.Repeat("\x1b\u202e\xffA", 5000)
	all := append(events(),
		&Loss{Count: 3, Reason: "write failed", Detail: "no space left on device"},
		&Loss{Count: 1, Reason: "torn line", Torn: []byte(`{"schema":1,"sess`)},
		&Ask{Action: "asked", Question: 1, Flow: 4, Protocol: hooks.ProtocolHTTPS, Target: hooks.Target{Host: "new.example", Port: 443}, Method: "GET", Path: "/", Rule: "p.yaml:4", Approval: "{host: new.example}", Waiting: 1},
		&Ask{Action: "asked", Question: 2, Flow: 5, Protocol: hooks.ProtocolTCP, Target: hooks.Target{Host: "new.example", Port: 22}, Rule: "p.yaml:4", Hook: "wary", Reason: "p.yaml:4 about the connection hook wary asks: why", Waiting: 1},
		&Ask{Action: "refused", Flow: 9, Protocol: hooks.ProtocolTCP, Target: hooks.Target{Addr: netip.MustParseAddr("2001:db8::1"), Port: 22}, Count: 100},
		// The zero value and everything over its bounds must be records too.
		&SessionStart{}, &SessionEnd{}, &Process{Action: "exec"}, &Process{Action: "exit", ExitCode: 7, UID: -1}, &Process{Action: "seen", Number: 1, UID: -1}, &DNS{}, &FlowOpen{Flow: 1}, &FlowClose{Flow: 1}, &Drop{},
		&SecretUse{Name: "k", Host: "h"}, &SecretRenewal{Name: "k", Action: "failed", Reason: "r"}, &SecretRenewal{Name: "k", Action: "renewed"}, &PACFile{Upstream: "u", Action: "read", SHA256: strings.Repeat("a", 64)}, &PACFile{Upstream: "u", Action: "failed", Reason: "r"}, &Violation{Kind: "k"}, &Limit{Kind: "k"}, &Limit{Kind: "exit-records", Count: 568, Detail: "SIGABRT", Action: "counted"}, &Control{Action: "a"}, &Exec{Action: "start", Exec: 1}, &Exec{Action: "end", Exec: 1, ExitCode: 3}, &Publish{Action: "close"}, &Ask{Action: "withdrawn"}, &Loss{Reason: "r"},
		&SessionStart{Argv: repeat(long, 400), Dir: long, User: long, Host: long, Mode: ModeAudit, Warnings: repeat("w", 400),
			PolicyFiles: make([]PolicyFile, 100), Capabilities: repeatCap(Capability{long, long, long, long, long}, 100)},
		&FlowOpen{Flow: 1, Via: long, Path: long, Query: strings.Repeat(long+"&", 50), Method: long, Rule: long, Reason: long, Exe: long, Target: hooks.Target{Host: long, Port: 1}},
		&SessionStart{Hooks: []hooks.Trace{{Hook: "a", Point: hooks.PointSessionStart, Decision: "deny", Reason: long}}},
		&DNS{Name: "a.example", QType: "A", RCode: "NXDOMAIN", Transport: "udp", Reason: long, Hooks: []hooks.Trace{{Hook: "a", Point: hooks.PointDNS, Decision: "deny", Reason: long}}},
		&SessionEnd{Hooks: []hooks.Trace{{Hook: "a", Point: hooks.PointSessionEnd, Decision: "failed", Reason: long}}},
		&FlowOpen{Flow: 1, Reason: long, Hooks: []hooks.Trace{{Hook: "a", Decision: "next"}, {Hook: long, Decision: "failed", Reason: long, Duration: -1}}},
		&FlowOpen{Flow: 1, Hooks: []hooks.Trace{{Hook: "a", Decision: "next", Fields: &hooks.Fields{Set: []string{"X-A", long}, Removed: []string{"User-Agent"}}}, {Hook: "b", Decision: "next", Fields: &hooks.Fields{Set: repeat(long, 400), Removed: []string{"X-B"}}}}},
		&FlowClose{Flow: 1, Hooks: []hooks.Trace{{Hook: "a", Point: hooks.PointRequestBody, Decision: "next", Times: 1, Body: &hooks.Rewritten{Before: 7, After: 0, SHA256: strings.Repeat("0a", 32)}}}},
		&FlowClose{Flow: 1, Error: long, Hooks: []hooks.Trace{{Hook: "a", Point: hooks.PointResponseBody, Decision: "deny", Reason: long, Times: 3}}},
		&FlowOpen{Flow: 1, Hooks: slices.Repeat([]hooks.Trace{{Hook: "a", Decision: "deny", Reason: strings.Repeat("x", 310), Duration: 1 << 40}}, 100)},
		&Process{Action: "seen", Number: 1 << 62, Parent: 1 << 61, Exe: long, Dev: 1<<64 - 1, Ino: 1 << 50, Argv: repeat(long, 400), Cgroup: long, Start: 1 << 62},
		&DNS{Name: long, Answer: netip.MustParseAddr("fe80::1%zone\"}"), Server: netip.MustParseAddrPort("[::ffff:1.2.3.4]:53")},
		&Access{Path: long, Error: long, Exe: long, SaidBy: long},
		&Violation{Kind: "x", Detail: long}, &Limit{Kind: "x", Detail: long}, &Control{Action: "x", Reason: long}, &Exec{Action: "failed", Exec: 1 << 60, Argv: repeat(long, 400), Dir: long, Reason: long, Hooks: []hooks.Trace{{Hook: "a", Point: hooks.PointSessionStart, Decision: "deny", Reason: long}}}, &Ask{Action: "asked", Method: long, Path: long, Rule: long, Approval: long, Scope: "once", By: long, Target: hooks.Target{Host: long, Port: 1}}, &Loss{Reason: "r", Torn: []byte(long)},
	)
	for _, e := range all {
		line := encoded(e)
		if len(line) > maxLine {
			t.Errorf("%T: %d bytes", e, len(line))
		}
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(line))
		if err != nil {
			t.Errorf("%T: %v in %.300q", e, err, line)
			continue
		}
		if err := s.Validate(doc); err != nil {
			t.Errorf("%T: %v\n%.500s", e, err, line)
		}
		if _, err := ParseRecord(line[:len(line)-1]); err != nil {
			t.Errorf("%T: %v", e, err)
		}
	}
}

func repeat(s string, n int) []string {
	l := make([]string, n)
	for i := range l {
		l[i] = s
	}
	return l
}

func repeatCap(c Capability, n int) []Capability {
	l := make([]Capability, n)
	for i := range l {
		l[i] = c
	}
	return l
}

// Every member that the encoder writes must be read again, and the other way
// round: a member that one side forgot shows in the golden file or here.
func TestRecordHasEveryMember(t *testing.T) {
	for _, e := range events() {
		line := encoded(e)
		dec := json.NewDecoder(bytes.NewReader(line))
		dec.DisallowUnknownFields()
		var r Record
		if err := dec.Decode(&r); err != nil {
			t.Errorf("%T: %v", e, err)
		}
	}
}

func TestGolden(t *testing.T) {
	var got []byte
	for _, e := range append(events(), &Loss{Count: 1, Reason: "torn line", Torn: []byte("{\"sch\x00")}) {
		got = append(got, encoded(e)...)
	}
	path := filepath.Join("testdata", "events.jsonl")
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("records changed (-update rewrites):\n%s", got)
	}
}

func TestStringsAreEscaped(t *testing.T) {
	for _, tc := range []struct{ name, in, want string }{
		{"plain", "a/b?c", `"a/b?c"`},
		{"line breaker", "a\",\"verdict\":\"allow\"}\n{", `"a\",\"verdict\":\"allow\"}\u000a{"`},
		{"escape", "\x1b[2J", `"\u001b[2J"`},
		{"delete", "\x7f", `"\u007f"`},
		{"C1", "\u0085\u009b", `"\u0085\u009b"`},
		{"bidi", "a\u202eb\u2066", `"a\u202eb\u2066"`},
		{"zero width", "\u200b\ufeff", `"\u200b\ufeff"`},
		{"separators", "\u2028\u2029", `"\u2028\u2029"`},
		{"above the basic plane", "\U000e0041", `"\udb40\udc41"`},
		{"shown", "é漢😀", `"é漢😀"`},
		{"invalid", "a\xffb\xc3", `"a\ufffdb\ufffd"`},
		{"surrogate in UTF-8", "\xed\xa0\x80", `"\ufffd\ufffd\ufffd"`},
		{"cut at a rune", strings.Repeat("a", 15) + "é", `"` + strings.Repeat("a", 15) + `…+2"`},
		{"cut", strings.Repeat("a", 20), `"` + strings.Repeat("a", 16) + `…+4"`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var l line
			limit := 100
			if strings.HasPrefix(tc.name, "cut") {
				limit = 16
			}
			l.quoted(tc.in, limit)
			if string(l.buf) != tc.want {
				t.Errorf("got %s, want %s", l.buf, tc.want)
			}
			if l.cut != (limit == 16) {
				t.Errorf("cut is %v", l.cut)
			}
		})
	}
}

func TestQueryValuesAreNotRecorded(t *testing.T) {
	for _, tc := range []struct{ in, want string }{
		{"a=secret&b=s", `["a","b"]`},
		{"wsdl", `["wsdl"]`},
		{"0f1e2d3c", `["*"]`},
		{"c2VjcmV0==&flag=&list", `["*","flag","list"]`},
		{"averylongwordoflettersonly", `["*"]`},
		{"a=1;b=2&&c", `["a","b","","c"]`},
		{"=secret", `[""]`},
		{"a==x", `["a"]`},
	} {
		var l line
		l.queryKeys(tc.in)
		if got := strings.TrimPrefix(string(l.buf), `,"query_keys":`); got != tc.want {
			t.Errorf("%q: got %s, want %s", tc.in, got, tc.want)
		}
	}
}

func TestInvariant06SecretsAreRedacted(t *testing.T) {
	w, path := newWriter(t)
	w.Redact("KEY", `s3cr3t"value`)
	w.Redact("SHORT", "abc") // not looked for
	if err := w.Append(&FlowClose{Flow: 1, Error: `upstream said: bad key s3cr3t"value, abc`}); err != nil {
		t.Fatal(err)
	}
	w.Close()
	got, _ := os.ReadFile(path)
	if bytes.Contains(got, []byte("s3cr3t")) || !bytes.Contains(got, []byte("bad key [secret KEY], abc")) || !json.Valid(got) {
		t.Errorf("recorded %s", got)
	}
}

// FuzzLine: whatever a tool puts into an event, the line is one line, JSON, of
// harmless runes, and says what was put in, as far as its bound goes.
func FuzzLine(f *testing.F) {
	f.Add("host", "/p\x1b", "a=b", "reason\n", uint16(443))
	f.Add("\",\"seq\":1", "\u202e\xff", "&&;=\x00", "\U000e0041…+3", uint16(0))
	f.Fuzz(func(t *testing.T, host, path, query, reason string, port uint16) {
		e := &FlowOpen{Flow: 1, Target: hooks.Target{Host: host, Port: port}, Path: path, Query: query, Reason: reason, Rule: host, Method: reason}
		line := encoded(e)
		checkLine(t, line)
		r, err := ParseRecord(line[:len(line)-1])
		if err != nil {
			t.Fatal(err)
		}
		if r.Verdict != "deny" || r.Flow != 1 || r.Seq != 7 || r.Port != int(port) {
			t.Fatalf("forged: %+v", r)
		}
		if want := strings.Map(func(r rune) rune { return r }, path); len(path) <= maxPath && r.Path != want {
			t.Fatalf("path %q became %q", path, r.Path)
		}
	})
}

func checkLine(t *testing.T, line []byte) {
	t.Helper()
	if !bytes.HasSuffix(line, []byte("}\n")) || bytes.IndexByte(line, '\n') != len(line)-1 || !utf8.Valid(line) {
		t.Fatalf("not one line: %q", line)
	}
	for _, r := range string(line[:len(line)-1]) {
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || unicode.Is(unicode.Bidi_Control, r) {
			t.Fatalf("%U in %q", r, line)
		}
	}
}

// FuzzRecord: a reader must take any bytes.
func FuzzRecord(f *testing.F) {
	for _, e := range events() {
		f.Add(bytes.TrimSuffix(encoded(e), []byte("\n")))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, err := ParseRecord(raw)
		if err == nil && !bytes.HasPrefix(raw, []byte(`{"schema":1,"session":"`+r.Session+`","seq":`)) {
			t.Errorf("accepted %q", raw)
		}
		parseLedgerLine(raw)
		member(raw, `,"host":"`)
		if _, err := Summarize(bytes.NewReader(raw)); err != nil {
			t.Errorf("summarize: %v", err)
		}
	})
}

// FuzzVerify: a file of any bytes is tampered with or unclosed, never whole.
func FuzzVerify(f *testing.F) {
	w, path := newWriter(f)
	w.Append(openEvent())
	w.Append(closeEvent())
	w.Close()
	good, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte("\n\n"))
	f.Add(bytes.Repeat([]byte("x"), maxLine+2))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := Result{File: "f"}
		walk(bytes.NewReader(b), "s", &r, nil)
		if r.Bytes != int64(len(b)) {
			t.Errorf("read %d of %d bytes", r.Bytes, len(b))
		}
		lines := uint64(bytes.Count(b, []byte("\n")))
		if r.Records != lines {
			t.Errorf("%d records in %d lines", r.Records, lines)
		}
		sum := Result{}
		walk(bytes.NewReader(good), "s", &sum, nil)
		if r.Head == sum.Head && len(r.Problems) == 0 && !bytes.HasPrefix(b, good) {
			t.Error("other bytes, the same head")
		}
	})
}

func TestUnknownEvents(t *testing.T) {
	w, _ := newWriter(t)
	for _, e := range []Event{nil, (*FlowOpen)(nil)} {
		if err := w.Append(e); err == nil {
			t.Errorf("%v was taken", reflect.TypeOf(e))
		}
		w.Note(e)
	}
}
