package policy

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// maxTrustStore bounds the trust store in bytes.
const maxTrustStore = 8 << 20

// Untrusted is a project file that does not count.
type Untrusted struct {
	File    string `json:"file"`
	SHA256  string `json:"sha256"`  // of its present content, in hexadecimal
	Changed bool   `json:"changed"` // it was trusted with other content
}

// String says what to do about it.
func (u *Untrusted) String() string {
	why := "nobody has approved it"
	if u.Changed {
		why = "it has changed since it was approved"
	}
	return printable(u.File) + " does not count: " + why + "; read it, then: penstock policy trust " + printable(u.File)
}

// project returns the bytes of the project's file if they are trusted. The
// bytes that are hashed are the bytes that are parsed: the file is read once.
func (o *LoadOptions) project() ([]byte, *Untrusted, error) {
	text, err := o.ProjectText, error(nil)
	if text == nil {
		text, err = readPolicy(o.Project, false)
	}
	if err != nil || text == nil || o.TrustProject {
		return text, nil, err
	}
	u := &Untrusted{File: o.Project, SHA256: hexSum(text)}
	if o.TrustStore == "" {
		return nil, u, nil
	}
	store, err := readTrust(o.TrustStore)
	if err != nil {
		return nil, nil, err
	}
	key, err := trustKey(o.Project)
	if err != nil {
		return nil, nil, err
	}
	if e, ok := store.Files[key]; ok {
		if e.SHA256 == u.SHA256 {
			return text, nil, nil
		}
		u.Changed = true
	}
	return nil, u, nil
}

func hexSum(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

type trustStore struct {
	Version int                   `json:"version"`
	Files   map[string]trustEntry `json:"files"` // by absolute path
}

type trustEntry struct {
	SHA256 string    `json:"sha256"`
	Time   time.Time `json:"time"`
}

// trustKey names a file by its place: the same words can mean other things in
// another directory, because its paths are relative.
func trustKey(path string) (string, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("find %s: %w", printable(path), err)
	}
	dir, err := filepath.EvalSymlinks(filepath.Dir(abs))
	if err != nil {
		return "", fmt.Errorf("find %s: %w", printable(path), err)
	}
	return filepath.Join(dir, filepath.Base(abs)), nil
}

func readTrust(store string) (*trustStore, error) {
	t := &trustStore{Version: 1, Files: map[string]trustEntry{}}
	f, err := openRegular(store)
	if errors.Is(err, fs.ErrNotExist) {
		return t, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read trust store: %w", err)
	}
	defer f.Close()
	if err := checkOwner(f); err != nil {
		return nil, fmt.Errorf("read trust store %s: %w", printable(store), err)
	}
	b, err := readBounded(f, maxTrustStore)
	if err != nil {
		return nil, fmt.Errorf("read trust store: %w", err)
	}
	if err := json.Unmarshal(b, t); err != nil {
		return nil, &trustError{store, err}
	}
	if t.Version != 1 {
		return nil, &trustError{store, fmt.Errorf("version %d is unknown", t.Version)}
	}
	if t.Files == nil {
		t.Files = map[string]trustEntry{}
	}
	return t, nil
}

// trustError is a store that can't be read for what it holds.
type trustError struct {
	store string
	err   error
}

func (e *trustError) Error() string {
	return "read trust store " + printable(e.store) + ": " + e.err.Error()
}
func (e *trustError) Unwrap() error { return e.err }

// Hint says what to do about it.
func (e *trustError) Hint() string {
	return "remove it, then approve the project's file again: penstock policy trust"
}

// Trust records that a project file with exactly this content (the bytes that
// the user was shown, not what the path holds now) is approved.
func Trust(store, path string, content []byte) error {
	return changeTrust(store, path, func(t *trustStore, key string) {
		t.Files[key] = trustEntry{SHA256: hexSum(content), Time: time.Now().UTC().Truncate(time.Second)}
	})
}

// Distrust forgets a project file. It is no error if it was not trusted.
func Distrust(store, path string) error {
	return changeTrust(store, path, func(t *trustStore, key string) { delete(t.Files, key) })
}

// changeTrust rewrites the store: under a lock, because two terminals may do it
// at once, and by rename, so that a reader sees the old or the new one.
func changeTrust(store, path string, change func(*trustStore, string)) error {
	key, err := trustKey(path)
	if err != nil {
		return err
	}
	dir := filepath.Dir(store)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("write trust store: %w", err)
	}
	unlock, err := lockFile(store + ".lock")
	if err != nil {
		return fmt.Errorf("write trust store: %w", err)
	}
	defer unlock()
	t, err := readTrust(store)
	if err != nil {
		return err
	}
	change(t, key)
	b, err := json.MarshalIndent(t, "", "  ")
	if err != nil {
		return fmt.Errorf("write trust store: %w", err)
	}
	return replaceFile(store, append(b, '\n'))
}

// replaceFile writes a file of mode 0600 by rename.
func replaceFile(path string, b []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".trust-*")
	if err != nil {
		return fmt.Errorf("write trust store: %w", err)
	}
	defer os.Remove(tmp.Name()) // fails after the rename, as it should
	_, err = tmp.Write(b)
	if err == nil {
		err = tmp.Sync()
	}
	if cerr := tmp.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write trust store: %w", err)
	}
	return nil
}

// ReadFile reads a policy file as Load does: regular files only, bounded.
func ReadFile(path string) ([]byte, error) {
	b, err := readPolicy(path, false)
	if err == nil && b == nil {
		err = fmt.Errorf("read policy %s: %w", printable(path), fs.ErrNotExist)
	}
	return b, err
}

func readBounded(f *os.File, most int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(b)) > most {
		err = fmt.Errorf("%s is larger than %d bytes", printable(f.Name()), most)
	}
	return b, err
}
