package world

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
	"path/filepath"
	"testing"
)

// GitServer serves the bare repository dir/repo.git over smart HTTP.
func GitServer(t *testing.T, dir string) http.Handler {
	t.Helper()
	git := Tool(t, "git")
	repo := filepath.Join(dir, "repo.git")
	seed := filepath.Join(dir, "seed")
	w := New(t)
	script := fmt.Sprintf(`set -e
export GIT_CONFIG_GLOBAL=/dev/null GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@example.com GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@example.com
git init -q -b main %[2]s && cd %[2]s && echo seed-content > file && git add file && git commit -q -m seed
git clone -q --bare %[2]s %[1]s && git -C %[1]s config http.receivepack true`, repo, seed)
	if r := w.Run(nil, Options{Dir: dir}, "/bin/sh", "-c", script); r.Code != 0 {
		t.Fatal(r)
	}
	return &cgi.Handler{
		Path: git,
		Args: []string{"http-backend"},
		Env:  []string{"GIT_PROJECT_ROOT=" + dir, "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_GLOBAL=/dev/null", "HOME=" + dir},
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

// Archive returns a zip of files.
func Archive(t *testing.T, files map[string]string) []byte {
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

// NpmRegistry serves the package left-pen; its dependency's tarball is elsewhere.
func NpmRegistry(t *testing.T, self string, elsewhere string) http.Handler {
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

// PypiIndex serves the package penpkg, as PEP 503 has it.
func PypiIndex(t *testing.T) http.Handler {
	wheel := Archive(t, map[string]string{
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

// NpmProject makes a project of the work directory that installs from a registry.
func (p *Pen) NpmProject(registry string) {
	p.T.Helper()
	p.Home.Write(p.T, "project/package.json", `{"name":"demo","version":"1.0.0","private":true}`)
	p.Home.Write(p.T, "project/.npmrc", "registry=https://"+registry+"/\naudit=false\nfund=false\nupdate-notifier=false\ncache=./.npm-cache\nfetch-retries=0\n")
}
