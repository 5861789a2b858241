package darwin

import (
	"fmt"
	"path"
	"strconv"
	"strings"
	"unicode/utf8"
)

// rule is one form of a profile: allow or deny, operations, filters. Without a filter it
// is about everything that the operations are.
type rule struct {
	deny    bool
	ops     []string
	filters []string // rendered
}

// maxText bounds a string of a profile, in bytes: PATH_MAX of macOS is 1024 with the zero
// at its end, and the interpreter's buffer for one has as many.
const maxText = 1023

// quote returns a string in the profile's language, which is TinyScheme's: a backslash
// goes before a quote and a backslash, and everything else stands for itself.
func quote(s string) (string, error) {
	if s == "" || len(s) > maxText {
		return "", fmt.Errorf("a text of %d bytes can't stand in a profile", len(s))
	}
	if !utf8.ValidString(s) {
		return "", fmt.Errorf("%q can't stand in a profile: it is not UTF-8", s)
	}
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r < ' ' || r >= 0x7f && r < 0xa0 || r == 0x2028 || r == 0x2029:
			return "", fmt.Errorf("%q can't stand in a profile: it has a control character", s)
		case r == '"' || r == '\\':
			b.WriteByte('\\')
		}
		b.WriteRune(r)
	}
	b.WriteByte('"')
	return b.String(), nil
}

// filter renders one with a string in it, of a path that canonical returned.
func filter(name, text string) string {
	q, err := quote(text)
	if err != nil {
		panic("darwin: a path was not checked: " + err.Error())
	}
	return "(" + name + " " + q + ")"
}

func subpath(p string) string { return filter("subpath", p) }
func literal(p string) string { return filter("literal", p) }

// render writes a profile that denies what it does not name.
func render(rules []rule) string { return renderDefault("deny", rules) }

func renderDefault(verdict string, rules []rule) string {
	var b strings.Builder
	b.WriteString("(version 1)\n(" + verdict + " default)\n")
	for _, r := range rules {
		verb := "allow"
		if r.deny {
			verb = "deny"
		}
		b.WriteString("(" + verb + " " + strings.Join(r.ops, " "))
		if len(r.filters) == 1 {
			b.WriteString(" " + r.filters[0])
		} else {
			for _, f := range r.filters {
				b.WriteString("\n  " + f)
			}
		}
		b.WriteString(")\n")
	}
	return b.String()
}

// localhost is a port of this machine: an address can't be named otherwise.
func localhost(port uint16) string {
	return `(remote tcp "localhost:` + strconv.Itoa(int(port)) + `")`
}

// within says whether p is dir or below it.
func within(p, dir string) bool {
	return p == dir || dir == "/" || strings.HasPrefix(p, dir+"/")
}

// parents calls do with each directory above p, the nearest first, but the root.
func parents(p string, do func(string)) {
	for p = path.Dir(p); p != "/" && p != "."; p = path.Dir(p) {
		do(p)
	}
}
