package policy

import (
	"strings"
	"testing"
)

// TestWorktreeHolds: whoever asks for a worktree gets one; no layer takes it back.
func TestWorktreeHolds(t *testing.T) {
	for _, c := range []struct {
		system, user, project string
		want                  bool
		warns                 string
	}{
		{},
		{system: "true", want: true},
		{project: "true", want: true},
		{system: "true", project: "false", want: true, warns: "project:2: worktree: false has no effect: system:2 says true"},
		{user: "false", project: "true", want: true, warns: "user:2: worktree: false has no effect: project:2 says true"},
		{user: "false", project: "false"},
	} {
		var files []*File
		for _, l := range []struct {
			name  string
			layer Layer
			says  string
		}{{"system", System, c.system}, {"user", User, c.user}, {"project", Project, c.project}} {
			if l.says == "" {
				continue
			}
			f, err := Parse(l.name, l.layer, []byte("version: 1\nsandbox: {worktree: "+l.says+"}\n"))
			if err != nil {
				t.Fatal(err)
			}
			files = append(files, f)
		}
		p, err := New(files)
		if err != nil {
			t.Fatal(err)
		}
		if got := p.Sandbox().Worktree; got.V != c.want {
			t.Errorf("%+v: worktree %v", c, got.V)
		}
		var warned []string
		for _, w := range p.Warnings() {
			warned = append(warned, w.String())
		}
		if got := strings.Join(warned, "\n"); got != c.warns {
			t.Errorf("%+v: warned %q", c, got)
		}
	}
}
