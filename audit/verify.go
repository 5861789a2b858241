package audit

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// State is what Verify found of one session or of the ledger.
type State string

// The states. Only StateOK says that everything recorded is there, unchanged.
const (
	StateBad      State = "tampered" // see Problems
	StateUnclosed State = "unclosed" // whole as far as it goes; its end was not recorded (killed)
	StateRunning  State = "running"  // whole so far, a process has it open
	StateOK       State = "ok"
)

// The kinds of Problem.
const (
	KindChanged   = "changed"   // a record's bytes are not those that were hashed
	KindDropped   = "dropped"   // records are missing before this one
	KindInserted  = "inserted"  // a record that the chain does not know, or in the wrong place
	KindForged    = "forged"    // not a record that a Writer makes
	KindTorn      = "torn"      // an unfinished last line
	KindTruncated = "truncated" // the end is missing
	KindExtra     = "extra"     // goes on after the recorded end
	KindMissing   = "missing"   // no file
	KindUnlisted  = "unlisted"  // a file that the ledger does not know
	KindHead      = "head"      // the head hash is not the expected one
	KindFile      = "file"      // the file can't be read, or is not a plain file
)

// Problem is one thing that is wrong, and where.
type Problem struct {
	File   string `json:"file"`
	Line   int    `json:"line,omitempty"` // from 1; 0: the file as a whole
	Kind   string `json:"kind"`
	Detail string `json:"detail"` // escaped, one line
}

func (p Problem) String() string {
	if p.Line == 0 {
		return p.File + ": " + p.Kind + ": " + p.Detail
	}
	return fmt.Sprintf("%s:%d: %s: %s", p.File, p.Line, p.Kind, p.Detail)
}

// maxProblems is how many problems of one file are listed; the rest is counted.
const maxProblems = 20

// Result is the outcome for one file.
type Result struct {
	Session  string    `json:"session,omitempty"` // "" for the ledger
	File     string    `json:"file"`
	State    State     `json:"state"`
	Records  uint64    `json:"records"`
	Bytes    int64     `json:"bytes"`
	Head     string    `json:"head"` // hex hash of the last whole record
	Lost     uint64    `json:"lost"` // records that loss records own up to
	First    string    `json:"first,omitempty"`
	Last     string    `json:"last,omitempty"`
	Problems []Problem `json:"problems,omitempty"`
	More     int       `json:"more,omitempty"` // problems that are not listed
	// Torn is the number of a last line without an end, 0 if there is none. In an
	// unclosed file that is what a killed writer leaves, and not a problem.
	Torn int `json:"torn,omitempty"`
}

func (r *Result) problem(line int, kind, format string, args ...any) {
	if len(r.Problems) < maxProblems {
		r.Problems = append(r.Problems, Problem{r.File, line, kind, fmt.Sprintf(format, args...)})
	} else {
		r.More++
	}
}

// Report is the outcome of Store.Verify.
type Report struct {
	Dir      string   `json:"dir"`
	Ledger   Result   `json:"ledger"`
	Sessions []Result `json:"sessions"`
}

// OK reports whether nothing was tampered with. Unclosed and running sessions
// do not make it false: see Whole.
func (r *Report) OK() bool {
	for i := range r.Sessions {
		if r.Sessions[i].State == StateBad {
			return false
		}
	}
	return r.Ledger.State != StateBad
}

// Whole reports whether every session is proven complete.
func (r *Report) Whole() bool {
	for i := range r.Sessions {
		if r.Sessions[i].State != StateOK {
			return false
		}
	}
	return r.Ledger.State == StateOK
}

// VerifyOptions say what to verify.
type VerifyOptions struct {
	Session string // "" for all
	// Head is what was kept elsewhere: the hash of the session's last record in hex,
	// or with all sessions the ledger's. The record's number and a colon may stand
	// before it, as penstock run prints it. Empty: not compared.
	Head string
}

// parseHead reads VerifyOptions.Head; seq is 0 if it holds none.
func parseHead(s string) (hash string, seq uint64, err error) {
	if s == "" {
		return "", 0, nil
	}
	number, hash, ok := strings.Cut(s, ":")
	if !ok {
		number, hash = "", s
	}
	hash = strings.ToLower(hash)
	if ok {
		seq, err = strconv.ParseUint(number, 10, 64)
	}
	if err != nil || !parseHash([]byte(hash), new([32]byte)) {
		return "", 0, fmt.Errorf("head %.80q: want the 64 hexadecimal digits of a hash, as penstock run prints it", s)
	}
	return hash, seq, nil
}

// expect compares the last record with what was kept elsewhere.
func (r *Result) expect(hash string, seq uint64) {
	if r.Head == hash && (seq == 0 || seq == r.Records) {
		return
	}
	r.State = StateBad
	if seq == 0 {
		r.problem(0, KindHead, "the last record's hash is %s, expected %s", r.Head, hash)
	} else {
		r.problem(0, KindHead, "the last record is %d with hash %s, expected %d with %s", r.Records, r.Head, seq, hash)
	}
}

// Verify reads the ledger and one or all sessions and proves them against each
// other. The error says that it could not be done; what it found is in the Report.
func (s *Store) Verify(o VerifyOptions) (*Report, error) {
	if o.Session != "" {
		if _, err := s.Path(o.Session); err != nil {
			return nil, err
		}
	}
	want, seq, err := parseHead(o.Head)
	if err != nil {
		return nil, err
	}
	book, files, err := s.readLedger()
	if err != nil {
		return nil, err
	}
	r := &Report{Dir: s.dir, Ledger: book.result}
	ids := book.order
	for _, id := range files {
		if book.sessions[id] == nil {
			ids = append(ids, id)
		}
	}
	found := false
	for _, id := range ids {
		if o.Session == "" || o.Session == id {
			found = true
			r.Sessions = append(r.Sessions, s.verifySession(id, book))
		}
	}
	if o.Session != "" && !found {
		return nil, &StoreError{Op: "verify session in", Path: s.dir, Err: fmt.Errorf("no session %s", o.Session), Fix: "penstock audit ls"}
	}
	if o.Head != "" {
		to := &r.Ledger
		if o.Session != "" {
			to = &r.Sessions[0]
		}
		to.expect(want, seq)
	}
	return r, nil
}

