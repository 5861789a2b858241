package audit

import (
	"net/netip"
	"time"

	"github.com/penstock/penstock/hooks"
)

// Schema is the version of the record format, the value of "schema" in every
// record. It changes when a reader of the old one would misread the new one.
const Schema = 1

// Event is one of the pointer types of this file. Append and Note only read it
// and keep nothing of it, so a caller may reuse it or have it on its stack.
type Event interface{ event() }

// The values of "type".
const (
	TypeSessionStart = "session_start"
	TypeSessionEnd   = "session_end"
	TypeProcess      = "process"
	TypeAccess       = "access"
	TypeDNS          = "dns"
	TypeFlowOpen     = "flow_open"
	TypeFlowClose    = "flow_close"
	TypeDrop         = "drop"
	TypeSecretUse    = "secret_use"
	TypeRenewal      = "secret_renewal"
	TypePACFile      = "pac_file"
	TypeViolation    = "violation"
	TypeLimit        = "limit"
	TypeControl      = "control"
	TypeExec         = "exec"
	TypePublish      = "publish"
	TypeAsk          = "ask"
	TypeLoss         = "loss"
)

// SessionStart is the first record of a session: who runs what, under which
// policy, in which sandbox, and what of that was weakened.
type SessionStart struct {
	Argv []string
	Dir  string // working directory on the host
	User string // name of the user who started it
	UID  int
	Host string // name of the machine; "machine" in the record
	// Version of Penstock, Kernel release, Agent profile in use ("" for none).
	Version, Kernel, Agent string
	Tier                   string // sandbox tier
	Mode                   string // "enforce" or "audit"
	PolicyHash             string
	PolicyDefault          hooks.Action
	PolicyFiles            []PolicyFile
	Capabilities           []Capability
	// Warnings says everything that loosens isolation, as printed at start.
	Warnings []string
	// Supervisor is what the privileged supervisor attests; nil without one.
	Supervisor *Attested
	// Hooks are those that were asked whether the session may start.
	Hooks []hooks.Trace
}

// Attested is what the privileged supervisor read from the kernel before the
// pen's sockets were handed to the proxy. User and UID of the record are its
// word too; the other fields are the caller's.
type Attested struct {
	UID    int    `json:"uid"`
	GID    int    `json:"gid"`
	Cgroup string `json:"cgroup,omitempty"` // path in its hierarchy
	Net    uint64 `json:"net"`              // inode numbers of the pen's namespaces
	UserNS uint64 `json:"userns"`
	PID    int    `json:"pid"`   // the pen's first process, as the host sees it
	Start  uint64 `json:"start"` // when that began, in clock ticks since boot
	// FloorHash is the SHA-256 of the administrator's policy, "" if there is none.
	FloorHash string `json:"floor_hash,omitempty"`
}

// PolicyFile is one source of the effective policy, or a module that a hook of it is.
type PolicyFile struct {
	Path  string `json:"path"`
	Layer string `json:"layer"`
	Hash  string `json:"hash,omitempty"` // hex SHA-256 of its bytes
}

// Capability mirrors sandbox.Capability: what a control of the tier enforces.
type Capability struct {
	Control string `json:"control"`
	State   string `json:"state"`
	By      string `json:"by,omitempty"`
	Detail  string `json:"detail,omitempty"`
	Fix     string `json:"fix,omitempty"`
}

// SessionEnd is the last record of a session that ended in order.
type SessionEnd struct {
	ExitCode int
	Signal   string // name of the signal that ended the command, "" for none
	Reason   string // "exit", "signal", "timeout", "killed", "proxy died", …
	Duration time.Duration
	Counts   Counts
	// Hooks are those that were told of it.
	Hooks []hooks.Trace
}

// Counts sums up a session. A Writer keeps them (Writer.Counts).
type Counts struct {
	Allowed    uint64 `json:"allowed"`
	Denied     uint64 `json:"denied"`
	DNS        uint64 `json:"dns"`
	Drops      uint64 `json:"drops"` // packets, not records
	Secrets    uint64 `json:"secrets"`
	Violations uint64 `json:"violations"`
	BytesUp    uint64 `json:"bytes_up"`
	BytesDown  uint64 `json:"bytes_down"`
	Lost       uint64 `json:"lost"`
	// Executions and Exits are of the pen's processes, Signals those of Exits that
	// came by a signal. The kernel's events tell of them: all are 0 and left out
	// where there are none. The one who makes the SessionEnd adds them.
	Executions uint64 `json:"executions,omitempty"`
	Exits      uint64 `json:"exits,omitempty"`
	Signals    uint64 `json:"signals,omitempty"`
}

