package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// ledgerChain is the name from which the ledger's genesis is made. No session
// can have it.
const ledgerChain = "ledger"

// The values of "type" in the ledger, beside "loss".
const (
	typeLedgerOpen  = "ledger_open"
	typeLedgerClose = "ledger_close"
)

// ledger is the open, locked ledger. Its lines have the header of a record, in
// which session is the session that the line is about, and end with "sum", the
// SHA-256 of the line up to it: of the last line nothing follows that vouches
// for it, and sum finds what changed it by accident.
type ledger struct {
	done func() // gives the lock back
	f    *os.File
	tail tail
	line line
}

type ledgerEntry struct {
	typ     string
	session string
	now     time.Time
	records uint64
	head    [32]byte
	bytes   int64
	torn    []byte
}

// openLedger creates the ledger if need be, locks it and finds its end. What a
// killed writer left unfinished there becomes a loss entry.
func (s *Store) openLedger() (*ledger, error) {
	path := filepath.Join(s.dir, ledgerFile)
	f, err := openRegular(path, os.O_RDWR|os.O_APPEND|os.O_CREATE)
	if err != nil {
		return nil, &StoreError{Op: "open", Path: path, Err: err, Fix: "choose another place with --audit-dir"}
	}
	l := &ledger{f: f, done: func() {}}
	if s.readable() {
		s.writing.Lock()
		l.done = s.writing.Unlock
		err = f.Chmod(s.mode)
	} else {
		_, err = lock(f, lockExclusive)
	}
	if err == nil {
		l.tail, err = readTail(f, ledgerChain)
	}
	if torn := l.tail.torn; err == nil && len(torn) > 0 {
		if err = f.Truncate(l.tail.good); err == nil {
			err = l.append(ledgerEntry{typ: TypeLoss, session: ledgerChain, now: time.Now(), torn: torn})
		}
	}
	if err != nil {
		l.close()
		return nil, &StoreError{Op: "open", Path: path, Err: err, Fix: "penstock audit verify says what is wrong; to go on, rename " + filepath.Dir(path) + " and keep it, or choose another place with --audit-dir"}
	}
	return l, nil
}

// close gives back the lock too.
func (l *ledger) close() {
	l.f.Close()
	l.done()
}

// append writes one entry; a part of it is taken back when it fails.
func (l *ledger) append(e ledgerEntry) error {
	w := &l.line
	w.buf = w.buf[:0]
	w.begin(e.session, l.tail.seq+1, e.now, e.typ, &l.tail.head)
	switch e.typ {
	case typeLedgerClose:
		w.uint("records", e.records)
		w.key("head")
		w.buf = append(w.buf, '"')
		w.buf = hex.AppendEncode(w.buf, e.head[:])
		w.buf = append(w.buf, '"')
		w.uint("bytes", uint64(e.bytes))
	case TypeLoss:
		w.loss(&Loss{Count: 1, Reason: "torn line", Detail: "a writer was killed while it wrote", Torn: e.torn})
	}
	if w.cut {
		w.buf = append(w.buf, `,"truncated":true`...)
	}
	sum := sha256.Sum256(w.buf)
	w.key("sum")
	w.buf = append(w.buf, '"')
	w.buf = hex.AppendEncode(w.buf, sum[:])
	w.buf = append(w.buf, '"', '}', '\n')
	n, err := l.f.Write(w.buf)
	if err == nil && n < len(w.buf) {
		err = io.ErrShortWrite
	}
	if err != nil {
		l.f.Truncate(l.tail.good) // if this fails too, the next to open finds a torn line
		return err
	}
	l.tail.seq++
	l.tail.head = sha256.Sum256(w.buf[:len(w.buf)-1])
	l.tail.good += int64(n)
	return nil
}

// parseLedgerLine is the inverse of append.
func parseLedgerLine(s []byte) (header, ledgerEntry, error) {
	h, err := parseHeader(s)
	if err != nil {
		return h, ledgerEntry{}, err
	}
	e := ledgerEntry{typ: h.Type, session: h.Session}
	fail := func(what string) (header, ledgerEntry, error) {
		return header{}, ledgerEntry{}, fmt.Errorf("not a ledger entry: %s", what)
	}
	const tailLen = len(`,"sum":"`) + 2*sha256.Size + len(`"}`)
	if len(h.rest) < tailLen {
		return fail("sum")
	}
	body, end := s[:len(s)-tailLen], s[len(s)-tailLen:]
	var sum [32]byte
	if !bytes.HasPrefix(end, []byte(`,"sum":"`)) || !bytes.HasSuffix(end, []byte(`"}`)) || !parseHash(end[8:8+2*sha256.Size], &sum) || sum != sha256.Sum256(body) {
		return fail("its sum does not match")
	}
	rest := h.rest[:len(h.rest)-tailLen]
	switch h.Type {
	case typeLedgerOpen:
		if len(rest) != 0 {
			return fail("members")
		}
	case typeLedgerClose:
		rest, ok := bytes.CutPrefix(rest, []byte(`,"records":`))
		if !ok {
			return fail("records")
		}
		field, rest, ok := bytes.Cut(rest, []byte(`,"head":"`))
		if !ok {
			return fail("head")
		}
		if e.records, err = strconv.ParseUint(string(field), 10, 64); err != nil {
			return fail("records")
		}
		field, rest, ok = bytes.Cut(rest, []byte(`","bytes":`))
		if !ok || len(field) != 2*len(e.head) || !parseHash(field, &e.head) {
			return fail("head")
		}
		if e.bytes, err = strconv.ParseInt(string(rest), 10, 64); err != nil {
			return fail("bytes")
		}
	case TypeLoss:
	default:
		return fail("type")
	}
	return h, e, nil
}
