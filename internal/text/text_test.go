package text

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestEscape(t *testing.T) {
	for _, tc := range []struct{ name, in, want string }{
		{"plain", "api.example.com:443 /a?b=c", "api.example.com:443 /a?b=c"},
		{"accents stay", "héllo 漢字 ✓", "héllo 漢字 ✓"},
		{"new line", "a\nb\r\tc", `a\nb\r\tc`},
		{"colour", "\x1b[31mred", `\x1b[31mred`},
		{"title", "\x1b]0;x\a", `\x1b]0;x\x07`},
		{"delete", "a\x7fb", `a\x7fb`},
		{"C1 control sequence introducer", "a\u009b31m", `a\u009b31m`},
		{"right to left override", "a\u202eb", `a\u202eb`},
		{"isolate", "\u2066x\u2069", `\u2066x\u2069`},
		{"zero width", "a\u200b\u200d\ufeffb", `a\u200b\u200d\ufeffb`},
		{"line separator", "a\u2028b", `a\u2028b`},
		{"tag characters", "a\U000e0041", `a\U000e0041`},
		{"blank that is a letter", "\u3164", `\u3164`},
		{"invalid UTF-8", "a\xff\xc3b", `a\xff\xc3b`},
		{"backslash is doubled", `a\x41`, `a\\x41`},
		{"replacement character itself", "\ufffd", `\ufffd`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := Escape(tc.in); got != tc.want {
				t.Errorf("Escape(%q) = %q, want %q", tc.in, got, tc.want)
			}
		})
	}
}

func TestClip(t *testing.T) {
	for _, tc := range []struct {
		in    string
		width int
		want  string
	}{
		{"abc", 3, "abc"}, {"abcd", 3, "ab…"}, {"\x1b\x1b", 4, `\x1…`}, {"é漢字", 2, "é…"}, {"abc", 0, ""},
		{strings.Repeat("x", 1<<20), 5, "xxxx…"},
	} {
		if got := Clip(tc.in, tc.width); got != tc.want {
			t.Errorf("Clip(%.10q, %d) = %q, want %q", tc.in, tc.width, got, tc.want)
		}
	}
}

func FuzzEscape(f *testing.F) {
	f.Add("a\x1b[2Jb\u202e\xff\\")
	f.Fuzz(func(t *testing.T, s string) {
		got := Escape(s)
		if !utf8.ValidString(got) {
			t.Fatalf("Escape(%q) is not UTF-8", s)
		}
		for _, r := range got {
			if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || unicode.Is(unicode.Bidi_Control, r) {
				t.Fatalf("Escape(%q) still holds %U", s, r)
			}
		}
		if c := Clip(s, 20); utf8.RuneCountInString(c) > 20 {
			t.Fatalf("Clip(%q) has more than 20 runes", s)
		}
	})
}

func TestJSON(t *testing.T) {
	for _, tc := range []struct{ in, want string }{
		{`{"a":"b"}`, `{"a":"b"}`},
		{`{"a":"é漢"}`, `{"a":"é漢"}`},
		{"{\"a\":\"\x7f\u009b\u202e\"}", `{"a":"\u007f\u009b\u202e"}`},
		{"\"\U000e0041\"", `"\udb40\udc41"`},
	} {
		if got := string(JSON([]byte(tc.in))); got != tc.want {
			t.Errorf("JSON(%q) = %q, want %q", tc.in, got, tc.want)
		}
	}
}

func FuzzJSON(f *testing.F) {
	f.Add("a\x7f\u202e\U000e0041\xff")
	f.Fuzz(func(t *testing.T, s string) {
		doc, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		safe := JSON(doc)
		var got, want string
		if err := json.Unmarshal(safe, &got); err != nil {
			t.Fatalf("%q became %q: %v", doc, safe, err)
		}
		if json.Unmarshal(doc, &want); got != want {
			t.Fatalf("%q became %q", want, got)
		}
		for _, r := range string(safe) {
			if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) {
				t.Fatalf("%q still holds %U", safe, r)
			}
		}
	})
}
