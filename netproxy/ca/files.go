package ca

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// Names of the files in an authority's directory.
const (
	CertFile = "ca.pem"     // certificate, 0644
	KeyFile  = "ca-key.pem" // private key, 0600
	lockFile = ".lock"
	newFile  = ".new" // suffix of the files of an unfinished creation or rotation
)

// maxFile bounds what is read from the authority's files, in bytes.
const maxFile = 64 << 10

// Files is an authority as the supervisor handles it: the certificate, and the
// private key as a descriptor that nobody has read yet.
type Files struct {
	Dir         string   // "" when ephemeral
	Certificate []byte   // PEM, one certificate
	Key         *os.File // private key in PEM, at offset 0; close-on-exec
}

// Close closes the key's descriptor. It may be called twice.
func (f *Files) Close() error {
	if f == nil || f.Key == nil {
		return nil
	}
	err := f.Key.Close()
	f.Key = nil
	return err
}

// Dir returns the directory of the user's authority:
// $XDG_DATA_HOME/penstock/ca or ~/.local/share/penstock/ca.
func Dir(getenv func(string) string) (string, error) {
	// The XDG specification says that a relative path is invalid and to be ignored.
	if d := getenv("XDG_DATA_HOME"); filepath.IsAbs(d) {
		return filepath.Join(d, "penstock", "ca"), nil
	}
	home := getenv("HOME")
	if home == "" {
		home = getenv("USERPROFILE")
	}
	if !filepath.IsAbs(home) {
		return "", &Error{Path: "directory", Err: errors.New("neither XDG_DATA_HOME nor HOME is an absolute path"), Fix: "set HOME, or use --ephemeral-ca"}
	}
	return filepath.Join(home, ".local", "share", "penstock", "ca"), nil
}

// LoadOrCreate returns the authority in dir, making it first if there is none.
// Any number of processes may call it at once: all get the same authority. The
// caller closes the result.
func LoadOrCreate(dir string) (*Files, error) {
	// The usual case needs a shared lock only, so that a hundred sessions
	// that start at once do not queue.
	f, err := load(dir)
	if !errors.Is(err, errAbsent) {
		return f, err
	}
	if err := makeDir(dir); err != nil {
		return nil, err
	}
	unlock, err := lock(filepath.Join(dir, lockFile), true)
	if err != nil {
		return nil, &Error{Path: dir, Err: err, Fix: "check that the directory is on a file system that supports locks"}
	}
	defer unlock()
	if err := recoverNew(dir); err != nil {
		return nil, err
	}
	// Somebody else may have made it while we waited.
	f, err = open(dir)
	if !errors.Is(err, errAbsent) {
		return f, err
	}
	if err := create(dir); err != nil {
		return nil, err
	}
	return open(dir)
}

// Load returns the authority in dir; an error that wraps fs.ErrNotExist says
// that there is none yet.
func Load(dir string) (*Files, error) {
	f, err := load(dir)
	if errors.Is(err, errAbsent) {
		return nil, &Error{Path: dir, Err: fs.ErrNotExist, Fix: "it is made by the first penstock run, or now with: penstock ca rotate"}
	}
	return f, err
}

// Rotate replaces the authority in dir by a new one, whatever state the old
// one is in. Sessions that run keep the old one until they end.
func Rotate(dir string) error {
	if err := makeDir(dir); err != nil {
		return err
	}
	unlock, err := lock(filepath.Join(dir, lockFile), true)
	if err != nil {
		return &Error{Path: dir, Err: err, Fix: "check that the directory is on a file system that supports locks"}
	}
	defer unlock()
	if err := recoverNew(dir); err != nil {
		return err
	}
	return create(dir)
}

// Ephemeral returns an authority that exists in memory only. The key is in a
// pipe, so that it can be read once, by the proxy role.
func Ephemeral() (*Files, error) {
	cert, key, err := generate(time.Now())
	if err != nil {
		return nil, err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make ephemeral authority: %w", err)
	}
	_, err = w.Write(key) // far below the capacity of a pipe: never blocks
	clear(key)
	if err := errors.Join(err, w.Close()); err != nil {
		r.Close()
		return nil, fmt.Errorf("make ephemeral authority: %w", err)
	}
	return &Files{Certificate: cert, Key: r}, nil
}

// errAbsent says that there is no authority, or an unfinished one.
var errAbsent = errors.New("no certificate authority yet")

func load(dir string) (*Files, error) {
	if err := checkDir(dir); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, errAbsent
		}
		return nil, err
	}
	unlock, err := lock(filepath.Join(dir, lockFile), false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errAbsent
	}
	if err != nil {
		return nil, &Error{Path: dir, Err: err, Fix: "check that the directory is on a file system that supports locks"}
	}
	defer unlock()
	// An interrupted rotation: the exclusive path repairs it.
	if _, err := os.Lstat(filepath.Join(dir, CertFile+newFile)); err == nil {
		return nil, errAbsent
	}
	return open(dir)
}

