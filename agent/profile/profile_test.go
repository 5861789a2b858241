package profile

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/policy"
)

func TestMatch(t *testing.T) {
	for line, want := range map[string]string{
		"claude -p hello":                          "claude",
		"/usr/local/bin/claude":                    "claude",
		`C:\bin\codex.exe exec`:                    "codex",
		"opencode run x":                           "opencode",
		"gemini -y":                                "gemini",
		"aider --model x":                          "aider",
		"npx @anthropic-ai/claude-code":            "claude",
		"npx -y @openai/codex@0.169.0 exec":        "codex",
		"npx --yes --package x @google/gemini-cli": "gemini",
		"bunx opencode-ai@latest":                  "opencode",
		"bun x opencode-ai":                        "opencode",
		"npm exec -- @google/gemini-cli -p x":      "gemini",
		"pnpm dlx opencode-ai":                     "opencode",
		"node /x/lib/node_modules/@openai/codex/bin/codex.js exec":               "codex",
		"node --require ./x.js /x/node_modules/@google/gemini-cli/dist/index.js": "gemini",
		"uvx aider":                    "aider",
		"uvx --from aider-chat aider":  "aider",
		"uv tool run aider-chat":       "aider",
		"pipx run aider-chat==0.86":    "aider",
		"python3.12 -m aider":          "aider",
		"env -u X A=1 npx opencode-ai": "opencode",
		"env FOO=1 claude":             "claude",
		"bash -c claude":               "",
		"node server.js":               "",
		"npx create-react-app claude":  "",
		"make claude":                  "",
		"npm install -g opencode-ai":   "",
		"env":                          "",
		"env env env env env claude":   "",
		"npx":                          "",
		"claude-monitor":               "",
		"node /x/node_modules/@openai/codex-evil/x.js": "",
		"": "",
	} {
		got := ""
		if p, ok := Match(strings.Fields(line), nil); ok {
			got = p.Name
		}
		if got != want {
			t.Errorf("Match(%q) = %q, want %q", line, got, want)
		}
	}
}

func environ() []string {
	return []string{
		"HOME=/home/u", "ANTHROPIC_API_KEY=sk-ant-REALREAL", "OPENAI_API_KEY=sk-REALREAL", "GEMINI_API_KEY=AIzaREALREAL", "CLAUDE_CODE_OAUTH_TOKEN=sk-ant-oat01-REALREAL",
		"ANTHROPIC_BASE_URL=https://user:REALREAL@evil.example", "OPENAI_BASE_URL=https://evil.example", "AWS_SECRET_ACCESS_KEY=REALREAL",
	}
}

// TestPolicy gives each profile to the real parser and asks the result.
func TestPolicy(t *testing.T) {
	for _, name := range Names() {
		for _, env := range [][]string{nil, environ()} {
			t.Run(fmt.Sprint(name, len(env)), func(t *testing.T) {
				p, _ := ByName(name, env)
				doc := p.Policy()
				pol, err := policy.Load(policy.LoadOptions{Profiles: []policy.Text{{Name: p.Source(), YAML: string(doc)}}, Environ: func(string) string { return "/home/u" }, WorkDir: "/"})
				if err != nil {
					t.Fatalf("%v\n%s", err, doc)
				}
				if strings.Contains(string(doc), "REAL") || strings.Contains(fmt.Sprint(p.Notes()), "REAL") || strings.Contains(string(doc), "evil") {
					t.Errorf("a value of the environment is in the profile:\n%s", doc)
				}
				for _, w := range pol.Warnings() {
					t.Errorf("warning: %v", w)
				}
				for _, h := range p.Hosts {
					v := pol.Decide(&hooks.Request{Protocol: hooks.ProtocolHTTPS, Target: hooks.Target{Host: h, Port: 443}, Method: "POST", Path: "/"})
					if v.Action != hooks.Allow || v.Rule == nil || !strings.HasPrefix(v.Rule.Ref(), "profile:"+name+":") {
						t.Errorf("%s: %+v", h, v)
					}
					for _, r := range []hooks.Request{
						{Protocol: hooks.ProtocolHTTP, Target: hooks.Target{Host: h, Port: 80}, Method: "GET", Path: "/"},
						{Protocol: hooks.ProtocolTCP, Target: hooks.Target{Host: h, Port: 443}},
						{Protocol: hooks.ProtocolTLS, Target: hooks.Target{Host: h, Port: 443}},
						{Protocol: hooks.ProtocolHTTPS, Target: hooks.Target{Host: "x." + h, Port: 443}, Method: "GET", Path: "/"},
					} {
						if pol.Decide(&r).Action != hooks.Deny {
							t.Errorf("%s %s: not denied", r.Protocol, r.Target)
						}
					}
				}
				for _, s := range pol.Secrets() {
					for _, h := range s.Hosts {
						if !slices.Contains(p.Hosts, h) {
							t.Errorf("secret %s goes to %s, which is not allowed", s.Name, h)
						}
					}
				}
				if env != nil && len(pol.Secrets()) == 0 {
					t.Error("no secret although the key is set")
				}
				if env == nil && (len(pol.Secrets()) != 0 || len(p.Notes()) == 0) {
					t.Error("without a key: a secret, or nothing said")
				}
			})
		}
	}
}

