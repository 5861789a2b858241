package ca

import (
	"bytes"
	"crypto/x509"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	pkcs12 "software.sslmate.com/src/go-pkcs12"
)

// writeRoots writes a file of n made-up roots.
func writeRoots(t testing.TB, path string, n int) {
	t.Helper()
	var doc []byte
	for range n {
		c, _, err := generate(time.Now())
		if err != nil {
			t.Fatal(err)
		}
		doc = append(append(doc, "# a comment\n"...), c...)
	}
	if err := os.WriteFile(path, doc, 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestPrepareTrust(t *testing.T) {
	dir := t.TempDir()
	system, extra := filepath.Join(dir, "system.pem"), filepath.Join(dir, "extra.pem")
	writeRoots(t, system, 3)
	writeRoots(t, extra, 1)
	// A key beside a root must stay outside.
	_, key, _ := generate(time.Now())
	f, _ := os.OpenFile(extra, os.O_APPEND|os.O_WRONLY, 0)
	f.Write(key)
	f.Close()
	_, cert := newAuthority(t)
	o := TrustOptions{Dir: filepath.Join(dir, "trust"), Certificate: cert, System: []string{"/nonexistent", system}, Extra: []string{extra}, Java: true}
	tr, err := PrepareTrust(o)
	if err != nil {
		t.Fatal(err)
	}
	bundle, _ := os.ReadFile(tr.Bundle)
	own, _ := os.ReadFile(tr.Own)
	if n := bytes.Count(bundle, []byte("BEGIN CERTIFICATE")); n != 5 {
		t.Errorf("bundle has %d certificates, want 5", n)
	}
	if n := bytes.Count(own, []byte("BEGIN CERTIFICATE")); n != 2 {
		t.Errorf("own has %d certificates, want 2", n)
	}
	if !bytes.HasPrefix(bundle, bytes.TrimSpace(cert)) || bytes.Contains(bundle, []byte("PRIVATE")) || bytes.Contains(own, []byte("PRIVATE")) {
		t.Error("the bundle does not begin with the authority, or holds a key")
	}
	store, _ := os.ReadFile(tr.Java)
	certs, err := pkcs12.DecodeTrustStore(store, "")
	if err != nil || len(certs) != 5 {
		t.Errorf("Java store: %d certificates, %v", len(certs), err)
	}
	for _, p := range []string{tr.Bundle, tr.Own, tr.Java} {
		if fi, _ := os.Stat(p); fi.Mode().Perm() != 0o644 {
			t.Errorf("%s has mode %v", p, fi.Mode())
		}
	}

	again, err := PrepareTrust(o)
	if err != nil || *again != *tr {
		t.Errorf("second time: %v, %v", again, err)
	}
	writeRoots(t, system, 4)
	changed, err := PrepareTrust(o)
	if err != nil || changed.Bundle == tr.Bundle {
		t.Errorf("the system's bundle changed, the cache did not notice: %v", err)
	}
	// The old files go when they have not been used for long.
	old := time.Now().Add(-2 * keepUnused)
	os.Chtimes(tr.Bundle, old, old)
	writeRoots(t, system, 2)
	if _, err := PrepareTrust(o); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(tr.Bundle); err == nil {
		t.Error("an unused bundle was not pruned")
	}
	if _, err := os.Stat(tr.Own); err != nil {
		t.Error("a recently used file was pruned")
	}
}

func TestPrepareTrustRefuses(t *testing.T) {
	dir := t.TempDir()
	_, cert := newAuthority(t)
	for name, content := range map[string]string{"empty": "", "text": "hello", "key only": "-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n"} {
		p := filepath.Join(dir, "extra")
		os.WriteFile(p, []byte(content), 0o644)
		if _, err := PrepareTrust(TrustOptions{Dir: filepath.Join(dir, "t"), Certificate: cert, System: []string{}, Extra: []string{p}}); err == nil || !strings.Contains(err.Error(), p) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := PrepareTrust(TrustOptions{Dir: filepath.Join(dir, "t"), Certificate: cert, Extra: []string{filepath.Join(dir, "missing")}}); err == nil {
		t.Error("a missing file: no error")
	}
	if tr, err := PrepareTrust(TrustOptions{Dir: filepath.Join(dir, "t"), Certificate: cert, System: []string{}}); err != nil {
		t.Errorf("no system bundle: %v", err)
	} else if doc, _ := os.ReadFile(tr.Bundle); !bytes.Equal(bytes.TrimSpace(doc), bytes.TrimSpace(cert)) {
		t.Error("no system bundle: more than the authority is in it")
	}
}

func TestPrepareTrustAtOnce(t *testing.T) {
	dir := t.TempDir()
	_, cert := newAuthority(t)
	o := TrustOptions{Dir: filepath.Join(dir, "t"), Certificate: cert, Java: true}
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			tr, err := PrepareTrust(o)
			if err != nil {
				t.Error(err)
				return
			}
			doc, err := os.ReadFile(tr.Bundle)
			if pool := x509.NewCertPool(); err != nil || !pool.AppendCertsFromPEM(doc) {
				t.Errorf("incomplete bundle: %v", err)
			}
		})
	}
	wg.Wait()
	left, _ := filepath.Glob(filepath.Join(o.Dir, ".new-*"))
	if len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

// TestPrepareTrustKeeps: a file that is there is never replaced, because a pen may
// be mounting it; what is missing is added.
func TestPrepareTrustKeeps(t *testing.T) {
	_, cert := newAuthority(t)
	o := TrustOptions{Dir: filepath.Join(t.TempDir(), "t"), Certificate: cert, Java: true}
	tr, err := PrepareTrust(o)
	if err != nil {
		t.Fatal(err)
	}
	names := []string{tr.Bundle, tr.Own, tr.Java}
	for _, missing := range names {
		old := map[string]os.FileInfo{}
		for _, n := range names {
			if old[n], err = os.Stat(n); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Remove(missing); err != nil {
			t.Fatal(err)
		}
		if _, err := PrepareTrust(o); err != nil {
			t.Fatal(err)
		}
		for _, n := range names {
			fi, err := os.Stat(n)
			if err != nil || n != missing && !os.SameFile(fi, old[n]) {
				t.Errorf("%s was missing: %s is another file: %v", missing, n, err)
			}
		}
	}
	if left, err := filepath.Glob(filepath.Join(o.Dir, ".new-*")); err != nil || len(left) != 0 {
		t.Errorf("left: %v %v", left, err)
	}
	// What is no finished file is replaced.
	if err := os.WriteFile(tr.Own, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := PrepareTrust(o); err != nil {
		t.Fatal(err)
	}
	if fi, err := os.Stat(tr.Own); err != nil || fi.Size() == 0 {
		t.Errorf("an empty file stayed: %v", err)
	}
}

func TestTrustMounts(t *testing.T) {
	links := map[string]string{
		"/etc/ssl/certs/ca-certificates.crt": "/etc/ssl/certs/ca-certificates.crt",
		"/usr/lib/ssl/cert.pem":              "/etc/ssl/certs/ca-certificates.crt",
		"/etc/ssl/certs/java/cacerts":        "/etc/ssl/certs/java/cacerts",
		"/opt/j/lib/security/cacerts":        "/etc/ssl/certs/java/cacerts",
	}
	resolve := func(p string) (string, bool) { r, ok := links[p]; return r, ok }
	got := TrustMounts(resolve, "/c/b.pem", "/c/j.p12", append(JavaPlaces("/opt/j"), "/nowhere"))
	want := []Mount{{"/c/b.pem", "/etc/ssl/certs/ca-certificates.crt"}, {"/c/j.p12", "/etc/ssl/certs/java/cacerts"}}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := TrustMounts(resolve, "/c/b.pem", "", JavaPlaces("")); !slices.Equal(got, want[:1]) {
		t.Errorf("without Java: %v", got)
	}
}

func TestTrustEnv(t *testing.T) {
	seen := map[string]bool{}
	for _, e := range TrustEnv("/b.pem", "/o.pem") {
		name, value, ok := strings.Cut(e, "=")
		if !ok || seen[name] || (value != "/b.pem" && value != "/o.pem") {
			t.Errorf("variable %q", e)
		}
		seen[name] = true
	}
}

func BenchmarkPrepareTrustWarm(b *testing.B) {
	_, cert := newAuthority(b)
	o := TrustOptions{Dir: b.TempDir(), Certificate: cert, Java: true}
	if _, err := PrepareTrust(o); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := PrepareTrust(o); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPrepareTrustCold(b *testing.B) {
	_, cert := newAuthority(b)
	dir := b.TempDir()
	o := TrustOptions{Dir: dir, Certificate: cert, Java: true}
	for b.Loop() {
		t, err := PrepareTrust(o)
		if err != nil {
			b.Fatal(err)
		}
		os.Remove(t.Bundle)
	}
}

// The hint is about the cache, which is not where the authority is.
func TestPrepareTrustNamesTheCache(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := PrepareTrust(TrustOptions{Dir: filepath.Join(file, "trust")})
	var e *Error
	if !errors.As(err, &e) || !strings.Contains(e.Hint(), "XDG_CACHE_HOME") {
		t.Errorf("%v, %+v", err, e)
	}
}
