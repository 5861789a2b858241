package audit

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"time"
)

// Record is a record as it is read: the members of all types in one struct, with
// the names of docs/schema/audit.schema.json. Its strings are the pen's own
// bytes: escape them (internal/text) before they reach a terminal.
type Record struct {
	Schema    int       `json:"schema"`
	Session   string    `json:"session"`
	Seq       uint64    `json:"seq"`
	Time      time.Time `json:"time"`
	Type      string    `json:"type"`
	Prev      string    `json:"prev"`
	Truncated bool      `json:"truncated"`

	// flow_open, flow_close, secret_use, violation
	Flow      uint64   `json:"flow"`
	Conn      uint64   `json:"conn"`
	Protocol  string   `json:"protocol"`
	Version   string   `json:"version"`
	Host      string   `json:"host"`
	Address   string   `json:"address"`
	Port      int      `json:"port"`
	Method    string   `json:"method"`
	Path      string   `json:"path"`
	QueryKeys []string `json:"query_keys"`
	Verdict   string   `json:"verdict"`
	Rule      string   `json:"rule"`
	Reason    string   `json:"reason"`
	Mode      string   `json:"mode"`
	Via       string   `json:"via"`
	Routed    string   `json:"routed"`
	Original  string   `json:"original"`
	Client    string   `json:"client"`
	Upstream  string   `json:"upstream"`
	Process   uint64   `json:"process"` // also of process
	PID       int      `json:"pid"`
	TID       int      `json:"tid"`
	Exe       string   `json:"exe"`
	SaidBy    string   `json:"said_by"` // also of process, access
	Write     bool     `json:"write"`   // access
	BytesUp   uint64   `json:"bytes_up"`
	BytesDown uint64   `json:"bytes_down"`
	Duration  int64    `json:"duration_us"` // microseconds
	Status    int      `json:"status"`
	Class     string   `json:"class"`
	Error     string   `json:"error"`
	Header    string   `json:"header"`
	Kind      string   `json:"kind"`
	Detail    string   `json:"detail"`
	Action    string   `json:"action"`
	Hooks     []Asked  `json:"hooks"` // also of sessions

	// exec
	Exec uint64 `json:"exec"`

	// ask
	Question uint64 `json:"question"`
	Hook     string `json:"hook"`
	Approval string `json:"approval"`
	Scope    string `json:"scope"`
	For      int64  `json:"for_us"` // microseconds
	By       string `json:"by"`
	Waiting  uint64 `json:"waiting"`

	// dns, drop, publish, process, loss
	Name        string   `json:"name"`
	QType       string   `json:"qtype"`
	Answer      string   `json:"answer"`
	RCode       string   `json:"rcode"`
	Transport   string   `json:"transport"`
	Server      string   `json:"server"`
	Count       uint64   `json:"count"`
	Destination string   `json:"destination"`
	Listen      string   `json:"listen"`
	Peer        string   `json:"peer"`
	PPID        int      `json:"ppid"`
	Parent      uint64   `json:"parent"`
	Start       uint64   `json:"start_ns"`
	Dev         string   `json:"dev"`
	Ino         uint64   `json:"ino"`
	SHA256      string   `json:"sha256"`
	Cgroup      string   `json:"cgroup"`
	Shared      bool     `json:"shared"`
	Argv        []string `json:"argv"`
	ExitCode    int      `json:"exit_code"`
	Signal      string   `json:"signal"`
	OOM         bool     `json:"oom"`
	Connections uint64   `json:"connections"`
	Refusals    uint64   `json:"refusals"`
	Torn        string   `json:"torn"`
	TornBytes   uint64   `json:"torn_bytes"`

	// session_start, session_end
	Penstock     string       `json:"penstock"`
	Dir          string       `json:"dir"`
	User         string       `json:"user"`
	UID          int          `json:"uid"`
	Machine      string       `json:"machine"`
	Kernel       string       `json:"kernel"`
	Agent        string       `json:"agent"`
	Tier         string       `json:"tier"`
	Policy       PolicyRecord `json:"policy"`
	Capabilities []Capability `json:"capabilities"`
	Warnings     []string     `json:"warnings"`
	Supervisor   *Attested    `json:"supervisor"`
	Counts       Counts       `json:"counts"`
}

