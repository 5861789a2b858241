package speech

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/policy"
)

// call is one message of JSON-RPC 2.0 from a client.
type call struct {
	method string // "": an answer to what the server asked
	tool   string // of tools/call
	named  bool   // tool is there
	args   json.RawMessage
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
			return c, fmt.Errorf("it has a key that JSON-RPC 2.0 has not: %s", Quoted(m.key))
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
	if c.method == toolsCall && len(params) > 0 && params[0] == '{' {
		err = c.called(params)
	}
	return c, err
}

// called reads the params of tools/call.
func (c *call) called(params json.RawMessage) error {
	list, _ := members(params)
	for _, m := range list {
		for _, key := range []string{"name", "arguments"} {
			if looksLike(m.key, key) {
				return fmt.Errorf("it has a key that may be taken for %s: %s", key, Quoted(m.key))
			}
		}
		switch m.key {
		case "name":
			c.tool, c.named = str(m.value)
		case "arguments":
			c.args = m.value
		}
	}
	return nil
}

// MaxTools bounds the calls of tools in one body that hooks are asked about.
const MaxTools = 16

// Tools are the calls of tools in the body, in their order.
func (c *Calls) Tools() (list []hooks.Tool, err error) {
	for _, x := range c.list {
		switch {
		case x.method != toolsCall:
		case !x.named:
			return nil, errUnnamed
		case len(list) == MaxTools:
			return nil, fmt.Errorf("there are more than %d calls of tools in one body", MaxTools)
		default:
			list = append(list, hooks.Tool{Name: x.tool, Arguments: x.args})
		}
	}
	return list, nil
}

// toolsCall is the method that calls a tool.
const toolsCall = "tools/call"

var errUnnamed = errors.New("a call of a tool does not name it")

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
			return "method " + Quoted(x.method) + " is none of its methods"
		case x.method == toolsCall && j.Tools != nil && !x.named:
			return errUnnamed.Error()
		case x.method == toolsCall && j.Tools != nil && !j.Tool(x.tool):
			return "tool " + Quoted(x.tool) + " is none of its tools"
		}
	}
	return ""
}

// About says what the body asks, in few printable words.
func (c *Calls) About() string {
	x := c.list[0]
	s := "answer to the server"
	if x.method != "" {
		s = Quoted(x.method)
		if x.named {
			s += " of " + Quoted(x.tool)
		}
	}
	if n := len(c.list) - 1; n > 0 {
		s += fmt.Sprintf(" and %d more", n)
	}
	return s
}

// ErrLong says that a body is longer than it may be to be judged.
var ErrLong = errors.New("its body is longer than the rule reads (max_body)")
