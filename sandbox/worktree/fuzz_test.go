package worktree

import (
	"bufio"
	"strings"
	"testing"
)

// FuzzMade: the closed pen's answer is ids and names, or an error.
func FuzzMade(f *testing.F) {
	id := strings.Repeat("a", 40)
	f.Add(id + "\x00" + id + "\x00\x00PACK")
	f.Add(id + "\x00" + id + "\x00nested a/b/\x00branch x\x00\x00")
	f.Add(id + "\x00--upload-pack=x\x00\x00")
	f.Add("\x00\x00\x00")
	f.Fuzz(func(t *testing.T, s string) {
		m, err := parseMade(bufio.NewReader(strings.NewReader(s)), 40)
		if err != nil {
			return
		}
		if !isID(m.tip) || !isID(m.snapshot) || len(m.tip) != 40 || len(m.snapshot) != 40 || len(m.nested)+len(m.branches) > maxWords {
			t.Errorf("%q: %+v", s, m)
		}
	})
}

// FuzzChanges: git's list of changes, whose names are the tool's.
func FuzzChanges(f *testing.F) {
	id := strings.Repeat("b", 40)
	f.Add(":000000 100644 " + id + " " + id + " A\x00a\tb\n\x001\t0\ta\tb\n\x00")
	f.Add(":100644 000000 " + id + " " + id + " D\x00x\x00-\t-\tx\x00")
	f.Add("1\t2\tx\x00")
	f.Add(":\x00\x00")
	f.Fuzz(func(t *testing.T, s string) {
		list, err := parseChanges([]byte(s))
		if err != nil {
			return
		}
		for i := range list {
			c := &list[i]
			if c.Path == "" || c.Added < -1 || c.Deleted < -1 {
				t.Errorf("%q: %+v", s, c)
			}
			hazardOf(c, []string{"hooks"})
		}
	})
}
