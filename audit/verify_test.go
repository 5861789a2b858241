package audit

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// spoiled is a store with three closed sessions, of which one is to be spoiled.
type spoiled struct {
	*Store
	ses   *Session // the middle one
	other *Session
}

func spoil(t testing.TB) spoiled {
	s := newStore(t)
	record(t, s, events()...)
	mid := record(t, s, events()...)
	last := record(t, s, events()...)
	return spoiled{s, mid, last}
}

func (s spoiled) ledger() string { return filepath.Join(s.dir, ledgerFile) }

// edit changes a file's lines, each with its new line.
func edit(t testing.TB, path string, f func([][]byte) [][]byte) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.SplitAfter(b, []byte("\n"))
	if n := len(lines) - 1; len(lines[n]) == 0 {
		lines = lines[:n]
	}
	if err := os.WriteFile(path, bytes.Join(f(lines), nil), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestVerifyNamesWhatIsWrong(t *testing.T) {
	n := len(events())
	for _, tc := range []struct {
		name  string
		spoil func(t *testing.T, s spoiled)
		// what is expected: "" for File is the session's
		file string
		line int
		kind string
	}{
		{"changed byte", func(t *testing.T, s spoiled) {
			edit(t, s.ses.Path, func(l [][]byte) [][]byte {
				l[5] = bytes.Replace(l[5], []byte(`"allow"`), []byte(`"deny"`), 1)
				return l
			})
		}, "", 6, KindChanged},
		{"changed last record", func(t *testing.T, s spoiled) {
			edit(t, s.ses.Path, func(l [][]byte) [][]byte {
				l[n-1] = bytes.Replace(l[n-1], []byte(`"exit_code":3`), []byte(`"exit_code":0`), 1)
				return l
			})
		}, "", n, KindChanged},
		{"dropped", func(t *testing.T, s spoiled) {
			edit(t, s.ses.Path, func(l [][]byte) [][]byte { return slices.Delete(l, 3, 5) })
		}, "", 4, KindDropped},
		{"first dropped", func(t *testing.T, s spoiled) {
			edit(t, s.ses.Path, func(l [][]byte) [][]byte { return l[1:] })
		}, "", 1, KindDropped},
		{"repeated", func(t *testing.T, s spoiled) {
			edit(t, s.ses.Path, func(l [][]byte) [][]byte { return slices.Insert(l, 4, l[3]) })
		}, "", 5, KindInserted},
		{"inserted", func(t *testing.T, s spoiled) {
			edit(t, s.ses.Path, func(l [][]byte) [][]byte { return slices.Insert(l, 4, []byte("{}\n")) })
		}, "", 5, KindForged},
		{"swapped", func(t *testing.T, s spoiled) {
			edit(t, s.ses.Path, func(l [][]byte) [][]byte { l[3], l[4] = l[4], l[3]; return l })
		}, "", 4, KindDropped},
		{"another session's record", func(t *testing.T, s spoiled) {
			b, _ := os.ReadFile(s.other.Path)
			edit(t, s.ses.Path, func(l [][]byte) [][]byte { l[3] = bytes.SplitAfter(b, []byte("\n"))[3]; return l })
		}, "", 4, KindForged},
		{"another session's file", func(t *testing.T, s spoiled) {
			b, _ := os.ReadFile(s.other.Path)
			os.WriteFile(s.ses.Path, b, 0o600)
		}, "", 1, KindForged},
		{"truncated at a line", func(t *testing.T, s spoiled) {
			edit(t, s.ses.Path, func(l [][]byte) [][]byte { return l[:n-2] })
		}, "", 0, KindTruncated},
		{"emptied", func(t *testing.T, s spoiled) { os.Truncate(s.ses.Path, 0) }, "", 0, KindTruncated},
		{"torn", func(t *testing.T, s spoiled) {
			fi, _ := os.Stat(s.ses.Path)
			os.Truncate(s.ses.Path, fi.Size()-5)
		}, "", n, KindTorn},
		{"goes on, chained", func(t *testing.T, s spoiled) {
			f, err := os.OpenFile(s.ses.Path, os.O_RDWR|os.O_APPEND, 0)
			if err != nil {
				t.Fatal(err)
			}
			w, err := NewWriter(f, s.ses.ID)
			if err != nil {
				t.Fatal(err)
			}
			w.Append(openEvent())
			w.Close()
		}, "", n + 1, KindExtra},
		{"rewritten with new hashes", func(t *testing.T, s spoiled) {
			os.Remove(s.ses.Path)
			f, err := os.OpenFile(s.ses.Path, os.O_RDWR|os.O_CREATE, 0o600)
			if err != nil {
				t.Fatal(err)
			}
			w, err := NewWriter(f, s.ses.ID)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range events() {
				if f, ok := e.(*FlowOpen); ok {
					f.Target.Host = "api.innocent.com"
				}
				w.Append(e)
			}
			w.Close()
		}, "", -1, ""},
		{"removed", func(t *testing.T, s spoiled) { os.Remove(s.ses.Path) }, "", 0, KindMissing},
		{"replaced by a link", func(t *testing.T, s spoiled) {
			os.Rename(s.ses.Path, s.ses.Path+".old")
			os.Symlink(s.ses.Path+".old", s.ses.Path)
		}, "", 0, KindFile},
		{"unlisted file", func(t *testing.T, s spoiled) {
			b, _ := os.ReadFile(s.ses.Path)
			b = bytes.Join(bytes.SplitAfter(b, []byte("\n"))[:3], nil) // the others' problems are the same
			os.WriteFile(filepath.Join(s.dir, "20200101-000000-aaaaa.jsonl"), bytes.ReplaceAll(b, []byte(s.ses.ID), []byte("20200101-000000-aaaaa")), 0o600)
		}, "20200101-000000-aaaaa.jsonl", 0, KindUnlisted},
		{"session out of the ledger", func(t *testing.T, s spoiled) {
			edit(t, s.ledger(), func(l [][]byte) [][]byte { return slices.Delete(l, 2, 4) })
		}, ledgerFile, 3, KindDropped},
		{"end out of the ledger", func(t *testing.T, s spoiled) {
			edit(t, s.ledger(), func(l [][]byte) [][]byte { return slices.Delete(l, 3, 4) })
		}, ledgerFile, 4, KindDropped},
		{"changed ledger", func(t *testing.T, s spoiled) {
			edit(t, s.ledger(), func(l [][]byte) [][]byte {
				l[3] = bytes.Replace(l[3], []byte(`"records":`), []byte(`"records":1`), 1)
				return l
			})
		}, ledgerFile, 4, KindForged},
		{"ledger removed", func(t *testing.T, s spoiled) { os.Remove(s.ledger()) }, ledgerFile, 0, KindMissing},
		{"end of the ledger cut with the last session", func(t *testing.T, s spoiled) {
			edit(t, s.ledger(), func(l [][]byte) [][]byte { return l[:4] })
		}, "other", 0, KindUnlisted},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := spoil(t)
			tc.spoil(t, s)
			r := verify(t, s.Store, VerifyOptions{})
			if r.OK() || r.Whole() {
				t.Fatalf("not found: %+v", r)
			}
			if tc.line < 0 {
				return // the head differs; which is said depends on its length
			}
			file := s.ses.Path
			switch tc.file {
			case "":
			case "other":
				file = s.other.Path
			default:
				file = filepath.Join(s.dir, tc.file)
			}
			var all []Problem
			for _, ses := range r.Sessions {
				all = append(all, ses.Problems...)
			}
			all = append(all, r.Ledger.Problems...)
			for _, p := range all {
				if p.File == file && p.Line == tc.line && p.Kind == tc.kind {
					return
				}
			}
			t.Errorf("want %s:%d %s, got %v", file, tc.line, tc.kind, all)
		})
	}
}