// open opens both files; the lock is held.
func open(dir string) (*Files, error) {
	cf, err := openChecked(filepath.Join(dir, CertFile), false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errAbsent
	}
	if err != nil {
		return nil, err
	}
	defer cf.Close()
	cert, err := io.ReadAll(io.LimitReader(cf, maxFile))
	if err != nil {
		return nil, &Error{Path: cf.Name(), Err: err, Fix: "check the disk"}
	}
	if _, err := parseCertificate(cert, time.Now()); err != nil {
		return nil, &Error{Path: cf.Name(), Err: err, Fix: hintRotate}
	}
	key, err := openChecked(filepath.Join(dir, KeyFile), true)
	if errors.Is(err, fs.ErrNotExist) {
		// A certificate without a key is not an unfinished creation (the key
		// comes first): somebody removed it. Replacing it silently would make
		// running pens distrust new ones, so it is said.
		return nil, &Error{Path: filepath.Join(dir, KeyFile), Err: errors.New("the private key is missing"), Fix: hintRotate}
	}
	if err != nil {
		return nil, err
	}
	if fi, err := key.Stat(); err != nil || fi.Size() == 0 || fi.Size() > maxFile {
		key.Close()
		if err == nil {
			err = fmt.Errorf("the private key file has %d bytes", fi.Size())
		}
		return nil, &Error{Path: filepath.Join(dir, KeyFile), Err: err, Fix: hintRotate}
	}
	return &Files{Dir: dir, Certificate: cert, Key: key}, nil
}

// create makes a new authority in dir; the exclusive lock is held. Both files
// are written whole beside their final names and then renamed, the key first:
// after a crash, a lone ca.pem.new says that the key is already the new one and
// the certificate only has to follow (recoverNew); any other rest is discarded.
func create(dir string) error {
	cert, key, err := generate(time.Now())
	if err != nil {
		return err
	}
	defer clear(key)
	certPath, keyPath := filepath.Join(dir, CertFile), filepath.Join(dir, KeyFile)
	if err := writeFile(keyPath+newFile, key, 0o600); err != nil {
		return err
	}
	if err := writeFile(certPath+newFile, cert, 0o644); err != nil {
		return err
	}
	if err := os.Rename(keyPath+newFile, keyPath); err != nil {
		return &Error{Path: keyPath, Err: err, Fix: "check the directory's permissions"}
	}
	if err := os.Rename(certPath+newFile, certPath); err != nil {
		return &Error{Path: certPath, Err: err, Fix: "check the directory's permissions"}
	}
	return syncDir(dir)
}

// recoverNew finishes or discards what an interrupted create left; the
// exclusive lock is held.
func recoverNew(dir string) error {
	certNew, keyNew := filepath.Join(dir, CertFile+newFile), filepath.Join(dir, KeyFile+newFile)
	_, errCert := os.Lstat(certNew)
	_, errKey := os.Lstat(keyNew)
	switch {
	case errKey == nil: // the old pair is untouched
		if err := errors.Join(removeIfThere(certNew), removeIfThere(keyNew)); err != nil {
			return &Error{Path: keyNew, Err: err, Fix: "remove it by hand"}
		}
	case errCert == nil: // the new key is in place
		if err := os.Rename(certNew, filepath.Join(dir, CertFile)); err != nil {
			return &Error{Path: certNew, Err: err, Fix: hintRotate}
		}
	}
	return nil
}

func removeIfThere(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func makeDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return &Error{Path: dir, Err: err, Fix: "check the permissions above it, set XDG_DATA_HOME, or use --ephemeral-ca"}
	}
	return checkDir(dir)
}

// writeFile writes a new file durably. O_EXCL: a planted file or symbolic link
// is an error, not something to write through.
func writeFile(path string, content []byte, mode fs.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return &Error{Path: path, Err: err, Fix: "check the directory's permissions and the free space"}
	}
	_, err = f.Write(content)
	// The umask may have taken bits away from 0644; the pen's user must read it.
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err != nil {
		os.Remove(path)
		return &Error{Path: path, Err: err, Fix: "check the free space on the disk"}
	}
	return nil
}

// parseCertificate returns the one CA certificate in a PEM document.
func parseCertificate(doc []byte, now time.Time) (*x509.Certificate, error) {
	if len(bytes.TrimSpace(doc)) == 0 {
		return nil, errors.New("the certificate file is empty")
	}
	b, rest := pem.Decode(doc)
	if b == nil || b.Type != "CERTIFICATE" {
		return nil, errors.New("the certificate file is not PEM")
	}
	if len(bytes.TrimSpace(rest)) != 0 {
		return nil, errors.New("the certificate file holds more than one certificate")
	}
	c, err := x509.ParseCertificate(b.Bytes)
	if err != nil {
		return nil, fmt.Errorf("the certificate can't be read: %w", err)
	}
	if !c.IsCA || !c.BasicConstraintsValid || c.KeyUsage&x509.KeyUsageCertSign == 0 {
		return nil, errors.New("the certificate is not that of an authority")
	}
	if now.After(c.NotAfter) {
		return nil, fmt.Errorf("the certificate expired on %s", c.NotAfter.Format(time.DateOnly))
	}
	return c, nil
}
