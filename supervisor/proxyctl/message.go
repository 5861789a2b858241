package proxyctl

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"

	"github.com/penstock/penstock/netproxy/secrets"
	"github.com/penstock/penstock/policy"
	"github.com/penstock/penstock/policy/approval"
	"github.com/penstock/penstock/policy/ask"
)

// MaxMessage bounds one message in bytes; a seqpacket socket's default send
// buffer (net.core.wmem_default, 208 KiB) must hold it.
const MaxMessage = 128 << 10

// Op is what a message means.
type Op string

// Messages of the supervisor.
const (
	// OpListen says that the pen's sockets are on FileSockets; answered by OpListening.
	OpListen Op = "listen"
	// OpRecord carries one audit event, answered by OpRecorded after it is in
	// the file.
	OpRecord Op = "record"
	// OpCount asks for OpCounted.
	OpCount Op = "count"
	// OpEnd asks the proxy to close its flows and the audit; answered by OpEnded.
	OpEnd Op = "end"
	// OpRenew gives a secret another value, or none; answered by OpRenewed when it
	// is in force and recorded.
	OpRenew Op = "renew"
	// OpProcess answers OpWho.
	OpProcess Op = "process"
	// OpAnswer is a person's answer to OpAsk.
	OpAnswer Op = "answer"
)

// Messages of the proxy role.
const (
	// OpConfigured answers the configuration that a supervised proxy gets over
	// the conversation's socket, before the first message (donate.Send).
	OpConfigured Op = "configured"
	OpListening  Op = "listening"
	OpRecorded   Op = "recorded"
	OpRenewed    Op = "renewed"
	// OpCounted is how many flows there were.
	OpCounted Op = "counted"
	// OpViolation tells of one that was recorded, Kind and Text; it can come at any
	// time. Of several at once only the first is told.
	OpViolation Op = "violation"
	// OpNotice is one line for the user; it can come at any time.
	OpNotice Op = "notice"
	OpEnded  Op = "ended"
	// OpWho asks which process opened a connection; answered by OpProcess, in any
	// order and at any time. It needs Config.Who.
	OpWho Op = "who"
	// OpAsk is a question to a person, answered by OpAnswer or never; OpWithdraw says
	// that it needs no answer any more. They need Config.Ask.
	OpAsk      Op = "ask"
	OpWithdraw Op = "withdraw"
)

