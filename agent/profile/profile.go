package profile

import (
	"fmt"
	"slices"
	"strings"
)

// Profile is what one agent, started from one environment, is granted.
type Profile struct {
	Name    string
	Hosts   []string   // canonical names of model services; HTTPS only
	Secrets []Secret   // those whose source is set
	Pass    []string   // variables that enter the pen as they are; none is a credential
	Set     []Variable // variables that the pen gets
	Quiet   []string   // hosts that the agent tries by itself and can do without: a deny is no news
	State   []State
	// Withheld are files below the home directory that hold the agent's
	// credentials. They never enter a pen through a profile.
	Withheld []string

	notes []string
}

// Secret is one credential: a placeholder in the pen's variable Name, whose real
// value is in the host's variable From and goes out in Header only.
type Secret struct {
	Name, From string
	Hosts      []string
	Header     string
	Prefix     string // before the value in the header
}

// Variable is one entry of the pen's environment.
type Variable struct{ Name, Value string }

// StateMode says which file the pen sees at a State's path.
type StateMode uint8

// The modes. The zero value gives the pen the least.
const (
	// Private is a directory that Penstock keeps for this agent's pens. The
	// host's agent never reads it.
	Private StateMode = iota
	// ReadOnly is the host's own file, if it exists.
	ReadOnly
)

// State is a path below the home directory that the agent uses.
type State struct {
	Path string // relative to home, clean, with slashes
	Mode StateMode
}

