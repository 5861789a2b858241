package daemon

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/penstock/penstock/audit"
	"github.com/penstock/penstock/supervisor/bossctl"
	"github.com/penstock/penstock/supervisor/daemon/settings"
)

// state is the daemon's directory. All of it is root's, and only root gets into
// it; each user is handed a descriptor of his own part.
type state struct {
	dir  string
	lock *os.File

	mu     sync.Mutex
	stores map[int]*store // by uid
}

// store is one user's records.
type store struct {
	*audit.Store
	mu     sync.Mutex
	bytes  int64 // of all its files, at summed
	summed time.Time
}

// openState makes the directory if need be and locks it: one daemon per
// directory, because each would sweep what the other works with. Nothing else in
// the process may open the lock's file: closing that would end the lock.
func openState(dir string) (*state, error) {
	if err := os.MkdirAll(filepath.Join(dir, "audit"), 0o700); err != nil {
		return nil, fmt.Errorf("make the state directory: %w", err)
	}
	for _, d := range []string{dir, filepath.Join(dir, "audit")} {
		fi, err := os.Lstat(d)
		if err != nil {
			return nil, err
		}
		if !fi.IsDir() || fi.Mode().Perm()&0o077 != 0 || !own(fi) {
			return nil, &refusal{d + " is not a directory of root's alone", "chown root:root " + d + " && chmod 700 " + d}
		}
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, err
	}
	// A lock of the process, not of the open file: a child that a killed daemon had
	// just forked holds the file for a moment longer, and doesn't hold the next one up.
	if err := unix.FcntlFlock(f.Fd(), unix.F_SETLK, &unix.Flock_t{Type: unix.F_WRLCK}); err != nil {
		f.Close()
		return nil, &refusal{"another supervisor runs with " + dir, "systemctl status penstock; or give another --state"}
	}
	return &state{dir: dir, lock: f, stores: map[int]*store{}}, nil
}

func own(fi fs.FileInfo) bool {
	st, ok := fi.Sys().(*syscall.Stat_t)
	return ok && int(st.Uid) == os.Geteuid()
}

func (s *state) close() { s.lock.Close() }

// of returns a user's store, which is made if need be.
func (s *state) of(uid int) (*store, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if st := s.stores[uid]; st != nil {
		return st, nil
	}
	a, err := audit.OpenReadable(filepath.Join(s.dir, "audit", strconv.Itoa(uid)))
	if err != nil {
		return nil, err
	}
	st := &store{Store: a}
	s.stores[uid] = st
	return st, nil
}

// directory opens a user's store for reading.
func (s *state) directory(uid int) (*os.File, error) {
	st, err := s.of(uid)
	if err != nil {
		return nil, err
	}
	fd, err := unix.Open(st.Dir(), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), "audit"), nil
}

// create makes the file of a new session, unless the user has too many bytes.
func (st *store) create(most int64) (*audit.Session, error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if most > 0 {
		// Looking at every file for each of many sessions at once is not worth it
		// while there is room for a lot more.
		if time.Since(st.summed) > time.Second || st.bytes > most/2 {
			n, err := st.size()
			if err != nil {
				return nil, err
			}
			st.bytes, st.summed = n, time.Now()
		}
		if st.bytes >= most {
			return nil, &refusal{fmt.Sprintf("this user's audit has %d bytes, as many as it may have", st.bytes),
				"ask an administrator to remove old records from " + st.Dir() + ", or to raise quota.audit_bytes"}
		}
	}
	return st.Create(time.Now())
}

// size sums up the files. Names are not believed to be sessions, only counted.
func (st *store) size() (int64, error) {
	entries, err := os.ReadDir(st.Dir())
	if err != nil {
		return 0, err
	}
	var n int64
	for _, e := range entries {
		if fi, err := e.Info(); err == nil {
			n += fi.Size()
		}
	}
	return n, nil
}

// floor is the administrator's policy: bytes for the proxies, which parse it.
type floor struct {
	name   string
	text   []byte
	digest string
}

// readFloor reads it anew for each session, so that a change holds for the next.
// One that can't be trusted means no sessions, not sessions without it.
func readFloor(name string) (*floor, error) {
	text, err := settings.ReadTrusted(name, bossctl.MaxFloor)
	if errors.Is(err, fs.ErrNotExist) {
		return &floor{}, nil
	}
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(text)
	return &floor{name: name, text: text, digest: hex.EncodeToString(sum[:])}, nil
}
