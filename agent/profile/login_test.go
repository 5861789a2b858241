package profile

import (
	"io/fs"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestLogins(t *testing.T) {
	now := time.UnixMilli(1_700_000_000_000)
	claude := `{"claudeAiOauth":{"accessToken":"sk-ant-oat01-ACCESS","refreshToken":"sk-ant-ort01-REFRESH","expiresAt":1700000001000}}`
	for _, tt := range []struct {
		name, command string
		environ       []string
		files         map[string]string
		want          []string
		note          string
	}{
		{"claude", "claude -p x", nil, map[string]string{"/h/.claude/.credentials.json": claude}, []string{"CLAUDE_CODE_OAUTH_TOKEN=sk-ant-oat01-ACCESS"}, "uses the login"},
		{"claude by npx", "npx @anthropic-ai/claude-code", nil, map[string]string{"/h/.claude/.credentials.json": claude}, []string{"CLAUDE_CODE_OAUTH_TOKEN=sk-ant-oat01-ACCESS"}, "uses the login"},
		{"expired", "claude", nil, map[string]string{"/h/.claude/.credentials.json": strings.Replace(claude, "1700000001000", "1699999999000", 1)}, nil, "expired"},
		{"a key is set", "claude", []string{"ANTHROPIC_API_KEY=k"}, map[string]string{"/h/.claude/.credentials.json": claude}, nil, ""},
		{"another program", "vim", nil, map[string]string{"/h/.claude/.credentials.json": claude}, nil, ""},
		{"not JSON", "claude", nil, map[string]string{"/h/.claude/.credentials.json": "hello"}, nil, ""},
		{"line break in the token", "claude", nil, map[string]string{"/h/.claude/.credentials.json": `{"claudeAiOauth":{"accessToken":"a\r\nX: b"}}`}, nil, ""},
		{"too long", "claude", nil, map[string]string{"/h/.claude/.credentials.json": claude + strings.Repeat(" ", maxLogin)}, nil, ""},
		{"codex key", "codex exec", nil, map[string]string{"/h/.codex/auth.json": `{"OPENAI_API_KEY":"sk-KEY","tokens":null}`}, []string{"OPENAI_API_KEY=sk-KEY"}, "uses the login"},
		{"codex by ChatGPT", "codex", nil, map[string]string{"/h/.codex/auth.json": `{"OPENAI_API_KEY":null,"tokens":{"access_token":"A","refresh_token":"R"}}`}, nil, ""},
		{"opencode", "opencode", nil, map[string]string{"/h/.local/share/opencode/auth.json": `{"openai":{"type":"api","key":"sk-O"},"anthropic":{"type":"oauth","refresh":"R","access":"A"},"other":{"type":"api","key":"x"}}`}, []string{"OPENAI_API_KEY=sk-O"}, "uses the login"},
		{"gemini", "gemini", nil, map[string]string{"/h/.gemini/.env": "# c\nexport GEMINI_API_KEY=\"AIzaK\"\nOTHER=1\n"}, []string{"GEMINI_API_KEY=AIzaK"}, "uses the login"},
		{"nothing there", "gemini", nil, nil, nil, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			env := append([]string{"HOME=/h"}, tt.environ...)
			keys, notes := Logins(strings.Fields(tt.command), env, func(p string) ([]byte, error) {
				if s, ok := tt.files[p]; ok {
					return []byte(s), nil
				}
				return nil, fs.ErrNotExist
			}, now)
			if !slices.Equal(keys, tt.want) {
				t.Errorf("keys %q, want %q", keys, tt.want)
			}
			all := strings.Join(notes, "\n")
			if (tt.note == "") != (all == "") || !strings.Contains(all, tt.note) {
				t.Errorf("notes %q, want %q", all, tt.note)
			}
			for _, secret := range []string{"ACCESS", "REFRESH", "sk-", "AIza"} {
				if strings.Contains(all, secret) {
					t.Errorf("notes quote a key: %q", all)
				}
			}
			if strings.Contains(strings.Join(keys, ""), "REFRESH") {
				t.Error("a refresh token is among the keys")
			}
			if len(keys) > 0 {
				p, _ := Match(strings.Fields(tt.command), append(env, keys...))
				for _, k := range keys {
					from, _, _ := strings.Cut(k, "=")
					if !slices.ContainsFunc(p.Secrets, func(s Secret) bool { return s.From == from }) {
						t.Errorf("no secret for %s", from)
					}
				}
			}
		})
	}
}

// FuzzLogins: a login file can hold anything; what is taken can stand in a header.
func FuzzLogins(f *testing.F) {
	f.Add("claude", `{"claudeAiOauth":{"accessToken":"a","expiresAt":1}}`)
	f.Add("codex", `{"OPENAI_API_KEY":"a"}`)
	f.Add("opencode", `{"openai":{"type":"api","key":"a"}}`)
	f.Add("gemini", "GEMINI_API_KEY='a'")
	f.Fuzz(func(t *testing.T, name, doc string) {
		keys, _ := Logins([]string{name}, []string{"HOME=/h"}, func(string) ([]byte, error) { return []byte(doc), nil }, time.UnixMilli(0))
		for _, k := range keys {
			if n, v, ok := strings.Cut(k, "="); !ok || n == "" || !usable(v) {
				t.Errorf("key %q", k)
			}
		}
	})
}
