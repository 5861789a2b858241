package daemonctl

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
	"unicode/utf8"

	"github.com/penstock/penstock/sandbox"
)

// Version of the conversation. A daemon refuses another one with both numbers.
const Version = 1

// Path is where the daemon listens, unless its unit says otherwise.
const Path = "/run/penstock/supervise.sock"

// Bounds of one message.
const (
	MaxMessage = 64 << 10 // bytes
	MaxFiles   = 16       // descriptors
	maxWord    = 128      // bytes of a name
	maxText    = 4 << 10  // bytes of a line for people
)

// Op is what a message means.
type Op string

// Messages of a caller. Each is answered by exactly one message: the one that
// its comment names, or OpError, after which the connection ends.
const (
	// OpOpen begins a session; answered by OpOpened with FilesOpened. Safe for
	// anybody: it costs what the caller's quota bounds, what it says of the
	// command is for show only, and the uid is the kernel's word.
	OpOpen Op = "open"
	// OpJoin carries a pidfd of the pen's first process; answered by OpJoined.
	// Safe: the process is moved only if all its user ids are the caller's and
	// it can never gain a privilege (no_new_privs), so that a caller can't put
	// another's or a set-user-id program into the group.
	OpJoin Op = "join"
	// OpNetwork carries the pen's sockets (names in Message.Sockets) and, last,
	// its network namespace; answered by OpNetworked. Safe: each socket's kind
	// and namespace are checked, the namespace must belong to a user namespace
	// that the caller owns, and the daemon never reads from a socket.
	OpNetwork Op = "network"
	// OpVerify carries a pidfd of the held shim; answered by OpVerified. Safe:
	// only facts of the kernel are compared, with rules that the caller has no
	// part in. After it the proxy has the pen's sockets.
	OpVerify Op = "verify"
	// OpFlush asks that the proxy be told what limits the pen has hit, before it
	// is told to end; answered by OpFlushed. Safe: it will be told anyway, and by
	// the kernel's word.
	OpFlush Op = "flush"
	// OpFreeze stops the pen's processes (On), or lets them go on; answered by
	// OpFrozen, with Text when it could not be done. Safe: it is this connection's
	// pen, whose processes are the caller's to stop and to let go on anyway.
	OpFreeze Op = "freeze"
	// OpAlive says that the caller's terminal was used since the last one, which
	// only the caller can see; answered by OpNoted. Safe: a user can keep a session
	// from being idle by typing.
	OpAlive Op = "alive"
	// OpEnd says how the command ended; answered by OpEnded when everything of
	// the session is gone. Safe: it ends only this connection's session.
	OpEnd Op = "end"

	// OpList lists sessions; answered by OpSessions. Safe: the caller's own, all
	// of them only for root.
	OpList Op = "list"
	// OpKill ends Message.Session; answered by OpKilled. Safe: the caller's own,
	// anybody's only for root; others' are answered like those that don't exist.
	OpKill Op = "kill"
	// OpAudit asks for the caller's audit directory; answered by OpDirectory with
	// one descriptor, open for reading only. Safe: which one is decided by the
	// caller's uid as the kernel says it.
	OpAudit Op = "audit"
	// OpStatus asks what the daemon can do; answered by OpDaemon. Safe: nothing
	// in the answer is anybody's.
	OpStatus Op = "status"
)

// Messages of the daemon.
const (
	OpOpened    Op = "opened"
	OpJoined    Op = "joined"
	OpNetworked Op = "networked"
	OpVerified  Op = "verified"
	OpFlushed   Op = "flushed"
	OpFrozen    Op = "frozen"
	OpNoted     Op = "noted"
	OpEnded     Op = "ended"
	OpSessions  Op = "sessions"
	OpKilled    Op = "killed"
	OpDirectory Op = "directory"
	OpDaemon    Op = "daemon"
	OpError     Op = "error"
	// OpEnding comes unasked, once: the daemon ends the session, for Text. With
	// Failed nobody has asked for it: the session could not go on.
	OpEnding Op = "ending"
)

// FilesOpened are the descriptors that come with OpOpened, in this order: the
// conversation with the session's proxy (proxyctl) and the session's audit file,
// open for reading.
const FilesOpened = 2

