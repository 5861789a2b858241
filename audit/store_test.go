package audit

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/penstock/penstock/hooks"
)

func TestDefaultDir(t *testing.T) {
	for _, tc := range []struct{ state, home, want string }{
		{"/s", "/h", "/s/penstock/audit"},
		{"", "/h", "/h/.local/state/penstock/audit"},
		{"relative", "/h", "/h/.local/state/penstock/audit"},
		{"", "", ""},
		{"", "relative", ""},
	} {
		got, err := DefaultDir(func(name string) string {
			return map[string]string{"XDG_STATE_HOME": tc.state, "HOME": tc.home}[name]
		})
		if filepath.ToSlash(got) != tc.want || (err == nil) != (tc.want != "") {
			t.Errorf("%+v: %q, %v", tc, got, err)
		}
	}
}

func TestStoreModes(t *testing.T) {
	s := newStore(t)
	ses := record(t, s, openEvent())
	for path, want := range map[string]os.FileMode{s.Dir(): 0o700, ses.Path: 0o600, filepath.Join(s.Dir(), ledgerFile): 0o600} {
		if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != want {
			t.Errorf("%s: %v, %v", path, fi.Mode(), err)
		}
	}
	if err := os.Chmod(s.Dir(), 0o777); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(s.Dir()); err == nil || !strings.Contains(err.Error(), "others may write") {
		t.Errorf("a directory that others may write to: %v", err)
	}
	if _, err := OpenExisting(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("opened what is not there")
	}
	if _, err := Open(ses.Path); err == nil {
		t.Error("opened a file as a store")
	}
}

