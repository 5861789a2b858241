// Package fakemodel is a model server for tests: it speaks the wire formats of
// the model services that coding agents use, and always plays the same scene.
//
// A request that offers a shell tool is answered by one call of it with the
// scripted command; a request that carries a tool's result is answered by a
// final text that quotes the result; anything else gets a short text. It keeps
// no state between requests but the record of them, so an agent may repeat,
// parallelise or title its conversation as it likes.
//
// Its hazard is drift: agents change their tool names and shapes, so the tool
// is chosen from what the request offers, by its schema. Only tests and the
// demo import it; it holds no key and checks none.
package fakemodel

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
)

// Final is how every final text begins.
const Final = "FINAL ANSWER:"

// Request is a request as it arrived.
type Request struct {
	Method, Host, Path, Proto string
	Header                    http.Header
	Body                      []byte
}

// Server is the fake model. It is an http.Handler for any of the services'
// hosts and safe for concurrent use. The zero value asks for no tool.
type Server struct {
	// Command is the shell command that the model asks for.
	Command string

	mu       sync.Mutex
	requests []Request
	results  []string
	asked    int
}

// New returns a model that asks for one run of command.
func New(command string) *Server { return &Server{Command: command} }

// Requests returns what has arrived so far.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Request(nil), s.requests...)
}

// Results returns the tool results that agents brought back.
func (s *Server) Results() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.results...)
}

// Asked returns how often a tool call was asked for.
func (s *Server) Asked() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

const maxBody = 32 << 20

// ServeHTTP answers the four protocols by path, and 404 with an empty JSON
// object for whatever else an agent tries (settings, metrics, updates).
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody))
	if err != nil {
		return
	}
	s.mu.Lock()
	s.requests = append(s.requests, Request{Method: r.Method, Host: r.Host, Path: r.URL.RequestURI(), Proto: r.Proto, Header: r.Header.Clone(), Body: body})
	s.mu.Unlock()
	p := r.URL.Path
	switch {
	case r.Method == http.MethodPost && strings.HasSuffix(p, "/chat/completions"):
		s.chat(w, body)
	case r.Method == http.MethodPost && strings.HasSuffix(p, "/responses"):
		s.responses(w, body)
	case r.Method == http.MethodPost && strings.HasSuffix(p, "/messages/count_tokens"):
		writeJSON(w, map[string]any{"input_tokens": len(body) / 4})
	case r.Method == http.MethodPost && strings.HasSuffix(p, "/messages"):
		s.messages(w, body)
	case r.Method == http.MethodPost && strings.HasSuffix(p, ":streamGenerateContent"):
		s.gemini(w, body, true)
	case r.Method == http.MethodPost && strings.HasSuffix(p, ":generateContent"):
		s.gemini(w, body, false)
	case r.Method == http.MethodPost && strings.HasSuffix(p, ":countTokens"):
		writeJSON(w, map[string]any{"totalTokens": len(body) / 4})
	case strings.EqualFold(r.Header.Get("Upgrade"), "websocket"):
		// Codex tries a WebSocket first; this status makes it use HTTP at once.
		w.WriteHeader(http.StatusUpgradeRequired)
	default:
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusNotFound)
		io.WriteString(w, "{}\n")
	}
}

// turn is what to answer: a tool call, or a text.
type turn struct {
	call *call
	text string
}

type call struct {
	name string
	args map[string]any
}

// decide plays the scene: a result is quoted, an offered tool is called.
func (s *Server) decide(tools []tool, result string, hasResult bool) turn {
	s.mu.Lock()
	defer s.mu.Unlock()
	if hasResult {
		s.results = append(s.results, result)
		return turn{text: Final + " " + quote(result)}
	}
	if s.Command != "" {
		if t := pick(tools); t != nil {
			s.asked++
			return turn{call: &call{name: t.Name, args: arguments(t.Schema, s.Command)}}
		}
	}
	return turn{text: "A short answer"}
}

