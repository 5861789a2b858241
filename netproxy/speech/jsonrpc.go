package speech

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/penstock/penstock/policy"
)

// call is one message of JSON-RPC 2.0 from a client.
type call struct {
	method string // "": an answer to what the server asked
	tool   string // of tools/call
	named  bool   // tool is there
}

// Calls are what a body of JSON-RPC 2.0 asks, one or a batch. It is immutable.
type Calls struct {
	list []call
	size int
}

// ReadCalls reads a body. The error is what is wrong with it, in printable words.
func ReadCalls(doc []byte) (*Calls, error) {
	if err := strict(doc); err != nil {
		return nil, err
	}
	list, err := batch(doc)
	if err != nil {
		return nil, err
	}
	c := &Calls{size: len(doc)}
	for _, m := range list {
		one, err := readCall(m)
		if err != nil {
			return nil, err
		}
		c.list = append(c.list, one)
	}
	return c, nil
}

var errCall = errors.New("it is not a message of JSON-RPC 2.0")

// readCall reads a message, which has the keys of the specification and no others.
func readCall(doc json.RawMessage) (c call, err error) {
	keys, ok := members(doc)
	if !ok {
		return c, errCall
	}
	at := map[string]json.RawMessage{}
	for _, m := range keys {
		switch m.key {
		case "jsonrpc", "id", "method", "params", "result", "error":
			at[m.key] = m.value
		default:
			return c, fmt.Errorf("it has a key that JSON-RPC 2.0 has not: %s", quoted(m.key))
		}
	}
	if v, ok := str(at["jsonrpc"]); !ok || v != "2.0" {
		return c, errCall
	}
	if id := at["id"]; len(id) > 0 && (id[0] == '{' || id[0] == '[' || id[0] == 't' || id[0] == 'f') {
		return c, errCall
	}
	result, failed := at["result"] != nil, at["error"] != nil
	if at["method"] == nil {
		if result == failed || at["id"] == nil || at["params"] != nil {
			return c, errCall
		}
		return c, nil
	}
	if c.method, ok = str(at["method"]); !ok || c.method == "" || result || failed {
		return c, errCall
	}
	params := at["params"]
	if len(params) > 0 && params[0] != '{' && params[0] != '[' && !isNull(params) {
		return c, errCall
	}
	if c.method == "tools/call" && len(params) > 0 && params[0] == '{' {
		c.tool, c.named, err = toolName(params)
	}
	return c, err
}

// toolName is the name in the params of tools/call.
func toolName(params json.RawMessage) (name string, ok bool, err error) {
	list, _ := members(params)
	for _, m := range list {
		if looksLike(m.key, "name") {
			return "", false, fmt.Errorf("it has a key that may be taken for name: %s", quoted(m.key))
		}
		if m.key == "name" {
			name, ok = str(m.value)
		}
	}
	return name, ok, nil
}

// Judge says why a rule does not allow the body as a whole, "" if it does. The
// words are printable.
func (c *Calls) Judge(j *policy.JSONRPC) string {
	if int64(c.size) > j.Limit() {
		return ErrLong.Error()
	}
	for _, x := range c.list {
		switch {
		case x.method == "":
			if !j.Answers {
				return "it answers the server (it has no answers: true)"
			}
		case !j.Method(x.method):
			return "method " + quoted(x.method) + " is none of its methods"
		case x.method == "tools/call" && j.Tools != nil && !x.named:
			return "a call of a tool does not name it"
		case x.method == "tools/call" && j.Tools != nil && !j.Tool(x.tool):
			return "tool " + quoted(x.tool) + " is none of its tools"
		}
	}
	return ""
}

// About says what the body asks, in few printable words.
func (c *Calls) About() string {
	x := c.list[0]
	s := "answer to the server"
	if x.method != "" {
		s = quoted(x.method)
		if x.named {
			s += " of " + quoted(x.tool)
		}
	}
	if n := len(c.list) - 1; n > 0 {
		s += fmt.Sprintf(" and %d more", n)
	}
	return s
}

// ErrLong says that a body is longer than it may be to be judged.
var ErrLong = errors.New("its body is longer than the rule reads (max_body)")
