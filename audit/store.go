package audit

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

const (
	ledgerFile    = "ledger.jsonl"
	sessionSuffix = ".jsonl"
)

// Store is a directory with a file per session and the ledger of all of them.
type Store struct {
	dir  string
	mode fs.FileMode // of the files that it makes

	writing sync.Mutex // see readable
}

// readable tells whether others may read the store. They could lock its files
// then (flock(2) asks for no right to write), and hold up who has to record. Such
// a store is written through one Store, of one process, which needs no file's
// lock: what it cares for is the lock of its own.
func (s *Store) readable() bool { return s.mode != 0o600 }

// DefaultDir returns $XDG_STATE_HOME/penstock/audit, or the same under
// ~/.local/state. getenv is usually os.Getenv.
func DefaultDir(getenv func(string) string) (string, error) {
	base := getenv("XDG_STATE_HOME")
	if !filepath.IsAbs(base) { // the specification: a relative one is to be ignored
		home := getenv("HOME")
		if !filepath.IsAbs(home) {
			return "", &StoreError{Op: "find", Path: "directory", Err: errors.New("HOME is not set"), Fix: "set HOME or XDG_STATE_HOME, or give --audit-dir"}
		}
		base = filepath.Join(home, ".local", "state")
	}
	return filepath.Join(base, "penstock", "audit"), nil
}

// Open returns the store in dir, which it creates with mode 0700.
func Open(dir string) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, &StoreError{Op: "create", Path: dir, Err: err, Fix: "choose another place with --audit-dir"}
	}
	return OpenExisting(dir)
}

// OpenReadable is Open for a store that its user may read and not write: the
// directory and what is made in it belong to the caller, and everybody who gets
// as far as the directory may read. Its parent decides who does.
func OpenReadable(dir string) (*Store, error) {
	err := os.Mkdir(dir, 0o755)
	if err == nil {
		err = os.Chmod(dir, 0o755) // whatever the umask is
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, &StoreError{Op: "create", Path: dir, Err: err}
	}
	s, err := OpenExisting(dir)
	if err != nil {
		return nil, err
	}
	s.mode = 0o644
	return s, nil
}

// OpenExisting returns the store in dir without creating anything.
func OpenExisting(dir string) (*Store, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, &StoreError{Op: "open", Path: dir, Err: err}
	}
	fi, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, &StoreError{Op: "open", Path: dir, Err: err, Fix: "no session was recorded there yet; --audit-dir names another place"}
	case err != nil:
		return nil, &StoreError{Op: "open", Path: dir, Err: err}
	case !fi.IsDir():
		return nil, &StoreError{Op: "open", Path: dir, Err: errors.New("not a directory")}
	case foreign(fi):
		return nil, &StoreError{Op: "open", Path: dir, Err: errors.New("belongs to another user"), Fix: "run as that user, or choose another place with --audit-dir"}
	case exposed(fi):
		return nil, &StoreError{Op: "open", Path: dir, Err: errors.New("others may write to it"), Fix: "chmod 700 " + dir}
	}
	return &Store{dir: dir, mode: 0o600}, nil
}

// Dir returns the store's directory, absolute.
func (s *Store) Dir() string { return s.dir }

// Path returns the file of a session. The session need not exist.
func (s *Store) Path(session string) (string, error) {
	if !ValidSession(session) || session == ledgerChain {
		return "", fmt.Errorf("session %.80q: not a session id", session)
	}
	return filepath.Join(s.dir, session+sessionSuffix), nil
}

