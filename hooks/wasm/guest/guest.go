// Package guest is for hooks in Go that become a WebAssembly module, which
// docs/hooks.md shows from beginning to end. A hook is a function from a Request to a
// Decision, and a main package that exports it:
//
//	//go:wasmexport penstock_decide
//	func decide(at, size uint32) uint64 { return guest.Decide(at, size, judge) }
//
//	func main() {} // is not called
//
// It is built by GOOS=wasip1 GOARCH=wasm go build -buildmode=c-shared. There is no
// file, no variable, no network and no clock in it, and a panic is its end, which
// denies. One instance gets one question at a time.
//
// Its hazard is what it is about: the pen chooses most of a request's bytes. Nothing of
// Penstock imports it.
package guest

import "encoding/json"

// Request is a question, see docs/schema/hook.schema.json.
type Request struct {
	ID       string              `json:"id"`
	Hook     string              `json:"hook"`
	Point    string              `json:"point"` // request, response, connect, dns: these two have no request
	Session  string              `json:"session"`
	Flow     uint64              `json:"flow"`
	Protocol string              `json:"protocol"` // http, https
	Host     string              `json:"host"`     // a name; or
	Address  string              `json:"address"`
	Port     uint16              `json:"port"`
	Method   string              `json:"method"`
	Path     string              `json:"path"` // as it is forwarded
	Query    string              `json:"query"`
	Headers  map[string][]string `json:"headers"`  // names in lower case
	Size     *int64              `json:"size"`     // of the body in bytes, nil: not declared
	Process  *Process            `json:"process"`  // nil: not known
	Response *Response           `json:"response"` // at the points response and response_body
	Body     *Body               `json:"body"`     // at the points about bodies and messages
	Message  *Message            `json:"message"`  // at the point websocket
	Run      *Run                `json:"run"`      // at the points about sessions, which have no target
	Tool     *Tool               `json:"tool"`     // at the point tool_call
	Lookup   *Lookup             `json:"lookup"`   // at the point dns, which has of a target only Host
}

// Tool is the call of a tool.
type Tool struct {
	Name      string          `json:"name"`
	Arguments json.RawMessage `json:"arguments"` // as they were sent; empty: there are none
}

// Lookup is what is known of a question for a name.
type Lookup struct {
	Type string `json:"type"` // A, AAAA; "": a connection is made to it
	Rule string `json:"rule"` // file:line of what lets something go there, "" for the default
}

// Run is what a session runs.
type Run struct {
	Command []string `json:"command"`
	Dir     string   `json:"dir"`
	User    string   `json:"user"`
	Agent   string   `json:"agent"` // profile, "" for none
	Tier    string   `json:"tier"`
	Mode    string   `json:"mode"` // enforce, audit
	End     *End     `json:"end"`  // at the point session_end
}

// End is how a session has ended.
type End struct {
	ExitCode   int    `json:"exit_code"`
	Signal     string `json:"signal"`
	Reason     string `json:"reason"`
	DurationMS int64  `json:"duration_ms"`
}

// Body is a body or a message of a WebSocket, or a part of one.
type Body struct {
	Data     []byte              `json:"data"`
	Offset   int64               `json:"offset"` // of Data
	Seen     int                 `json:"seen"`   // first bytes that were in the question before
	Last     bool                `json:"last"`   // nothing comes behind it
	Room     int64               `json:"room"`   // bytes that ChangeBody may make of it, 0: it can't
	Encoding string              `json:"encoding"`
	Trailers map[string][]string `json:"trailers"` // names in lower case
}

// Message is what is known of a WebSocket's message beside its Body.
type Message struct {
	Direction string `json:"direction"` // out: from the pen, in
	Type      string `json:"type"`      // text, binary
}

// Response is the header of the upstream's answer.
type Response struct {
	Status  int                 `json:"status"`
	Headers map[string][]string `json:"headers"` // names in lower case
	Size    *int64              `json:"size"`    // nil: not declared
}

// Process is who made the connection.
type Process struct {
	PID    int    `json:"pid"`
	Exe    string `json:"exe"`
	SHA256 string `json:"sha256"` // of the executable, "" if not known
}

// Header returns the first value of a header field, whose name is in lower case.
func (r *Request) Header(name string) string {
	if v := r.Headers[name]; len(v) > 0 {
		return v[0]
	}
	return ""
}

// Decision is the answer. The zero value is a deny.
type Decision struct {
	Word   string // next, deny, ask, route or reply; "": deny
	Reason string // of deny and ask; one line for a person
	Via    string // with route
	// With next, at the point request: what becomes of the request's header, by names
	// of fields.
	Set    map[string]string
	Remove []string
	Body   []byte // with next, at request_body and response_body: see ChangeBody; nil: it stays
	Reply  *Reply // with reply
}

// Reply is what the client gets in the upstream's place.
type Reply struct {
	Status  int                 `json:"status"`            // 200 to 599
	Headers map[string][]string `json:"headers,omitempty"` // content-type, x-...
	Body    []byte              `json:"body,omitempty"`    // up to 64 KiB
}

// Next has nothing against a request.
func Next() Decision { return Decision{Word: "next"} }

// Change has nothing against a request with these header fields set and those removed;
// see docs/hooks.md for which can be.
func Change(set map[string]string, remove ...string) Decision {
	return Decision{Word: "next", Set: set, Remove: remove}
}

// ChangeBody has nothing against a request, or an answer, with this whole body in the place
// of the one that it was asked about; see docs/hooks.md for when that can be.
func ChangeBody(body []byte) Decision {
	if body == nil {
		body = []byte{}
	}
	return Decision{Word: "next", Body: body}
}

// Deny refuses a request.
func Deny(reason string) Decision { return Decision{Word: "deny", Reason: reason} }

// Ask leaves it to a person what becomes of a request, or of a connection.
func Ask(reason string) Decision { return Decision{Word: "ask", Reason: reason} }

// Route has nothing against a request that leaves by an upstream, or "direct".
func Route(via string) Decision { return Decision{Word: "route", Via: via} }

// Judge returns the answer to a question, nil if the question can't be read. Decide
// calls it; tests can, on any system.
func Judge(question []byte, judge func(*Request) Decision) []byte {
	var r Request
	if err := json.Unmarshal(question, &r); err != nil {
		return nil
	}
	d := judge(&r)
	if d.Word == "" {
		d.Word = "deny"
	}
	var body *[]byte // an empty one is another than none
	if d.Body != nil {
		body = &d.Body
	}
	out, err := json.Marshal(struct {
		Version int               `json:"version"`
		ID      string            `json:"id"`
		Word    string            `json:"decision"`
		Reason  string            `json:"reason,omitempty"`
		Via     string            `json:"via,omitempty"`
		Set     map[string]string `json:"set,omitempty"`
		Remove  []string          `json:"remove,omitempty"`
		Body    *[]byte           `json:"body,omitempty"`
		Reply   *Reply            `json:"reply,omitempty"`
	}{1, r.ID, d.Word, d.Reason, d.Via, d.Set, d.Remove, body, d.Reply})
	if err != nil {
		return nil
	}
	return out
}
