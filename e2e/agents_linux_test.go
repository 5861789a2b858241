package e2e

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/penstock/penstock/internal/fakemodel"
	"github.com/penstock/penstock/internal/world"
)

// agentCase is one coding agent, headless.
type agentCase struct {
	name string // program
	api  string // the model service's real host name
	// key is the variable that holds the service's credential, and the header
	// and prefix by which the agent sends it.
	key, header, prefix string
	argv                []string
	env                 map[string]string
	files               map[string]string // in the project
	// pass are the headers of its own that a pin has to except, see docs/secrets.md.
	pass string
}

const prompt = "Run the shell command you were told about and report its output"

var agents = []agentCase{
	{
		name: "opencode", api: "api.openai.com",
		key: "PENSTOCK_TEST_KEY", header: "authorization", prefix: "Bearer ",
		pass: "x-session-affinity, x-session-id",
		argv: []string{"run", "-m", "penstock/model-1", prompt},
		env:  map[string]string{"OPENCODE_DISABLE_MODELS_FETCH": "1", "OPENCODE_DISABLE_AUTOUPDATE": "1", "OPENCODE_DISABLE_LSP_DOWNLOAD": "1"},
		files: map[string]string{"opencode.json": `{
  "$schema": "https://opencode.ai/config.json", "autoupdate": false, "share": "disabled",
  "permission": {"*": "allow", "bash": "allow"},
  "provider": {"penstock": {"npm": "@ai-sdk/openai-compatible", "name": "Fake",
    "options": {"baseURL": "https://api.openai.com/v1", "apiKey": "{env:PENSTOCK_TEST_KEY}"},
    "models": {"model-1": {"name": "Model", "tool_call": true, "limit": {"context": 128000, "output": 4096}}}}}}`},
	},
	{
		name: "claude", api: "api.anthropic.com",
		key: "ANTHROPIC_API_KEY", header: "x-api-key",
		pass: "x-claude-code-session-id",
		argv: []string{"-p", "--dangerously-skip-permissions", prompt},
		env:  map[string]string{"IS_SANDBOX": "1", "DISABLE_AUTOUPDATER": "1"},
	},
	{
		name: "codex", api: "api.openai.com",
		key: "CODEX_API_KEY", header: "authorization", prefix: "Bearer ",
		pass: "session-id, thread-id, x-codex-turn-metadata, x-codex-window-id",
		argv: []string{"exec", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox", "-m", "gpt-5", prompt},
	},
	{
		name: "gemini", api: "generativelanguage.googleapis.com",
		key: "GEMINI_API_KEY", header: "x-goog-api-key",
		pass: "x-gemini-api-privileged-user-id",
		argv: []string{"-y", "--skip-trust", "-m", "gemini-2.5-flash", "-p", prompt},
		env:  map[string]string{"GEMINI_CLI_TRUST_WORKSPACE": "true"},
	},
}

// clientsDir is where .ci/install puts the agents.
func clientsDir(t *testing.T, program string) string {
	t.Helper()
	home, _ := os.UserHomeDir()
	for _, dir := range []string{os.Getenv("PENSTOCK_CLIENTS"), "/var/cache/penstock/clients", filepath.Join(home, ".cache/penstock/clients")} {
		if dir == "" {
			continue
		}
		if _, err := os.Stat(filepath.Join(dir, "bin", program)); err == nil {
			return dir
		}
	}
	world.Missing(t, program, "run .ci/install")
	return ""
}

func TestAgents(t *testing.T) {
	for _, a := range agents {
		t.Run(a.name, func(t *testing.T) { testAgent(t, a) })
	}
}

func testAgent(t *testing.T, a agentCase) {
	dir := clientsDir(t, a.name)
	w := world.New(t)
	model := fakemodel.New("curl -sS https://tool.example.com/hello; curl -sS -m 20 -o /dev/null -w ' status=%{http_code} ' https://forbidden.example.com/steal; env | grep -c REAL-KEY; echo tool-done")
	api := w.HTTPS(a.api, model)
	w.HTTPS("tool.example.com", http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { io.WriteString(rw, "hello-from-the-allowed-tool") }))
	forbidden := w.HTTPS("forbidden.example.com", http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { io.WriteString(rw, "stolen") }))

	p := newPen(t, w)
	p.Opts.Timeout = 3 * time.Minute
	p.Read = []string{dir}
	// The agent gets a placeholder; the model's host, and nothing else, the value.
	secret := "sk-REAL-KEY-of-" + a.name
	p.Opts.Env = append(p.Opts.Env, a.key+"="+secret)
	p.Secrets = []string{fmt.Sprintf("{name: %[1]s, from: \"env:%[1]s\", hosts: [%[2]s], header: %[3]s, prefix: %[4]q}", a.key, a.api, a.header, a.prefix)}
	// .ci/install puts a node beside the agents where the machine's is too old.
	p.Env["PATH"] = filepath.Join(dir, "bin") + ":/usr/local/bin:/usr/bin:/bin"
	for k, v := range a.env {
		p.Env[k] = v
	}
	for name, content := range a.files {
		p.Home.Write(t, filepath.Join("project", name), content)
	}
	p.Allow = []string{fmt.Sprintf("{host: %s, pin: {secret: %s, pass_headers: [%s]}}", a.api, a.key, a.pass), "{host: tool.example.com}"}
	r := p.Run(append([]string{filepath.Join(dir, "bin", a.name)}, a.argv...)...)
	t.Logf("%s: %s, %d requests to the model's host", a.name, r.Took.Round(time.Millisecond), api.Hits())
	if r.Code != 0 || !strings.Contains(r.Stdout, fakemodel.Final) || !strings.Contains(r.Stdout, "hello-from-the-allowed-tool") {
		for _, q := range model.Requests() {
			t.Logf("model: %s %s %s", q.Method, q.Path, q.Proto)
		}
		t.Fatal(r)
	}
	results := strings.Join(model.Results(), "\n")
	if !strings.Contains(results, "hello-from-the-allowed-tool") || !strings.Contains(results, "tool-done") {
		t.Errorf("tool results that reached the model: %q", results)
	}
	if world.Bare() {
		return
	}
	if !strings.Contains(results, "status=403") {
		t.Errorf("the tool was not told of the refusal: %q", results)
	}
	if !strings.Contains(results, " 0 tool-done") && !strings.Contains(results, "0\ntool-done") {
		t.Errorf("the tool's environment holds the credential: %q", results)
	}
	for _, q := range model.Requests() {
		if q.Method == http.MethodPost && strings.Contains(string(q.Body), prompt) && q.Header.Get(a.header) != a.prefix+secret {
			t.Errorf("model: %s %s has %s %q", q.Method, q.Path, a.header, q.Header.Get(a.header))
		}
	}
	for _, rec := range p.Audit() {
		if strings.Contains(fmt.Sprint(rec), secret) {
			t.Errorf("the credential is in the audit: %v", rec)
		}
	}
	p.WantAllowed(a.api)
	p.WantAllowed("tool.example.com")
	p.WantDenied(forbidden)
	p.WantLookupsAllowed()
}