// quote keeps what a test looks for of a tool's result, on one line.
func quote(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > 1500 {
		s = s[:1500]
	}
	return s
}

// tool is one that a request offers.
type tool struct {
	Name   string
	Schema schema
}

type schema struct {
	Properties map[string]property `json:"properties"`
	Required   []string            `json:"required"`
}

type property struct {
	Type any `json:"type"` // a string or a list of them
	Enum []any
}

// shellTools are the names under which agents offer a shell, best first.
var shellTools = [...]string{"bash", "shell", "shell_command", "exec_command", "run_shell_command", "container.exec", "local_shell", "execute_command"}

func pick(tools []tool) *tool {
	for _, name := range shellTools {
		for i := range tools {
			if strings.EqualFold(tools[i].Name, name) {
				return &tools[i]
			}
		}
	}
	return nil
}

// arguments fills a tool's schema with a command.
func arguments(s schema, command string) map[string]any {
	args := map[string]any{}
	for name, p := range s.Properties {
		switch {
		case (name == "command" || name == "cmd") && hasType(p.Type, "array"):
			args[name] = []string{"bash", "-c", command}
		case name == "command" || name == "cmd":
			args[name] = command
		case name == "yield_time_ms": // how long to wait before an answer without the result
			args[name] = 30000
		}
	}
	if len(args) == 0 {
		args["command"] = command
	}
	for _, name := range s.Required {
		if _, ok := args[name]; ok {
			continue
		}
		p := s.Properties[name]
		switch {
		case len(p.Enum) > 0:
			args[name] = p.Enum[0]
		case hasType(p.Type, "number"), hasType(p.Type, "integer"):
			args[name] = 60000
		case hasType(p.Type, "boolean"):
			args[name] = false
		case hasType(p.Type, "array"):
			args[name] = []any{}
		case hasType(p.Type, "object"):
			args[name] = map[string]any{}
		default:
			args[name] = "Run the command"
		}
	}
	return args
}

func hasType(t any, want string) bool {
	switch v := t.(type) {
	case string:
		return strings.EqualFold(v, want) // Gemini writes STRING
	case []any:
		for _, e := range v {
			if hasType(e, want) {
				return true
			}
		}
	}
	return false
}

func encode(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return "{}"
	}
	return string(b)
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	io.WriteString(w, encode(v)+"\n")
}

func badRequest(w http.ResponseWriter, err error) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusBadRequest)
	io.WriteString(w, encode(map[string]any{"error": map[string]any{"type": "invalid_request_error", "message": err.Error()}}))
}

// stream writes server-sent events, each flushed at once.
type stream struct {
	w http.ResponseWriter
	f http.Flusher
}

func newStream(w http.ResponseWriter) stream {
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-cache")
	w.WriteHeader(http.StatusOK)
	f, _ := w.(http.Flusher)
	return stream{w, f}
}

// send writes one event; an empty name leaves the event line out.
func (s stream) send(name string, v any) {
	if name != "" {
		fmt.Fprintf(s.w, "event: %s\n", name)
	}
	data, ok := v.(string)
	if !ok {
		data = encode(v)
	}
	fmt.Fprintf(s.w, "data: %s\n\n", data)
	if s.f != nil {
		s.f.Flush()
	}
}

// pieces splits a text as a model's tokens would.
func pieces(s string) []string {
	var out []string
	for len(s) > 24 {
		i := strings.LastIndexByte(s[:24], ' ')
		if i <= 0 {
			i = 23
			for i > 0 && s[i]&0xc0 == 0x80 { // not within a rune
				i--
			}
		}
		out = append(out, s[:i])
		s = s[i:]
	}
	return append(out, s)
}

// text returns the text of a content that is a string or a list of parts.
func text(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return s
	}
	var parts []struct {
		Text string `json:"text"`
	}
	if json.Unmarshal(raw, &parts) == nil {
		var b strings.Builder
		for _, p := range parts {
			b.WriteString(p.Text)
		}
		return b.String()
	}
	return string(raw)
}
