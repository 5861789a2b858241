package netproxy

import (
	"net/http"
	"strings"
)

// hopHeaders end at each hop (RFC 9110 section 7.6.1), with those of old.
var hopHeaders = []string{"Connection", "Proxy-Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization",
	"Te", "Trailer", "Transfer-Encoding", "Upgrade", "Http2-Settings"}

// takeHopHeaders removes from a request what is meant for the next hop only,
// with every field that Connection nominates. It reports whether the request is
// a WebSocket handshake, whose fields stay in one canonical form.
func takeHopHeaders(r *http.Request) (upgrade bool) {
	h := r.Header
	upgrade = r.ProtoMajor == 1 && isWebSocket(h)
	trailers := false
	for _, v := range h["Te"] {
		for tok := range strings.SplitSeq(v, ",") {
			trailers = trailers || strings.EqualFold(strings.TrimSpace(tok), "trailers")
		}
	}
	dropNominated(h)
	for _, name := range hopHeaders {
		delete(h, name)
	}
	if trailers {
		h["Te"] = []string{"trailers"} // gRPC servers insist on it
	}
	if upgrade {
		h["Connection"], h["Upgrade"] = []string{"Upgrade"}, []string{"websocket"}
	}
	return upgrade
}

// takeResponseHopHeaders does the same for a response.
func takeResponseHopHeaders(h http.Header) {
	dropNominated(h)
	for _, name := range hopHeaders {
		if name != "Proxy-Authenticate" || h[name] != nil {
			delete(h, name)
		}
	}
	// It invites to other hosts, ports and QUIC: none of them is this target.
	delete(h, "Alt-Svc")
}

func dropNominated(h http.Header) {
	for _, v := range h["Connection"] {
		for tok := range strings.SplitSeq(v, ",") {
			if tok = strings.TrimSpace(tok); tok != "" {
				h.Del(tok)
			}
		}
	}
}

func isWebSocket(h http.Header) bool {
	up := h["Upgrade"]
	if len(up) != 1 || !strings.EqualFold(strings.TrimSpace(up[0]), "websocket") {
		return false
	}
	for _, v := range h["Connection"] {
		for tok := range strings.SplitSeq(v, ",") {
			if strings.EqualFold(strings.TrimSpace(tok), "upgrade") {
				return true
			}
		}
	}
	return false
}