// PolicyRecord is the policy of a session_start.
type PolicyRecord struct {
	Default string       `json:"default"`
	Hash    string       `json:"hash"`
	Files   []PolicyFile `json:"files"`
}

// Target returns the name, or else the address, that a flow went to.
func (r *Record) Target() string {
	if r.Host != "" {
		return r.Host
	}
	return r.Address
}

// Forwarded reports whether a flow_open was let through: by its verdict, or
// because the session only records.
func (r *Record) Forwarded() bool { return r.Verdict == "allow" || r.Mode == ModeAudit }

// ParseRecord reads one line, without its new line. It checks the form of the
// line but not its place in the chain: that is Verify's.
func ParseRecord(raw []byte) (*Record, error) {
	h, err := parseHeader(raw)
	if err != nil {
		return nil, err
	}
	if err := checkRecord(h, raw, h.Session); err != nil {
		return nil, err
	}
	r := new(Record)
	if err := json.Unmarshal(raw, r); err != nil {
		return nil, fmt.Errorf("read record %d of session %s: %w", h.Seq, h.Session, err)
	}
	return r, nil
}

// Scanner reads the lines of a session's file one by one, whatever is in them.
type Scanner struct {
	in     *bufio.Reader
	long   []byte
	raw    []byte
	line   int
	offset int64 // after the line
	err    error
}

// NewScanner returns a Scanner of r, which stands at the start of a line.
func NewScanner(r io.Reader) *Scanner { return &Scanner{in: bufio.NewReaderSize(r, 64<<10)} }

// Scan advances to the next whole line. An unfinished last line is not one.
func (s *Scanner) Scan() bool {
	if s.err != nil {
		return false
	}
	raw, size, err := readLine(s.in, &s.long)
	if err != nil {
		s.raw, s.err = nil, err
		return false
	}
	s.offset += size
	s.line++
	s.raw = raw[:len(raw)-1]
	return true
}

// Bytes returns the line, valid until the next Scan.
func (s *Scanner) Bytes() []byte { return s.raw }

// Line returns the line's number, from 1.
func (s *Scanner) Line() int { return s.line }

// Offset returns where the next line begins, in bytes from where the Scanner began.
func (s *Scanner) Offset() int64 { return s.offset }

// Err returns the error that ended the scan, nil at the end of the file.
func (s *Scanner) Err() error {
	if s.err == io.EOF {
		return nil
	}
	return s.err
}

// member returns the value of a string member of a line that a Writer made, as
// it stands there, or nil. key holds the comma, the quotes and the colon. A
// string can't hold such a sequence, since its quotes are escaped.
func member(raw []byte, key string) []byte {
	i := bytes.Index(raw, []byte(key))
	if i < 0 {
		return nil
	}
	v := raw[i+len(key):]
	for j := 0; j < len(v); j++ {
		switch v[j] {
		case '\\':
			j++
		case '"':
			return v[:j]
		}
	}
	return nil
}

// memberUint returns the value of a number member, 0 if there is none.
func memberUint(raw []byte, key string) (n uint64) {
	i := bytes.Index(raw, []byte(key))
	if i < 0 {
		return 0
	}
	for _, c := range raw[i+len(key):] {
		if c < '0' || c > '9' {
			break
		}
		n = n*10 + uint64(c-'0')
	}
	return n
}

// unquote undoes the escapes of a member.
func unquote(v []byte) string {
	if bytes.IndexByte(v, '\\') < 0 {
		return string(v)
	}
	var s string
	if json.Unmarshal(append(append([]byte{'"'}, v...), '"'), &s) != nil {
		return string(v)
	}
	return s
}
