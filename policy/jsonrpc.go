package policy

import (
	"mime"
	"net/url"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/penstock/penstock/hooks"
)

// JSONRPC is the jsonrpc: of an allow rule: calls of these methods by JSON-RPC 2.0
// over HTTP, one or a batch, which the Model Context Protocol is, too. It is
// immutable.
type JSONRPC struct {
	Methods []string `json:"methods"`
	Tools   []string `json:"tools,omitempty"`    // that tools/call may call; nil: any
	Answers bool     `json:"answers,omitempty"`  // to what the server asks may be sent, too
	MaxBody int64    `json:"max_body,omitempty"` // in bytes; 0: DefaultBody
}

// How much of a body is read to judge it.
const (
	DefaultBody = 1 << 20
	maxBody     = 16 << 20
)

// jsonrpc reads {methods: [], tools: [], answers: true, max_body: 1MiB}.
func (p *parser) jsonrpc(n *yaml.Node) *JSONRPC {
	j := &JSONRPC{}
	p.fields(n, "jsonrpc", []field{
		{"methods", func(n *yaml.Node) { j.Methods = p.names(n, "methods") }},
		{"tools", func(n *yaml.Node) { j.Tools = p.names(n, "tools") }},
		{"answers", func(n *yaml.Node) { j.Answers, _ = p.boolean(n, "jsonrpc.answers") }},
		{"max_body", func(n *yaml.Node) { j.MaxBody, _ = p.size(n, "jsonrpc.max_body") }},
	})
	return j
}

func (j *JSONRPC) key() string { return "jsonrpc" }

// toolsCall is the method of the Model Context Protocol that calls a tool.
const toolsCall = "tools/call"

func (j *JSONRPC) check() (msg, hint string) {
	if j.Methods == nil {
		return "it has no methods", `for example jsonrpc: {methods: [initialize, "notifications/*", tools/list, tools/call], tools: [search]}`
	}
	if msg, hint = checkList("methods", j.Methods, badCallName); msg == "" {
		msg, hint = checkList("tools", j.Tools, badCallName)
	}
	switch {
	case msg != "":
	case j.Tools != nil && !j.Method(toolsCall):
		return "tools has no meaning where " + toolsCall + " is none of the methods", "add " + toolsCall + " to methods"
	case j.MaxBody < 0 || j.MaxBody > maxBody:
		return "max_body is more than " + sizeText(maxBody), ""
	}
	return msg, hint
}

// badCallName says why s is no pattern of a method's or tool's name.
func badCallName(s string) (msg, hint string) {
	if s == "" || len(s) > 255 || !isPrintableASCII(s) {
		return "is empty, longer than 255 bytes or not printable ASCII", ""
	}
	return "", ""
}

// String returns it in YAML.
func (j *JSONRPC) String() string {
	var t speechText
	t.list("methods", j.Methods)
	t.list("tools", j.Tools)
	t.flag("answers", j.Answers)
	t.size("max_body", j.MaxBody)
	return t.String()
}

func (j *JSONRPC) head(r *hooks.Request, _ string) string {
	if !isJSON(r) {
		return "this is not JSON-RPC (POST, application/json in UTF-8, not compressed)"
	}
	// Some servers take these from the URL.
	if !queryWithout(r.Query, "jsonrpc", "method", "params", "id") {
		return "its query has what belongs into the body"
	}
	return ""
}

func (j *JSONRPC) inBody(*hooks.Request) bool { return true }

// Limit is how many bytes of a body may be read to judge it.
func (j *JSONRPC) Limit() int64 {
	if j.MaxBody == 0 {
		return DefaultBody
	}
	return j.MaxBody
}

// Method says whether a method may be called.
func (j *JSONRPC) Method(name string) bool { return matchesName(j.Methods, name) }

// Tool says whether tools/call may call a tool.
func (j *JSONRPC) Tool(name string) bool { return j.Tools == nil || matchesName(j.Tools, name) }

// matchesName says whether a name matches one of the patterns, in which "*" stands
// for anything.
func matchesName(patterns []string, name string) bool {
	for _, p := range patterns {
		if matchSegment(p, name) {
			return true
		}
	}
	return false
}

// isJSON says whether a request has a JSON document as its body that every server
// reads as such.
func isJSON(r *hooks.Request) bool {
	v := r.Header["Content-Type"]
	if r.Method != "POST" || len(v) != 1 || len(r.Header["Content-Encoding"]) > 0 {
		return false
	}
	kind, params, err := mime.ParseMediaType(v[0])
	if err != nil || kind != "application/json" {
		return false
	}
	for k, v := range params {
		if k != "charset" || !strings.EqualFold(v, "utf-8") {
			return false
		}
	}
	return true
}

// queryWithout says whether none of the query's parameters has one of the names.
func queryWithout(query string, names ...string) bool {
	if query == "" {
		return true
	}
	q, err := url.ParseQuery(query)
	if err != nil {
		return false
	}
	for k := range q {
		for _, n := range names {
			if strings.EqualFold(k, n) {
				return false
			}
		}
	}
	return true
}
