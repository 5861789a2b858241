package workcopy

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// tempPrefix begins the names under which files are written before they are renamed.
const tempPrefix = ".penstock-bring-"

// rules are the protected names, folded.
type rules struct {
	protect []guarded
	hide    []string // as they are
}

type guarded struct {
	path string // as it is
	fold string
}

func (m *Manifest) rules() *rules {
	r := &rules{hide: m.Hide}
	for _, p := range append(append([]string(nil), m.Protect...), m.Hide...) {
		r.protect = append(r.protect, guarded{p, fold(p)})
	}
	return r
}

// hidden says whether a path is not copied.
func (r *rules) hidden(p string) bool {
	for _, h := range r.hide {
		if within(p, h) {
			return true
		}
	}
	return false
}

// refuse says why a change of a path is not brought, or "".
func (r *rules) refuse(p string, was, is *Entry) string {
	if strings.Contains("/"+p, "/"+tempPrefix) {
		return "names with " + tempPrefix + " are kept for bringing back"
	}
	f := fold(p)
	stays := is != nil && is.Kind == Dir && (was == nil || was.Kind == Dir)
	for _, g := range r.protect {
		if within(f, g.fold) {
			return "it is protected: " + g.path
		}
		// A directory above may stay one, in the spelling that it has.
		if within(g.fold, f) && !(stays && within(g.path, p)) {
			return "it is above what is protected: " + g.path
		}
	}
	return ""
}

// within says whether p is dir or below it.
func within(p, dir string) bool {
	return p == dir || len(p) > len(dir) && p[len(dir)] == '/' && p[:len(dir)] == dir
}

// fold makes names alike that some file system takes for one: without case (ext4 and
// f2fs with casefold, vfat, NTFS), without code points that can't be seen (casefold
// ignores them, see the kernel's fs/unicode), without what NTFS drops at the end or
// takes for a stream. It makes more alike than any of them does.
func fold(p string) string {
	ascii := true
	for i := range len(p) {
		if c := p[i]; c >= utf8.RuneSelf || 'A' <= c && c <= 'Z' || c == '.' || c == ' ' || c == ':' || c == '~' {
			ascii = false
			break
		}
	}
	if ascii {
		return p
	}
	parts := strings.Split(p, "/")
	for i, n := range parts {
		parts[i] = foldName(n)
	}
	return strings.Join(parts, "/")
}

func foldName(n string) string {
	var b strings.Builder
	for _, r := range n {
		switch {
		case r < utf8.RuneSelf:
			b.WriteRune(unicode.ToLower(r))
		case unseen(r):
		case r >= 0xfb00 && r <= 0xfb06: // ligatures
			b.WriteString([...]string{"ff", "fi", "fl", "ffi", "ffl", "st", "st"}[r-0xfb00])
		case r == 0xdf || r == 0x1e9e:
			b.WriteString("ss")
		case r >= 0xff01 && r <= 0xff5e: // full width
			b.WriteRune(unicode.ToLower(r - 0xff01 + '!'))
		default:
			b.WriteRune(least(r))
		}
	}
	name := b.String()
	if i := strings.IndexByte(name, ':'); i > 0 {
		name = name[:i]
	}
	if name == "git~1" {
		return ".git"
	}
	if short := strings.TrimRight(name, ". "); short != "" {
		name = short
	}
	return name
}

// least is one of all runes that differ from r by case only: the lower case of ASCII
// where there is one (U+212A is a k, U+017F is an s).
func least(r rune) rune {
	low := r
	for o := unicode.SimpleFold(r); o != r; o = unicode.SimpleFold(o) {
		low = min(low, o)
	}
	return unicode.ToLower(low)
}

// unseen are code points with the property Default_Ignorable_Code_Point.
func unseen(r rune) bool {
	switch {
	case unicode.Is(unicode.Cf, r), unicode.Is(unicode.Other_Default_Ignorable_Code_Point, r), unicode.Is(unicode.Variation_Selector, r):
		return true
	}
	return false
}
