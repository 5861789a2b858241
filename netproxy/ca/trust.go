package ca

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	pkcs12 "software.sslmate.com/src/go-pkcs12"
)

// TrustOptions is what trust files are made from.
type TrustOptions struct {
	Dir         string   // cache directory; made with mode 0700
	Certificate []byte   // the authority's, PEM
	System      []string // candidates for the system's bundle; nil: BundlePlaces
	Extra       []string // further files of roots (policy: ca)
	Java        bool     // make the Java trust store too
}

// Trust is files on the host that a pen mounts. They are complete when their
// names exist, and are never changed: a session may keep them mounted.
type Trust struct {
	Bundle string // system's roots, further roots, authority: PEM
	Own    string // further roots and authority: PEM
	Java   string // the same roots as Bundle, PKCS #12 without encryption; "" unless asked for
}

// Names in the cache directory: KEY, then one of these.
const (
	suffixBundle = "-bundle.pem"
	suffixOwn    = "-own.pem"
	suffixJava   = "-java.p12"
)

const (
	// maxRoots bounds one file of roots, in bytes. Mozilla's are 0.2 MiB.
	maxRoots = 16 << 20
	// keepUnused is how long a cached file that nobody uses is kept. A file in
	// use is touched at most every touchAfter.
	keepUnused = 30 * 24 * time.Hour
	touchAfter = 24 * time.Hour
)

// PrepareTrust returns the trust files for an authority, making what is not
// in the cache. When all is there, it costs one stat for each input and output.
func PrepareTrust(o TrustOptions) (*Trust, error) {
	if o.System == nil {
		o.System = BundlePlaces()
	}
	key, system, err := trustKey(o)
	if err != nil {
		return nil, err
	}
	base := filepath.Join(o.Dir, key)
	t := &Trust{Bundle: base + suffixBundle, Own: base + suffixOwn}
	if o.Java {
		t.Java = base + suffixJava
	}
	now := time.Now()
	if cached(t.Bundle, now) && cached(t.Own, now) && (t.Java == "" || cached(t.Java, now)) {
		return t, nil
	}
	if err := makeDir(o.Dir); err != nil {
		var e *Error
		if errors.As(err, &e) { // of the cache, not of the authority's directory
			e.Fix = "set XDG_CACHE_HOME to a directory of your own, where nobody else can write"
		}
		return nil, err
	}
	own, bundle, err := roots(o, system)
	if err != nil {
		return nil, err
	}
	if err := publish(t.Bundle, bundle); err != nil {
		return nil, err
	}
	if err := publish(t.Own, own); err != nil {
		return nil, err
	}
	if t.Java != "" {
		store, err := JavaStore(bundle)
		if err != nil {
			return nil, err
		}
		if err := publish(t.Java, store); err != nil {
			return nil, err
		}
	}
	prune(o.Dir, key, now)
	return t, nil
}

// trustKey names the combination of inputs, by what a stat shows of them: a
// changed file has another size, time or inode.
func trustKey(o TrustOptions) (key, system string, err error) {
	h := sha256.New()
	fmt.Fprintf(h, "penstock trust 1\x00%d\x00%s", len(o.Certificate), o.Certificate)
	stat := func(path string) error {
		fi, err := os.Stat(path)
		if err != nil {
			return err
		}
		if !fi.Mode().IsRegular() {
			return errors.New("it is not a regular file")
		}
		fmt.Fprintf(h, "%s\x00%d\x00%d\x00%d\x00", path, fi.Size(), fi.ModTime().UnixNano(), inode(fi))
		return nil
	}
	for _, p := range o.System {
		if stat(p) == nil {
			system = p
			break
		}
	}
	for _, p := range o.Extra {
		if err := stat(p); err != nil {
			return "", "", &Error{Path: p, Err: err, Fix: "correct ca: in the policy or --ca"}
		}
	}
	return hex.EncodeToString(h.Sum(nil)[:16]), system, nil
}

// cached reports whether a finished file is there, and marks it as used.
func cached(path string, now time.Time) bool {
	fi, err := os.Lstat(path)
	if err != nil || !fi.Mode().IsRegular() || fi.Size() == 0 {
		return false
	}
	if now.Sub(fi.ModTime()) > touchAfter {
		os.Chtimes(path, now, now) // only keeps it from being pruned
	}
	return true
}

