package query

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/json"
	"errors"
	"io"
	"os"
	"time"

	"github.com/penstock/penstock/audit"
)

// stamp is how times stand in the index: as in the records, so that they sort as text.
const stamp = "2006-01-02T15:04:05.000000000Z"

// Update brings the index up to date with the files. Only what is new in each
// is read, unless the last line that was indexed is not there any more.
func (x *Index) Update(ctx context.Context) error {
	ids, err := x.store.Sessions()
	if err != nil {
		return err
	}
	known, err := x.known(ctx)
	if err != nil {
		return err
	}
	for _, id := range ids {
		k := known[id]
		delete(known, id)
		if err := x.updateSession(ctx, id, k); err != nil {
			return err
		}
	}
	for id := range known { // their files are gone
		if err := x.change(ctx, func(tx *sql.Tx) error { return forget(ctx, tx, id) }); err != nil {
			return err
		}
	}
	return nil
}

// place is how far a session is indexed.
type place struct {
	offset, lastLength int64
	lastHash           []byte
}

func (x *Index) known(ctx context.Context) (map[string]place, error) {
	rows, err := x.db.QueryContext(ctx, "SELECT id, offset, last_length, last_hash FROM sessions")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	known := map[string]place{}
	for rows.Next() {
		var id string
		var p place
		if err := rows.Scan(&id, &p.offset, &p.lastLength, &p.lastHash); err != nil {
			return nil, err
		}
		known[id] = p
	}
	return known, rows.Err()
}

func (x *Index) change(ctx context.Context, f func(*sql.Tx) error) error {
	tx, err := x.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if err := f(tx); err != nil {
		return err
	}
	return tx.Commit()
}

func forget(ctx context.Context, tx *sql.Tx, id string) error {
	if _, err := tx.ExecContext(ctx, "DELETE FROM flows WHERE session = ?", id); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, "DELETE FROM processes WHERE session = ?", id); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, "DELETE FROM sessions WHERE id = ?", id)
	return err
}

func (x *Index) updateSession(ctx context.Context, id string, p place) error {
	f, err := x.store.OpenSession(id)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		// A link, a directory or another's file under a session's name: nothing that a
		// list could show. Verify names it.
		return nil // see above
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	if p.lastHash != nil && fi.Size() == p.offset && stillThere(f, p) {
		return nil
	}
	return x.change(ctx, func(tx *sql.Tx) error {
		// Read again under the lock: another query may have been faster.
		p := place{}
		err := tx.QueryRowContext(ctx, "SELECT offset, last_length, last_hash FROM sessions WHERE id = ?", id).Scan(&p.offset, &p.lastLength, &p.lastHash)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		if p.lastHash == nil || !stillThere(f, p) {
			p = place{}
			if err := forget(ctx, tx, id); err != nil {
				return err
			}
		}
		return indexLines(ctx, tx, f, id, p)
	})
}

// stillThere reports whether the last indexed line stands where it stood.
func stillThere(f *os.File, p place) bool {
	if p.lastLength <= 0 || p.lastLength > p.offset || p.lastLength > 2<<20 {
		return false
	}
	line := make([]byte, p.lastLength)
	if _, err := f.ReadAt(line, p.offset-p.lastLength); err != nil {
		return false
	}
	sum := sha256.Sum256(line)
	return bytes.Equal(sum[:], p.lastHash)
}

