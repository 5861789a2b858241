package policy

import (
	"net/netip"
	"slices"
	"strings"
)

// InlineFlags returns the flags that Inline understands.
func InlineFlags() []string {
	return []string{"--allow", "--deny", "--write", "--read", "--hide", "--env", "--add-host", "--ca", "--upstream", "--mode", "--sandbox"}
}

// parseInline makes a file of the command line's flags, nil if there are none.
func parseInline(flags []Inline, errs *ErrorList) *File {
	if len(flags) == 0 {
		return nil
	}
	f := &File{Name: "command line", Layer: CommandLine}
	for _, in := range flags {
		at := Source{File: in.Flag + " " + in.Value, Layer: CommandLine}
		fail := func(hint, format string, args ...any) { errs.add(at, hint, format, args...) }
		grant := func(to *[]PathGrant) {
			if msg, hint := badPath(in.Value); msg != "" {
				fail(hint, "the path %s", msg)
				return
			}
			*to = append(*to, PathGrant{Given: in.Value, From: at})
		}
		switch in.Flag {
		case "--allow", "--deny":
			if r := inlineRule(in, at, errs); r != nil {
				f.rules = append(f.rules, r)
			}
		case "--write":
			grant(&f.fs.Write)
		case "--read":
			grant(&f.fs.Read)
		case "--hide":
			grant(&f.fs.Hide)
		case "--ca":
			grant(&f.ca)
		case "--env":
			inlineEnv(f, in.Value, at, errs)
		case "--add-host":
			name, addr, ok := strings.Cut(in.Value, ":")
			if !ok {
				fail("write NAME:ADDRESS", "there is no address")
				continue
			}
			e, msg, hint := hostEntry(name, strings.Trim(addr, "[]"))
			if msg != "" {
				if hint == "" {
					hint = "write NAME:ADDRESS"
				}
				fail(hint, "%s", msg)
				continue
			}
			e.From = at
			f.hosts = append(f.hosts, e)
		case "--upstream":
			_, _, canonical, msg, hint := parseProxy(in.Value)
			switch {
			case msg != "":
				at.File = "--upstream" // the value may hold a password
				fail(hint, "the URL %s", msg)
			case f.via.Set:
				fail("name several proxies under urls: of an upstream in a policy file", "there are two")
			default:
				f.upstreams = append(f.upstreams, Upstream{Name: "command-line", URLs: []string{canonical}, From: at})
				f.via = Value[string]{"command-line", at, true}
			}
		case "--mode":
			words := []string{string(Enforce), string(asking), string(Audit)}
			if !slices.Contains(words, in.Value) {
				fail(hintWords(in.Value, words), "mode %s is unknown", quote(in.Value))
				continue
			}
			f.mode = Value[string]{in.Value, at, true}
		case "--sandbox":
			if !slices.Contains(tiers(), in.Value) {
				fail(hintWords(in.Value, tiers()), "tier %s is unknown", quote(in.Value))
				continue
			}
			f.sandbox.Tier = Value[string]{in.Value, at, true}
		default:
			fail("", "flag %s is not about policy", quote(in.Flag))
		}
	}
	return f
}

// inlineEnv reads NAME (pass it) or NAME=VALUE (set it).
func inlineEnv(f *File, v string, at Source, errs *ErrorList) {
	name, value, isSet := strings.Cut(v, "=")
	if isSet {
		// The value may be private and the source is shown in places.
		at.File = "--env " + name
	}
	if !isSet && v == "*" {
		f.env.Pass = append(f.env.Pass, EnvPattern{v, at})
		w, _ := passWarning(at, v)
		f.warnings = append(f.warnings, w)
		return
	}
	if !validEnv(strings.TrimSuffix(name, "*")) || isSet && !validEnv(name) || strings.ContainsRune(value, 0) {
		errs.add(at, "write NAME or NAME=VALUE", "%s is not a name of a variable", quote(name))
		return
	}
	if isSet {
		f.env.Set = append(f.env.Set, EnvValue{name, value, at})
	} else {
		f.env.Pass = append(f.env.Pass, EnvPattern{v, at})
	}
}

// looksLikeRange says whether ADDRESS/BITS was meant, so that a wrong length is
// an error and not a path: --deny 10.1.2.3/8 would deny nearly nothing.
func looksLikeRange(s string) bool {
	addr, bits, ok := strings.Cut(strings.Trim(s, "[]"), "/")
	if !ok || strings.Trim(bits, "0123456789") != "" {
		return false
	}
	_, err := netip.ParseAddr(strings.Trim(addr, "[]"))
	return err == nil && bits != ""
}

// inlineRule reads [SCHEME://]HOST[:PORT][/PATH] with the host pattern, address
// or range of a rule. Without a scheme it is http and https; tcp:// needs a port.
func inlineRule(in Inline, at Source, errs *ErrorList) *Rule {
	r := &Rule{Source: at, Deny: in.Flag == "--deny"}
	fail := func(hint, format string, args ...any) *Rule {
		errs.add(at, hint, format, args...)
		return nil
	}
	rest := in.Value
	if i := strings.Index(rest, "://"); i >= 0 {
		word := lower(rest[:i])
		if r.protocol = protocolOf(word); r.protocol == 0 {
			return fail(hintWords(word, protocolWords()), "scheme %s is unknown", quote(word))
		}
		rest = rest[i+3:]
	}
	if c, e := parseCIDR(strings.Trim(rest, "[]")); e == nil {
		r.cidr, rest = c, ""
	} else if looksLikeRange(rest) {
		return fail(e.hint, "%s", e.msg)
	} else if i := strings.IndexByte(rest, '/'); i >= 0 {
		path := rest[i:]
		rest = rest[:i]
		if path != "/" {
			pat, e := parsePathPattern(path)
			if e != nil {
				return fail(e.hint, "%s", e.msg)
			}
			r.paths = []pathPattern{pat}
		}
	}
	if rest != "" {
		if i := strings.LastIndexByte(rest, ':'); i >= 0 && strings.Count(rest, ":") == 1 || i > 0 && rest[i-1] == ']' {
			p, ok := parsePorts(rest[i+1:])
			if !ok {
				return fail("for example --allow example.com:8443", "port %s is not a number from 1 to 65535", quote(rest[i+1:]))
			}
			r.ports, rest = []portRange{p}, rest[:i]
		}
		if a, err := netip.ParseAddr(strings.Trim(rest, "[]")); err == nil {
			c, e := parseCIDR(a.String())
			if e != nil {
				return fail(e.hint, "%s", e.msg)
			}
			r.cidr = c
		} else {
			h, err := parseHostPattern(rest)
			if err != nil {
				pe := err.(*patternError)
				return fail("write HOST[:PORT], for example --allow api.example.com", "%s", pe.msg)
			}
			r.host = h
		}
	}
	if !finishRule(r, nil, func(string) Source { return at }, errs) {
		return nil
	}
	return r
}
