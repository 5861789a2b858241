package query

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/penstock/penstock/audit"
	"github.com/penstock/penstock/hooks"
)

func newStore(t testing.TB) *audit.Store {
	t.Helper()
	s, err := audit.Open(filepath.Join(t.TempDir(), "audit"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

type live struct {
	*audit.Session
	w    *audit.Writer
	flow uint64
}

func begin(t testing.TB, s *audit.Store) *live {
	t.Helper()
	ids, err := s.Sessions()
	if err != nil {
		t.Fatal(err)
	}
	// Ids sort by the millisecond: these are made faster.
	ses, err := s.Create(time.Now().Add(time.Duration(len(ids)) * time.Second))
	if err != nil {
		t.Fatal(err)
	}
	w, err := audit.NewWriter(ses.File, ses.ID)
	if err != nil {
		t.Fatal(err)
	}
	l := &live{Session: ses, w: w}
	l.add(t, &audit.SessionStart{Argv: []string{"curl", "-s"}, Dir: "/src", User: "anna", Tier: "bwrap", Mode: audit.ModeEnforce})
	return l
}

func (l *live) add(t testing.TB, e audit.Event) {
	t.Helper()
	if err := l.w.Append(e); err != nil {
		t.Fatal(err)
	}
}

// visit records a whole flow.
func (l *live) visit(t testing.TB, host string, verdict hooks.Action, rule string) {
	t.Helper()
	l.flow++
	l.add(t, &audit.FlowOpen{Flow: l.flow, Protocol: hooks.ProtocolHTTPS, Target: hooks.Target{Host: host, Port: 443}, Method: "GET", Path: "/", Verdict: verdict, Rule: rule, Mode: audit.ModeEnforce})
	l.add(t, &audit.FlowClose{Flow: l.flow, BytesUp: 10, BytesDown: 20, Duration: time.Millisecond, Status: 200})
}

func (l *live) end(t testing.TB) {
	t.Helper()
	l.add(t, &audit.SessionEnd{ExitCode: 3, Reason: "exit"})
	if err := l.w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := l.Seal(l.w.Head()); err != nil {
		t.Fatal(err)
	}
}

func open(t testing.TB, s *audit.Store) *Index {
	t.Helper()
	x, err := Open(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { x.Close() })
	return x
}

func hosts(t testing.TB, x *Index, f Filter) []string {
	t.Helper()
	list := []string{}
	if err := x.Flows(t.Context(), f, func(l *Flow) error { list = append(list, l.Host); return nil }); err != nil {
		t.Fatal(err)
	}
	return list
}

func TestFlows(t *testing.T) {
	s := newStore(t)
	a := begin(t, s)
	a.visit(t, "api.example.com", hooks.Allow, "p.yaml:3")
	a.visit(t, "evil.example", hooks.Deny, "")
	a.visit(t, "www.example.com", hooks.Allow, "p.yaml:30")
	a.visit(t, "a_b.example", hooks.Deny, "q.yaml:1")
	middle := time.Now()
	a.end(t)
	b := begin(t, s)
	b.visit(t, "api.example.com", hooks.Allow, "p.yaml:3")
	x := open(t, s)
	for _, tc := range []struct {
		name string
		f    Filter
		want []string
	}{
		{"all", Filter{}, []string{"api.example.com", "evil.example", "www.example.com", "a_b.example", "api.example.com"}},
		{"session", Filter{Session: b.ID}, []string{"api.example.com"}},
		{"host", Filter{Host: "EVIL.example."}, []string{"evil.example"}},
		{"pattern", Filter{Host: "*.example.com", Session: a.ID}, []string{"api.example.com", "www.example.com"}},
		{"underscore is itself", Filter{Host: "a_*"}, []string{"a_b.example"}},
		{"percent is itself", Filter{Host: "%*"}, []string{}},
		{"verdict", Filter{Verdict: "deny"}, []string{"evil.example", "a_b.example"}},
		{"rule", Filter{Rule: "p.yaml:3", Session: a.ID}, []string{"api.example.com"}},
		{"rules of a file", Filter{Rule: "p.yaml", Session: a.ID}, []string{"api.example.com", "www.example.com"}},
		{"default", Filter{Rule: "default"}, []string{"evil.example"}},
		{"until", Filter{Until: middle, Host: "api.*"}, []string{"api.example.com"}},
		{"since", Filter{Since: middle}, []string{"api.example.com"}},
		{"protocol", Filter{Protocol: "tcp"}, []string{}},
		{"limit keeps the newest", Filter{Limit: 2}, []string{"a_b.example", "api.example.com"}},
		{"no SQL", Filter{Host: "' OR 1=1 --"}, []string{}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := hosts(t, x, tc.f); !slices.Equal(got, tc.want) {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}

	list, err := x.Sessions(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	if len(list) != 2 || list[0].ID != a.ID || list[0].State != Ended || list[0].ExitCode != 3 || list[1].State != Running ||
		list[0].Counts.Allowed != 2 || list[0].Counts.Denied != 2 || list[0].Counts.BytesDown != 80 || list[0].Argv[0] != "curl" {
		t.Errorf("sessions: %+v", list)
	}
	groups, err := x.Groups(t.Context(), Filter{})
	if err != nil {
		t.Fatal(err)
	}
	if len(groups) != 4 || groups[0].Verdict != "deny" || groups[2].Host != "api.example.com" || groups[2].Count != 2 {
		t.Errorf("groups: %+v", groups)
	}
	var raw [][]byte
	if err := x.Raw(t.Context(), Filter{Verdict: "deny"}, func(b []byte) error { raw = append(raw, bytes.Clone(b)); return nil }); err != nil {
		t.Fatal(err)
	}
	if len(raw) != 4 || !bytes.Contains(raw[1], []byte(`"type":"flow_close"`)) {
		t.Errorf("raw: %q", raw)
	}
}

func TestUpdateIsIncremental(t *testing.T) {
	s := newStore(t)
	l := begin(t, s)
	for i := range 5 {
		l.visit(t, fmt.Sprintf("h%d.example", i), hooks.Allow, "")
		x := open(t, s)
		if got := hosts(t, x, Filter{}); len(got) != i+1 {
			t.Fatalf("after %d: %v", i+1, got)
		}
		list, err := x.Sessions(t.Context(), 0)
		if err != nil || list[0].Counts.Allowed != uint64(i+1) || list[0].Records != int64(1+2*(i+1)) {
			t.Fatalf("after %d: %+v, %v", i+1, list, err)
		}
		if got := list[0].State; got != Running {
			t.Errorf("state %s", got)
		}
		x.Close()
	}
	l.w.Close()
	x := open(t, s)
	if list, _ := x.Sessions(t.Context(), 0); list[0].State != Unclosed {
		t.Errorf("a session without an end is %s", list[0].State)
	}
	os.Remove(l.Path)
	if err := x.Update(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := hosts(t, x, Filter{}); len(got) != 0 {
		t.Errorf("flows of a removed session: %v", got)
	}
}

func TestChangedFileIsReadAgain(t *testing.T) {
	s := newStore(t)
	l := begin(t, s)
	l.visit(t, "one.example", hooks.Allow, "")
	l.visit(t, "two.example", hooks.Allow, "")
	l.end(t)
	x := open(t, s)
	b, err := os.ReadFile(l.Path)
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.SplitAfter(b, []byte("\n"))
	if err := os.WriteFile(l.Path, bytes.Join(lines[:3], nil), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := x.Update(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := hosts(t, x, Filter{}); !slices.Equal(got, []string{"one.example"}) {
		t.Errorf("got %v", got)
	}
}

func TestDamagedIndexIsMadeAnew(t *testing.T) {
	for name, damage := range map[string]func(t *testing.T, path string){
		"no database": func(t *testing.T, path string) { write(t, path, bytes.Repeat([]byte("garbage "), 1000)) },
		"empty":       func(t *testing.T, path string) { write(t, path, nil) },
		"overwritten inside": func(t *testing.T, path string) {
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			for i := 4096; i < len(b); i++ {
				b[i] ^= 0x5a
			}
			write(t, path, b)
		},
		"cut": func(t *testing.T, path string) {
			if err := os.Truncate(path, 5000); err != nil {
				t.Fatal(err)
			}
		},
		"a link": func(t *testing.T, path string) {
			os.Remove(path)
			if err := os.Symlink("/nonexistent/victim", path); err != nil {
				t.Fatal(err)
			}
		},
		"other tables": func(t *testing.T, path string) {
			x := &Index{path: path}
			if err := x.connect(t.Context()); err != nil {
				t.Fatal(err)
			}
			defer x.Close()
			if _, err := x.db.Exec("DROP TABLE flows; CREATE TABLE flows (a)"); err != nil {
				t.Fatal(err)
			}
		},
		"another version": func(t *testing.T, path string) {
			x := &Index{path: path}
			if err := x.connect(t.Context()); err != nil {
				t.Fatal(err)
			}
			defer x.Close()
			if _, err := x.db.Exec("DROP TABLE flows; PRAGMA user_version = 99"); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			l := begin(t, s)
			l.visit(t, "one.example", hooks.Allow, "")
			l.end(t)
			open(t, s).Close()
			damage(t, filepath.Join(s.Dir(), indexFile))
			l = begin(t, s)
			l.visit(t, "two.example", hooks.Allow, "")
			x := open(t, s)
			if got := hosts(t, x, Filter{}); !slices.Equal(got, []string{"one.example", "two.example"}) {
				t.Errorf("got %v", got)
			}
			if fi, err := os.Stat(filepath.Join(s.Dir(), indexFile)); err != nil || fi.Mode().Perm() != 0o600 {
				t.Errorf("index: %v, %v", fi, err)
			}
		})
	}
}

func write(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestHostileFilesInTheStore(t *testing.T) {
	s := newStore(t)
	l := begin(t, s)
	l.visit(t, "one.example", hooks.Allow, "")
	l.end(t)
	os.Symlink("/etc/passwd", filepath.Join(s.Dir(), "20200101-000000-aaaaa.jsonl"))
	os.Mkdir(filepath.Join(s.Dir(), "20200101-000000-bbbbb.jsonl"), 0o700)
	write(t, filepath.Join(s.Dir(), "20200101-000000-ccccc.jsonl"), append(bytes.Repeat([]byte("x"), 5<<20), '\n'))
	write(t, filepath.Join(s.Dir(), "..\x1b[2J.jsonl"), []byte("\n"))
	b, _ := os.ReadFile(l.Path)
	write(t, filepath.Join(s.Dir(), "20200101-000000-ddddd.jsonl"), b) // another session's records
	x := open(t, s)
	if got := hosts(t, x, Filter{}); !slices.Equal(got, []string{"one.example"}) {
		t.Errorf("got %v", got)
	}
	list, err := x.Sessions(t.Context(), 0)
	if err != nil || len(list) != 3 || list[0].Unreadable != 1 || list[1].Unreadable != list[1].Records {
		t.Errorf("sessions %+v, %v", list, err)
	}
}

func TestConcurrentQueries(t *testing.T) {
	s := newStore(t)
	l := begin(t, s)
	for i := range 50 {
		l.visit(t, fmt.Sprintf("h%d.example", i), hooks.Allow, "")
	}
	l.end(t)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			x, err := Open(t.Context(), s)
			if err != nil {
				t.Error(err)
				return
			}
			defer x.Close()
			if n := len(hosts(t, x, Filter{})); n != 50 {
				t.Errorf("%d flows", n)
			}
		})
	}
	wg.Wait()
}

func TestFollow(t *testing.T) {
	s := newStore(t)
	l := begin(t, s)
	lines := make(chan string, 100)
	done := make(chan error, 1)
	go func() {
		done <- Follow(t.Context(), s, l.ID, 0, func(b []byte) error { lines <- string(b); return nil })
	}()
	for i := range 3 { // one after the other: each must come before the next is written
		if i > 0 {
			l.add(t, &audit.DNS{Name: fmt.Sprint("n", i), QType: "A"})
		}
		select {
		case <-lines:
		case <-time.After(10 * time.Second):
			t.Fatal("nothing came")
		}
	}
	l.end(t)
	select {
	case err := <-done:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("did not end with the session")
	}
	if len(lines) != 1 {
		t.Errorf("%d more lines", len(lines))
	}

	l = begin(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		done <- Follow(ctx, s, l.ID, 0, func([]byte) error { cancel(); return nil })
	}()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func BenchmarkUpdate(b *testing.B) {
	s := newStore(b)
	l := begin(b, s)
	for i := range 10000 {
		l.visit(b, fmt.Sprintf("h%d.example", i%100), hooks.Allow, "p.yaml:3")
	}
	l.end(b)
	for b.Loop() {
		x, err := Open(b.Context(), s)
		if err != nil {
			b.Fatal(err)
		}
		x.Close()
		os.Remove(x.path)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/20000, "ns/record")
}

// Flows are found by who made them, and an export of some has the records of
// their processes before them, each once.
func TestProcesses(t *testing.T) {
	s := newStore(t)
	l := begin(t, s)
	sh := &hooks.Process{PID: 10, UID: 1000, Exe: hooks.Executable{Path: "/usr/bin/dash", Dev: 0x801, Ino: 5, SHA256: "ab"}, Args: []string{"sh"}}
	curl := &hooks.Process{PID: 11, UID: 1000, Exe: hooks.Executable{Path: "/usr/bin/curl"}, Args: []string{"curl", "-s"}, Parent: sh}
	git := &hooks.Process{PID: 12, Exe: hooks.Executable{Path: "/usr/bin/git_%"}, Parent: sh, Shared: true}
	roster := audit.NewRoster(l.w, nil)
	for i, p := range []*hooks.Process{curl, git, nil, curl} {
		n, err := roster.Number(p)
		if err != nil {
			t.Fatal(err)
		}
		open := &audit.FlowOpen{Flow: uint64(i + 1), Target: hooks.Target{Host: fmt.Sprintf("h%d.example", i), Port: 443}, Process: n}
		if p != nil {
			open.PID, open.Exe = p.PID, p.Exe.Path
		}
		l.add(t, open)
	}
	l.end(t)
	x := open(t, s)
	for want, f := range map[string]Filter{
		"h0.example h3.example":   {Exe: "curl"},
		"h0.example h3.example ":  {Exe: "/usr/bin/curl"},
		"h0.example h3.example  ": {PID: 11},
		"h1.example":              {Exe: "/usr/*/git*"},
		"h1.example ":             {Exe: "git_%"},
		"":                        {Exe: "rl"},
		" ":                       {Exe: "curl", PID: 12},
		"h0.example h1.example h2.example h3.example": {},
	} {
		var got []string
		all, err := x.Processes(t.Context(), f)
		if err != nil {
			t.Fatal(err)
		}
		err = x.Flows(t.Context(), f, func(l *Flow) error {
			got = append(got, l.Host)
			line := all.Lineage(l.Session, l.Process)
			if l.PID == 0 && line != nil || l.PID != 0 && (len(line) != 2 || line[0].PID != l.PID || line[1].PID != 10 || line[1].Dev != "8:1" || line[1].Ino != 5) {
				t.Errorf("%+v: %+v", l, line)
			}
			return nil
		})
		if err != nil || strings.Join(got, " ") != strings.TrimRight(want, " ") {
			t.Errorf("%+v: %q, %v", f, got, err)
		}
	}
	var types []string
	err := x.Raw(t.Context(), Filter{Exe: "curl"}, func(raw []byte) error {
		r, err := audit.ParseRecord(raw)
		if err == nil {
			types = append(types, fmt.Sprint(r.Type, r.PID))
		}
		return err
	})
	if want := []string{"process10", "process11", "flow_open11", "flow_open11"}; err != nil || !slices.Equal(types, want) {
		t.Errorf("%q, %v", types, err)
	}
}

// TestVia: flows are found by the upstream that they went by.
func TestVia(t *testing.T) {
	s := newStore(t)
	l := begin(t, s)
	for _, host := range []string{"one.example", "two.example"} {
		l.flow++
		l.add(t, &audit.FlowOpen{Flow: l.flow, Protocol: hooks.ProtocolHTTPS, Target: hooks.Target{Host: host, Port: 443}, Verdict: hooks.Allow, Mode: audit.ModeEnforce, Via: strings.TrimSuffix(host, ".example")})
	}
	l.visit(t, "direct.example", hooks.Allow, "")
	l.visit(t, "denied.example", hooks.Deny, "")
	l.end(t)
	x := open(t, s)
	for via, want := range map[string][]string{
		"": {"one.example", "two.example", "direct.example", "denied.example"}, "one": {"one.example"}, "two": {"two.example"}, "direct": {"direct.example"}, "on": nil, "%": nil,
	} {
		if got := hosts(t, x, Filter{Via: via}); !slices.Equal(got, want) {
			t.Errorf("via %q: %v", via, got)
		}
	}
	err := x.Flows(t.Context(), Filter{}, func(f *Flow) error {
		if f.Host == "two.example" && f.Via != "two" || f.Host == "direct.example" && f.Via != "" {
			t.Errorf("%+v", f)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// TestHooks: what hooks have done is with the flow, whether its end was there when the
// index was made or came later.
func TestHooks(t *testing.T) {
	s := newStore(t)
	l := begin(t, s)
	l.visit(t, "other.example", hooks.Allow, "p.yaml:1")
	l.add(t, &audit.FlowOpen{Flow: 7, Protocol: hooks.ProtocolHTTPS, Target: hooks.Target{Host: "a.example", Port: 443}, Method: "GET", Path: "/", Verdict: hooks.Allow, Mode: audit.ModeEnforce,
		Hooks: []hooks.Trace{{Hook: "soc", Decision: "next"}, {Hook: "tools", Decision: "next", Fields: &hooks.Fields{Removed: []string{"X-A"}}}}})
	if err := l.w.Flush(); err != nil {
		t.Fatal(err)
	}
	told := func(want string) {
		t.Helper()
		x, err := Open(t.Context(), s)
		if err != nil {
			t.Fatal(err)
		}
		defer x.Close()
		var got []string
		if err := x.Flows(t.Context(), Filter{}, func(f *Flow) error {
			got = append(got, f.Host+": "+audit.ActedText(f.Hooks))
			return nil
		}); err != nil || strings.Join(got, "\n") != want {
			t.Errorf("%v\n%s", err, strings.Join(got, "\n"))
		}
	}
	told("other.example: \na.example: X-A removed by hook tools")
	l.add(t, &audit.FlowClose{Flow: 7, Class: "hook", Hooks: []hooks.Trace{{Hook: "late", Point: hooks.PointResponse, Decision: "deny"}}})
	l.end(t)
	told("other.example: \na.example: X-A removed by hook tools; denied by hook late at response")
}