// What a killed session looks like is not tampering, and not whole either.
func TestUnclosedSessions(t *testing.T) {
	for _, tc := range []struct {
		name  string
		spoil func(s *Store, ses *Session, w *Writer)
		state State
		torn  int
	}{
		{"running", func(*Store, *Session, *Writer) {}, StateRunning, 0},
		{"killed", func(_ *Store, _ *Session, w *Writer) { w.f.Close() }, StateUnclosed, 0},
		{"killed within a write", func(_ *Store, ses *Session, w *Writer) {
			w.f.Close()
			fi, _ := os.Stat(ses.Path)
			os.Truncate(ses.Path, fi.Size()-9)
		}, StateUnclosed, 2},
		{"killed before its first record", func(_ *Store, ses *Session, w *Writer) {
			w.f.Close()
			os.Truncate(ses.Path, 0)
		}, StateUnclosed, 0},
		{"killed before the ledger knew it", func(s *Store, ses *Session, w *Writer) {
			w.f.Close()
			os.WriteFile(filepath.Join(s.dir, "20200101-000000-aaaaa.jsonl"), nil, 0o600)
		}, StateUnclosed, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newStore(t)
			ses, w := begin(t, s)
			defer w.Close()
			for range 2 {
				if err := w.Append(openEvent()); err != nil {
					t.Fatal(err)
				}
			}
			tc.spoil(s, ses, w)
			r := verify(t, s, VerifyOptions{})
			if !r.OK() || r.Whole() || r.Sessions[0].State != tc.state || r.Sessions[0].Torn != tc.torn {
				t.Errorf("%+v", r)
			}
		})
	}
	t.Run("torn ledger", func(t *testing.T) {
		s := newStore(t)
		record(t, s, openEvent())
		f, _ := os.OpenFile(filepath.Join(s.dir, ledgerFile), os.O_WRONLY|os.O_APPEND, 0)
		f.WriteString(`{"schema":1,"sess`)
		f.Close()
		if r := verify(t, s, VerifyOptions{}); !r.OK() || r.Whole() || r.Ledger.Torn != 3 {
			t.Errorf("%+v", r)
		}
		record(t, s, openEvent()) // repairs it
		if r := verify(t, s, VerifyOptions{}); !r.Whole() || r.Ledger.Records != 5 || r.Ledger.Lost != 1 {
			t.Errorf("%+v", r)
		}
	})
}