// Process is a process of the pen: one that is named by a flow for the first
// time, or that began or ended.
type Process struct {
	Action string // "seen", "exec" or "exit"
	// Number is what flows name it by, from 1, for one process while it runs one
	// program; 0 for none. Parent is that of who started it; 0: not known.
	Number, Parent uint64
	PID            int // as the host sees it
	PPID           int
	UID            int    // on the host; -1: not known
	Start          uint64 // nanoseconds since the machine's start
	Exe            string // path in the pen
	Dev, Ino       uint64 // of the executable; 0: not known
	SHA256         string // of its content
	Argv           []string
	Cgroup         string
	// Shared says that processes running other programs held the connection too.
	Shared bool
	// SaidBy names who in the pen tells all this, in whose numbers of processes and
	// users; "": it was seen from outside.
	SaidBy string
	// Of an exit: how the process ended, that the kernel chose it when memory ran
	// out, and how many connections and refusals there were of it.
	ExitCode              int
	Signal                string
	OOM                   bool
	Connections, Refusals uint64
}

// Access is a file that a policy or the usual list hides or protects, which a process
// of the pen opened or tried to. It is told by the tier's own kernel, see SaidBy.
type Access struct {
	Path    string
	Write   bool   // to write to it
	Error   string // name of the error, "" of a file that was opened
	Process uint64 // number of the process, 0 if not known
	PID     int
	Exe     string
	SaidBy  string
}

// DNS is a question of the pen and what it was told. No query has left for it.
type DNS struct {
	Name      string
	QType     string // "A", "AAAA", "HTTPS", …
	Answer    netip.Addr
	RCode     string // "NOERROR", "NXDOMAIN", "REFUSED", …
	Transport string // "udp" or "tcp"
	Server    netip.AddrPort
	Reason    string // why it was refused, if it was
	// Hooks are those that were asked before it was answered, in their order.
	Hooks []hooks.Trace
}

// FlowOpen is a decision about one connection or request, recorded before the
// first byte of it leaves.
type FlowOpen struct {
	Flow     uint64
	Conn     uint64 // connection that carried it, 0 if it has none of its own
	Protocol hooks.Protocol
	// Version is the HTTP version ("HTTP/1.1", "HTTP/2.0"), "" for others.
	Version string
	Target  hooks.Target
	Method  string
	Path    string // canonical path
	// Query is the raw query. Only the names of its parameters are recorded.
	Query   string
	Verdict hooks.Action
	Rule    string // "file:line", "" for the default
	Reason  string
	// Mode is "enforce", or "audit" if the flow is let through whatever the verdict.
	// A flow that is refused in spite of the session's audit mode has "enforce".
	Mode string
	// Via names the upstream proxy that resolves the target and connects to it, ""
	// for none. Routed is the hook by whose word it goes that way, "" for the policy's.
	Via, Routed string
	// Original is the address that the pen connected to, Client the pen's end.
	Original, Client netip.AddrPort
	// Upstream is the checked address to be dialled, when it is known already.
	Upstream netip.AddrPort
	Process  uint64 // number of the process that opened it, 0 if not known
	PID, TID int    // its number and its thread's as the host sees them, 0 if not known
	Exe      string // its executable
	// SaidBy names who in the pen tells these of the process; "": it was seen from
	// outside. No verdict depends on what the pen tells.
	SaidBy string
	// Hooks are those that were asked, in their order; none when the policy denies.
	Hooks []hooks.Trace
}

// FlowClose is the end of a flow, allowed or not.
type FlowClose struct {
	Flow      uint64
	BytesUp   uint64 // from the pen
	BytesDown uint64 // to the pen
	Duration  time.Duration
	Status    int            // HTTP status given to the pen, 0 for none
	Upstream  netip.AddrPort // address that was dialled: with Via, the proxy's
	Class     string         // class of the error ("dial", "tls", "guard", "timeout", …), "" for none
	Error     string
	// Hooks are those that were asked after the flow was let out, in their order.
	Hooks []hooks.Trace
}

// Drop counts packets that are neither TCP nor a question to our resolver, per destination.
type Drop struct {
	Protocol    string // "udp", "icmp", "icmpv6", "sctp", …
	Destination netip.AddrPort
	Count       uint64 // packets since the last record of this destination
	PID         int
}

// SecretUse says that a secret's value was put into a request. It never holds the value.
type SecretUse struct {
	Flow   uint64
	Name   string
	Host   string
	Header string
}

