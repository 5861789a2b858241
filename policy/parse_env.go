package policy

import (
	"net/http"
	"strings"

	"go.yaml.in/yaml/v3"
)

func (p *parser) environment(f *File, n *yaml.Node) {
	p.fields(n, "environment", []field{
		{"pass", func(n *yaml.Node) {
			p.texts(n, "environment.pass", func(c *yaml.Node, s string) {
				name := strings.TrimSuffix(s, "*")
				if s != "*" && !validEnv(name) {
					p.fail(c, `write a name, or a prefix and * as in "LC_*"`, "%s is not a name of a variable", quote(s))
					return
				}
				f.env.Pass = append(f.env.Pass, EnvPattern{Pattern: s, From: p.at(c)})
				if w, ok := passWarning(p.at(c), s); ok {
					f.warnings = append(f.warnings, w)
				}
			})
		}},
		{"set", func(n *yaml.Node) { p.environmentSet(f, n) }},
		{"proxy_variables", func(n *yaml.Node) {
			v, ok := p.boolean(n, "environment.proxy_variables")
			set(p, &f.env.Proxy, n, v, ok)
		}},
	})
}

// passWarning says what usually is a mistake: a credential handed to the pen.
func passWarning(at Source, s string) (Warning, bool) {
	if s == "*" {
		return Warning{at, "the whole environment, with whatever credentials are in it, is passed to the pen", true}, true
	}
	if at.Line == 0 {
		return Warning{}, false // who types a name means it; the supervisor says it of what is set
	}
	up := strings.ToUpper(s)
	for _, w := range []string{"TOKEN", "SECRET", "PASSWORD", "PASSWD", "API_KEY", "APIKEY", "CREDENTIAL", "PRIVATE_KEY", "SSH_AUTH_SOCK", "ACCESS_KEY"} {
		if strings.Contains(up, w) {
			return Warning{at, s + " looks like a credential and is passed to the pen as it is: secrets: would keep it outside", true}, true
		}
	}
	return Warning{}, false
}

func (p *parser) environmentSet(f *File, n *yaml.Node) {
	if n.Kind != yaml.MappingNode {
		p.fail(n, "write {NAME: value}", "environment.set must be a mapping, not %s", kind(n))
		return
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		if k.Kind != yaml.ScalarNode || !validEnv(k.Value) {
			p.fail(k, "letters, digits and _, not beginning with a digit", "%s is not a name of a variable", kind(k))
			continue
		}
		if line, ok := seen[k.Value]; ok {
			p.fail(k, "remove one of them", "variable %s is here twice, first at line %d", k.Value, line)
			continue
		}
		seen[k.Value] = k.Line
		if v.Kind != yaml.ScalarNode || v.Tag != "!!str" {
			hint := "put it in quotes"
			if v.Kind == yaml.ScalarNode {
				hint += ": " + quote(v.Value)
			}
			p.fail(v, hint, "the value of %s must be text, not %s", k.Value, kind(v))
			continue
		}
		if strings.ContainsRune(v.Value, 0) {
			p.fail(v, "", "the value of %s has a NUL", k.Value)
			continue
		}
		f.env.Set = append(f.env.Set, EnvValue{Name: k.Value, Value: v.Value, From: p.at(k)})
	}
}

// validEnv is the portable form of IEEE Std 1003.1 section 8.1, with lower case.
func validEnv(s string) bool {
	if s == "" || len(s) > 256 || '0' <= s[0] && s[0] <= '9' {
		return false
	}
	for i := 0; i < len(s); i++ {
		c := s[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_') {
			return false
		}
	}
	return true
}

// badHeader says why a header can't carry a secret: it is no field name (RFC
// 9110 section 5.1), or it frames or routes the message.
func badHeader(s string) (msg, hint string) {
	if !isFieldName(s) {
		return "is not the name of a header", "write only the name, for example x-api-key"
	}
	switch k := http.CanonicalHeaderKey(s); k {
	case "Host", "Content-Length", "Transfer-Encoding", "Connection", "Keep-Alive", "Upgrade", "Te", "Trailer",
		"Expect", "Content-Type", "Content-Encoding", "Via", "Forwarded", "Location":
		return "frames or routes a message", "use the header in which the service takes its key"
	default:
		if strings.HasPrefix(k, "Proxy-") || strings.HasPrefix(k, "Sec-") {
			return "frames or routes a message", "use the header in which the service takes its key"
		}
	}
	return "", ""
}

func isFieldName(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0) {
			return false
		}
	}
	return s != "" && len(s) <= 128
}

func isPrintableASCII(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < 0x20 || s[i] >= 0x7f {
			return false
		}
	}
	return true
}

// badPath says why a path of the file system can't be used.
func badPath(s string) (msg, hint string) {
	switch {
	case s == "":
		return "is empty", `write "." for the work directory`
	case len(s) > 4096:
		return "is longer than 4096 bytes", ""
	case strings.ContainsAny(s, "\x00\n\r"):
		return "has a control character", ""
	case strings.HasPrefix(s, "~") && s != "~" && !strings.HasPrefix(s, "~/"):
		return "names another user's home", "write it as an absolute path"
	case strings.ContainsAny(s, "*?["):
		return "has a wildcard", "name directories: all below them is included"
	case strings.HasPrefix(s, "$"):
		return "has a variable", "write ~/ for the home directory, or an absolute path"
	}
	return "", ""
}
