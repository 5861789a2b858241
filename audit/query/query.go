package query

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/penstock/penstock/audit"
)

// Session is one recorded session.
type Session struct {
	ID      string    `json:"session"`
	Started time.Time `json:"started,omitzero"`
	Ended   time.Time `json:"ended,omitzero"` // time of its last record
	// State is "running", "ended", or "unclosed" if no end was recorded.
	State    string       `json:"state"`
	Argv     []string     `json:"argv"`
	Dir      string       `json:"dir"`
	User     string       `json:"user"`
	Machine  string       `json:"machine"`
	Agent    string       `json:"agent,omitempty"`
	Tier     string       `json:"tier"`
	Mode     string       `json:"mode"`
	Policy   string       `json:"policy_hash"`
	ExitCode int          `json:"exit_code"`
	Signal   string       `json:"signal,omitempty"`
	Reason   string       `json:"reason,omitempty"`
	Counts   audit.Counts `json:"counts"`
	Records  int64        `json:"records"`
	// Unreadable lines of its file are no records; see penstock audit verify.
	Unreadable int64  `json:"unreadable,omitempty"`
	File       string `json:"file"`
}

// The states of a Session.
const (
	Running  = "running"
	Ended    = "ended"
	Unclosed = "unclosed"
)

// Flow is one flow, its opening and its end together.
type Flow struct {
	Session  string    `json:"session"`
	Flow     uint64    `json:"flow"`
	Seq      uint64    `json:"seq"`
	Time     time.Time `json:"time"`
	Protocol string    `json:"protocol"`
	Host     string    `json:"host"` // name or literal address
	Port     int       `json:"port"`
	Method   string    `json:"method,omitempty"`
	Path     string    `json:"path,omitempty"`
	Verdict  string    `json:"verdict"`
	Rule     string    `json:"rule,omitempty"`
	Reason   string    `json:"reason,omitempty"`
	Mode     string    `json:"mode,omitempty"`
	// Process is the number of the process that opened it, 0 if that is not known;
	// see Index.Process. PID, TID and Exe are of the same.
	Process uint64 `json:"process,omitempty"`
	PID     int    `json:"pid,omitempty"`
	TID     int    `json:"tid,omitempty"`
	Exe     string `json:"exe,omitempty"`
	// SaidBy names who in the pen tells of the process; "": it was seen from outside.
	SaidBy    string `json:"said_by,omitempty"`
	Status    int    `json:"status,omitempty"`
	BytesUp   uint64 `json:"bytes_up"`
	BytesDown uint64 `json:"bytes_down"`
	// Duration in microseconds; -1 while the flow has no recorded end.
	Duration int64 `json:"duration_us"`
	// Via names the upstream proxy, whose address Upstream then is.
	Via      string `json:"via,omitempty"`
	Upstream string `json:"upstream,omitempty"`
	Class    string `json:"class,omitempty"`
	Error    string `json:"error,omitempty"`
	// Hooks are those that did more than let it pass, see audit.Acted.
	Hooks []audit.Asked `json:"hooks,omitempty"`

	openAt, closeAt int64 // where the records are in the session's file
}

// Filter chooses flows; the zero value all of them.
type Filter struct {
	Session  string
	Host     string // exact, or with * for any part
	Verdict  string // "allow", "deny" or "ask"
	Rule     string // file:line, or a whole file; "default" for no rule
	Protocol string
	Via      string    // name of an upstream proxy; "direct" for what was allowed to go by none
	Exe      string    // path of the executable, or its last part; with * for any part
	PID      int       // process id on the host
	Since    time.Time // included
	Until    time.Time // excluded
	// Limit keeps the newest; 0 is no limit.
	Limit int
}

