package profile

import (
	"encoding/json"
	"strings"
	"time"
)

// login takes a key out of one of the agent's login files on the host.
type login struct {
	file string // below home
	// keys returns variables and their values. expired says that a login is
	// there but is over.
	keys func(doc []byte, now time.Time) (found map[string]string, expired bool)
}

// Logins returns, as NAME=value, the keys that the agent of a command line keeps
// in its login files, for variables that environ does not set. The caller adds
// them to the environment that it gives to Match and that it takes secrets from,
// so that they reach the pen as placeholders; they are real, and must go nowhere
// else. read reads a file of the host; a file that is not there, is too long or
// can't be understood is passed over. Notes are for the user.
//
// Only keys that work as they are count: refresh tokens stay where they are, so
// that a pen can use a login but neither renew nor keep it.
func Logins(argv, environ []string, read func(path string) ([]byte, error), now time.Time) (keys, notes []string) {
	p, ok := Match(argv, environ)
	if !ok {
		return nil, nil
	}
	home := ""
	set := map[string]bool{}
	for _, e := range environ {
		if k, v, ok := strings.Cut(e, "="); ok && v != "" {
			set[k] = true
			if k == "HOME" {
				home = v
			}
		}
	}
	if !strings.HasPrefix(home, "/") {
		return nil, nil
	}
	// A key in the environment is the user's choice of account: a login would
	// take precedence in some agents.
	if len(p.Secrets) > 0 {
		return nil, nil
	}
	for _, l := range logins(p.Name) {
		doc, err := read(strings.TrimRight(home, "/") + "/" + l.file)
		if err != nil || len(doc) > maxLogin {
			continue
		}
		found, expired := l.keys(doc, now)
		clear(doc)
		if expired {
			notes = append(notes, "profile "+p.Name+": the login in ~/"+l.file+" has expired; run "+p.Name+" once outside the pen to renew it")
		}
		// In the order of the profile's table: a map has none.
		for _, a := range named(p.Name).services {
			if v := found[a.name]; usable(v) && !set[a.name] {
				keys = append(keys, a.name+"="+v)
				set[a.name] = true
			}
		}
	}
	if len(keys) > 0 {
		notes = append(notes, "profile "+p.Name+": uses the login of the host's "+p.Name+"; the pen gets a placeholder for it")
	}
	return keys, notes
}

// maxLogin bounds a login file, in bytes.
const maxLogin = 1 << 20

// usable reports whether a value can stand in a header.
func usable(v string) bool {
	for i := range len(v) {
		if v[i] <= 0x20 || v[i] >= 0x7f {
			return false
		}
	}
	return v != "" && len(v) <= 16<<10
}

func logins(name string) []login {
	switch name {
	case "claude":
		return []login{{".claude/.credentials.json", claudeKeys}}
	case "codex":
		return []login{{".codex/auth.json", codexKeys}}
	case "opencode":
		return []login{{".local/share/opencode/auth.json", opencodeKeys}}
	case "gemini":
		return []login{{".gemini/.env", geminiKeys}}
	}
	return nil
}

// claudeKeys reads Claude Code's OAuth login: an access token of some hours.
func claudeKeys(doc []byte, now time.Time) (map[string]string, bool) {
	var f struct {
		OAuth struct {
			AccessToken string `json:"accessToken"`
			ExpiresAt   int64  `json:"expiresAt"` // milliseconds
		} `json:"claudeAiOauth"`
	}
	if json.Unmarshal(doc, &f) != nil || f.OAuth.AccessToken == "" {
		return nil, false
	}
	if f.OAuth.ExpiresAt != 0 && now.After(time.UnixMilli(f.OAuth.ExpiresAt)) {
		return nil, true
	}
	return map[string]string{"CLAUDE_CODE_OAUTH_TOKEN": f.OAuth.AccessToken}, false
}

// codexKeys reads the API key that "codex login --with-api-key" keeps. The
// tokens of a ChatGPT login are of no use without their refresh token.
func codexKeys(doc []byte, _ time.Time) (map[string]string, bool) {
	var f struct {
		Key string `json:"OPENAI_API_KEY"`
	}
	if json.Unmarshal(doc, &f) != nil {
		return nil, false
	}
	return map[string]string{"OPENAI_API_KEY": f.Key}, false
}

// opencodeKeys reads the API keys of opencode's providers.
func opencodeKeys(doc []byte, _ time.Time) (map[string]string, bool) {
	var f map[string]struct {
		Type string `json:"type"`
		Key  string `json:"key"`
	}
	if json.Unmarshal(doc, &f) != nil {
		return nil, false
	}
	found := map[string]string{}
	for provider, variable := range map[string]string{
		"anthropic": "ANTHROPIC_API_KEY", "openai": "OPENAI_API_KEY", "google": "GOOGLE_GENERATIVE_AI_API_KEY", "openrouter": "OPENROUTER_API_KEY",
		"opencode": "OPENCODE_API_KEY", "groq": "GROQ_API_KEY", "mistral": "MISTRAL_API_KEY", "deepseek": "DEEPSEEK_API_KEY", "xai": "XAI_API_KEY",
		"cerebras": "CEREBRAS_API_KEY", "togetherai": "TOGETHER_API_KEY", "fireworks-ai": "FIREWORKS_API_KEY", "moonshotai": "MOONSHOT_API_KEY",
	} {
		if e := f[provider]; e.Type == "api" {
			found[variable] = e.Key
		}
	}
	return found, false
}

// geminiKeys reads the file of variables that the Gemini CLI loads by itself.
func geminiKeys(doc []byte, _ time.Time) (map[string]string, bool) {
	found := map[string]string{}
	for line := range strings.Lines(string(doc)) {
		k, v, ok := strings.Cut(strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(line), "export ")), "=")
		if ok && (k == "GEMINI_API_KEY" || k == "GOOGLE_API_KEY") {
			found[k] = strings.Trim(strings.TrimSpace(v), `"'`)
		}
	}
	return found, false
}
