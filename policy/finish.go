package policy

import (
	"net/netip"
	"strconv"
	"strings"
)

// finishRule checks that a rule can be enforced and completes it. at says where
// a key stands, or the rule when it is not written.
func finishRule(r *Rule, inspect *bool, at func(key string) Source, errs *ErrorList) bool {
	before := len(errs.Errors)
	fail := func(key, hint, format string, args ...any) { errs.add(at(key), hint, format, args...) }
	finishSpeech(r, fail)
	r.looks = r.unseen() != ""
	hasHost := r.host.name != "" || r.host.wild
	switch {
	case hasHost && r.cidr.IsValid():
		fail("cidr", "write two rules: cidr is about literal addresses, host about names", "a rule has host or cidr, not both")
	case !hasHost && !r.cidr.IsValid():
		fail("", `write host: NAME, host: "*.NAME", host: "*" or cidr: RANGE`, "the rule has neither host nor cidr")
	}
	for key, empty := range map[string]bool{
		"ports": r.ports != nil && len(r.ports) == 0, "methods": r.methods != nil && len(r.methods) == 0,
		"paths": r.paths != nil && len(r.paths) == 0, "addresses": r.address != nil && len(r.address) == 0,
	} {
		if empty {
			fail(key, "leave it out, or fill it", "%s is empty", key)
		}
	}
	if inspect != nil {
		finishInspect(r, *inspect, fail)
	}
	if r.protocol&(bitTLS|bitTCP) != 0 && r.conditional() {
		key := r.unseen()
		fail(key, "remove "+key+", or let the rule be inspected (protocol http or https)",
			"%s can't be seen in %s", key, protocolText(r.protocol&(bitTLS|bitTCP)))
	}
	if r.pin != nil {
		finishPin(r, fail)
	}
	if r.budget != nil {
		finishBudget(r, fail)
	}
	if r.capture != nil {
		finishCapture(r, fail)
	}
	if r.Deny {
		if r.address != nil {
			fail("addresses", "addresses widens an allow rule", "addresses has no meaning in a deny rule")
		}
		if r.via != "" {
			fail("via", "what is denied goes no way", "via has no meaning in a deny rule")
		}
	} else {
		finishAllow(r, fail)
	}
	if len(errs.Errors) > before {
		return false
	}
	r.Dial = dialOf(r)
	if r.budget != nil {
		own := *r
		own.budget = nil
		r.budget.Ref, r.budget.Subject = r.Source.Ref(), r.Layer.String()+" "+ruleText(&own)
		r.budget.alone = []*Budget{r.budget}
	}
	r.Text = ruleText(r)
	return true
}

type failer func(key, hint, format string, args ...any)

func finishInspect(r *Rule, inspect bool, fail failer) {
	switch {
	case r.Deny:
		fail("inspect", "leave it out", "inspect has no meaning in a deny rule")
	case inspect && r.protocol&(bitTLS|bitTCP) != 0:
		fail("inspect", "leave it out, or use protocol: https", "%s is not inspected", protocolText(r.protocol&(bitTLS|bitTCP)))
	case inspect:
	case r.protocol&(bitHTTP|bitTCP) != 0:
		fail("inspect", "inspect: false is for TLS: write a rule of its own for "+protocolText(r.protocol&(bitHTTP|bitTCP)),
			"inspect: false does not go with protocol %s", protocolText(r.protocol))
	default:
		r.protocol = bitTLS
		if r.conditional() {
			key := r.unseen()
			// Said here, and not as "can't be seen in tls", because the file says inspect.
			fail(key, "remove "+key+", or remove inspect: false", "%s can't be seen with inspect: false", key)
			r.methods, r.paths, r.when, r.speech, r.looks = nil, nil, nil, nil, false
		}
	}
}

func finishAllow(r *Rule, fail failer) {
	if r.protocol&bitTCP != 0 && r.ports == nil {
		fail("protocol", "add ports, for example ports: [5432]", "protocol tcp needs ports")
	}
	switch r.host.name {
	case HostInternal:
		if r.host.wild {
			fail("host", "write host: "+HostInternal, "nothing is below %s", HostInternal)
		} else if r.ports == nil {
			fail("host", "add ports: every service of the host's loopback is opened by its port only", "host %s needs ports", HostInternal)
		}
		if r.address != nil {
			fail("addresses", "leave it out", "%s is always the host's loopback", HostInternal)
		}
		if r.via != "" {
			fail("via", "leave it out", "%s is never reached by an upstream", HostInternal)
		}
	case "localhost":
		fail("host", "a pen's localhost is its own and needs no rule; the host's is "+HostInternal, "a rule for localhost would never be used")
	}
	if c := r.cidr; c.IsValid() {
		switch a := c.Addr(); {
		case a.IsLoopback():
			fail("cidr", "a pen's loopback is its own and needs no rule; the host's is host: "+HostInternal, "a rule for %s would never be used", c)
		case a.IsMulticast() || a.IsUnspecified() && c.IsSingleIP():
			fail("cidr", "", "nothing can be reached at %s", c)
		}
	}
}