// Message is one packet in either direction.
type Message struct {
	Op    Op              `json:"op"`
	Kind  string          `json:"kind,omitempty"`  // OpRecord: the event's type; OpViolation: its kind
	Event json.RawMessage `json:"event,omitempty"` // OpRecord, OpEnd
	Error string          `json:"error,omitempty"` // OpConfigured, OpListening, OpRecorded, OpRenewed, OpEnded
	Text  string          `json:"text,omitempty"`  // OpNotice, OpViolation
	// Denied is in OpRecorded of a start that a hook denies: why, with Rule,
	// where the hook stands.
	Denied string `json:"denied,omitempty"`
	Rule   string `json:"rule,omitempty"`
	// Acted is in OpViolation: what the privileged supervisor does about it, freeze
	// or kill; "" is nothing.
	Acted string `json:"acted,omitempty"`
	// Renewal is in OpRenew.
	Renewal *secrets.Renewal `json:"renewal,omitempty"`
	// Counts is in OpCounted.
	Counts    *Counts       `json:"counts,omitempty"`
	Who       *Who          `json:"who,omitempty"`       // OpWho
	Found     *Found        `json:"found,omitempty"`     // OpProcess
	Question  *ask.Question `json:"question,omitempty"`  // OpAsk
	Answer    *ask.Answer   `json:"answer,omitempty"`    // OpAnswer
	Withdrawn uint64        `json:"withdrawn,omitempty"` // OpWithdraw
	// Summary is in OpEnded.
	Summary *Summary `json:"summary,omitempty"`
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

// Decode parses one packet.
func Decode(b []byte) (*Message, error) {
	if len(b) > MaxMessage {
		return nil, fmt.Errorf("decode message: more than %d bytes", MaxMessage)
	}
	var m Message
	if err := json.Unmarshal(b, &m); err != nil {
		return nil, fmt.Errorf("decode message: %w", err)
	}
	switch m.Op {
	case OpListen, OpRecord, OpRenew, OpCount, OpEnd, OpConfigured, OpListening, OpRecorded, OpRenewed, OpCounted, OpViolation, OpNotice, OpEnded, OpWho, OpProcess, OpAsk, OpWithdraw, OpAnswer:
		return &m, nil
	case "":
		return nil, errors.New("decode message: no op")
	default:
		return nil, fmt.Errorf("decode message: unknown op %.40q", string(m.Op))
	}
}

// Config is the configuration of the proxy role. It holds real secrets and is
// only ever passed in a sealed memfd.
type Config struct {
	Session string            `json:"session"`
	Mode    string            `json:"mode"` // enforce | audit
	Policy  *policy.Policy    `json:"policy"`
	Secrets *secrets.Donation `json:"secrets,omitempty"`
	// HookKeys are the keys of the policy's webhooks, by the hooks' names.
	HookKeys map[string][]byte `json:"hook_keys,omitempty"`
	// HookModules are the contents of the modules of the policy's hooks, by the hooks'
	// names.
	HookModules map[string][]byte `json:"hook_modules,omitempty"`
	// Logins are for upstream proxies of the policy.
	Logins *secrets.LoginDonation `json:"logins,omitempty"`
	// PACs are the contents of PAC files, by the names of their upstreams.
	PACs map[string][]byte `json:"pacs,omitempty"`
	// ClientCerts are for the policy's upstream proxies and webhooks.
	ClientCerts secrets.CertDonation `json:"client_certs,omitempty"`

	Publish []Publish `json:"publish,omitempty"`
	// Login is what clients of FileExplicit show; nil where there is no such file.
	Login *Login `json:"login,omitempty"`
	// Who says that the supervisor answers OpWho.
	Who bool `json:"who,omitempty"`
	// Tier is the name of the tier that FileTold is of.
	Tier string `json:"tier,omitempty"`
	// Ask says that the supervisor takes OpAsk: there is somebody to answer.
	Ask bool `json:"ask,omitempty"`
	// Approvals are signed answers to what a person would be asked.
	Approvals *approval.Given `json:"approvals,omitempty"`
	// Roots are the contents of the policy's ca files: read by the supervisor,
	// because the role may be another user and can't open them.
	Roots [][]byte `json:"roots,omitempty"`
	// Environment proxies and other ambient settings are never read.
}

// Login is a user and a password.
type Login struct {
	User     string `json:"user"`
	Password string `json:"password"`
}

// Publish is one port of the pen that the host may reach. The listener is
// donated under Name.
type Publish struct {
	Name   string         `json:"name"`
	Listen netip.AddrPort `json:"listen"`
	Port   uint16         `json:"port"` // in the pen
}

// Names of the donated descriptors.
const (
	FileControl = "control" // the conversation, see Conn
	FileSockets = "sockets" // the pen's sockets come over it, see netns.Sockets.Send
	// FileExplicit is a listener of the host's, the proxy port of a session that has
	// no network of its own: nothing comes over FileSockets then.
	FileExplicit = "explicit"
	FileAudit    = "audit"
	FileCapture  = "capture" // if a rule captures
	// FileTold is there if the tier tells what its processes do; see ebpf/events.Follow.
	FileTold   = "told"
	FileCACert = "ca-cert"
	FileCAKey  = "ca-key"
	// FileHooks is there if a hook of the policy is a process, see hookctl.
	FileHooks = "hooks"
)

// Summary is what the proxy tells at the end of a session. Every string in it
// may hold bytes of the pen and is escaped before it is shown.
type Summary struct {
	Allowed []Count `json:"allowed,omitempty"`
	Denied  []Count `json:"denied,omitempty"`
	// AllowedTotal and DeniedTotal count all flows, also those not listed.
	AllowedTotal uint64   `json:"allowed_total"`
	DeniedTotal  uint64   `json:"denied_total"`
	Notes        []string `json:"notes,omitempty"` // e.g. a client that pins certificates
	HeadSeq      uint64   `json:"head_seq"`
	HeadHash     string   `json:"head_hash"` // hex SHA-256 of the last audit line
	Lost         uint64   `json:"lost,omitempty"`
}

// Counts is how many flows there were so far. They are for show.
type Counts struct {
	Flows      uint64 `json:"flows"`
	Denied     uint64 `json:"denied"`
	Violations uint64 `json:"violations"`
}

// Count is the number of flows to one target under one rule.
type Count struct {
	Target string `json:"target"`
	Rule   string `json:"rule,omitempty"`
	Reason string `json:"reason,omitempty"`
	Allow  string `json:"allow,omitempty"` // flag that would allow it
	N      uint64 `json:"n"`
}