// Sessions returns the ids of all session files, oldest first.
func (s *Store) Sessions() ([]string, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, &StoreError{Op: "list", Path: s.dir, Err: err}
	}
	var ids []string
	for _, e := range entries {
		id, ok := strings.CutSuffix(e.Name(), sessionSuffix)
		if ok && ValidSession(id) && id != ledgerChain {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// OpenSession opens a session's file for reading. A link or anything that is
// not a regular file is refused.
func (s *Store) OpenSession(session string) (*os.File, error) {
	path, err := s.Path(session)
	if err != nil {
		return nil, err
	}
	f, err := openRegular(path, os.O_RDONLY)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &StoreError{Op: "open session in", Path: s.dir, Err: fmt.Errorf("no session %s", session), Fix: "penstock audit ls"}
	}
	if err != nil {
		return nil, &StoreError{Op: "open", Path: path, Err: err}
	}
	return f, nil
}

// Running reports whether a process has the session's file open as its writer.
func (s *Store) Running(session string) bool {
	f, err := s.OpenSession(session)
	if err != nil {
		return false
	}
	defer f.Close()
	return isLocked(f)
}

func openRegular(path string, flags int) (*os.File, error) {
	f, err := os.OpenFile(path, flags|openFlags, 0o600)
	if err != nil {
		return nil, err
	}
	fi, err := f.Stat()
	if err == nil && !fi.Mode().IsRegular() {
		err = errors.New("not a regular file")
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// Session is a new session's place in the store.
type Session struct {
	ID   string
	Path string
	// File is open for appending and holds a lock by which others see that the
	// session runs. Its writer, in whatever process, gets it or a copy.
	File  *os.File
	store *Store
}

// Create makes the file of a new session and enters it in the ledger. The id
// begins with the time in UTC, so that ids sort.
func (s *Store) Create(now time.Time) (*Session, error) {
	l, err := s.openLedger()
	if err != nil {
		return nil, err
	}
	defer l.close()
	for range 16 {
		id := newSessionID(now)
		path, err := s.Path(id)
		if err != nil {
			return nil, err
		}
		f, err := os.OpenFile(path, os.O_RDWR|os.O_APPEND|os.O_CREATE|os.O_EXCL|openFlags, 0o600)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return nil, &StoreError{Op: "create session in", Path: s.dir, Err: err, Fix: "choose another place with --audit-dir"}
		}
		// The lock and the file come before the ledger's entry: killed in between, an
		// empty file remains, which verify knows. The other way round it would say
		// that a session is missing.
		// Nobody else can open a file that is not readable yet.
		if _, err = lock(f, lockExclusive); err == nil && s.readable() {
			err = f.Chmod(s.mode) // whatever the umask is
		}
		if err == nil {
			err = l.append(ledgerEntry{typ: typeLedgerOpen, session: id, now: now})
		}
		if err != nil {
			f.Close()
			os.Remove(path)
			return nil, &StoreError{Op: "create session in", Path: s.dir, Err: err, Fix: "choose another place with --audit-dir"}
		}
		return &Session{ID: id, Path: path, File: f, store: s}, nil
	}
	return nil, &StoreError{Op: "create session in", Path: s.dir, Err: errors.New("every id is taken")}
}

// captureSuffix is that of the file with headers and bodies beside a session's.
const captureSuffix = ".capture"

// CreateCapture makes the file for what rules of the session capture. Only its
// user can read it.
func (s *Session) CreateCapture() (*os.File, error) {
	path := strings.TrimSuffix(s.Path, sessionSuffix) + captureSuffix
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE|os.O_EXCL|openFlags, 0o600)
	if err != nil {
		return nil, &StoreError{Op: "create capture in", Path: s.store.dir, Err: err, Fix: "choose another place with --audit-dir"}
	}
	return f, nil
}

// OpenCapture opens what was captured of a session; an error that is
// fs.ErrNotExist says that nothing was.
func (s *Store) OpenCapture(session string) (*os.File, error) {
	path, err := s.Path(session)
	if err != nil {
		return nil, err
	}
	path = strings.TrimSuffix(path, sessionSuffix) + captureSuffix
	f, err := openRegular(path, os.O_RDONLY)
	if err != nil {
		return nil, &StoreError{Op: "open", Path: path, Err: err}
	}
	return f, nil
}

// Seal enters the session's end in the ledger: the number and hash of its last
// record, as the writer's Head gave them. It is an error if the file says
// something else; then the session stays unclosed. It does not close File.
func (s *Session) Seal(seq uint64, head [32]byte) error {
	return s.store.seal(s.ID, seq, head, time.Now())
}

// SealUnread is Seal by a process that must not parse what the writer wrote: it
// takes the writer's word. A word that is wrong is found by Verify, which
// compares the ledger with the file.
func (s *Session) SealUnread(seq uint64, head [32]byte) error {
	fi, err := s.File.Stat()
	if err != nil {
		return &StoreError{Op: "close session in", Path: s.Path, Err: err}
	}
	return s.sealUnread(seq, head, fi)
}

// SealEmpty enters the end of a session that has no records, because it came to
// an end before its writer had any. It is an error if there is one.
func (s *Session) SealEmpty() error {
	fi, err := s.File.Stat()
	if err == nil && fi.Size() > 0 {
		err = errors.New("it has records")
	}
	if err != nil {
		return &StoreError{Op: "close session in", Path: s.Path, Err: err}
	}
	return s.sealUnread(0, genesis(s.ID), fi)
}

func (s *Session) sealUnread(seq uint64, head [32]byte, fi fs.FileInfo) error {
	l, err := s.store.openLedger()
	if err != nil {
		return err
	}
	defer l.close()
	if err := l.append(ledgerEntry{typ: typeLedgerClose, session: s.ID, now: time.Now(), records: seq, head: head, bytes: fi.Size()}); err != nil {
		return &StoreError{Op: "close session in", Path: s.Path, Err: err}
	}
	return nil
}

func (s *Store) seal(id string, seq uint64, head [32]byte, now time.Time) error {
	f, err := s.OpenSession(id)
	if err != nil {
		return err
	}
	defer f.Close()
	l, err := s.openLedger()
	if err != nil {
		return err
	}
	defer l.close()
	t, err := readTail(f, id)
	if err == nil && (t.seq != seq || t.head != head || len(t.torn) > 0) {
		err = fmt.Errorf("the file ends with record %d, its writer with %d, or their hashes differ", t.seq, seq)
	}
	if err == nil {
		err = l.append(ledgerEntry{typ: typeLedgerClose, session: id, now: now, records: seq, head: head, bytes: t.good})
	}
	if err != nil {
		return &StoreError{Op: "close session in", Path: f.Name(), Err: err, Fix: "penstock audit verify --session " + id}
	}
	return nil
}

// newSessionID returns for example 20261122-201501-x7k2q: the second in UTC, two
// letters for its fraction, so that ids sort by time, and three random ones.
func newSessionID(now time.Time) string {
	const letters = "0123456789abcdefghjkmnpqrstvwxyz" // 32 in order, without i, l, o, u
	var b [5]byte
	rand.Read(b[:]) // never fails: crypto/rand ends the process instead
	fraction := now.Nanosecond() / (1_000_000_000 / 1024)
	b[0], b[1] = byte(min(fraction, 1023)/32), byte(min(fraction, 1023)%32)
	for i := range b {
		b[i] = letters[b[i]%32]
	}
	return now.UTC().Format("20060102-150405-") + string(b[:])
}