// agents returns every profile that Match knows, without environment.
func agents() []agent {
	return []agent{
		{
			name:     "opencode",
			packages: []string{"opencode-ai", "opencode"},
			services: services(),
			set: []Variable{
				{"OPENCODE_DISABLE_AUTOUPDATE", "1"}, {"OPENCODE_DISABLE_MODELS_FETCH", "1"}, {"OPENCODE_DISABLE_LSP_DOWNLOAD", "1"},
				{"OPENCODE_AUTO_SHARE", "0"},
			},
			pass:  []string{"OPENCODE_CONFIG", "OPENCODE_CONFIG_CONTENT", "OPENCODE_PERMISSION", "OPENCODE_DISABLE_PROJECT_CONFIG"},
			quiet: []string{"models.dev", "opencode.ai", "api.opencode.ai", "registry.npmjs.org"},
			state: []State{
				{".local/share/opencode", Private}, {".local/state/opencode", Private}, {".cache/opencode", Private}, {".config/opencode", Private},
				{".config/opencode/AGENTS.md", ReadOnly}, {".config/opencode/agent", ReadOnly}, {".config/opencode/command", ReadOnly},
			},
			withheld: []string{".local/share/opencode/auth.json", ".local/share/opencode/mcp-auth.json"},
			login:    "opencode auth login",
		},
		{
			name:     "claude",
			packages: []string{"@anthropic-ai/claude-code"},
			services: []service{
				{"ANTHROPIC_API_KEY", nil, []string{"api.anthropic.com"}, "x-api-key", ""},
				{"ANTHROPIC_AUTH_TOKEN", nil, []string{"api.anthropic.com"}, "Authorization", "Bearer "},
				{"CLAUDE_CODE_OAUTH_TOKEN", nil, []string{"api.anthropic.com"}, "Authorization", "Bearer "},
			},
			always: []string{"api.anthropic.com"},
			set: []Variable{
				{"DISABLE_AUTOUPDATER", "1"}, {"DISABLE_TELEMETRY", "1"}, {"DISABLE_ERROR_REPORTING", "1"}, {"CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1"},
				// It lets root use --dangerously-skip-permissions, and it is true.
				{"IS_SANDBOX", "1"},
			},
			homeSet: []Variable{{"CLAUDE_CONFIG_DIR", ".claude"}}, // .claude.json goes in there too, not beside it
			pass: []string{
				"ANTHROPIC_MODEL", "ANTHROPIC_SMALL_FAST_MODEL", "ANTHROPIC_DEFAULT_HAIKU_MODEL", "ANTHROPIC_DEFAULT_SONNET_MODEL", "ANTHROPIC_DEFAULT_OPUS_MODEL",
				"CLAUDE_CODE_SUBAGENT_MODEL", "BASH_DEFAULT_TIMEOUT_MS", "BASH_MAX_TIMEOUT_MS",
			},
			quiet: []string{"statsig.anthropic.com", "sentry.io", "*.sentry.io", "http-intake.logs.us5.datadoghq.com", "storage.googleapis.com", "downloads.claude.ai", "platform.claude.com"},
			state: []State{
				{".claude", Private},
				{".claude/CLAUDE.md", ReadOnly}, {".claude/commands", ReadOnly}, {".claude/agents", ReadOnly}, {".claude/skills", ReadOnly}, {".claude/output-styles", ReadOnly},
			},
			withheld: []string{".claude/.credentials.json", ".claude.json"},
			baseURLs: []string{"ANTHROPIC_BASE_URL", "CLAUDE_CODE_API_BASE_URL", "ANTHROPIC_BEDROCK_BASE_URL", "ANTHROPIC_VERTEX_BASE_URL"},
			login:    "claude setup-token, and export CLAUDE_CODE_OAUTH_TOKEN",
		},
		{
			name:     "codex",
			packages: []string{"@openai/codex"},
			services: []service{
				{"CODEX_API_KEY", []string{"OPENAI_API_KEY"}, []string{"api.openai.com"}, "Authorization", "Bearer "},
				{"OPENAI_API_KEY", nil, []string{"api.openai.com"}, "Authorization", "Bearer "},
			},
			always:   []string{"api.openai.com"},
			homeSet:  []Variable{{"CODEX_HOME", ".codex"}},
			pass:     []string{"RUST_LOG", "OPENAI_ORGANIZATION", "OPENAI_PROJECT"},
			quiet:    []string{"chatgpt.com", "auth.openai.com", "ab.chatgpt.com", "*.statsig.com", "github.com", "api.github.com"},
			state:    []State{{".codex", Private}, {".codex/AGENTS.md", ReadOnly}, {".codex/prompts", ReadOnly}},
			withheld: []string{".codex/auth.json", ".codex/config.toml"},
			baseURLs: []string{"OPENAI_BASE_URL"},
			login:    "export OPENAI_API_KEY",
		},
		{
			name:     "gemini",
			packages: []string{"@google/gemini-cli"},
			services: []service{
				{"GEMINI_API_KEY", nil, []string{"generativelanguage.googleapis.com"}, "x-goog-api-key", ""},
				{"GOOGLE_API_KEY", nil, []string{"generativelanguage.googleapis.com", "aiplatform.googleapis.com"}, "x-goog-api-key", ""},
			},
			always:   []string{"generativelanguage.googleapis.com"},
			set:      []Variable{{"GEMINI_TELEMETRY_ENABLED", "false"}},
			pass:     []string{"GEMINI_MODEL", "GEMINI_CLI_TRUST_WORKSPACE", "GOOGLE_CLOUD_PROJECT", "GOOGLE_CLOUD_LOCATION", "GOOGLE_GENAI_USE_VERTEXAI"},
			quiet:    []string{"play.googleapis.com", "registry.npmjs.org", "oauth2.googleapis.com", "cloudcode-pa.googleapis.com"},
			state:    []State{{".gemini", Private}, {".gemini/GEMINI.md", ReadOnly}, {".gemini/commands", ReadOnly}},
			withheld: []string{".gemini/oauth_creds.json", ".gemini/google_accounts.json", ".gemini/.env", ".gemini/settings.json", ".config/gcloud"},
			baseURLs: []string{"GOOGLE_GEMINI_BASE_URL", "GOOGLE_VERTEX_BASE_URL", "CODE_ASSIST_ENDPOINT"},
			login:    "export GEMINI_API_KEY",
		},
		{
			name:     "aider",
			packages: []string{"aider-chat", "aider"},
			services: services(),
			set:      []Variable{{"AIDER_ANALYTICS", "false"}, {"AIDER_CHECK_UPDATE", "false"}, {"LITELLM_LOCAL_MODEL_COST_MAP", "True"}},
			pass:     []string{"AIDER_MODEL", "AIDER_WEAK_MODEL", "AIDER_EDITOR_MODEL", "AIDER_DARK_MODE", "AIDER_LIGHT_MODE", "AIDER_AUTO_COMMITS", "AIDER_EDIT_FORMAT"},
			quiet:    []string{"us.i.posthog.com", "*.posthog.com", "pypi.org", "raw.githubusercontent.com", "openrouter.ai"},
			state:    []State{{".aider", Private}},
			withheld: []string{".aider.conf.yml", ".aider/oauth-keys.env", ".env"},
			baseURLs: []string{"OPENAI_API_BASE", "OPENAI_BASE_URL", "ANTHROPIC_BASE_URL"},
			login:    "export your provider's key, for example OPENAI_API_KEY",
		},
	}
}

// services are the providers that an agent of any model may use: each is
// granted when its key is in the environment.
func services() []service {
	bearer := func(name, host string) service {
		return service{name, nil, []string{host}, "Authorization", "Bearer "}
	}
	return []service{
		{"ANTHROPIC_API_KEY", nil, []string{"api.anthropic.com"}, "x-api-key", ""},
		bearer("OPENAI_API_KEY", "api.openai.com"),
		{"GEMINI_API_KEY", nil, []string{"generativelanguage.googleapis.com"}, "x-goog-api-key", ""},
		{"GOOGLE_GENERATIVE_AI_API_KEY", nil, []string{"generativelanguage.googleapis.com"}, "x-goog-api-key", ""},
		bearer("OPENROUTER_API_KEY", "openrouter.ai"),
		bearer("OPENCODE_API_KEY", "opencode.ai"),
		bearer("GROQ_API_KEY", "api.groq.com"),
		bearer("MISTRAL_API_KEY", "api.mistral.ai"),
		bearer("DEEPSEEK_API_KEY", "api.deepseek.com"),
		bearer("XAI_API_KEY", "api.x.ai"),
		bearer("CEREBRAS_API_KEY", "api.cerebras.ai"),
		bearer("TOGETHER_API_KEY", "api.together.xyz"),
		bearer("FIREWORKS_API_KEY", "api.fireworks.ai"),
		bearer("MOONSHOT_API_KEY", "api.moonshot.ai"),
	}
}