// where returns the filter as a condition with its parameters.
func (f *Filter) where() (string, []any) {
	cond, args := []string{"1"}, []any{}
	add := func(c string, v any) { cond, args = append(cond, c), append(args, v) }
	if f.Session != "" {
		add("session = ?", f.Session)
	}
	if strings.Contains(f.Host, "*") {
		add(`host LIKE ? ESCAPE '\'`, like(f.Host))
	} else if f.Host != "" {
		add("host = ?", strings.ToLower(strings.TrimSuffix(f.Host, ".")))
	}
	if f.Verdict != "" {
		add("verdict = ?", f.Verdict)
	}
	if f.Rule == "default" {
		cond = append(cond, "rule = ''")
	} else if f.Rule != "" {
		cond, args = append(cond, "(rule = ? OR substr(rule, 1, length(?)) = ?)"), append(args, f.Rule, f.Rule+":", f.Rule+":")
	}
	if f.Protocol != "" {
		add("protocol = ?", f.Protocol)
	}
	if f.Via == "direct" {
		cond = append(cond, "via = '' AND verdict = 'allow'")
	} else if f.Via != "" {
		add("via = ?", f.Via)
	}
	if strings.Contains(f.Exe, "*") {
		add(`exe LIKE ? ESCAPE '\'`, like(f.Exe))
	} else if strings.Contains(f.Exe, "/") {
		add("exe = ?", f.Exe)
	} else if f.Exe != "" {
		cond, args = append(cond, `(exe = ? OR exe LIKE ? ESCAPE '\')`), append(args, f.Exe, "%/"+like(f.Exe))
	}
	if f.PID != 0 {
		add("pid = ?", f.PID)
	}
	if !f.Since.IsZero() {
		add("time >= ?", f.Since.UTC().Format(stamp))
	}
	if !f.Until.IsZero() {
		add("time < ?", f.Until.UTC().Format(stamp))
	}
	return strings.Join(cond, " AND "), args
}

