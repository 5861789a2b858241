package e2e

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"github.com/penstock/penstock/internal/world"
)

// TestSecretsGuide executes docs/secrets.md: each policy, the commands under it,
// and the lines that they must write.
func TestSecretsGuide(t *testing.T) {
	world.Tool(t, "curl")
	world.Tool(t, "python3")
	if world.Bare() {
		t.Skip("nothing to compare without a pen")
	}
	const value, other = `re&al "v=al\ue" 0123456789`, "other-0123456789"
	w := world.New(t)
	h := http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		if e := r.Header.Get("Accept-Encoding"); e != "identity" {
			fmt.Fprintf(rw, "the answer may be compressed: %q\n", e)
		}
		for name, v := range r.Header {
			_, pass, _ := r.BasicAuth()
			if v := strings.TrimPrefix(v[0], "Bearer "); v == value || name == "Authorization" && pass == value {
				fmt.Fprintf(rw, "the value came in header %s\n", name)
			}
		}
		if k := r.URL.Query().Get("key"); k == value {
			fmt.Fprintln(rw, "the value came in query parameter key")
		}
		if string(b) == `{"client": {"id": "me", "secret": "re&al \"v=al\\ue\" 0123456789"}}` && int(r.ContentLength) == len(b) {
			fmt.Fprintln(rw, "the value came in the body")
		}
	})
	for _, name := range []string{"api", "other", "bearer", "git", "maps"} {
		w.HTTPS(name+".example.com", h)
	}
	const clientSecret, vaultToken, awsKey = "client+secret/0123456789", "hvs.0123456789", "real/secret+key/0123456789"
	quoted, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	w.HTTPS("login.example.com", http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if user, pass, _ := r.BasicAuth(); r.URL.Path == "/token" && user == "ci" && pass == url.QueryEscape(clientSecret) && r.FormValue("scope") == "read" {
			rw.Header().Set("Content-Type", "application/json")
			fmt.Fprintf(rw, `{"access_token": %s, "token_type": "Bearer", "expires_in": 3600}`, quoted)
			return
		}
		h(rw, r)
	}))
	w.HTTPSAt("vault.example.com", 8200, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/secret/data/app" && r.Header.Get("X-Vault-Token") == vaultToken {
			rw.Header().Set("Content-Type", "application/json")
			fmt.Fprintf(rw, `{"data": {"data": {"key": %s}, "metadata": {"version": 1}}}`, quoted)
			return
		}
		rw.WriteHeader(http.StatusForbidden)
	}))
	w.HTTPS("stream.example.com", http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(rw, r, nil)
		if err != nil {
			return
		}
		defer c.CloseNow()
		for {
			kind, msg, err := c.Read(r.Context())
			if err != nil {
				return
			}
			say := "something else came"
			if string(msg) == `{"type": "connection_init", "payload": {"token": `+`"re&al \"v=al\\ue\" 0123456789"`+`}}` {
				say = "the value came in the first message"
			}
			if c.Write(r.Context(), kind, []byte(say)) != nil {
				return
			}
		}
	}))
	w.HTTPS("storage.example.com", http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 Credential=AKIAREALREALREALREAL/") {
			fmt.Fprintln(rw, "signed with the real access key")
		}
	}))
	doc, err := os.ReadFile("../docs/secrets.md")
	if err != nil {
		t.Fatal(err)
	}
	p := newPen(t, w)
	k := newKeyring(t, w, p.Home, p.Opts)
	k.Unlock("password")
	changing := p.Home.Write(t, ".config/example/changing", other)
	w.HTTPS("rotate.example.com", http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if err := os.WriteFile(changing, []byte(value), 0o644); err != nil {
			t.Error(err)
		}
		k.Store("Changing", value, "service", "changing")
		fmt.Fprintln(rw, "the service has another key now")
	}))
	p.Home.Write(t, ".config/example/key", value+"\n")
	p.Home.Write(t, ".config/example/key.b64", base64.StdEncoding.EncodeToString([]byte(value)))
	credentials := filepath.Dir(p.Home.Write(t, "credentials/example-key", value))
	p.Opts.Env = append(p.Opts.Env, "EXAMPLE_KEY="+value, "OTHER_KEY="+other, "CLIENT_SECRET="+clientSecret, "VAULT_TOKEN="+vaultToken, "REAL_ACCESS_KEY=AKIAREALREALREALREAL", "REAL_SECRET_KEY="+awsKey, "CREDENTIALS_DIRECTORY="+credentials)
	k.Store("Example key", value, "service", "example", "account", "me")
	p.Opts.Env = append(p.Opts.Env, "DBUS_SESSION_BUS_ADDRESS="+k.Address)
	guide, _, _ := strings.Cut(string(doc), "\n## Recipes\n")
	blocks := map[string]string{}
	ran := 0
	for i, part := range strings.Split(guide, "```") {
		kind, text, _ := strings.Cut(part, "\n")
		if i%2 == 0 {
			continue
		}
		blocks[kind] = text
		if kind != "text" {
			continue
		}
		ran++
		file := p.Home.Write(t, "policy.yaml", blocks["yaml"])
		p.Ran = true
		for _, version := range []string{"--http1.1", "--http2"} {
			p.Home.Write(t, ".config/example/changing", other)
			k.Store("Changing", other, "service", "changing")
			r := w.Run(p.Home, p.Opts, world.Penstock(t), "run", "--policy", file, "--ca", w.CA(), "--", "/bin/bash", "-c",
				strings.ReplaceAll(blocks["sh"], "curl -sS", "curl -sS "+version))
			out := world.Lines(r.Stdout)
			for _, want := range world.Lines(text) {
				for len(out) > 0 && !strings.Contains(out[0], want) {
					out = out[1:]
				}
				if len(out) == 0 {
					t.Errorf("%s: no %q in its turn, under\n%s\n%s", version, want, blocks["yaml"], r)
					break
				}
				out = out[1:]
			}
			if strings.Contains(r.Stdout, "may be compressed") {
				t.Errorf("the proxy could not look into the answer: %s", r)
			}
			for _, v := range []string{value, clientSecret, vaultToken, awsKey} {
				if strings.Contains(r.Stdout, v) || strings.Contains(r.Stderr, v) {
					t.Error("a value was shown")
				}
			}
		}
	}
	if ran < 5 {
		t.Errorf("%d examples", ran)
	}
	for _, spelling := range []string{value, "re%26al", "re&al", clientSecret, vaultToken, awsKey} {
		if r := w.Run(p.Home, p.Opts, "grep", "-rlF", "--exclude-dir=.config", "--exclude-dir=credentials", spelling, p.Home.Path); r.Code != 1 {
			t.Errorf("the value is in a file of the session: %s", r)
		}
	}
}

