package bossctl

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/penstock/penstock/sandbox"
)

// FileBoss is the name of the descriptor that the proxy role is donated: its end
// of this conversation.
const FileBoss = "boss"

// Config is the role's donated configuration.
type Config struct {
	Supervised bool `json:"supervised"`
}

// Bounds of one message.
const (
	MaxMessage = 160 << 10 // bytes; a seqpacket socket's default buffer (net.core.wmem_default, 208 KiB) holds it
	MaxFiles   = 4         // descriptors
	MaxFloor   = 96 << 10  // bytes of the administrator's policy
	MaxReach   = 256       // entries of OpGuard
	MaxPlaces  = 256       // entries of each list of OpFiles
	maxPath    = 4 << 10   // bytes
	MaxDenied  = 1024      // entries of OpDeny
	maxWord    = 128
	maxText    = 4 << 10
)

// Op is what a message means.
type Op string

// Messages of the daemon.
const (
	// OpAssign gives the proxy its session, with the descriptors Assign* in
	// their order.
	OpAssign Op = "assign"
	// OpGuarded answers OpGuard: Text is empty, or says why not.
	OpGuarded Op = "guarded"
	// OpDenied answers OpDeny: Text is empty, or says why not.
	OpDenied Op = "denied"
	// OpAdmit says what the pen is, as the daemon has verified it. The pen's
	// sockets, one frame of netns.Sockets, are on AssignSockets by then.
	OpAdmit Op = "admit"
	// OpLimits tells what limits the pen has hit since it was last said; answered
	// by OpLimited when it is recorded.
	OpLimits Op = "limits"
	// OpFrozen answers OpViolated: the pen's processes have stopped.
	OpFrozen Op = "frozen"
	// OpEnd asks the proxy to close its flows and write the session's last
	// record itself, with Text as the reason; answered by OpClosed.
	OpEnd Op = "end"
)

// Messages of the proxy.
const (
	// OpReady is the first one: the proxy is confined and waits for OpAssign.
	OpReady Op = "ready"
	// OpGuard asks for Reach, answered by OpGuarded. Safe: it comes before
	// anything of the pen was read, at most once, and the proxy runs in the
	// caller's stead, who can reach the same without it.
	OpGuard Op = "guard"
	// OpFiles says what the floor has to say of files, once, before OpGuard. The
	// daemon does not parse the floor. Safe: it only makes the daemon refuse more.
	OpFiles Op = "files"
	// OpViolated says that there was a violation, and what the policy wants done
	// about it; answered by OpFrozen when the pen has stopped, if it was to be. Safe:
	// it can only stop or end the proxy's own session.
	OpViolated Op = "violated"
	// OpDeny asks that the kernel refuse the pen's connections to Denied, answered
	// by OpDenied. Safe: it comes before anything of the pen was read, at most once,
	// and it refuses connections to the session's own pen only, which the proxy can
	// refuse without asking.
	OpDeny Op = "deny"
	// OpCounts tells penstock ps how many flows there were. Safe: two numbers
	// for show.
	OpCounts Op = "counts"
	// OpLimited answers OpLimits. Safe: it says nothing.
	OpLimited Op = "limited"
	// OpClosed is the last one. Safe: the ledger says of the proxy's file only
	// what the proxy could write into that file anyway.
	OpClosed Op = "closed"
)

// The descriptors of OpAssign, in this order.
const (
	AssignControl = iota // the caller's conversation with the proxy, see proxyctl
	AssignSockets        // the pen's sockets come over it, see netns.ReceiveSockets
	AssignAudit          // the session's audit file, O_RDWR|O_APPEND
	AssignEvents         // ring buffer of the pen's process and flow events; only where there is eBPF
)