// service is one model service: the variable that holds its key, further
// variables of the host to take it from, and where the key may go. Of those that go
// in one header to one host, the one that the agent prefers stands first.
type service struct {
	name   string
	also   []string
	hosts  []string
	header string
	prefix string
}

type agent struct {
	name     string
	packages []string // names in package registries
	services []service
	always   []string // hosts that are granted without a key
	set      []Variable
	homeSet  []Variable // values are paths below home
	pass     []string
	quiet    []string
	state    []State
	withheld []string
	baseURLs []string // variables that name another model service
	login    string   // how to use it without its login files
}

// Names returns the agents that have a profile.
func Names() []string {
	var out []string
	for _, a := range agents() {
		out = append(out, a.name)
	}
	return out
}

// Protected returns the files and directories of a project, relative to it, from
// which the host's agents take commands to execute. No pen may write to them,
// whatever it runs.
func Protected() []string {
	return []string{
		".claude/settings.json", ".claude/settings.local.json", ".claude/hooks", ".mcp.json",
		".codex",
		".gemini/settings.json", ".gemini/.env", ".gemini/extensions",
		"opencode.json", "opencode.jsonc", ".opencode",
		".aider.conf.yml",
		".cursor/mcp.json", ".cursor/hooks.json", ".vscode/mcp.json",
	}
}

// bind fills a profile from the environment of the caller.
func (a *agent) bind(environ []string) *Profile {
	env := map[string]string{}
	for _, e := range environ {
		if k, v, ok := strings.Cut(e, "="); ok {
			env[k] = v
		}
	}
	p := &Profile{Name: a.name, Pass: a.pass, Quiet: a.quiet, State: a.state, Withheld: a.withheld, Hosts: slices.Clone(a.always), Set: slices.Clone(a.set)}
	for _, s := range a.services {
		for _, from := range append([]string{s.name}, s.also...) {
			if env[from] == "" {
				continue
			}
			p.add(Secret{Name: s.name, From: from, Hosts: s.hosts, Header: s.header, Prefix: s.prefix})
			break
		}
	}
	p.Quiet = slices.DeleteFunc(slices.Clone(p.Quiet), func(h string) bool { return slices.Contains(p.Hosts, h) })
	if home := env["HOME"]; strings.HasPrefix(home, "/") {
		for _, v := range a.homeSet {
			p.Set = append(p.Set, Variable{v.Name, strings.TrimRight(home, "/") + "/" + v.Value})
		}
	}
	if len(p.Hosts) > 0 {
		p.notes = append(p.notes, fmt.Sprintf("profile %s: allows %s", a.name, strings.Join(p.Hosts, ", ")))
	}
	if len(p.Secrets) == 0 {
		p.notes = append(p.notes, fmt.Sprintf("profile %s: no key in the environment, and its login files stay outside the pen; use: %s", a.name, a.login))
	}
	for _, name := range a.baseURLs {
		if env[name] != "" {
			// Its value is the environment's, not printed: it may hold credentials.
			p.notes = append(p.notes, fmt.Sprintf("profile %s: %s is not followed; to use that service, --env %s and allow its host and secret in a policy", a.name, name, name))
		}
	}
	return p
}

// add grants a secret and its hosts, without those for which another value goes in
// the same header already: a policy with both is refused.
func (p *Profile) add(s Secret) {
	other := ""
	s.Hosts = slices.DeleteFunc(slices.Clone(s.Hosts), func(h string) bool {
		for _, o := range p.Secrets {
			if o.Header == s.Header && o.From != s.From && slices.Contains(o.Hosts, h) {
				other = o.Name
				return true
			}
		}
		return false
	})
	if other != "" && len(s.Hosts) == 0 {
		p.notes = append(p.notes, fmt.Sprintf("profile %s: %s is left out, because %s goes in the same header", p.Name, s.Name, other))
		return
	}
	p.Secrets = append(p.Secrets, s)
	for _, h := range s.Hosts {
		if !slices.Contains(p.Hosts, h) {
			p.Hosts = append(p.Hosts, h)
		}
	}
}

// Notes returns lines for the user: what is granted and what was left out.
func (p *Profile) Notes() []string { return slices.Clone(p.notes) }
