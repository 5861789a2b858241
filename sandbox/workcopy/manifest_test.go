package workcopy

import (
	"bytes"
	"slices"
	"strings"
	"testing"
)

func sample() *Manifest {
	return &Manifest{Protect: []string{".git/hooks"}, Hide: []string{".env", "o\ndd"}, Entries: []Entry{
		{Path: "a", Kind: Dir, Mode: 0o755, MTime: -5},
		{Path: "a/\xff\n\"", Kind: File, Mode: 0o640, Size: 7, MTime: 1 << 60, Hash: [32]byte{1, 2}},
		{Path: "a b", Kind: Link, Text: "../ \\x\x1b"},
	}[:]}
}

// TestManifest: what is written is read again, and nothing else.
func TestManifest(t *testing.T) {
	m := sample()
	slices.SortFunc(m.Entries, byPath)
	doc := m.Encode()
	got, err := Decode(doc)
	if err != nil || !bytes.Equal(got.Encode(), doc) || len(got.Entries) != 3 || got.Entries[1].Path != "a b" || got.Hide[1] != "o\ndd" {
		t.Fatalf("%+v %v\n%s", got, err, doc)
	}
	for i := range doc {
		if _, err := Decode(doc[:i]); err == nil {
			t.Errorf("read without its last %d bytes", len(doc)-i)
		}
	}
	if m, err := Decode((&Manifest{}).Encode()); err != nil || len(m.Entries) != 0 {
		t.Errorf("empty: %+v %v", m, err)
	}
	for name, bad := range map[string]string{
		"absolute": `d 0 755 "/a"`, "above": `d 0 755 "../a"`, "above within": "d 0 755 \"a\"\nd 0 755 \"a/../b\"", "nothing": `d 0 755 ""`,
		"no directory": `f 0 644 0 ` + strings.Repeat("0", 64) + ` "a/b"`, "in a link": "l 0 \"a\" \"b\"\nd 0 755 \"a/b\"",
		"twice": "d 0 755 \"a\"\nd 0 755 \"a\"", "out of order": "d 0 755 \"b\"\nd 0 755 \"a\"", "set-user-id": `d 0 4755 "a"`,
		"kind": `x 0 755 "a"`, "zero byte": `d 0 755 "a\x00"`, "other quotes": "d 0 755 `a`", "plus": `d +1 755 "a"`, "size": `f 0 644 -1 ` + strings.Repeat("0", 64) + ` "a"`,
		"hash": `f 0 644 1 00 "a"`, "more": `d 0 755 "a" x`, "no text": `l 0 "a" ""`, "protected after": "d 0 755 \"a\"\np \"b\"", "protects above": `p ".."`, "long name": `d 0 755 "` + strings.Repeat("n", 256) + `"`,
	} {
		text := header + "\n" + bad + "\n"
		text += last([]byte(text), strings.Count(bad, "\n")+1)
		if m, err := Decode([]byte(text)); err == nil {
			t.Errorf("%s: %+v", name, m)
		}
	}
}

// FuzzDecode: whatever is read has one form, and only paths below its top.
func FuzzDecode(f *testing.F) {
	f.Add((&Manifest{}).Encode())
	f.Add(sample().Encode())
	f.Add([]byte(header + "\nend 0 \n"))
	f.Fuzz(func(t *testing.T, doc []byte) {
		// With a last line that fits, what is before it is looked at.
		for _, d := range [][]byte{doc, append(bytes.Clone(doc), last(doc, bytes.Count(doc, []byte("\n"))-1)...)} {
			m, err := Decode(d)
			if err != nil {
				continue
			}
			if !bytes.Equal(m.Encode(), d) {
				t.Errorf("%q is not in its form", d)
			}
			for _, e := range m.Entries {
				if !plainPath(e.Path) || e.Mode > 0o777 || m.find(e.Path) == nil {
					t.Errorf("%+v", e)
				}
			}
		}
	})
}

// TestRefuse: names are protected in every spelling that some file system takes for theirs.
func TestRefuse(t *testing.T) {
	m := &Manifest{Protect: []string{".git/hooks", ".git/config", ".vscode", "Makefile.d"}, Hide: []string{".env"}}
	r := m.rules()
	file, dir := &Entry{Kind: File}, &Entry{Kind: Dir}
	for _, c := range []struct {
		path    string
		was, is *Entry
		refused bool
	}{
		{".git/hooks", dir, nil, true}, {".git/hooks/pre-commit", nil, file, true}, {".git/hook", nil, file, false}, {".git/hooks2", nil, file, false},
		{".git", dir, dir, false}, {".git", nil, dir, false}, {".git", dir, nil, true}, {".git", dir, file, true}, {".git", nil, file, true}, {".git/refs", nil, file, false},
		{".GIT", nil, dir, true}, {".GIT/refs", nil, file, false}, {".GiT/Hooks/x", nil, file, true}, {".g\u200cit/config", nil, file, true}, {"\ufeff.git/config", nil, file, true},
		{".git/con\ufb01g", nil, file, true}, {".g\u0131t/config", nil, file, false}, {".v\u017fcode/x", nil, file, true}, {".vscode\u00ad/tasks.json", nil, file, true},
		{".g\uff49t/config", nil, file, true}, {"git~1/config", nil, file, true}, {"GIT~1/config", nil, file, true}, {".git./config", nil, file, true}, {".git /config", nil, file, true},
		{".git::$INDEX_ALLOCATION/config", nil, file, true}, {".env", nil, file, true}, {".ENV", nil, file, true}, {".envrc", nil, file, false}, {"ma\u212aefile.d/x", nil, file, true},
		{"src/.git/hooks/x", nil, file, false}, {"a/" + tempPrefix + "x", nil, file, true}, {tempPrefix + "/x", nil, file, true}, {"...", nil, file, false}, {"\u200c", nil, file, false},
	} {
		if why := r.refuse(c.path, c.was, c.is); (why != "") != c.refused {
			t.Errorf("%q (%v, %v): %q", c.path, c.was, c.is, why)
		}
	}
}
