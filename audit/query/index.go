package query

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/penstock/penstock/audit"
)

const (
	indexFile = "index.db"
	// indexVersion stands in the database as user_version. Another one: made anew.
	indexVersion = 6
)

const layout = `
CREATE TABLE sessions (
	id TEXT PRIMARY KEY, started TEXT, ended TEXT, argv TEXT, dir TEXT, user TEXT, machine TEXT,
	agent TEXT, tier TEXT, mode TEXT, policy TEXT, has_end INTEGER, exit_code INTEGER, signal TEXT, reason TEXT,
	allowed INTEGER, denied INTEGER, dns INTEGER, drops INTEGER, secrets INTEGER, violations INTEGER,
	lost INTEGER, bytes_up INTEGER, bytes_down INTEGER, executions INTEGER, exits INTEGER, signals INTEGER, records INTEGER, unreadable INTEGER,
	offset INTEGER, last_length INTEGER, last_hash BLOB
) WITHOUT ROWID;
CREATE TABLE flows (
	session TEXT, flow INTEGER, seq INTEGER, time TEXT, protocol TEXT, host TEXT, port INTEGER, method TEXT, path TEXT,
	verdict TEXT, rule TEXT, reason TEXT, mode TEXT, process INTEGER, pid INTEGER, tid INTEGER, exe TEXT, said_by TEXT,
	status INTEGER, bytes_up INTEGER, bytes_down INTEGER, duration_us INTEGER, via TEXT, upstream TEXT, class TEXT, error TEXT,
	hooks TEXT, hooks_after TEXT, -- what hooks did before the flow was let out, and after: JSON, '' for nothing
	open_at INTEGER, close_at INTEGER,
	PRIMARY KEY (session, seq)
) WITHOUT ROWID;
CREATE INDEX flows_flow ON flows (session, flow);
CREATE INDEX flows_time ON flows (time);
CREATE INDEX flows_host ON flows (host);
CREATE INDEX flows_rule ON flows (rule);
CREATE INDEX flows_exe ON flows (exe);
CREATE TABLE processes (
	session TEXT, process INTEGER, parent INTEGER, pid INTEGER, uid INTEGER, exe TEXT, dev TEXT, ino INTEGER, sha256 TEXT,
	argv TEXT, cgroup TEXT, shared INTEGER, said_by TEXT, at INTEGER,
	PRIMARY KEY (session, process)
) WITHOUT ROWID;
`

// Index is an open index of a store. It is safe for concurrent use.
type Index struct {
	store *audit.Store
	db    *sql.DB
	path  string // "" when it is in memory
}

// Open opens the index of a store, making it if need be, and brings it up to
// date. Where the store's directory can't be written the index is made in
// memory. The caller closes it.
func Open(ctx context.Context, store *audit.Store) (*Index, error) {
	x := &Index{store: store, path: filepath.Join(store.Dir(), indexFile)}
	err := x.connect(ctx)
	if err == nil {
		err = x.Update(ctx)
	}
	if err == nil {
		return x, nil
	}
	x.Close()
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if isDamaged(err) {
		// A cache: anew rather than an error.
		for _, end := range []string{"", "-journal", "-wal", "-shm"} {
			os.Remove(x.path + end)
		}
	} else if isReadOnly(err) {
		x.path = ""
	} else {
		return nil, fmt.Errorf("index audit %s: %w", store.Dir(), err)
	}
	if err := x.connect(ctx); err != nil {
		return nil, fmt.Errorf("index audit %s: %w", store.Dir(), err)
	}
	if err := x.Update(ctx); err != nil {
		x.Close()
		return nil, fmt.Errorf("index audit %s: %w", store.Dir(), err)
	}
	return x, nil
}

// Close closes the index. It may be called twice.
func (x *Index) Close() error {
	if x.db == nil {
		return nil
	}
	return x.db.Close()
}

// errForeign is the cause when index.db is not a plain file.
var errForeign = errors.New("index.db is not a plain file")

func (x *Index) connect(ctx context.Context) error {
	name := ":memory:"
	if x.path != "" {
		fi, err := os.Lstat(x.path)
		if err == nil && !fi.Mode().IsRegular() {
			return errForeign // removed and made anew
		}
		if err != nil {
			// SQLite would make it readable for others.
			f, err := os.OpenFile(x.path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
			if err != nil && !errors.Is(err, os.ErrExist) {
				return err
			}
			if err == nil {
				f.Close()
			}
		}
		name = "file:" + (&url.URL{Path: filepath.ToSlash(x.path)}).EscapedPath()
		name += "?_pragma=busy_timeout(10000)&_pragma=journal_mode(TRUNCATE)&_pragma=synchronous(NORMAL)&_txlock=immediate"
	}
	db, err := sql.Open("sqlite", name)
	if err != nil {
		return err
	}
	db.SetMaxOpenConns(1) // one connection is one database in memory, and one lock in a file
	x.db = db
	var version int
	if err := db.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version); err != nil {
		return err
	}
	if version == indexVersion {
		return nil
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	// Again, now that nobody else can be making it.
	if err := tx.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version); err != nil || version == indexVersion {
		return err
	}
	if _, err := tx.ExecContext(ctx, "DROP TABLE IF EXISTS sessions; DROP TABLE IF EXISTS flows; DROP TABLE IF EXISTS processes;"+layout+fmt.Sprintf("PRAGMA user_version = %d", indexVersion)); err != nil {
		return err
	}
	return tx.Commit()
}

// isDamaged reports whether the index itself is what is wrong: no database, a
// broken one, or one whose tables are not ours.
func isDamaged(err error) bool {
	if errors.Is(err, errForeign) {
		return true
	}
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return false
	}
	switch e.Code() & 0xff {
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_SCHEMA:
		return true
	}
	return false
}

func isReadOnly(err error) bool {
	if errors.Is(err, os.ErrPermission) {
		return true
	}
	var e *sqlite.Error
	if errors.As(err, &e) {
		switch e.Code() & 0xff {
		case sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR:
			return true
		}
	}
	return isReadOnlyFS(err)
}