// like is a pattern of ours as one of SQL's LIKE.
func like(s string) string {
	return strings.NewReplacer(`\`, `\\`, "%", `\%`, "_", `\_`, "*", "%").Replace(s)
}

// Sessions returns the newest sessions, limit of them or all if it is 0, oldest
// first.
func (x *Index) Sessions(ctx context.Context, limit int) ([]Session, error) {
	if limit <= 0 {
		limit = -1
	}
	rows, err := x.db.QueryContext(ctx, `SELECT id, started, ended, argv, dir, user, machine, agent, tier, mode, policy, has_end, exit_code, signal, reason,
		allowed, denied, dns, drops, secrets, violations, lost, bytes_up, bytes_down, executions, exits, signals, records, unreadable
		FROM (SELECT * FROM sessions ORDER BY id DESC LIMIT ?) ORDER BY id`, limit)
	if err != nil {
		return nil, fmt.Errorf("list sessions: %w", err)
	}
	defer rows.Close()
	list := []Session{}
	for rows.Next() {
		var s Session
		var started, ended, argv string
		var hasEnd bool
		c := &s.Counts
		if err := rows.Scan(&s.ID, &started, &ended, &argv, &s.Dir, &s.User, &s.Machine, &s.Agent, &s.Tier, &s.Mode, &s.Policy, &hasEnd, &s.ExitCode, &s.Signal, &s.Reason,
			&c.Allowed, &c.Denied, &c.DNS, &c.Drops, &c.Secrets, &c.Violations, &c.Lost, &c.BytesUp, &c.BytesDown, &c.Executions, &c.Exits, &c.Signals, &s.Records, &s.Unreadable); err != nil {
			return nil, fmt.Errorf("list sessions: %w", err)
		}
		s.Started, s.Ended = parseStamp(started), parseStamp(ended)
		json.Unmarshal([]byte(argv), &s.Argv) // written by Update
		s.File, _ = x.store.Path(s.ID)
		switch {
		case hasEnd:
			s.State = Ended
		case x.store.Running(s.ID):
			s.State = Running
		default:
			s.State = Unclosed
		}
		list = append(list, s)
	}
	return list, rows.Err()
}

// Flows calls each for every flow that the filter chooses, in the order in
// which they began, until each returns an error, which Flows returns.
func (x *Index) Flows(ctx context.Context, f Filter, each func(*Flow) error) error {
	cond, args := f.where()
	const columns = `session, flow, seq, time, protocol, host, port, method, path, verdict, rule, reason, mode, process, pid, tid, exe, said_by, status, bytes_up, bytes_down, duration_us, via, upstream, class, error, hooks, hooks_after, open_at, close_at`
	q := "SELECT " + columns + " FROM flows WHERE " + cond + " ORDER BY time, session, seq"
	if f.Limit > 0 {
		q = "SELECT * FROM (SELECT " + columns + " FROM flows WHERE " + cond + " ORDER BY time DESC, session DESC, seq DESC LIMIT ?) ORDER BY time, session, seq"
		args = append(args, f.Limit)
	}
	rows, err := x.db.QueryContext(ctx, q, args...)
	if err != nil {
		return fmt.Errorf("list flows: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var l Flow
		var when, before, after string
		if err := rows.Scan(&l.Session, &l.Flow, &l.Seq, &when, &l.Protocol, &l.Host, &l.Port, &l.Method, &l.Path, &l.Verdict, &l.Rule, &l.Reason, &l.Mode, &l.Process, &l.PID, &l.TID, &l.Exe, &l.SaidBy,
			&l.Status, &l.BytesUp, &l.BytesDown, &l.Duration, &l.Via, &l.Upstream, &l.Class, &l.Error, &before, &after, &l.openAt, &l.closeAt); err != nil {
			return fmt.Errorf("list flows: %w", err)
		}
		l.Time = parseStamp(when)
		if before != "" || after != "" {
			l.Hooks = acted(before, after)
		}
		if err := each(&l); err != nil {
			return err
		}
	}
	return rows.Err()
}

// Groups counts the chosen flows by destination, verdict and rule, most first.
func (x *Index) Groups(ctx context.Context, f Filter) ([]audit.Group, error) {
	cond, args := f.where()
	q := "SELECT verdict, host, port, protocol, rule, min(reason), count(*) AS n FROM flows WHERE " + cond + " GROUP BY verdict, host, port, protocol, rule ORDER BY verdict = 'allow', n DESC, host, port"
	if f.Limit > 0 {
		q += " LIMIT ?"
		args = append(args, f.Limit)
	}
	rows, err := x.db.QueryContext(ctx, q, args...)
	if err != nil {
		return nil, fmt.Errorf("count flows: %w", err)
	}
	defer rows.Close()
	groups := []audit.Group{}
	for rows.Next() {
		var g audit.Group
		if err := rows.Scan(&g.Verdict, &g.Host, &g.Port, &g.Protocol, &g.Rule, &g.Reason, &g.Count); err != nil {
			return nil, fmt.Errorf("count flows: %w", err)
		}
		groups = append(groups, g)
	}
	return groups, rows.Err()
}

// Raw calls each with the records, as they stand in the files, of the chosen
// flows: the opening of each and, if there is one, its end; before the first flow
// that names a process, the record of that and of its parents. The bytes are
// valid until each returns.
func (x *Index) Raw(ctx context.Context, f Filter, each func([]byte) error) error {
	processes, err := x.Processes(ctx, f)
	if err != nil {
		return err
	}
	var file *os.File
	var of string
	var told map[uint64]bool
	defer func() {
		if file != nil {
			file.Close()
		}
	}()
	return x.Flows(ctx, f, func(l *Flow) error {
		if l.Session != of {
			if file != nil {
				file.Close()
			}
			var err error
			if file, err = x.store.OpenSession(l.Session); err != nil {
				return err
			}
			of, told = l.Session, map[uint64]bool{}
		}
		for _, at := range append(processes.places(l.Session, l.Process, told), l.openAt, l.closeAt) {
			if at < 0 {
				continue
			}
			if _, err := file.Seek(at, 0); err != nil {
				return err
			}
			in := audit.NewScanner(file)
			if !in.Scan() {
				return fmt.Errorf("read session %s: its file changed meanwhile", l.Session)
			}
			if err := each(in.Bytes()); err != nil {
				return err
			}
		}
		return nil
	})
}
