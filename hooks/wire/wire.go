// Package wire is the form in which a request is told to a hook outside of this
// program, and its decision comes back: one JSON object each, version 1, whose
// JSON Schema is docs/schema/hook.schema.json; or one message of protobuf each, which
// says the same, of docs/schema/penstock/hook/v1/hook.proto.
//
// Its hazard is a difference between what a hook reads and what leaves: bytes
// that JSON can't hold are an error and not replaced. What comes back is believed
// to the letter or not at all: an unknown key, word or version, another id or
// more than one object is an error, which denies. A tool that chooses what a hook looks at
// must find no form in which it looks different: there is one question and one
// reading of an answer (the types request and decision), and both forms are of these.
package wire

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/penstock/penstock/hooks"
)

// Version of the form.
const Version = 1

// MaxDecision bounds an encoded decision without a changed body, in bytes: a reply's
// body in base64, its header and a reason.
const MaxDecision = 128 << 10

// Limit bounds the decision about a request in JSON, in bytes.
func Limit(r *hooks.Request) int { return MaxDecision + base64.StdEncoding.EncodedLen(room(r)) }

// room is how many bytes a changed body may have.
func room(r *hooks.Request) int {
	if r.Body == nil {
		return 0
	}
	return int(min(max(r.Body.Room, 0), hooks.MaxBody))
}

// LongError is the error about an answer of more bytes than limit.
func LongError(limit int) error { return fmt.Errorf("its answer has more than %d bytes", limit) }

// NewID returns the id of a question, that nobody can guess.
func NewID() string {
	var random [12]byte
	rand.Read(random[:]) //nolint:errcheck // it does not fail
	return hex.EncodeToString(random[:])
}

type request struct {
	Version  int       `json:"version"`
	ID       string    `json:"id"`
	Hook     string    `json:"hook"`
	Point    string    `json:"point"`
	Session  string    `json:"session"`
	Flow     uint64    `json:"flow"`
	Protocol string    `json:"protocol,omitempty"`
	Host     string    `json:"host,omitempty"`
	Address  string    `json:"address,omitempty"`
	Port     uint16    `json:"port,omitempty"`
	Method   string    `json:"method,omitempty"`
	Path     string    `json:"path,omitempty"`
	Query    string    `json:"query,omitempty"`
	Headers  *header   `json:"headers,omitempty"`
	Size     *int64    `json:"size,omitempty"`
	Process  *process  `json:"process,omitempty"`
	Response *response `json:"response,omitempty"`
	Body     *body     `json:"body,omitempty"`
	Message  *message  `json:"message,omitempty"`
	Run      *run      `json:"run,omitempty"`
	Tool     *tool     `json:"tool,omitempty"`
	Lookup   *lookup   `json:"lookup,omitempty"`
}

type tool struct {
	Name      string          `json:"name"`
	Arguments json.RawMessage `json:"arguments,omitempty"`
}

type lookup struct {
	Type string `json:"type,omitempty"`
	Rule string `json:"rule,omitempty"`
}

type run struct {
	Command []string `json:"command"`
	Dir     string   `json:"dir"`
	User    string   `json:"user"`
	Agent   string   `json:"agent,omitempty"`
	Tier    string   `json:"tier"`
	Mode    string   `json:"mode"`
	End     *end     `json:"end,omitempty"`
}

type end struct {
	ExitCode   int    `json:"exit_code"`
	Signal     string `json:"signal,omitempty"`
	Reason     string `json:"reason"`
	DurationMS int64  `json:"duration_ms"`
}

type message struct {
	Direction string `json:"direction"` // in, out
	Type      string `json:"type"`      // text, binary
}

type body struct {
	Data     []byte  `json:"data"` // base64
	Offset   int64   `json:"offset"`
	Seen     int     `json:"seen,omitempty"`
	Last     bool    `json:"last"`
	Room     int64   `json:"room,omitempty"`
	Encoding string  `json:"encoding,omitempty"`
	Trailers *header `json:"trailers,omitempty"`
}

type response struct {
	Status  int    `json:"status"`
	Headers header `json:"headers"`
	Size    *int64 `json:"size,omitempty"`
}

// header has the fields by their names in lower case.
type header map[string][]string