// Message is one packet in either direction. Only the fields that its Op names
// are set; Check refuses the others.
type Message struct {
	Op      Op       `json:"op"`
	Version int      `json:"version,omitempty"` // OpOpen, OpList, OpKill, OpAudit, OpStatus
	Open    *Open    `json:"open,omitempty"`    // OpOpen
	Opened  *Opened  `json:"opened,omitempty"`  // OpOpened
	Sockets []string `json:"sockets,omitempty"` // OpNetwork: names of the descriptors but the last, see netns.Sockets
	End     *End     `json:"end,omitempty"`     // OpEnd
	Session string   `json:"session,omitempty"` // OpKill, OpKilled: an id or the beginning of one
	List    []Status `json:"list,omitempty"`    // OpSessions
	Daemon  *Daemon  `json:"daemon,omitempty"`  // OpDaemon
	Text    string   `json:"text,omitempty"`    // OpError, OpEnding, OpFrozen: one line
	Hint    string   `json:"hint,omitempty"`    // OpError: what to do about it
	Failed  bool     `json:"failed,omitempty"`  // OpEnding
	On      bool     `json:"on,omitempty"`      // OpFreeze
}

// Open is what a session says of itself. None of it is believed where it
// matters: it is shown by penstock ps, and limits are bounded by quotas.
type Open struct {
	Command []string       `json:"command"` // clipped
	Workdir string         `json:"workdir"`
	Tier    string         `json:"tier"`
	Mode    string         `json:"mode"` // enforce | audit
	Limits  sandbox.Limits `json:"limits"`
	Publish bool           `json:"publish,omitempty"`
}

// Steering is how the pen's connections reach the proxy.
type Steering string

// The ways of steering. With SteeringRules the builder loads the whole ruleset.
const (
	SteeringBPF   Steering = "sk_lookup"
	SteeringRules Steering = "nftables"
)

// Opened says what the session got.
type Opened struct {
	Session      string               `json:"session"`
	Steering     Steering             `json:"steering"`
	Capabilities []sandbox.Capability `json:"capabilities"` // limits and eBPF, by what
	Rlimits      []Rlimit             `json:"rlimits,omitempty"`
	// Attributed says that the proxy hears from the kernel who opened a connection.
	Attributed bool `json:"attributed,omitempty"`
	// Freezer says that the daemon can stop the pen (OpFreeze).
	Freezer  bool   `json:"freezer,omitempty"`
	Floor    string `json:"floor,omitempty"` // SHA-256 of the administrator's policy, "" if there is none
	AuditDir string `json:"audit_dir"`       // for people: only root can open it by its path
}

// Rlimit is a resource limit that the shim is to set (setrlimit(2)).
type Rlimit struct {
	Resource int    `json:"resource"`
	Value    uint64 `json:"value"`
}

// End is how the command ended.
type End struct {
	ExitCode int    `json:"exit_code"`
	Reason   string `json:"reason,omitempty"`
}

// Status is a running session, for penstock ps.
type Status struct {
	Session string        `json:"session"`
	UID     int           `json:"uid"`
	PID     int           `json:"pid"` // of penstock run
	Started time.Time     `json:"started"`
	Tier    string        `json:"tier"`
	Mode    string        `json:"mode"`
	Workdir string        `json:"workdir"`
	Command []string      `json:"command"`
	Memory  uint64        `json:"memory_bytes"` // in use, 0 if nothing counts it
	PIDs    uint64        `json:"pids"`
	CPU     time.Duration `json:"cpu_ns"` // user and system time so far
	Flows   uint64        `json:"flows"`
	Denied  uint64        `json:"denied"`
}

// Daemon is what the daemon says of itself.
type Daemon struct {
	Version      string               `json:"version"`
	Sessions     int                  `json:"sessions"` // of everybody
	Steering     Steering             `json:"steering"`
	Capabilities []sandbox.Capability `json:"capabilities"`
	Floor        string               `json:"floor,omitempty"`
}

// Encode renders m, or fails when it would not fit into one packet.
func (m *Message) Encode() ([]byte, error) {
	b, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encode %s message: %w", m.Op, err)
	}
	if len(b) > MaxMessage {
		return nil, fmt.Errorf("encode %s message: %d bytes, more than %d", m.Op, len(b), MaxMessage)
	}
	return b, nil
}

// Decode parses one packet and checks it.
func Decode(b []byte) (*Message, error) {
	if len(b) > MaxMessage {
		return nil, fmt.Errorf("decode message: more than %d bytes", MaxMessage)
	}
	if !utf8.Valid(b) {
		return nil, errors.New("decode message: not UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	var m Message
	if err := dec.Decode(&m); err != nil {
		return nil, fmt.Errorf("decode message: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("decode message: there is more after it")
	}
	if err := m.Check(); err != nil {
		return nil, fmt.Errorf("decode message: %w", err)
	}
	return &m, nil
}