// book is what the ledger says.
type book struct {
	result   Result
	order    []string
	sessions map[string]*ledgerSession
}

type ledgerSession struct {
	opened, closed bool
	line           int // of the close, or else of the open
	ledgerEntry        // the close
}

// readLedger reads the ledger and the directory under one lock, so that a
// session that begins meanwhile is in both or in none.
func (s *Store) readLedger() (*book, []string, error) {
	b := &book{sessions: map[string]*ledgerSession{}}
	path := filepath.Join(s.dir, ledgerFile)
	b.result = Result{File: path, State: StateOK}
	f, err := openRegular(path, os.O_RDONLY)
	if err == nil {
		defer f.Close()
		_, err = lock(f, lockShared)
	}
	if err != nil {
		b.result.State = StateBad
		kind := KindFile
		if errors.Is(err, fs.ErrNotExist) {
			kind = KindMissing
		}
		b.result.problem(0, kind, "%v", err)
		files, err := s.Sessions()
		if kind == KindMissing && len(files) == 0 {
			b.result = Result{File: path, State: StateOK} // a store that was never used
		}
		return b, files, err
	}
	walk(f, ledgerChain, &b.result, func(line int, raw []byte, h header) {
		_, e, err := parseLedgerLine(raw)
		if err != nil {
			b.result.problem(line, KindForged, "%v", err)
			return
		}
		b.enter(line, e)
	})
	if b.result.Torn > 0 {
		// The next session cuts it off: nothing but the killed writer's entry is lost.
		b.result.State = StateUnclosed
	}
	if len(b.result.Problems) > 0 {
		b.result.State = StateBad
	}
	files, err := s.Sessions()
	return b, files, err
}

func (b *book) enter(line int, e ledgerEntry) {
	if e.typ == TypeLoss {
		return
	}
	ls := b.sessions[e.session]
	switch {
	case e.typ == typeLedgerOpen && ls == nil:
		b.sessions[e.session] = &ledgerSession{opened: true, line: line}
		b.order = append(b.order, e.session)
	case e.typ == typeLedgerOpen:
		b.result.problem(line, KindInserted, "session %s is opened a second time", e.session)
	case ls == nil:
		b.result.problem(line, KindInserted, "session %s is closed but was never opened", e.session)
	case ls.closed:
		b.result.problem(line, KindInserted, "session %s is closed a second time", e.session)
	default:
		ls.closed, ls.line, ls.ledgerEntry = true, line, e
	}
}

func (s *Store) verifySession(id string, b *book) Result {
	path := filepath.Join(s.dir, id+sessionSuffix)
	r := Result{Session: id, File: path, State: StateBad}
	ls := b.sessions[id]
	f, err := openRegular(path, os.O_RDONLY)
	if err != nil {
		kind, detail := KindFile, err.Error()
		if errors.Is(err, fs.ErrNotExist) {
			kind, detail = KindMissing, "the ledger names the session, its file is gone"
		}
		r.problem(0, kind, "%s", detail)
		return r
	}
	defer f.Close()
	if fi, err := f.Stat(); err == nil && foreign(fi) {
		r.problem(0, KindFile, "belongs to another user")
	}
	// Asked before reading: a writer that ends meanwhile is then still "running".
	running := isLocked(f)
	if ls != nil && !ls.closed && !running {
		// It may have ended between the ledger's reading and now.
		if again, _, err := s.readLedger(); err == nil && again.sessions[id] != nil {
			ls = again.sessions[id]
		}
	}
	walk(f, id, &r, nil)
	switch {
	case ls == nil && r.Bytes == 0:
		// Killed after the file was made and before the ledger knew of it.
		r.State = StateUnclosed
	case ls == nil:
		r.problem(0, KindUnlisted, "the ledger does not know this session")
	case ls.closed:
		r.compare(ls, b.result.File)
	case running:
		r.State = StateRunning
	default:
		r.State = StateUnclosed
	}
	if len(r.Problems) > 0 {
		r.State = StateBad
	}
	return r
}

// compare holds a session's file against its end in the ledger.
func (r *Result) compare(ls *ledgerSession, ledger string) {
	head := hex.EncodeToString(ls.head[:])
	switch {
	case r.Torn > 0:
		r.problem(r.Torn, KindTorn, "an unfinished line after the end of a closed session")
	case r.Records < ls.records || r.Bytes < ls.bytes:
		r.problem(0, KindTruncated, "has %d records in %d bytes; %s:%d says %d in %d", r.Records, r.Bytes, ledger, ls.line, ls.records, ls.bytes)
	case r.Records > ls.records || r.Bytes > ls.bytes:
		r.problem(int(ls.records)+1, KindExtra, "the session was closed before with %d records in %d bytes (%s:%d)", ls.records, ls.bytes, ledger, ls.line)
	case r.Head != head:
		r.problem(int(r.Records), KindChanged, "the last record's hash is %s; %s:%d says %s", r.Head, ledger, ls.line, head)
	default:
		r.State = StateOK
	}
}

// isLocked reports whether a process has the file open as its writer.
func isLocked(f *os.File) bool {
	held, err := lock(f, lockTest) // shared, so that two who ask do not see each other
	if err != nil || !held {
		return err == nil
	}
	unlock(f) // the descriptor is closed soon
	return false
}
