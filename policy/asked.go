package policy

import "github.com/penstock/penstock/hooks"

// Asked is a hook that would be asked about a request, at one point.
type Asked struct {
	Hook  string   `json:"hook"`
	Rule  string   `json:"rule"` // file:line that it stands in
	Kind  string   `json:"kind"` // who is asked: cel, http, grpc, wasm, exec or exec_once
	Point string   `json:"point"`
	If    string   `json:"if,omitempty"`   // what has to be so, beside what the request shows
	May   []string `json:"may"`            // what it may do beside letting it pass, see Hook.May
	Says  string   `json:"says,omitempty"` // what it does say, where that could be found out
}

// May returns what the hook may do at a point beside letting it pass: "deny", "ask" a
// person, "route", "reply", and change the request's "header" or the "body".
func (h *Hook) May(p hooks.Point) []string {
	out := []string{hooks.Deny.String()}
	s, service := h.Asks.(*Service)
	envoy := service && !s.Own
	_, expression := h.Asks.(*Expression)
	if p.Ahead() && !envoy {
		out = append(out, hooks.Ask.String(), hooks.Route.String())
	}
	if p.Replies() && !expression {
		out = append(out, hooks.Reply.String())
	}
	if p == hooks.PointRequest && changes(h.Asks) {
		out = append(out, "header")
	}
	if changeable(p) && h.Inspect.Change {
		out = append(out, "body")
	}
	return out
}

// AskedAbout returns the hooks that would be asked about a request that the rules
// allow, in the order of its way: of a name, the connection, what is sent and what comes.
func (p *Policy) AskedAbout(r *hooks.Request) (out []Asked) {
	for _, at := range pointsOf(r) {
		for i := range p.d.Hooks {
			h := &p.d.Hooks[i]
			for _, on := range h.Points() {
				if on == at.Point && h.About(&r.Target) {
					out = append(out, Asked{Hook: h.Name, Rule: h.From.Ref(), Kind: h.Asks.kind(), Point: on.String(), If: at.only, May: h.May(on)})
				}
			}
		}
	}
	return out
}

// pointOf is a point on a request's way, and what has to be so for there to be one.
type pointOf struct {
	hooks.Point
	only string
}

func pointsOf(r *hooks.Request) (out []pointOf) {
	if r.Target.Host != "" {
		out = append(out, pointOf{hooks.PointDNS, ""})
	}
	out = append(out, pointOf{hooks.PointConnect, ""})
	if r.Protocol != hooks.ProtocolHTTP && r.Protocol != hooks.ProtocolHTTPS {
		return out
	}
	out = append(out, pointOf{hooks.PointRequest, ""})
	if r.Size != 0 {
		out = append(out, pointOf{hooks.PointToolCall, "its body calls a tool, which a rule with jsonrpc reads"})
		body := pointOf{hooks.PointRequestBody, "it has a body"}
		if r.Size > 0 {
			body.only = ""
		}
		out = append(out, body)
	}
	out = append(out, pointOf{hooks.PointResponse, ""})
	if r.Method != "HEAD" {
		out = append(out, pointOf{hooks.PointResponseBody, "the answer has a body"})
	}
	if r.Method == "GET" {
		out = append(out, pointOf{hooks.PointWebSocket, "it becomes a WebSocket"})
	}
	return out
}