type process struct {
	PID    int    `json:"pid"`
	Exe    string `json:"exe"`
	SHA256 string `json:"sha256,omitempty"`
}

var errText = errors.New("the request or its answer has bytes that are not UTF-8, which can't be told to the hook as they are")

// Request renders the question that one hook is asked at the request's point, in JSON. id
// is to come back.
func Request(id, hook string, r *hooks.Request) ([]byte, error) {
	q, err := question(id, hook, r)
	if err != nil {
		return nil, err
	}
	return json.Marshal(q)
}

// question is what is told, whose text is UTF-8.
func question(id, hook string, r *hooks.Request) (*request, error) {
	q := &request{Version: Version, ID: id, Hook: hook, Point: r.Point.String(), Session: r.Session, Flow: r.Flow, Protocol: r.Protocol.String(),
		Host: r.Target.Host, Port: r.Target.Port}
	if r.Target.Host == "" {
		q.Address = r.Target.Name()
	}
	valid, ok := true, false
	if r.Point.Web() {
		var h header
		h, valid = headers(r.Header)
		valid = valid && utf8.ValidString(r.Method) && utf8.ValidString(r.Path) && utf8.ValidString(r.Query)
		q.Method, q.Path, q.Query, q.Headers, q.Size = r.Method, r.Path, r.Query, &h, size(r.Size)
	}
	if p := r.Response; p != nil {
		q.Response = &response{Status: p.Status, Size: size(p.Size)}
		q.Response.Headers, ok = headers(p.Header)
		valid = valid && ok
	}
	if b := r.Body; b != nil {
		q.Body = &body{Data: b.Data, Offset: b.Offset, Seen: b.Seen, Last: b.Last, Room: b.Room, Encoding: b.Encoding}
		if q.Body.Data == nil {
			q.Body.Data = []byte{} // no null
		}
		if len(b.Trailer) > 0 {
			h, ok := headers(b.Trailer)
			q.Body.Trailers, valid = &h, valid && ok
		}
		valid = valid && utf8.ValidString(b.Encoding)
	}
	if m := r.Message; m != nil {
		q.Message = &message{m.Direction(), m.Type()}
	}
	if p := r.Tool; p != nil {
		q.Tool = &tool{p.Name, p.Arguments}
		valid = valid && utf8.ValidString(p.Name) && utf8.Valid(p.Arguments)
	}
	if p := r.Lookup; p != nil {
		q.Protocol = ""
		q.Lookup = &lookup{p.Type, p.Rule}
		valid = valid && utf8.ValidString(p.Rule)
	}
	if p := r.Run; p != nil {
		q.Protocol = ""
		q.Run = &run{Command: append([]string{}, p.Command...), Dir: p.Dir, User: p.User, Agent: p.Agent, Tier: p.Tier, Mode: p.Mode}
		if e := p.End; e != nil {
			q.Run.End = &end{e.ExitCode, e.Signal, e.Reason, e.Duration.Milliseconds()}
		}
		for _, s := range append([]string{p.Dir, p.User}, p.Command...) {
			valid = valid && utf8.ValidString(s)
		}
	}
	if !valid {
		return nil, errText
	}
	if p := r.Process; p != nil {
		// A path may be any bytes; nothing that leaves depends on it.
		q.Process = &process{p.PID, strings.ToValidUTF8(p.Exe.Path, "?"), p.Exe.SHA256}
	}
	return q, nil
}

// size is a length that is known.
func size(n int64) *int64 {
	if n < 0 {
		return nil
	}
	return &n
}

// headers returns the fields of a header. false: they are no text.
func headers(h http.Header) (out header, valid bool) {
	out, valid = make(header, len(h)), true
	for k, list := range h {
		if list == nil {
			continue // a mark for the transport, no field
		}
		valid = valid && utf8.ValidString(k)
		for _, v := range list {
			valid = valid && utf8.ValidString(v)
		}
		name := strings.ToLower(k)
		out[name] = append(out[name], list...)
	}
	return out, valid
}

type decision struct {
	Version  int      `json:"version"`
	ID       string   `json:"id"`
	Decision string   `json:"decision"`
	Reason   string   `json:"reason"`
	Reply    *reply   `json:"reply"`
	Via      string   `json:"via"`
	Set      fields   `json:"set"`
	Remove   []string `json:"remove"`
	Body     []byte   `json:"body"` // base64; nil: there is none
}