// SecretRenewal says what became of a secret's value while the session runs. It
// never holds the value.
type SecretRenewal struct {
	Name   string
	Action string // "renewed", "failed" (the old value is kept) or "expired"
	Reason string // why it failed
}

// PACFile says what became of a PAC file that is got from a URL: it chooses by which
// proxy hosts are reached.
type PACFile struct {
	Upstream string
	Action   string // "read" when the session began, "renewed", or "failed" (the old one is kept)
	SHA256   string // of the file, but when it failed
	Reason   string // why it failed
}

// Violation is something that no honest tool does: a placeholder sent to a
// wrong host, a name that changes within a connection, a malformed message.
type Violation struct {
	Kind   string // "secret-misuse", "target-mismatch", "malformed", "posture", …
	Detail string
	Flow   uint64
	Target hooks.Target
	// Process is the number of the process that opened the connection, PID as the
	// host sees it; 0 if not known.
	Process uint64
	PID     int
	Action  string // what was done about it: "denied", "closed", "killed"
}

// Limit says that a limit of the session was reached.
type Limit struct {
	// Kind is "oom-kill" (the kernel killed for want of memory), "memory" (none was
	// left), "pids" (a process or thread could not be made), "time", "idle" or
	// "capture" (something of a flow that a rule captures is not kept), "exit-records" (ends of processes, in the way that Detail says, which have no
	// record each because too many did; "exec-records" and "access-records" are the same of executions and of watched files) or "budget" (of a rule of the policy).
	Kind   string
	Count  uint64 // times since the last record of this kind
	Detail string
	Action string // what came of it: "killed", "refused", "ended", "counted"; of a budget "near" or "reached"
}

// Control is what the supervisor did to a session that runs.
type Control struct {
	Action string // "freeze", "resume" or "kill"
	Reason string
}

// Exec is a further command that somebody outside has started in a session that runs,
// recorded before it does, and again when it has ended.
type Exec struct {
	Action string // "start", "end" or "failed"
	Exec   uint64 // its number in the session, from 1
	Argv   []string
	Dir    string // working directory in the pen
	By     int    // the caller's process; "pid" in the record

	// Of "end".
	ExitCode int
	Duration time.Duration
	// Reason is of "failed": why it did not run, or how it ended is not known.
	Reason string
	// Hooks are those that were asked whether it may start.
	Hooks []hooks.Trace
}

// Publish is a port of the pen made reachable from the host, or a connection to it.
type Publish struct {
	Action string         // "open", "connect" or "close"
	Listen netip.AddrPort // on the host
	Port   uint16         // in the pen
	Peer   netip.AddrPort
}

// Ask is a question to a person and what became of it, recorded before anything
// that the answer lets out.
type Ask struct {
	// Action is "asked", "allowed", "denied", "timeout" (nobody answered),
	// "withdrawn" (nobody waits any more), or "refused" (too many were asked).
	Action   string
	Question uint64 // number in the session; 0 of "refused"
	Flow     uint64 // the first that waited
	Protocol hooks.Protocol
	Target   hooks.Target
	Method   string
	Path     string
	Rule     string // who has it asked, "file:line"; "" for the default
	Hook     string // the hook that has it asked, "" for none, with its Reason
	Reason   string
	Approval string // the rule that was said yes or no to, in YAML; "" with Hook
	// Of an answer: how long it holds ("once", "for", "session" or "always"), For of
	// "for", and who gave it.
	Scope   string
	For     time.Duration
	By      string
	Waiting uint64 // flows that it was the answer for
	Count   uint64 // of "refused": how many so far
}

// Loss says that records are missing before this one, how many and why. It is
// written by the Writer itself.
type Loss struct {
	Count  uint64
	Reason string // "write failed", "too many pending records", "torn line"
	Detail string
	Torn   []byte // start of a line that a killed writer left unfinished
}

func (*SessionStart) event()  {}
func (*SessionEnd) event()    {}
func (*Process) event()       {}
func (*Access) event()        {}
func (*DNS) event()           {}
func (*FlowOpen) event()      {}
func (*FlowClose) event()     {}
func (*Drop) event()          {}
func (*SecretUse) event()     {}
func (*SecretRenewal) event() {}
func (*PACFile) event()       {}
func (*Violation) event()     {}
func (*Limit) event()         {}
func (*Control) event()       {}
func (*Exec) event()          {}
func (*Publish) event()       {}
func (*Ask) event()           {}
func (*Loss) event()          {}
