package shelf

import (
	"strings"
	"testing"
)

// FuzzSlug: a name is always a directory and the rest of a branch's name, and
// stays itself.
func FuzzSlug(f *testing.F) {
	for _, s := range []string{"x", "My Feature!", "../../etc", "a.lock", "a.lock.lock", "-x", "a..b", "@{", "é", strings.Repeat("long-", 40), "\x00", "a/b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n := Slug(s)
		if Slug(n) != n || len(n) > maxName {
			t.Errorf("Slug(%q) = %q, and of that %q", s, n, Slug(n))
		}
		if strings.Trim(n, "abcdefghijklmnopqrstuvwxyz0123456789-._") != "" || strings.Contains(n, "..") || strings.HasSuffix(n, ".lock") {
			t.Errorf("Slug(%q) = %q", s, n)
		}
		if n != "" && (strings.ContainsAny(n[:1], "-._") || strings.ContainsAny(n[len(n)-1:], "-._")) {
			t.Errorf("Slug(%q) = %q", s, n)
		}
	})
}