func (d *decision) changes() bool { return d.Set != nil || d.Remove != nil || d.Body != nil }

// fields are values by names, each of which is there once.
type fields map[string]string

func (f *fields) UnmarshalJSON(doc []byte) error {
	members, err := object(doc)
	if err != nil {
		return err
	}
	*f = fields{}
	for name, value := range members {
		var v *string
		if err := json.Unmarshal(value, &v); err != nil || v == nil {
			return errObject
		}
		(*f)[name] = *v
	}
	return nil
}

type reply struct {
	Status  int                 `json:"status"`
	Headers map[string][]string `json:"headers"`
	Body    []byte              `json:"body"` // base64
}

// Decision reads the answer in JSON to the question id, of at most limit bytes (Limit).
func Decision(id string, doc []byte, limit int) (hooks.Decision, error) {
	if len(doc) > limit {
		return hooks.Decision{}, LongError(limit)
	}
	if err := exactKeys(doc); err != nil {
		return hooks.Decision{}, err
	}
	var d decision
	dec := json.NewDecoder(bytes.NewReader(doc))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&d); err != nil {
		return hooks.Decision{}, errObject
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return hooks.Decision{}, errors.New("there is more than one object in its answer")
	}
	return d.read(id)
}

// read says what was decided about the question id.
func (d *decision) read(id string) (hooks.Decision, error) {
	switch {
	case d.Version != Version:
		return hooks.Decision{}, fmt.Errorf("its answer is of version %d, not %d", d.Version, Version)
	case d.ID != id:
		return hooks.Decision{}, errors.New("its answer is to another question")
	case (d.Reply != nil) != (d.Decision == "reply"):
		return hooks.Decision{}, errors.New("its answer has a reply that does not go with the decision")
	case (d.Via != "") != (d.Decision == "route"):
		return hooks.Decision{}, errors.New("its answer has a via that does not go with the decision")
	case d.changes() && d.Decision != "next":
		return hooks.Decision{}, errors.New("its answer has a change that does not go with the decision")
	}
	switch d.Decision {
	case "next":
		next := hooks.Decision{Action: hooks.Next}
		if d.changes() {
			next.Change = &hooks.Change{Set: d.Set, Remove: d.Remove, Body: d.Body}
		}
		return next, nil
	case "deny":
		return hooks.Decision{Reason: d.Reason}, nil
	case "route":
		return hooks.Decision{Action: hooks.Route, Reason: d.Reason, Via: d.Via}, nil
	case "ask":
		return hooks.Decision{Action: hooks.Ask, Reason: d.Reason}, nil
	case "reply":
		return hooks.Decision{Action: hooks.Reply, Reason: d.Reason,
			Answer: &hooks.Answer{Status: d.Reply.Status, Header: d.Reply.Headers, Body: d.Reply.Body}}, nil
	}
	return hooks.Decision{}, errors.New("its answer has a decision that is not known")
}

var errObject = errors.New("its answer is no decision in JSON")

// exactKeys refuses what encoding/json is lenient about at the top: a key in
// another case, and one that is there twice, of which two readers may believe a
// different one.
func exactKeys(doc []byte) error {
	members, err := object(doc)
	if err != nil {
		return err
	}
	for key, value := range members {
		switch key {
		case "set", "remove":
			if string(value) == "null" {
				return errObject
			}
		case "body":
			if value[0] != '"' { // a list of numbers would do, too
				return errObject
			}
		case "version", "id", "decision", "reason", "reply", "via":
		default:
			return errObject
		}
	}
	return nil
}

// object returns the members of the object that doc begins with, of which each is
// there once.
func object(doc []byte) (map[string]json.RawMessage, error) {
	dec := json.NewDecoder(bytes.NewReader(doc))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil, errObject
	}
	seen := map[string]json.RawMessage{}
	for dec.More() {
		t, err := dec.Token()
		key, ok := t.(string)
		if err != nil || !ok || seen[key] != nil {
			return nil, errObject
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return nil, errObject
		}
		seen[key] = value
	}
	return seen, nil
}