// special are the ranges that a public name or address is never in, largest
// first within a family. The dial guard refuses them unless a rule names them.
func special() []netip.Prefix {
	var out []netip.Prefix
	for _, s := range []string{"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16",
		"127.0.0.0/8", "198.18.0.0/15", "fc00::/7", "fe80::/10", "::1/128"} {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

// isSpecial says whether a range lies in one of them.
func isSpecial(c netip.Prefix) bool {
	for _, s := range special() {
		if within(c, s) {
			return true
		}
	}
	return false
}

// within says whether the range inner lies in the range outer.
func within(inner, outer netip.Prefix) bool {
	return outer.Bits() <= inner.Bits() && outer.Contains(inner.Addr())
}

// dialOf returns what a rule opens beside public addresses. A cidr that lies in
// a special range opens itself: whoever writes 10.20.0.0/16 means it. One that
// only includes such ranges (0.0.0.0/0) does not open them.
func dialOf(r *Rule) *Dial {
	if r.Deny {
		return nil
	}
	list := append([]netip.Prefix(nil), r.address...)
	if r.cidr.IsValid() && isSpecial(r.cidr) {
		list = append(list, r.cidr)
	}
	if r.host.name == HostInternal {
		list = append(list, netip.MustParsePrefix("127.0.0.1/32"), netip.MustParsePrefix("::1/128"))
	}
	if len(list) == 0 {
		return nil
	}
	return &Dial{Addresses: normalPrefixes(list)}
}

func protocolText(b protocols) string {
	var out []string
	for _, w := range protocolWords() {
		if b&protocolOf(w) != 0 {
			out = append(out, w)
		}
	}
	if len(out) == 1 {
		return out[0]
	}
	return "[" + strings.Join(out, ", ") + "]"
}

func (r portRange) String() string {
	if r.from == r.to {
		return utoa(r.from)
	}
	return strconv.Quote(utoa(r.from) + "-" + utoa(r.to))
}

// ruleText writes a rule on one line of YAML that parses to the same rule.
func ruleText(r *Rule) string {
	var b strings.Builder
	key := func(k, v string) {
		if b.Len() > 0 {
			b.WriteString(", ")
		}
		b.WriteString(k + ": " + v)
	}
	list := func(k string, n int, each func(int) string) {
		if n == 0 {
			return
		}
		out := make([]string, n)
		for i := range out {
			out[i] = each(i)
		}
		key(k, "["+strings.Join(out, ", ")+"]")
	}
	switch {
	case r.cidr.Addr().Is6(): // a colon needs quotes in a flow mapping
		key("cidr", strconv.Quote(r.cidr.String()))
	case r.cidr.IsValid():
		key("cidr", r.cidr.String())
	case r.host.wild:
		key("host", strconv.Quote(r.host.String()))
	default:
		key("host", yamlText(r.host.String()))
	}
	if r.protocol != 0 {
		key("protocol", protocolText(r.protocol))
	}
	list("ports", len(r.ports), func(i int) string { return r.ports[i].String() })
	list("methods", len(r.methods), func(i int) string { return r.methods[i] })
	list("paths", len(r.paths), func(i int) string { return quoteYAML(r.paths[i].text) })
	list("addresses", len(r.address), func(i int) string {
		if r.address[i].Addr().Is6() {
			return strconv.Quote(r.address[i].String())
		}
		return r.address[i].String()
	})
	if r.process != nil {
		key("process", r.process.String())
	}
	if r.pin != nil {
		key("pin", r.pin.String())
	}
	if r.budget != nil {
		key("budget", r.budget.String())
	}
	if r.capture != nil {
		key("capture", r.capture.String())
	}
	if r.when != nil {
		key("when", quoteYAML(r.when.text))
	}
	if r.speech != nil {
		key(r.speech.key(), r.speech.String())
	}
	if r.via != "" {
		key("via", yamlText(r.via))
	}
	return "{" + b.String() + "}"
}

// quoteYAML writes text as a double-quoted YAML scalar in ASCII: the escapes of
// QuoteToASCII are among those of YAML 1.2 section 5.7.
func quoteYAML(s string) string { return strconv.QuoteToASCII(s) }

// yamlText leaves a name bare when YAML reads it as text anyway.
func yamlText(s string) string {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '.' && i > 0 || (c == '-' || c == '_' || '0' <= c && c <= '9') && i > 0) {
			return quoteYAML(s)
		}
	}
	switch strings.ToLower(s) {
	case "", "null", "true", "false", "yes", "no", "on", "off", "y", "n":
		return quoteYAML(s)
	}
	return s
}