// TestReadableStore: everybody may read, nobody but the owner write, whatever the
// umask is; and what SealUnread enters is what Verify finds, or not.
func TestReadableStore(t *testing.T) {
	s, err := OpenReadable(filepath.Join(t.TempDir(), "1000"))
	if err != nil {
		t.Fatal(err)
	}
	for _, lie := range []bool{false, true} {
		ses, w := begin(t, s)
		if err := w.Append(openEvent()); err != nil {
			t.Fatal(err)
		}
		w.Flush()
		seq, head := w.Head()
		if lie {
			head[0]++
		}
		if err := ses.SealUnread(seq, head); err != nil {
			t.Fatal(err)
		}
		w.Close()
		if r, err := s.Verify(VerifyOptions{Session: ses.ID}); err != nil || r.Whole() == lie {
			t.Errorf("lie %v: %+v, %v", lie, r, err)
		}
		for path, want := range map[string]os.FileMode{s.Dir(): 0o755, ses.Path: 0o644, filepath.Join(s.Dir(), ledgerFile): 0o644} {
			if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != want {
				t.Errorf("%s: %v, %v", path, fi.Mode(), err)
			}
		}
	}
	if _, err := OpenReadable(s.Dir()); err != nil {
		t.Error(err)
	}
	ses, w := begin(t, s)
	if err := ses.SealEmpty(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	ses.File.Close()
	if r, err := s.Verify(VerifyOptions{Session: ses.ID}); err != nil || !r.Whole() {
		t.Errorf("a session without records: %+v, %v", r, err)
	}
	ses, w = begin(t, s)
	w.Append(openEvent())
	w.Close()
	if err := ses.SealEmpty(); err == nil {
		t.Error("a session with records was sealed as one without")
	}
}

func TestSessionNames(t *testing.T) {
	s := newStore(t)
	for _, id := range []string{"", "..", "a/b", "../x", "ledger", "a.b", "A", "-a", "a\x00", strings.Repeat("a", 65)} {
		if _, err := s.Path(id); err == nil {
			t.Errorf("%q is taken as a session", id)
		}
		if _, err := s.OpenSession(id); err == nil {
			t.Errorf("%q was opened", id)
		}
		if _, err := s.Verify(VerifyOptions{Session: id}); err == nil && id != "" {
			t.Errorf("%q was verified", id)
		}
	}
	last := ""
	at := time.Date(2026, 11, 22, 20, 15, 1, 0, time.UTC)
	for range 50 {
		id := newSessionID(at)
		if !ValidSession(id) || id[:18] <= last {
			t.Errorf("%q after %q", id, last)
		}
		last, at = id[:18], at.Add(20*time.Millisecond)
	}
}

// Many sessions at once share one ledger.
func TestConcurrentSessions(t *testing.T) {
	s := newStore(t)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			own, err := Open(s.Dir()) // as another process would
			if err != nil {
				t.Error(err)
				return
			}
			ses, err := own.Create(time.Now())
			if err != nil {
				t.Error(err)
				return
			}
			w, err := NewWriter(ses.File, ses.ID)
			if err != nil {
				t.Error(err)
				return
			}
			for range 10 {
				if err := w.Append(openEvent()); err != nil {
					t.Error(err)
				}
			}
			if r, err := own.Verify(VerifyOptions{}); err != nil || !r.OK() {
				t.Errorf("meanwhile: %+v, %v", r, err)
			}
			w.Close()
			if err := ses.Seal(w.Head()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if r := verify(t, s, VerifyOptions{}); !r.Whole() || len(r.Sessions) != 20 || r.Ledger.Records != 40 {
		t.Errorf("%+v", r)
	}
}

func TestSummary(t *testing.T) {
	w, path := newWriter(t)
	visit := func(n int, p hooks.Protocol, host string, port uint16, verdict hooks.Action, rule string) {
		for range n {
			if err := w.Append(&FlowOpen{Flow: 1, Protocol: p, Target: hooks.Target{Host: host, Port: port}, Verdict: verdict, Rule: rule, Mode: ModeEnforce, Reason: "r"}); err != nil {
				t.Fatal(err)
			}
		}
	}
	visit(3, hooks.ProtocolHTTPS, "api.example.com", 443, hooks.Allow, "p.yaml:3")
	visit(9, hooks.ProtocolHTTPS, "gist.example.com", 443, hooks.Deny, "p.yaml:9")
	visit(2, hooks.ProtocolHTTP, "evil.example", 80, hooks.Deny, "")
	visit(4, hooks.ProtocolHTTPS, "pkg.example", 8443, hooks.Deny, "")
	visit(1, hooks.ProtocolTCP, "db.example", 5432, hooks.Deny, "")
	w.Append(&FlowOpen{Flow: 1, Protocol: hooks.ProtocolHTTPS, Target: hooks.Target{Host: "gist.example.com", Port: 443}, Rule: "p.yaml:9", Mode: ModeAudit})
	w.Append(&Drop{Protocol: "udp", Count: 5})
	w.Append(&Violation{Kind: `x","verdict":"allow`})
	w.Append(&DNS{Name: "a"})
	w.Close()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	s, err := Summarize(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	if s.Allowed != 3 || s.Denied != 16 || s.Would != 1 || s.Drops != 5 || s.Violations != 1 || s.DNS != 1 || len(s.Groups) != 5 {
		t.Errorf("%+v", s)
	}
	if top := s.Top(); top == nil || top.Fix() != "--allow pkg.example:8443" {
		t.Errorf("top: %+v", top)
	}
	var out bytes.Buffer
	s.Print(&out, "| ", 2)
	want := `| 3 allowed, 16 denied, 1 would be denied, 5 packets dropped, 1 VIOLATIONS
|   denied     10  https://gist.example.com  (p.yaml:9)
|   denied      4  https://pkg.example:8443  (no rule)
|   … and more denied
|   allowed     3  https://api.example.com  (p.yaml:3)
|   to allow https://pkg.example:8443: --allow pkg.example:8443
`
	if out.String() != want {
		t.Errorf("got\n%s", out.String())
	}
}

func TestFix(t *testing.T) {
	for _, tc := range []struct {
		g    Group
		want string
	}{
		{Group{Host: "a.example", Port: 443, Protocol: "https"}, "--allow a.example"},
		{Group{Host: "a.example", Port: 80, Protocol: "http"}, "--allow a.example"},
		{Group{Host: "a.example", Port: 80, Protocol: "https"}, "--allow a.example:80"},
		{Group{Host: "2001:db8::1", Port: 443, Protocol: "https"}, "--allow [2001:db8::1]"},
		{Group{Host: "db.example", Port: 22, Protocol: "tcp"}, "--allow tcp://db.example:22"},
		{Group{Host: "a.example", Port: 443, Protocol: "tcp"}, "--allow a.example"},
		{Group{Host: "a.example", Port: 443, Protocol: "https", Rule: "p.yaml:1"}, ""},
		{Group{Host: "$(reboot)", Port: 443, Protocol: "https"}, ""},
		{Group{Host: "a;b", Port: 443, Protocol: "https"}, ""},
		{Group{Host: "-rf", Port: 443, Protocol: "https"}, ""},
		{Group{Host: "a.example", Port: 443, Protocol: "unknown"}, ""},
	} {
		if got := tc.g.Fix(); got != tc.want {
			t.Errorf("%+v: %q, want %q", tc.g, got, tc.want)
		}
	}
}

func BenchmarkSummarize(b *testing.B) {
	w, path := newWriter(b)
	for range 1000 {
		w.Append(openEvent())
		w.Append(closeEvent())
	}
	w.Close()
	data, err := os.ReadFile(path)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		if _, err := Summarize(bytes.NewReader(data)); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVerify(b *testing.B) {
	s := newStore(b)
	ses, w := begin(b, s)
	for range 10000 {
		w.Append(openEvent())
	}
	seal(b, ses, w)
	fi, _ := os.Stat(ses.Path)
	b.SetBytes(fi.Size())
	for b.Loop() {
		if r, err := s.Verify(VerifyOptions{}); err != nil || !r.Whole() {
			b.Fatal(r, err)
		}
	}
}

// TestLockedByReader: who may only read a store can't hold up who writes it.
func TestLockedByReader(t *testing.T) {
	s, err := OpenReadable(filepath.Join(t.TempDir(), "1000"))
	if err != nil {
		t.Fatal(err)
	}
	ses, w := begin(t, s)
	defer w.Close()
	for _, name := range []string{filepath.Join(s.Dir(), ledgerFile), ses.Path} {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := lock(f, lockTest); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Append(openEvent()); err != nil {
		t.Fatal(err)
	}
	if err := ses.SealUnread(w.Head()); err != nil { // waited for ever
		t.Fatal(err)
	}
	_, again := begin(t, s)
	again.Close()
}