// TestNoTies: whichever keys are in the environment, no two go in one place, and
// of those that would the agent's own choice is left.
func TestNoTies(t *testing.T) {
	for _, a := range agents() {
		env, seen := []string{"HOME=/home/u"}, map[string]string{}
		for _, s := range a.services {
			env = append(env, s.name+"=value-of-"+s.name)
		}
		p := a.bind(env)
		if _, err := policy.Load(policy.LoadOptions{Profiles: []policy.Text{{Name: p.Source(), YAML: string(p.Policy())}}, Environ: func(string) string { return "/home/u" }, WorkDir: "/"}); err != nil {
			t.Errorf("%s: %v", a.name, err)
		}
		for _, s := range p.Secrets {
			for _, h := range s.Hosts {
				seen[h+" "+s.Header] += s.From + " "
			}
		}
		for place, from := range map[string]map[string]string{
			"claude":   {"api.anthropic.com Authorization": "ANTHROPIC_AUTH_TOKEN ", "api.anthropic.com x-api-key": "ANTHROPIC_API_KEY "},
			"codex":    {"api.openai.com Authorization": "CODEX_API_KEY "},
			"gemini":   {"generativelanguage.googleapis.com x-goog-api-key": "GEMINI_API_KEY ", "aiplatform.googleapis.com x-goog-api-key": "GOOGLE_API_KEY "},
			"opencode": {"generativelanguage.googleapis.com x-goog-api-key": "GEMINI_API_KEY "},
			"aider":    {"generativelanguage.googleapis.com x-goog-api-key": "GEMINI_API_KEY "},
		}[a.name] {
			if seen[place] != from {
				t.Errorf("%s: to %s goes %q, want %q", a.name, place, seen[place], from)
			}
		}
	}
}

// TestGrants holds every profile to what the package comment promises.
func TestGrants(t *testing.T) {
	credential := func(n string) bool {
		for _, w := range []string{"KEY", "TOKEN", "SECRET", "PASSW", "CREDENTIAL"} {
			if strings.Contains(n, w) {
				return true
			}
		}
		return false
	}
	for _, name := range Names() {
		p, _ := ByName(name, environ())
		for _, n := range p.Pass {
			if credential(n) || strings.Contains(n, "*") || strings.HasSuffix(n, "_URL") {
				t.Errorf("%s passes %s as it is", name, n)
			}
		}
		for _, v := range p.Set {
			if credential(v.Name) {
				t.Errorf("%s sets %s", name, v.Name)
			}
		}
		for _, h := range p.Hosts {
			if c, err := policy.CanonicalHost(h); err != nil || c != h || strings.Contains(h, "*") {
				t.Errorf("%s: host %q", name, h)
			}
			if slices.Contains(p.Quiet, h) {
				t.Errorf("%s: %s is allowed and quietly denied", name, h)
			}
		}
		for _, s := range p.State {
			if strings.HasPrefix(s.Path, "/") || strings.Contains(s.Path, "..") || s.Path == "" {
				t.Errorf("%s: state %q", name, s.Path)
			}
			for _, w := range p.Withheld {
				if s.Mode == ReadOnly && (s.Path == w || strings.HasPrefix(w, s.Path+"/")) {
					t.Errorf("%s: %s shows %s", name, s.Path, w)
				}
			}
		}
		if len(p.Withheld) == 0 {
			t.Errorf("%s: no credential file withheld", name)
		}
	}
	if p, _ := ByName("codex", []string{"OPENAI_API_KEY=x"}); len(p.Secrets) != 2 || p.Secrets[0].From != "OPENAI_API_KEY" || p.Secrets[0].Name != "CODEX_API_KEY" {
		t.Errorf("codex without CODEX_API_KEY: %+v", p.Secrets)
	}
	if _, ok := ByName("vim", nil); ok {
		t.Error("vim is an agent")
	}
}

func ExampleMatch() {
	p, _ := Match([]string{"npx", "@anthropic-ai/claude-code", "-p", "hello"}, []string{"ANTHROPIC_API_KEY=sk-ant-…"})
	for _, n := range p.Notes() {
		fmt.Println(n)
	}
	// Output: profile claude: allows api.anthropic.com
}
