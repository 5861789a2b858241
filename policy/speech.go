package policy

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"github.com/penstock/penstock/hooks"
)

// speech is a protocol on top of HTTP to which an allow rule is limited: the value
// of git, grpc, jsonrpc, graphql or registry. A request that is not of that protocol, or
// asks more than the value says, is not what the rule allows.
type speech interface {
	key() string // in the rule
	// head says why a request's head is not what the rule allows, "" if it is. path
	// is one of the path's readings, and every one must be allowed. It is not kept.
	head(r *hooks.Request, path string) string
	// inBody says whether a request with an allowed head is judged by its body, too.
	inBody(r *hooks.Request) bool
	// check completes what was written, and says why it can't be used.
	check() (msg, hint string)
	String() string // in YAML
}

// speeches are the values that a rule has written for them, of which one may be.
func (r *Rule) speeches(each func(speech)) {
	if r.git != nil {
		each(r.git)
	}
	if r.grpc != nil {
		each(r.grpc)
	}
	if r.jsonrpc != nil {
		each(r.jsonrpc)
	}
	if r.graphql != nil {
		each(r.graphql)
	}
	if r.registry != nil {
		each(r.registry)
	}
}

// Git is the git: of the rule, nil if it has none. The caller must not change it.
func (r *Rule) Git() *Git { return r.git }

// JSONRPC is the jsonrpc: of the rule, nil if it has none. The caller must not
// change it.
func (r *Rule) JSONRPC() *JSONRPC { return r.jsonrpc }

// GraphQL is the graphql: of the rule, nil if it has none. The caller must not
// change it.
func (r *Rule) GraphQL() *GraphQL { return r.graphql }

// finishSpeech checks what a rule says of a protocol on top of HTTP.
func finishSpeech(r *Rule, fail failer) {
	r.speech = nil
	r.speeches(func(s speech) {
		if r.speech != nil {
			fail(s.key(), "write two rules", "a rule has %s or %s, not both", r.speech.key(), s.key())
			return
		}
		r.speech = s
		if r.Deny || r.Ask {
			fail(s.key(), "write it in an allow rule, or methods, paths and when here", "%s is for allow rules", s.key())
		} else if msg, hint := s.check(); msg != "" {
			fail(s.key(), hint, "%s: %s", s.key(), msg)
		}
	})
}

// matchSpeech says whether the request's head is what the rule allows.
func (r *Rule) matchSpeech(c *cursor) bool { return r.speechWhy(c) == "" }

// speechWhy says why a request's head is not what the rule allows, "" if it is.
func (r *Rule) speechWhy(c *cursor) string {
	if r.speech == nil {
		return ""
	}
	c.read()
	for i := 0; i < c.n; i++ {
		if why := r.speech.head(c.r, c.readings[i]); why != "" {
			return why
		}
	}
	return ""
}

// byBody says whether a request whose head the rule allows is judged by its body.
func (r *Rule) byBody(c *cursor) bool { return r.speech != nil && r.speech.inBody(c.r) }

// readBodies are the rules that allow a request if its body is what they say. Those
// that could not add to what plain rules allow are left out, so that the body need
// not be read.
func (s *search) readBodies() []*Rule {
	if s.deny != nil || len(s.bodies) == 0 {
		return nil
	}
	if s.allow != nil && !slices.ContainsFunc(s.bodies, func(r *Rule) bool { return r.Dial != nil && r.Dial != s.dial }) {
		return nil
	}
	slices.SortFunc(s.bodies, func(a, b *Rule) int { return cmp.Compare(a.index, b.index) })
	return s.bodies
}

// reasonBody is for verdicts that wait for the body.
func reasonBody(list []*Rule) string {
	return list[0].Ref() + " allows it if its body is " + list[0].speech.key() + " as the rule says, which was not looked at"
}

