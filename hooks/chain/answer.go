package chain

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/penstock/penstock/hooks"
)

// maxReason bounds what a hook says, in bytes.
const maxReason = 300

// clean makes a hook's words safe for a terminal, a header and a log.
func clean(s string) string {
	if len(s) > maxReason {
		s = s[:maxReason] + "..."
	}
	return printable(s)
}

func printable(s string) string {
	for i := range len(s) {
		if s[i] < 0x20 || s[i] >= 0x7f {
			return strconv.QuoteToASCII(s)
		}
	}
	return s
}

// check refuses answers that mean nothing, and makes a reply one that can be sent.
func check(r *hooks.Request, d hooks.Decision) (_ hooks.Decision, err error) {
	p := r.Point
	if d.Change != nil && d.Action != hooks.Next {
		return hooks.Decision{}, errChange
	}
	switch d.Action {
	case hooks.Next, hooks.Deny:
		d.Answer, d.Via = nil, ""
		if d.Change, err = changed(r, d.Change); err != nil {
			return hooks.Decision{}, err
		}
		return d, nil
	case hooks.Ask:
		if !p.Ahead() {
			return hooks.Decision{}, errPerson
		}
		d.Answer, d.Via = nil, ""
		return d, nil
	case hooks.Route:
		if !p.Ahead() || !upstream(d.Via) {
			return hooks.Decision{}, errRoute
		}
		d.Answer = nil
		return d, nil
	case hooks.Reply:
		if !p.Replies() {
			return hooks.Decision{}, errReply
		}
		a, err := answer(d.Answer)
		d.Answer = a
		return d, err
	}
	return hooks.Decision{}, errAction
}

// answer returns a reply as it can be sent. What frames the message or belongs to
// the connection is the proxy's, so of the header only what is harmless stays.
func answer(a *hooks.Answer) (*hooks.Answer, error) {
	if a == nil || a.Status < 200 || a.Status > 599 || len(a.Body) > hooks.MaxAnswer {
		return nil, errAnswer
	}
	out := &hooks.Answer{Status: a.Status, Header: http.Header{}, Body: a.Body}
	for k, list := range a.Header {
		name := http.CanonicalHeaderKey(k)
		if name != "Content-Type" && !strings.HasPrefix(name, "X-") || !token(k) {
			continue
		}
		for _, v := range list {
			if len(v) <= 1024 && printable(v) == v {
				out.Header[name] = append(out.Header[name], v)
			}
		}
	}
	return out, nil
}

// upstream says whether a name can be that of one.
func upstream(s string) bool {
	return s != "" && len(s) <= 32 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-_") == ""
}

// token says whether a name is letters, digits and hyphens.
func token(s string) bool {
	for i := range len(s) {
		if c := s[i] | 0x20; !('a' <= c && c <= 'z' || '0' <= s[i] && s[i] <= '9' || s[i] == '-') {
			return false
		}
	}
	return s != "" && len(s) <= 64
}
