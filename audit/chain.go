package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
)

// genesis is what the first record of a chain names as its predecessor. It is
// bound to the session, so that the records of one can't stand in for another's.
func genesis(session string) [32]byte {
	return sha256.Sum256([]byte("penstock audit 1\n" + session + "\n"))
}

// header is what every line starts with.
type header struct {
	Session string
	Seq     uint64
	Time    string
	Type    string
	Prev    [32]byte
	rest    []byte // what follows the header, from ',' or '}'
}

// parseHeader reads the fixed members of a line without its new line. It takes
// only the exact bytes that line.begin writes: a chain over lines that could be
// spelled in two ways would prove less.
func parseHeader(s []byte) (header, error) {
	var h header
	fail := func(what string) (header, error) {
		return header{}, fmt.Errorf("not a record of this format: %s", what)
	}
	if len(s) > maxLine {
		return fail("longer than " + strconv.Itoa(maxLine) + " bytes")
	}
	s, ok := bytes.CutPrefix(s, []byte(`{"schema":1,"session":"`))
	if !ok {
		return fail("schema")
	}
	field, s, ok := bytes.Cut(s, []byte(`","seq":`))
	if !ok || !ValidSession(string(field)) {
		return fail("session")
	}
	h.Session = string(field)
	if field, s, ok = bytes.Cut(s, []byte(`,"time":"`)); !ok || len(field) > 20 {
		return fail("seq")
	}
	var err error
	if h.Seq, err = strconv.ParseUint(string(field), 10, 64); err != nil || h.Seq == 0 || field[0] == '0' || field[0] == '+' {
		return fail("seq")
	}
	if field, s, ok = bytes.Cut(s, []byte(`","type":"`)); !ok || !validTime(field) {
		return fail("time")
	}
	h.Time = string(field)
	if field, s, ok = bytes.Cut(s, []byte(`","prev":"`)); !ok || !validType(field) {
		return fail("type")
	}
	h.Type = string(field)
	if len(s) < 2*len(h.Prev)+2 || s[2*len(h.Prev)] != '"' {
		return fail("prev")
	}
	if !parseHash(s[:2*len(h.Prev)], &h.Prev) {
		return fail("prev")
	}
	h.rest = s[2*len(h.Prev)+1:]
	if string(h.rest) != "}" && (h.rest[0] != ',' || h.rest[len(h.rest)-1] != '}') {
		return fail("end")
	}
	return h, nil
}

// parseHash reads a hash in lower-case hex.
func parseHash(s []byte, to *[32]byte) bool {
	if len(s) != 2*len(to) {
		return false
	}
	for _, c := range s {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	n, err := hex.Decode(to[:], s)
	return err == nil && n == len(to)
}

// validTime checks the form of a time stamp, not the calendar.
func validTime(s []byte) bool {
	const form = "0000-00-00T00:00:00.000000000Z"
	if len(s) != len(form) {
		return false
	}
	for i, c := range s {
		if form[i] == '0' && (c < '0' || c > '9') || form[i] != '0' && c != form[i] {
			return false
		}
	}
	return true
}

func validType(s []byte) bool {
	for _, c := range s {
		if (c < 'a' || c > 'z') && c != '_' {
			return false
		}
	}
	return len(s) > 0 && len(s) <= 32
}

// ValidSession reports whether s has the form of a session id: lower-case
// letters, digits, '-' and '_', at most 64 bytes, a letter or digit first. Such
// a name is safe as a file name and in a JSON string.
func ValidSession(s string) bool {
	if s == "" || len(s) > 64 || s[0] == '-' || s[0] == '_' {
		return false
	}
	for i := 0; i < len(s); i++ {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return true
}

// tail is the end of a chain file: where a next record has to go on.
type tail struct {
	seq  uint64
	head [32]byte // hash of the last whole line, or the genesis
	good int64    // offset after the last whole line
	torn []byte   // what follows it, without a new line
}

var errNoRecord = errors.New("the last line is not a record of this file")

// readTail finds the end of the chain in f. It reads the last lines only;
// whether the chain holds up to there is for Verify to say.
func readTail(f *os.File, session string) (tail, error) {
	fi, err := f.Stat()
	if err != nil {
		return tail{}, err
	}
	if !fi.Mode().IsRegular() {
		return tail{}, errors.New("not a regular file")
	}
	t := tail{head: genesis(session)}
	if fi.Size() == 0 {
		return t, nil
	}
	// Two lines at most are needed: a torn one and the whole one before it. They
	// are nearly always short.
	var buf []byte
	var from int64
	for window := int64(4 << 10); ; window *= 16 {
		window = min(window, 2*(maxLine+1))
		from = max(0, fi.Size()-window)
		buf = make([]byte, fi.Size()-from)
		if _, err := f.ReadAt(buf, from); err != nil && err != io.EOF {
			return tail{}, err
		}
		if from == 0 || window == 2*(maxLine+1) || bytes.Count(buf, []byte("\n")) >= 2 {
			break
		}
	}
	end := bytes.LastIndexByte(buf, '\n') + 1
	t.good, t.torn = from+int64(end), buf[end:]
	if len(t.torn) > maxLine {
		return tail{}, errNoRecord
	}
	if end == 0 {
		if from > 0 {
			return tail{}, errNoRecord
		}
		return t, nil
	}
	start := bytes.LastIndexByte(buf[:end-1], '\n') + 1
	h, err := parseHeader(buf[start : end-1])
	// The ledger holds lines about all sessions.
	if err != nil || session != ledgerChain && h.Session != session {
		return tail{}, errNoRecord
	}
	t.seq, t.head = h.Seq, sha256.Sum256(buf[start:end-1])
	return t, nil
}
