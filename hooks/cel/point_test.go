package cel

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/penstock/penstock/hooks"
)

// TestPoints: an expression sees what is there whenever it is asked, and nothing
// else compiles or answers.
func TestPoints(t *testing.T) {
	request, response, connect := hooks.PointRequest, hooks.PointResponse, hooks.PointConnect
	for _, tt := range []struct {
		text, message, hint string
		on                  []hooks.Point
	}{
		{`response.status == 200 ? "next" : "deny"`, "", "", []hooks.Point{response}},
		{`request.path == "/" && "x-a" in response.headers ? response.headers["x-a"] : "deny"`, "", "", []hooks.Point{response}},
		{`response.status == 200 ? "next" : "deny"`, `nothing is called "response"`, "no other points than: response, response_body", []hooks.Point{request}},
		{`response.status == 200 ? "next" : "deny"`, `nothing is called "response"`, "no other points than: response, response_body", []hooks.Point{request, response}},
		{`response.path == "/" ? "next" : "deny"`, `response has no field "path"`, "it has headers, size, status", []hooks.Point{response}},
		{`status == 200 ? "next" : "deny"`, `nothing is called "status"`, "write response.status", []hooks.Point{response}},
		{`size == 200 ? "next" : "deny"`, `nothing is called "size"`, "write request.size, or write response.size", []hooks.Point{response}},
		{`["a"].exists(response, true) ? "next" : "deny"`, "", "", []hooks.Point{request}},
		{`["a"].exists(response, true) ? "next" : "deny"`, "a name for the list's elements", "", []hooks.Point{response}},
		{`response == response ? "next" : "deny"`, "== is not there for object", "", []hooks.Point{response}},
		{`request.port == 22 && request.protocol == "tcp" ? "deny" : "next"`, "", "", []hooks.Point{connect, request}},
		{`request.path == "/" ? "next" : "deny"`, `request has no field "path"`, "it has host, port, protocol", []hooks.Point{request, connect}},
		{`path == "/" ? "next" : "deny"`, `nothing is called "path"`, "request.host", []hooks.Point{connect}},
		{`body.text.contains("x") && body.size > 0 && body.last && body.offset == 0 && body.encoding == "" && !("a" in body.trailers) ? "next" : request.path`, "", "", []hooks.Point{hooks.PointRequestBody, hooks.PointResponseBody}},
		{`response.status == 200 && body.last ? "next" : "deny"`, "", "", []hooks.Point{hooks.PointResponseBody}},
		{`response.status == 200 && body.last ? "next" : "deny"`, `nothing is called "response"`, "response, response_body", []hooks.Point{hooks.PointResponseBody, hooks.PointRequestBody}},
		{`body.last ? "next" : "deny"`, `nothing is called "body"`, "than: request_body, response_body, websocket", []hooks.Point{request}},
		{`body.last && message.direction == "out" && message.type == "text" ? "next" : "deny"`, "", "", []hooks.Point{hooks.PointWebSocket}},
		{`body.last && request.path == "/" ? "next" : "deny"`, "", "", []hooks.Point{hooks.PointWebSocket, hooks.PointRequestBody}},
		{`message.type == "text" ? "next" : "deny"`, `nothing is called "message"`, "than: websocket", []hooks.Point{hooks.PointWebSocket, hooks.PointRequestBody}},
		{`run.program == "npm" && run.command.startsWith("npm i") && run.dir + run.user + run.agent + run.tier + run.mode != "" ? "deny" : "next"`, "", "", []hooks.Point{hooks.PointSessionStart, hooks.PointSessionEnd}},
		{`run.exit_code == 0 ? "next" : "deny"`, "", "", []hooks.Point{hooks.PointSessionEnd}},
		{`run.exit_code == 0 ? "next" : "deny"`, `run has no field "exit_code"`, "it has agent, command, dir, mode, program, tier, user", []hooks.Point{hooks.PointSessionStart}},
		{`request.host == "a" ? "next" : "deny"`, `nothing is called "request"`, "", []hooks.Point{hooks.PointSessionStart, request}},
		{`run.tier == "a" ? "next" : "deny"`, `nothing is called "run"`, "no other points than: session_start, session_end", []hooks.Point{request}},
		{`request.host.endsWith(".a") && lookup.type == "A" && lookup.rule == "" ? "deny" : "next"`, "", "", []hooks.Point{hooks.PointDNS}},
		{`request.host == "a" ? "deny" : "next"`, "", "", []hooks.Point{hooks.PointDNS, connect, request}},
		{`request.port == 1 ? "deny" : "next"`, `request has no field "port"`, "it has host", []hooks.Point{hooks.PointDNS}},
		{`lookup.type == "A" ? "deny" : "next"`, `nothing is called "lookup"`, "no other points than: dns", []hooks.Point{hooks.PointDNS, connect}},
		{`request.host == "a" ? "ask: really?" : "next"`, `it says "ask" where that can't be`, "at request or connect", []hooks.Point{hooks.PointDNS}},
		{`request.host == "a" ? "next" : ("route: " + request.host)`, `it says "route" where that can't be`, "", []hooks.Point{hooks.PointDNS, response}},
		{`request.host == "a" ? "ask" : "next"`, "", "", []hooks.Point{hooks.PointDNS, connect}},
		{`request.host == "ask" || "ask" + request.host == "x" ? "deny: ask" : "next"`, "", "", []hooks.Point{hooks.PointDNS}},
		{`tool.name == "exec" && tool.arguments.contains("rm") && request.path == "/mcp" ? "ask: really?" : "next"`, "", "", []hooks.Point{hooks.PointToolCall}},
		{`tool.name == "exec" ? "deny" : "next"`, `nothing is called "tool"`, "no other points than: tool_call", []hooks.Point{hooks.PointToolCall, request}},
		{`tool.args == "exec" ? "deny" : "next"`, `tool has no field "args"`, "it has arguments, name", []hooks.Point{hooks.PointToolCall}},
		{`message.text == "text" ? "next" : "deny"`, `message has no field "text"`, "it has direction, type", []hooks.Point{hooks.PointWebSocket}},
	} {
		_, err := Language{}.CompileHook(tt.text, tt.on...)
		var e *hooks.ConditionError
		if tt.message == "" && err == nil {
			continue
		}
		if !errors.As(err, &e) || tt.message == "" || !strings.Contains(e.Message, tt.message) || !strings.Contains(e.Hint, tt.hint) {
			t.Errorf("%s at %v: %v %+v", tt.text, tt.on, err, e)
		}
	}
	if _, err := (Language{}).Compile(`response.status == 200`); err == nil {
		t.Error("a condition of a rule sees an answer")
	}
	h, err := Language{}.CompileHook(`response.headers["x-a"] + (has(response.size) ? string(response.size) : "") == "b" ? "next" : "deny: " + string(response.status)`, response)
	if err != nil {
		t.Fatal(err)
	}
	r := &hooks.Request{Point: response, Header: http.Header{"X-A": {"z"}}, Response: &hooks.Response{Status: 200, Header: http.Header{"X-A": {"b"}}, Size: -1}}
	if d, err := h.Decide(t.Context(), r); d.Action != hooks.Next || err != nil {
		t.Errorf("%+v, %v", d, err)
	}
	r.Response.Size = 5
	if d, err := h.Decide(t.Context(), r); d.Action != hooks.Deny || d.Reason != "200" || err != nil {
		t.Errorf("%+v, %v", d, err)
	}
	r.Response.Header = nil
	if _, err := h.Decide(t.Context(), r); err == nil || err.Error() != `response.headers has no "x-a"` {
		t.Error(err)
	}
	secret, err := Language{}.CompileHook(`body.text.contains("SECRET") || body.trailers["x-t"] != "a" ? "deny" : "next"`, hooks.PointRequestBody)
	if err != nil {
		t.Fatal(err)
	}
	q := &hooks.Request{Point: hooks.PointRequestBody, Body: &hooks.Body{Data: make([]byte, hooks.MaxBody), Trailer: http.Header{"X-T": {"a"}}}}
	if d, err := secret.Decide(t.Context(), q); d.Action != hooks.Next || err != nil {
		t.Errorf("%+v, %v", d, err)
	}
	copy(q.Body.Data[hooks.MaxBody-6:], "SECRET")
	if d, err := secret.Decide(t.Context(), q); d.Action != hooks.Deny || err != nil {
		t.Errorf("%+v, %v", d, err)
	}
	if d, err := h.Decide(t.Context(), &hooks.Request{}); d.Action != hooks.Deny || err == nil {
		t.Errorf("asked about a request: %+v, %v", d, err)
	}
}