// Settle is the verdict about a request whose body was read. v is Decide's, agreed
// are those of v.Bodies to which the body is what they say, and why is in words,
// printable, why the others do not agree, for a request that nothing allows.
func (p *Policy) Settle(v Verdict, r *hooks.Request, agreed []*Rule, why string) Verdict {
	rest := v.Bodies
	v.Bodies = nil
	for _, x := range agreed {
		if !slices.Contains(rest, x) {
			continue // nobody asked about it
		}
		if v.Action != hooks.Allow { // nobody is asked about what a rule allows
			v.Action, v.Rule, v.Dial = hooks.Allow, nil, p.static(&r.Target)
		}
		if v.Reason = reasonAllow; v.Rule == nil || x.index < v.Rule.index {
			v.Rule = x
		}
		if x.Dial != nil {
			v.Dial = p.join(v.Dial, x.Dial)
		}
	}
	if v.Action == hooks.Deny && v.Rule == nil && len(rest) > 0 {
		v.Reason = "no rule allows " + r.Protocol.String() + " to " + r.Target.String() + " with this body"
		if why != "" {
			v.Reason += "; " + rest[0].Ref() + " does not match: " + why
		}
	}
	return v
}

// contentType says whether the request has exactly one content type, and that
// one as it is or with parameters that are allowed.
func contentType(r *hooks.Request, is string) bool {
	v := r.Header["Content-Type"]
	return len(v) == 1 && strings.EqualFold(v[0], is)
}

// checkList checks a list of a speech: some entries, no two alike, each as ok says.
func checkList(key string, list []string, ok func(string) (msg, hint string)) (msg, hint string) {
	const most = 1000
	if list != nil && len(list) == 0 {
		return key + " is empty", "leave it out, or fill it"
	}
	if len(list) > most {
		return key + " has more than " + strconv.Itoa(most) + " entries", "write several rules"
	}
	for i, s := range list {
		if msg, hint := ok(s); msg != "" {
			return quote(s) + " in " + key + " " + msg, hint
		}
		if slices.Contains(list[:i], s) {
			return quote(s) + " is in " + key + " twice", "remove one of them"
		}
	}
	return "", ""
}

// badSegments says why s is no pattern of segments with slashes between, in which
// "*" stands for anything within a segment and "**" for any number of segments.
func badSegments(s string) (msg, hint string) {
	if s == "" || len(s) > 255 {
		return "is empty or longer than 255 bytes", ""
	}
	for _, seg := range strings.Split(s, "/") {
		switch {
		case seg == "":
			return "begins or ends with a slash, or has two in a row", "write " + quote(strings.Trim(s, "/"))
		case seg == "." || seg == "..":
			return "has dot segments", ""
		case strings.Contains(seg, "**") && seg != "**":
			return `has "**" within a segment`, `"**" stands for whole segments; "*" matches within one`
		}
		for i := range len(seg) {
			if c := seg[i]; !unreserved(c) && c != '*' && c != '@' && c != '+' && c != '=' && c != ',' {
				return "has a character that is not one of a-z A-Z 0-9 . _ ~ - @ + = , *", ""
			}
		}
	}
	return "", ""
}

// matchesAny says whether a name of segments matches one of the patterns.
func matchesAny(patterns []string, name string) bool {
	for _, p := range patterns {
		if matchPath("/"+p, "/"+name) {
			return true
		}
	}
	return false
}

// speechText collects the keys of a speech in YAML.
type speechText struct{ out []string }

func (t *speechText) list(key string, list []string) {
	if len(list) == 0 {
		return
	}
	q := make([]string, len(list))
	for i, s := range list {
		q[i] = yamlText(s)
	}
	t.out = append(t.out, key+": ["+strings.Join(q, ", ")+"]")
}

func (t *speechText) flag(key string, on bool) {
	if on {
		t.out = append(t.out, key+": true")
	}
}

func (t *speechText) size(key string, n int64) {
	if n > 0 {
		t.out = append(t.out, key+": "+sizeText(n))
	}
}

func (t *speechText) String() string { return "{" + strings.Join(t.out, ", ") + "}" }