// Message is one packet in either direction. Only the fields that its Op names
// are set; Check refuses the others.
type Message struct {
	Op       Op             `json:"op"`
	Assign   *Assign        `json:"assign,omitempty"`   // OpAssign
	Reach    []Reach        `json:"reach,omitempty"`    // OpGuard
	Denied   []netip.Prefix `json:"denied,omitempty"`   // OpDeny
	Admit    *Admit         `json:"admit,omitempty"`    // OpAdmit
	Counts   *Counts        `json:"counts,omitempty"`   // OpCounts
	Closed   *Closed        `json:"closed,omitempty"`   // OpClosed
	Limits   *Limits        `json:"limits,omitempty"`   // OpLimits
	Files    *Files         `json:"files,omitempty"`    // OpFiles
	Violated *Violated      `json:"violated,omitempty"` // OpViolated
	Text     string         `json:"text,omitempty"`     // OpGuarded, OpDenied, OpEnd: one line
}

// Assign is what a proxy needs to know of its session.
type Assign struct {
	Session string    `json:"session"`
	UID     int       `json:"uid"` // the caller's
	User    string    `json:"user"`
	Started time.Time `json:"started"`
	// Floor is the administrator's policy, which the caller's can't widen. It is
	// parsed by the proxy; the daemon does not read what is in it.
	FloorName string `json:"floor_name,omitempty"`
	FloorText []byte `json:"floor_text,omitempty"`
	// Group and Cgroup are number and path of the pen's control group, 0 and "" if
	// there is none.
	Group  uint64 `json:"group,omitempty"`
	Cgroup string `json:"cgroup,omitempty"`
	// Limits is what the caller asked for and the daemon enforces: the proxy
	// refuses the session when it is more than the floor allows.
	Limits sandbox.Limits `json:"limits,omitzero"`
	// Events tells that the descriptor AssignEvents is there.
	Events bool `json:"events,omitempty"`
}

// Reach is what a proxy asks to connect to beside public addresses.
type Reach struct {
	Prefix netip.Prefix `json:"prefix"`
	From   uint16       `json:"from"` // ports, both included
	To     uint16       `json:"to"`
}

// Admit is what the daemon attests of the pen.
type Admit struct {
	UID    int    `json:"uid"`
	GID    int    `json:"gid"`
	Cgroup string `json:"cgroup,omitempty"` // path in its hierarchy; "" if there is none
	Net    uint64 `json:"net"`              // inode numbers of its namespaces
	User   uint64 `json:"user"`
	PID    int    `json:"pid"`   // first process, as the host sees it
	Start  uint64 `json:"start"` // when that began, in the kernel's ticks
}

// Counts are a session's flows so far.
type Counts struct {
	Flows  uint64 `json:"flows"`
	Denied uint64 `json:"denied"`
}

// Limits are hits of a pen's limits.
type Limits struct {
	OOMKills  uint64 `json:"oom_kills,omitempty"`  // processes killed for want of memory
	MemoryMax uint64 `json:"memory_max,omitempty"` // times that none was left
	PIDsMax   uint64 `json:"pids_max,omitempty"`   // processes and threads that could not be made
}

// Closed is a session's end as its proxy has recorded it.
type Closed struct {
	Seq  uint64 `json:"seq"`  // number of the last record
	Head string `json:"head"` // its hash, hex SHA-256
	Counts
}

// FromProxy tells whether o is a proxy's message.
func (o Op) FromProxy() bool {
	switch o {
	case OpReady, OpGuard, OpDeny, OpFiles, OpViolated, OpCounts, OpLimited, OpClosed:
		return true
	}
	return false
}

func (o Op) known() bool {
	switch o {
	case OpAssign, OpGuarded, OpDenied, OpAdmit, OpLimits, OpFrozen, OpEnd:
		return true
	}
	return o.FromProxy()
}