// TestSecretsRecipes executes the recipes of docs/secrets.md with the real clients,
// against servers that take the real value only.
func TestSecretsRecipes(t *testing.T) {
	for _, tool := range []string{"git", "npm", "python3", "skopeo"} {
		world.Tool(t, tool)
	}
	if world.Bare() {
		t.Skip("nothing to compare without a pen")
	}
	const value = "recipe-value-0123456789"
	w := world.New(t)
	takes := func(h http.Handler, good func(*http.Request) bool) http.Handler {
		return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if !good(r) {
				rw.Header().Set("WWW-Authenticate", `Basic realm="recipes"`)
				rw.WriteHeader(http.StatusUnauthorized)
				return
			}
			h.ServeHTTP(rw, r)
		})
	}
	basic := func(want string) func(*http.Request) bool {
		return func(r *http.Request) bool { user, pass, _ := r.BasicAuth(); return user == want && pass == value }
	}
	w.HTTPS("git.example.com", takes(world.GitServer(t, t.TempDir()), basic("x-access-token")))
	w.HTTPS("npm.example.com", takes(world.NpmRegistry(t, "https://npm.example.com", "https://npm.example.com"), func(r *http.Request) bool { return r.Header.Get("Authorization") == "Bearer "+value }))
	w.HTTPS("pypi.example.com", takes(world.PypiIndex(t), basic("ci")))
	w.HTTPS("registry.example.com", takes(imageRegistry(), basic("ci")))
	doc, err := os.ReadFile("../docs/secrets.md")
	if err != nil {
		t.Fatal(err)
	}
	_, recipes, _ := strings.Cut(string(doc), "\n## Recipes\n")
	recipes, _, _ = strings.Cut(recipes, "\n## ")
	p := newPen(t, w)
	p.Opts.Env = append(p.Opts.Env, "EXAMPLE_KEY="+value)
	p.Ran = true
	blocks, ran := map[string]string{}, 0
	for i, part := range strings.Split(recipes, "```") {
		kind, text, _ := strings.Cut(part, "\n")
		if blocks[kind] = text; i%2 == 0 || kind != "text" {
			continue
		}
		ran++
		file := p.Home.Write(t, "policy.yaml", blocks["yaml"])
		r := w.Run(p.Home, p.Opts, world.Penstock(t), "run", "--policy", file, "--ca", w.CA(), "--", "/bin/bash", "-c", blocks["sh"])
		if r.Code != 0 || !strings.HasSuffix(r.Stdout, text) {
			t.Errorf("want %q\n%s", text, r)
		}
		if strings.Contains(r.Stdout+r.Stderr, value) {
			t.Error("the value was shown")
		}
	}
	if ran != 4 {
		t.Errorf("%d recipes", ran)
	}
	if r := w.Run(p.Home, p.Opts, "grep", "-rlF", value, p.Home.Path); r.Code != 1 {
		t.Errorf("the value is in a file: %s", r)
	}
}

// imageRegistry has one image without layers, as the OCI distribution specification
// has it.
func imageRegistry() http.Handler {
	config := `{"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}, "config": {}}`
	digest := func(s string) string { return fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(s))) }
	manifest := fmt.Sprintf(`{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": %q, "size": %d}, "layers": []}`, digest(config), len(config))
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/v2/":
		case "/v2/app/manifests/latest":
			rw.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
			rw.Header().Set("Docker-Content-Digest", digest(manifest))
			io.WriteString(rw, manifest) //nolint:errcheck // the client says what is missing
		case "/v2/app/blobs/" + digest(config):
			io.WriteString(rw, config) //nolint:errcheck // the client says what is missing
		case "/v2/app/tags/list":
			io.WriteString(rw, `{"name": "app", "tags": ["latest"]}`) //nolint:errcheck // the client says what is missing
		default:
			http.NotFound(rw, r)
		}
	})
}