// indexLines adds the lines from p on.
func indexLines(ctx context.Context, tx *sql.Tx, f *os.File, id string, p place) error {
	// A statement that can be cancelled costs a goroutine: asked between lines instead.
	cancelled := ctx.Err
	ctx = context.WithoutCancel(ctx)
	if _, err := tx.ExecContext(ctx, `INSERT OR IGNORE INTO sessions (id, started, ended, argv, dir, user, machine, agent, tier, mode, policy,
		has_end, exit_code, signal, reason, allowed, denied, dns, drops, secrets, violations, lost, bytes_up, bytes_down, executions, exits, signals, records, unreadable, offset, last_length)
		VALUES (?, '', '', '[]', '', '', '', '', '', '', '', 0, 0, '', '', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)`, id); err != nil {
		return err
	}
	open, err := tx.PrepareContext(ctx, `INSERT OR IGNORE INTO flows (session, flow, seq, time, protocol, host, port, method, path, verdict, rule, reason, mode, process, pid, tid, exe, said_by, status, bytes_up, bytes_down, duration_us, via, upstream, class, error, hooks, hooks_after, open_at, close_at)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, 0, 0, -1, ?, ?, '', '', ?, '', ?, -1)`)
	if err != nil {
		return err
	}
	defer open.Close()
	// Told which index, because SQLite takes the primary key's first column else and
	// goes through the whole session for each record.
	end, err := tx.PrepareContext(ctx, `UPDATE flows INDEXED BY flows_flow SET status = ?, bytes_up = ?, bytes_down = ?, duration_us = ?, upstream = CASE WHEN ?5 <> '' THEN ?5 ELSE upstream END, class = ?, error = ?, hooks_after = ?, close_at = ?
		WHERE session = ? AND flow = ? AND close_at < 0`)
	if err != nil {
		return err
	}
	defer end.Close()

	if _, err := f.Seek(p.offset, io.SeekStart); err != nil {
		return err
	}
	t := totals{}
	in := audit.NewScanner(f)
	at := p.offset
	for in.Scan() {
		raw := in.Bytes()
		next := p.offset + in.Offset()
		if t.records++; t.records%1024 == 0 && cancelled() != nil {
			return cancelled()
		}
		if r, err := audit.ParseRecord(raw); err != nil || r.Session != id {
			t.unreadable++
		} else {
			when := r.Time.UTC().Format(stamp)
			if t.first == "" {
				t.first = when
			}
			t.last = when
			switch r.Type {
			case audit.TypeFlowOpen:
				_, err = open.ExecContext(ctx, id, int64(r.Flow), int64(r.Seq), when, r.Protocol, r.Target(), r.Port, r.Method, r.Path, r.Verdict, r.Rule, r.Reason, r.Mode, int64(r.Process), r.PID, r.TID, r.Exe, r.SaidBy, r.Via, r.Upstream, hooksOf(r), at)
			case audit.TypeFlowClose:
				_, err = end.ExecContext(ctx, r.Status, int64(r.BytesUp), int64(r.BytesDown), r.Duration, r.Upstream, r.Class, r.Error, hooksOf(r), at, id, int64(r.Flow))
			case audit.TypeProcess:
				if r.Process != 0 {
					argv, _ := json.Marshal(r.Argv)
					_, err = tx.ExecContext(ctx, "INSERT OR IGNORE INTO processes (session, process, parent, pid, uid, exe, dev, ino, sha256, argv, cgroup, shared, said_by, at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
						id, int64(r.Process), int64(r.Parent), r.PID, r.UID, r.Exe, r.Dev, int64(r.Ino), r.SHA256, string(argv), r.Cgroup, r.Shared, r.SaidBy, at)
				}
			case audit.TypeSessionStart:
				argv, _ := json.Marshal(r.Argv)
				_, err = tx.ExecContext(ctx, "UPDATE sessions SET started = ?, argv = ?, dir = ?, user = ?, machine = ?, agent = ?, tier = ?, mode = ?, policy = ? WHERE id = ?",
					when, string(argv), r.Dir, r.User, r.Machine, r.Agent, r.Tier, r.Mode, r.Policy.Hash, id)
			case audit.TypeSessionEnd:
				_, err = tx.ExecContext(ctx, "UPDATE sessions SET has_end = 1, exit_code = ?, signal = ?, reason = ?, executions = ?, exits = ?, signals = ? WHERE id = ?",
					r.ExitCode, r.Signal, r.Reason, int64(r.Counts.Executions), int64(r.Counts.Exits), int64(r.Counts.Signals), id)
			}
			if err != nil {
				return err
			}
			t.add(r)
		}
		sum := sha256.Sum256(append(raw, '\n')) // the line is in the reader's buffer with its new line
		p.lastHash, p.lastLength = sum[:], next-at
		at = next
	}
	if err := in.Err(); err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `UPDATE sessions SET started = CASE WHEN started = '' THEN ? ELSE started END, ended = CASE WHEN ?2 <> '' THEN ?2 ELSE ended END,
		allowed = allowed + ?, denied = denied + ?, dns = dns + ?, drops = drops + ?, secrets = secrets + ?, violations = violations + ?,
		lost = lost + ?, bytes_up = bytes_up + ?, bytes_down = bytes_down + ?, records = records + ?, unreadable = unreadable + ?,
		offset = ?, last_length = ?, last_hash = ? WHERE id = ?`,
		t.first, t.last, int64(t.c.Allowed), int64(t.c.Denied), int64(t.c.DNS), int64(t.c.Drops), int64(t.c.Secrets), int64(t.c.Violations),
		int64(t.c.Lost), int64(t.c.BytesUp), int64(t.c.BytesDown), t.records, t.unreadable, at, p.lastLength, p.lastHash, id)
	return err
}

type totals struct {
	c                   audit.Counts
	first, last         string
	records, unreadable int64
}

func (t *totals) add(r *audit.Record) {
	switch r.Type {
	case audit.TypeFlowOpen:
		if r.Forwarded() {
			t.c.Allowed++
		} else {
			t.c.Denied++
		}
	case audit.TypeFlowClose:
		t.c.BytesUp += r.BytesUp
		t.c.BytesDown += r.BytesDown
	case audit.TypeDNS:
		t.c.DNS++
	case audit.TypeDrop:
		t.c.Drops += r.Count
	case audit.TypeSecretUse:
		t.c.Secrets++
	case audit.TypeViolation:
		t.c.Violations++
	case audit.TypeLoss:
		t.c.Lost += r.Count
	}
}

// parseStamp is the inverse of stamp; the zero time for what is none.
func parseStamp(s string) time.Time {
	t, err := time.Parse(stamp, s)
	if err != nil {
		return time.Time{}
	}
	return t
}

// hooksOf is what hooks did by a record, as it stands in the index.
func hooksOf(r *audit.Record) string {
	list := audit.Acted(r.Hooks)
	if len(list) == 0 {
		return ""
	}
	doc, _ := json.Marshal(list) // strings and numbers
	return string(doc)
}

// acted is the inverse of hooksOf, of a flow's opening and end together.
func acted(docs ...string) (out []audit.Asked) {
	for _, doc := range docs {
		var list []audit.Asked
		json.Unmarshal([]byte(doc), &list) //nolint:errcheck // written by hooksOf
		out = append(out, list...)
	}
	return audit.Acted(out)
}