// Check tells what is wrong with m by itself, whoever sent it.
func (m *Message) Check() error {
	if !m.Op.known() {
		return fmt.Errorf("unknown op %.40q", string(m.Op))
	}
	for _, f := range []struct {
		name string
		set  bool
		op   Op
	}{
		{"assign", m.Assign != nil, OpAssign},
		{"admit", m.Admit != nil, OpAdmit},
		{"counts", m.Counts != nil, OpCounts},
		{"closed", m.Closed != nil, OpClosed},
		{"limits", m.Limits != nil, OpLimits},
		{"files", m.Files != nil, OpFiles},
		{"violated", m.Violated != nil, OpViolated},
	} {
		switch {
		case f.set && m.Op != f.op:
			return fmt.Errorf("%s has no field %s", m.Op, f.name)
		case !f.set && m.Op == f.op:
			return fmt.Errorf("%s lacks the field %s", m.Op, f.name)
		}
	}
	if m.Reach != nil && m.Op != OpGuard || len(m.Reach) > MaxReach {
		return fmt.Errorf("%s with %d entries of reach", m.Op, len(m.Reach))
	}
	if m.Denied != nil && m.Op != OpDeny || len(m.Denied) > MaxDenied {
		return fmt.Errorf("%s with %d denied ranges", m.Op, len(m.Denied))
	}
	if m.Text != "" && m.Op != OpGuarded && m.Op != OpDenied && m.Op != OpEnd {
		return fmt.Errorf("%s has no text", m.Op)
	}
	for _, p := range m.Denied {
		if !exact(p) {
			return fmt.Errorf("denied range %v is none", p)
		}
	}
	for _, r := range m.Reach {
		if !exact(r.Prefix) || r.From == 0 || r.To < r.From {
			return fmt.Errorf("reach %v ports %d to %d is none", r.Prefix, r.From, r.To)
		}
	}
	if err := line("text", m.Text, maxText); err != nil {
		return err
	}
	switch {
	case m.Assign != nil:
		return m.Assign.check()
	case m.Admit != nil:
		return m.Admit.check()
	case m.Files != nil:
		return m.Files.check()
	case m.Violated != nil:
		return m.Violated.check()
	case m.Closed != nil:
		if _, err := m.Closed.Hash(); err != nil {
			return err
		}
	}
	return nil
}

// exact tells whether p is a range, written in the one way that there is.
func exact(p netip.Prefix) bool { return p.IsValid() && p == p.Masked() && !p.Addr().Is4In6() }

func (a *Assign) check() error {
	switch {
	case a.Session == "" || a.User == "":
		return errors.New("an assignment without session or user")
	case a.UID < 0:
		return fmt.Errorf("uid %d is none", a.UID)
	case a.Started.IsZero():
		return errors.New("an assignment without time")
	case len(a.FloorText) > MaxFloor:
		return fmt.Errorf("floor has more than %d bytes", MaxFloor)
	case a.FloorName == "" && len(a.FloorText) > 0:
		return errors.New("floor without name")
	}
	if err := line("session", a.Session, maxWord); err != nil {
		return err
	}
	if err := line("user", a.User, maxWord); err != nil {
		return err
	}
	return line("floor_name", a.FloorName, maxText)
}

func (a *Admit) check() error {
	if a.UID < 0 || a.GID < 0 || a.PID <= 0 || a.Net == 0 || a.User == 0 {
		return errors.New("an admission that lacks a fact")
	}
	return line("cgroup", a.Cgroup, maxText)
}

// Hash is the hash of the last record.
func (c *Closed) Hash() (h [32]byte, err error) {
	if n, err := hex.Decode(h[:], []byte(c.Head[:min(len(c.Head), 2*len(h))])); err != nil || n != len(h) || len(c.Head) != 2*len(h) {
		return h, errors.New("head is no SHA-256")
	}
	return h, nil
}

// line refuses what could not stand in one line that people read.
func line(field, s string, most int) error {
	if len(s) > most {
		return fmt.Errorf("%s has more than %d bytes", field, most)
	}
	for _, r := range s {
		if unicode.IsControl(r) {
			return fmt.Errorf("%s has a control character", field)
		}
	}
	return nil
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
