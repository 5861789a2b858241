package e2e

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/cgi"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/penstock/penstock/internal/world"
)

// gitServer serves the bare repository dir/repo.git over smart HTTP.
func gitServer(t *testing.T, dir string) http.Handler {
	t.Helper()
	git := world.Tool(t, "git")
	repo := filepath.Join(dir, "repo.git")
	seed := filepath.Join(dir, "seed")
	w := world.New(t)
	script := fmt.Sprintf(`set -e
export GIT_CONFIG_GLOBAL=/dev/null GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@example.com GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@example.com
git init -q -b main %[2]s && cd %[2]s && echo seed-content > file && git add file && git commit -q -m seed
git clone -q --bare %[2]s %[1]s && git -C %[1]s config http.receivepack true`, repo, seed)
	if r := w.Run(nil, world.Options{Dir: dir}, "/bin/sh", "-c", script); r.Code != 0 {
		t.Fatal(r)
	}
	return &cgi.Handler{
		Path: git,
		Args: []string{"http-backend"},
		Env:  []string{"GIT_PROJECT_ROOT=" + dir, "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_GLOBAL=/dev/null", "HOME=" + dir},
	}
}

func TestGit(t *testing.T) {
	dir := t.TempDir()
	w := world.New(t)
	backend := gitServer(t, dir)
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

// tarball returns a gzipped tar of files.
func tarball(t *testing.T, files map[string]string) []byte {
	t.Helper()
	var b bytes.Buffer
	gz := gzip.NewWriter(&b)
	tw := tar.NewWriter(gz)
	for name, content := range files {
		if err := tw.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(content)), Typeflag: tar.TypeReg}); err != nil {
			t.Fatal(err)
		}
		tw.Write([]byte(content))
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	if err := gz.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// archive returns a zip of files.
func archive(t *testing.T, files map[string]string) []byte {
	t.Helper()
	var b bytes.Buffer
	zw := zip.NewWriter(&b)
	for name, content := range files {
		f, err := zw.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		f.Write([]byte(content))
	}
	if err := zw.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// npmRegistry serves the package left-pen; its dependency's tarball is elsewhere.
func npmRegistry(t *testing.T, self string, elsewhere string) http.Handler {
	pack := func(name string, deps string) []byte {
		return tarball(t, map[string]string{
			"package/package.json": fmt.Sprintf(`{"name":%q,"version":"1.0.0","main":"index.js"%s}`, name, deps),
			"package/index.js":     "module.exports = 'from-the-registry'",
		})
	}
	blobs := map[string][]byte{}
	meta := map[string]any{}
	add := func(name, host, deps string, depMap map[string]string) {
		tgz := pack(name, deps)
		sum := sha512.Sum512(tgz)
		path := "/" + name + "/-/" + name + "-1.0.0.tgz"
		blobs[path] = tgz
		meta["/"+name] = map[string]any{
			"name": name, "dist-tags": map[string]string{"latest": "1.0.0"},
			"versions": map[string]any{"1.0.0": map[string]any{
				"name": name, "version": "1.0.0", "main": "index.js", "dependencies": depMap,
				"dist": map[string]string{"tarball": host + path, "integrity": "sha512-" + base64.StdEncoding.EncodeToString(sum[:])},
			}},
		}
	}
	add("left-pen", self, "", nil)
	add("bad-pen", elsewhere, "", nil)
	add("needs-bad", self, `,"dependencies":{"bad-pen":"1.0.0"}`, map[string]string{"bad-pen": "1.0.0"})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if b, ok := blobs[r.URL.Path]; ok {
			w.Write(b)
			return
		}
		if m, ok := meta[r.URL.Path]; ok {
			w.Header().Set("Content-Type", "application/json")
			json.NewEncoder(w).Encode(m)
			return
		}
		http.NotFound(w, r)
	})
}

// npmProject makes a project of the work directory that installs from a registry.
func (p *pen) npmProject(registry string) {
	p.T.Helper()
	p.Home.Write(p.T, "project/package.json", `{"name":"demo","version":"1.0.0","private":true}`)
	p.Home.Write(p.T, "project/.npmrc", "registry=https://"+registry+"/\naudit=false\nfund=false\nupdate-notifier=false\ncache=./.npm-cache\nfetch-retries=0\n")
}

func TestNpmInstall(t *testing.T) {
	world.Tool(t, "npm")
	w := world.New(t)
	registry := npmRegistry(t, "https://npm.example.com", "https://evil-npm.example.com")
	w.HTTPS("npm.example.com", registry)
	evil := w.HTTPS("evil-npm.example.com", registry)
	p := newPen(t, w)
	p.Allow = []string{"{host: npm.example.com}"}
	p.npmProject("npm.example.com")
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

// pypiIndex serves the package penpkg, as PEP 503 has it.
func pypiIndex(t *testing.T) http.Handler {
	wheel := archive(t, map[string]string{
		"penpkg/__init__.py":              "value = 1\n",
		"penpkg-1.0.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: penpkg\nVersion: 1.0.0\n",
		"penpkg-1.0.0.dist-info/WHEEL":    "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
		"penpkg-1.0.0.dist-info/RECORD":   "penpkg/__init__.py,,\npenpkg-1.0.0.dist-info/METADATA,,\npenpkg-1.0.0.dist-info/WHEEL,,\npenpkg-1.0.0.dist-info/RECORD,,\n",
	})
	sum := sha256.Sum256(wheel)
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		const file = "penpkg-1.0.0-py3-none-any.whl"
		switch r.URL.Path {
		case "/simple/penpkg/":
			rw.Header().Set("Content-Type", "text/html")
			fmt.Fprintf(rw, `<!DOCTYPE html><html><body><a href="/packages/%s#sha256=%s">%s</a></body></html>`, file, hex.EncodeToString(sum[:]), file)
		case "/packages/" + file:
			rw.Write(wheel)
		default:
			http.NotFound(rw, r)
		}
	})
}

func TestPipDownload(t *testing.T) {
	python := world.Tool(t, "python3")
	w := world.New(t)
	if r := w.Run(nil, world.Options{}, python, "-m", "pip", "--version"); r.Code != 0 {
		world.Missing(t, "python3-pip", "run .ci/install")
	}
	index := pypiIndex(t)
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
	zipped := archive(t, map[string]string{
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