func TestSealRefusesAnotherHead(t *testing.T) {
	s := newStore(t)
	ses, w := begin(t, s)
	w.Append(openEvent())
	w.Close()
	seq, head := w.Head()
	if err := ses.Seal(seq+1, head); err == nil {
		t.Error("another number was sealed")
	}
	head[0]++
	if err := ses.Seal(seq, head); err == nil {
		t.Error("another hash was sealed")
	}
	if r := verify(t, s, VerifyOptions{}); r.Sessions[0].State != StateUnclosed {
		t.Errorf("%+v", r)
	}
}

// Property: no change of a closed session or of the ledger goes unseen. A head
// hash that was kept elsewhere is not needed for it, but for a change of
// everything at once.
func TestAnyMutationIsFound(t *testing.T) {
	s := spoil(t)
	if r := verify(t, s.Store, VerifyOptions{}); !r.Whole() {
		t.Fatalf("before: %+v", r)
	}
	seed := rand.Uint64()
	rnd := rand.New(rand.NewPCG(seed, 1))
	for _, path := range []string{s.ses.Path, s.ledger()} {
		good, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 400 {
			bad, what := mutate(rnd, good)
			if bytes.Equal(bad, good) {
				continue
			}
			if err := os.WriteFile(path, bad, 0o600); err != nil {
				t.Fatal(err)
			}
			r := verify(t, s.Store, VerifyOptions{})
			if r.Whole() || path == s.ses.Path && r.OK() {
				t.Fatalf("seed %d, mutation %d of %s not found: %s", seed, i, filepath.Base(path), what)
			}
			for _, p := range append(slices.Clone(r.Ledger.Problems), r.Sessions[1].Problems...) {
				if strings.ContainsAny(p.String(), "\x1b\u009b\n") {
					t.Fatalf("unescaped: %q", p.String())
				}
			}
		}
		if err := os.WriteFile(path, good, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if r := verify(t, s.Store, VerifyOptions{}); !r.Whole() {
		t.Fatalf("after: %+v", r)
	}
}

// mutate changes b at random and says how.
func mutate(rnd *rand.Rand, b []byte) ([]byte, string) {
	at := rnd.IntN(len(b))
	lines := bytes.SplitAfter(b, []byte("\n"))
	lines = lines[:len(lines)-1]
	i, j := rnd.IntN(len(lines)), rnd.IntN(len(lines))
	switch rnd.IntN(9) {
	case 0:
		out := bytes.Clone(b)
		out[at] ^= 1 << rnd.IntN(8)
		return out, fmt.Sprintf("bit of byte %d", at)
	case 1:
		out := bytes.Clone(b)
		out[at] = byte(rnd.IntN(256))
		return out, fmt.Sprintf("byte %d", at)
	case 2:
		return slices.Delete(bytes.Clone(b), at, at+1), fmt.Sprintf("without byte %d", at)
	case 3:
		return slices.Insert(bytes.Clone(b), at, " \n\x00{}\"\x1b"[rnd.IntN(7)]), fmt.Sprintf("with one more at %d", at)
	case 4:
		return bytes.Clone(b[:at]), fmt.Sprintf("cut to %d", at)
	case 5:
		return bytes.Join(slices.Delete(slices.Clone(lines), i, i+1), nil), fmt.Sprintf("without line %d", i+1)
	case 6:
		return bytes.Join(slices.Insert(slices.Clone(lines), i, lines[j]), nil), fmt.Sprintf("line %d again at %d", j+1, i+1)
	case 7:
		out := slices.Clone(lines)
		out[i], out[j] = out[j], out[i]
		return bytes.Join(out, nil), fmt.Sprintf("lines %d and %d swapped", i+1, j+1)
	default:
		return append(bytes.Clone(b), lines[i]...), fmt.Sprintf("line %d again at the end", i+1)
	}
}

func TestManyProblemsAreBounded(t *testing.T) {
	s := spoil(t)
	var b bytes.Buffer
	for i := range 1000 {
		fmt.Fprintf(&b, "line %d \x1b[2J\n", i)
	}
	os.WriteFile(s.ses.Path, b.Bytes(), 0o600)
	r := verify(t, s.Store, VerifyOptions{Session: s.ses.ID})
	if res := r.Sessions[0]; len(res.Problems) != maxProblems || res.More < 900 || len(r.Sessions) != 1 {
		t.Errorf("%+v", res)
	}
}

func TestLedgerHead(t *testing.T) {
	s := newStore(t)
	record(t, s, openEvent())
	l, err := s.openLedger()
	if err != nil {
		t.Fatal(err)
	}
	head := hex.EncodeToString(l.tail.head[:])
	l.close()
	if r := verify(t, s, VerifyOptions{Head: head}); !r.Whole() {
		t.Errorf("%+v", r)
	}
	record(t, s, openEvent())
	if r := verify(t, s, VerifyOptions{Head: head}); r.OK() {
		t.Errorf("another ledger passes: %+v", r)
	}
}