// roots returns the two PEM documents. Ours comes first: there are tools that
// read one certificate of a file.
func roots(o TrustOptions, system string) (own, bundle []byte, err error) {
	own = append(bytes.TrimSpace(bytes.Clone(o.Certificate)), '\n')
	for _, p := range o.Extra {
		doc, err := readRoots(p)
		if err != nil {
			return nil, nil, &Error{Path: p, Err: err, Fix: "correct ca: in the policy or --ca; it must be PEM"}
		}
		own = append(own, doc...)
	}
	bundle = bytes.Clone(own)
	if system != "" {
		doc, err := readRoots(system)
		if err != nil {
			return nil, nil, &Error{Path: system, Err: err, Fix: "repair the system's certificates, for example: update-ca-certificates"}
		}
		bundle = append(bundle, doc...)
	}
	return own, bundle, nil
}

// readRoots returns the certificates of a file and nothing else of it: a key
// that stands in the same file must not get into a pen.
func readRoots(path string) ([]byte, error) {
	fi, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if fi.Size() > maxRoots {
		return nil, fmt.Errorf("it has %d bytes, more than %d", fi.Size(), maxRoots)
	}
	doc, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var out []byte
	for {
		var b *pem.Block
		b, doc = pem.Decode(doc)
		if b == nil {
			break
		}
		if b.Type == "CERTIFICATE" {
			out = append(out, pemCert(b.Bytes)...)
		}
	}
	if len(out) == 0 {
		return nil, errors.New("there is no certificate in it")
	}
	return out, nil
}

// JavaStore returns a trust store for Java with the certificates of a PEM
// document: PKCS #12 with neither encryption nor a MAC, because Java 17 and
// older open their default store without a password, and skip what is
// encrypted. It opens with any password too ("changeit").
func JavaStore(bundle []byte) ([]byte, error) {
	var certs []*x509.Certificate
	seen := map[string]bool{}
	for {
		var b *pem.Block
		b, bundle = pem.Decode(bundle)
		if b == nil {
			break
		}
		c, err := x509.ParseCertificate(b.Bytes)
		if err != nil || seen[string(c.Raw)] {
			continue // a root that Go finds malformed is one that the pen lacks in Java only
		}
		seen[string(c.Raw)] = true
		certs = append(certs, c)
	}
	if len(certs) == 0 {
		return nil, errors.New("make Java trust store: no certificate")
	}
	entries := make([]pkcs12.TrustStoreEntry, len(certs))
	for i, c := range certs {
		// The name is the entry's alias, and must be unique: Java keeps one each.
		entries[i] = pkcs12.TrustStoreEntry{Cert: c, FriendlyName: fmt.Sprintf("penstock-%03d", i)}
	}
	store, err := pkcs12.Passwordless.EncodeTrustStoreEntries(entries, "")
	if err != nil {
		return nil, fmt.Errorf("make Java trust store: %w", err)
	}
	return store, nil
}

// publish puts a finished file under its name in one step. Whoever else does so at
// the same time writes the same content, and who is first stays: a pen may be
// mounting that file at this moment, and one that another replaced could not be.
func publish(path string, content []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return &Error{Path: path, Err: err, Fix: "check the directory's permissions and the free space"}
	}
	_, err = f.Write(content)
	// 0644: the pen's user may be another one. Synced: after a power cut, a name
	// without its content would be taken for a finished file.
	err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close())
	if err == nil {
		err = os.Link(f.Name(), path)
		switch {
		case err == nil:
			os.Remove(f.Name())
		case errors.Is(err, fs.ErrExist) && cached(path, time.Now()):
			os.Remove(f.Name())
			err = nil
		default: // something else is there, or the file system has no links
			err = os.Rename(f.Name(), path)
		}
	}
	if err != nil {
		os.Remove(f.Name())
		return &Error{Path: path, Err: err, Fix: "check the free space on the disk"}
	}
	return nil
}

// prune removes what no session has used for long. A file that is still
// mounted somewhere stays there: its inode lives on.
func prune(dir, keep string, now time.Time) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return // the next one prunes
	}
	for _, e := range entries {
		name := e.Name()
		ours := strings.HasSuffix(name, suffixBundle) || strings.HasSuffix(name, suffixOwn) || strings.HasSuffix(name, suffixJava) || strings.HasPrefix(name, ".new-")
		if !ours || strings.HasPrefix(name, keep) {
			continue
		}
		after := keepUnused
		if strings.HasPrefix(name, ".new-") {
			after = time.Hour // left by a killed process
		}
		if fi, err := e.Info(); err == nil && fi.Mode()&fs.ModeType == 0 && now.Sub(fi.ModTime()) > after {
			os.Remove(filepath.Join(dir, name))
		}
	}
}
