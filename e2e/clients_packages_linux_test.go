package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/penstock/penstock/internal/world"
)

func TestGit(t *testing.T) {
	dir := t.TempDir()
	w := world.New(t)
	backend := world.GitServer(t, dir)
	w.HTTPS("git.example.com", backend)
	evil := w.HTTPS("evil-git.example.com", backend)
	p := newPen(t, w)
	p.Allow = []string{"{host: git.example.com}"}
	p.Env = map[string]string{"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@example.com", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@example.com"}

	r := p.Sh(`set -e
git clone -q https://git.example.com/repo.git && cat repo/file && cd repo
echo more > more && git add more && git commit -q -m more && git push -q origin main && echo pushed`)
	world.WantOutput(t, r, 0, "seed-content", "pushed")
	p.WantAllowed("git.example.com")
	head, err := os.ReadFile(filepath.Join(dir, "repo.git", "refs", "heads", "main"))
	if err != nil {
		t.Fatal(err)
	}
	r = p.Sh("git -C repo rev-parse HEAD")
	if strings.TrimSpace(r.Stdout) != strings.TrimSpace(string(head)) {
		t.Errorf("pushed %q, server has %q", r.Stdout, head)
	}
	if world.Bare() {
		return
	}
	world.WantFailure(t, p.Sh("git clone -q https://evil-git.example.com/repo.git stolen"))
	p.WantDenied(evil)

	// Read-only: a clone works, a push is refused by the rule's paths.
	p.Allow = []string{"{host: git.example.com, paths: [/repo.git/info/refs, /repo.git/git-upload-pack]}"}
	r = p.Sh(`git clone -q https://git.example.com/repo.git again && cd again && echo x > x && git add x && git commit -q -m x && echo committed && git push -q origin main`)
	if r.Code == 0 || !strings.Contains(r.Stdout, "committed") {
		t.Errorf("read-only rule: %s", r)
	}
}

func TestNpmInstall(t *testing.T) {
	world.Tool(t, "npm")
	w := world.New(t)
	registry := world.NpmRegistry(t, "https://npm.example.com", "https://evil-npm.example.com")
	w.HTTPS("npm.example.com", registry)
	evil := w.HTTPS("evil-npm.example.com", registry)
	p := newPen(t, w)
	p.Allow = []string{"{host: npm.example.com}"}
	p.NpmProject("npm.example.com")
	r := p.Sh(`npm install left-pen && node -p "require('left-pen')"`)
	world.WantOutput(t, r, 0, "from-the-registry")
	p.WantAllowed("npm.example.com")
	// A dependency whose tarball is on a host that nobody allowed.
	world.WantFailure(t, p.Sh("npm install needs-bad"))
	p.WantDenied(evil)
	// What npm reads of one package, by a rule that knows registries.
	p.Allow = []string{"{host: npm.example.com, registry: {kind: npm, packages: [left-pen]}}"}
	r = p.Sh(`rm -rf node_modules package-lock.json .npm-cache && npm install left-pen && node -p "require('left-pen')" && ! npm view needs-bad && ! npm whoami && echo only-this`)
	world.WantOutput(t, r, 0, "from-the-registry", "only-this")
}

func TestPipDownload(t *testing.T) {
	python := world.Tool(t, "python3")
	w := world.New(t)
	if r := w.Run(nil, world.Options{}, python, "-m", "pip", "--version"); r.Code != 0 {
		world.Missing(t, "python3-pip", "run .ci/install")
	}
	index := world.PypiIndex(t)
	w.HTTPS("pypi.example.com", index)
	evil := w.HTTPS("evil-pypi.example.com", index)
	p := newPen(t, w)
	p.Allow = []string{"{host: pypi.example.com}"}
	pip := python + " -m pip --disable-pip-version-check --no-cache-dir download --no-deps -d wheels --retries 0 "
	r := p.Sh(pip + "--index-url https://pypi.example.com/simple/ penpkg && ls wheels")
	world.WantOutput(t, r, 0, "penpkg-1.0.0-py3-none-any.whl")
	p.WantAllowed("pypi.example.com")
	world.WantFailure(t, p.Sh(pip+"--index-url https://evil-pypi.example.com/simple/ penpkg"))
	p.WantDenied(evil)
	for name, ok := range map[string]bool{"penpkg": true, "Pen.Pkg": false} {
		p.Allow = []string{"{host: pypi.example.com, registry: {kind: pypi, packages: [" + name + "]}}"}
		if r := p.Sh("rm -rf wheels; " + pip + "--index-url https://pypi.example.com/simple/ penpkg"); !world.Bare() && (r.Code == 0) != ok {
			t.Errorf("a rule about %s: %s", name, r)
		}
	}
}

func TestGoModDownload(t *testing.T) {
	goBin := world.Tool(t, "go")
	if real, err := filepath.EvalSymlinks(goBin); err == nil {
		goBin = real
	}
	w := world.New(t)
	const mod = "module example.com/lib\n\ngo 1.20\n"
	zipped := world.Archive(t, map[string]string{
		"example.com/lib@v1.0.0/go.mod": mod,
		"example.com/lib@v1.0.0/lib.go": "package lib\n",
	})
	proxy := http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/example.com/lib/@v/list":
			fmt.Fprintln(rw, "v1.0.0")
		case "/example.com/lib/@v/v1.0.0.info":
			fmt.Fprint(rw, `{"Version":"v1.0.0","Time":"2024-01-01T00:00:00Z"}`)
		case "/example.com/lib/@v/v1.0.0.mod":
			fmt.Fprint(rw, mod)
		case "/example.com/lib/@v/v1.0.0.zip":
			rw.Write(zipped)
		default:
			http.NotFound(rw, r)
		}
	})
	w.HTTPS("goproxy.example.com", proxy)
	evil := w.HTTPS("evil-goproxy.example.com", proxy)
	p := newPen(t, w)
	p.Read = []string{filepath.Dir(filepath.Dir(goBin))} // it may be one that the go command fetched
	p.Allow = []string{"{host: goproxy.example.com}"}
	p.Home.Write(t, "project/go.mod", "module demo\n\ngo 1.20\n\nrequire example.com/lib v1.0.0\n")
	p.Env = map[string]string{
		"GOPROXY": "https://goproxy.example.com", "GOSUMDB": "off", "GOFLAGS": "-modcacherw", "GOTOOLCHAIN": "local",
		"GOMODCACHE": filepath.Join(p.Home.Project, "mod"), "GOCACHE": filepath.Join(p.Home.Project, "cache"), "GOTELEMETRY": "off",
	}
	r := p.Sh(goBin + " mod download -json example.com/lib@v1.0.0 && ls mod/example.com")
	world.WantOutput(t, r, 0, `"Version": "v1.0.0"`, "lib@v1.0.0")
	p.WantAllowed("goproxy.example.com")
	p.Env["GOPROXY"] = "https://evil-goproxy.example.com"
	world.WantFailure(t, p.Sh("rm -rf mod; "+goBin+" mod download example.com/lib@v1.0.0"))
	p.WantDenied(evil)
	p.Env["GOPROXY"] = "https://goproxy.example.com"
	for name, ok := range map[string]bool{"example.com/lib": true, "example.com/library": false} {
		p.Allow = []string{"{host: goproxy.example.com, registry: {kind: go, packages: [" + name + "]}}"}
		if r := p.Sh("rm -rf mod; " + goBin + " mod download example.com/lib@v1.0.0"); !world.Bare() && (r.Code == 0) != ok {
			t.Errorf("a rule about %s: %s", name, r)
		}
	}
}
