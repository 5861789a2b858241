package profile

import (
	"strconv"
	"strings"
)

// Source is the file name under which Policy is parsed, and so stands in
// explanations and in the audit: "profile:claude".
func (p *Profile) Source() string { return "profile:" + p.Name }

// Policy returns the profile as a policy document, one grant on a line, so that
// each has a line to be explained by. State is not in it.
func (p *Profile) Policy() []byte {
	var b strings.Builder
	line := func(parts ...string) {
		for _, s := range parts {
			b.WriteString(s)
		}
		b.WriteByte('\n')
	}
	line("version: 1")
	if len(p.Pass)+len(p.Set) > 0 {
		line("environment:")
		if len(p.Pass) > 0 {
			line("  pass: ", list(p.Pass))
		}
		if len(p.Set) > 0 {
			line("  set:")
			for _, v := range p.Set {
				line("    ", v.Name, ": ", strconv.Quote(v.Value))
			}
		}
	}
	if len(p.Hosts) > 0 {
		line("egress:")
		line("  allow:")
		for _, h := range p.Hosts {
			// Port 443 by TLS only: a key must not be asked for in clear text.
			line("    - {host: ", strconv.Quote(h), ", protocol: https}")
		}
	}
	if len(p.Secrets) > 0 {
		line("secrets:")
		for _, s := range p.Secrets {
			prefix := ""
			if s.Prefix != "" {
				prefix = ", prefix: " + strconv.Quote(s.Prefix)
			}
			line("  - {name: ", s.Name, ", from: ", strconv.Quote("env:"+s.From), ", hosts: ", list(s.Hosts), ", header: ", strconv.Quote(s.Header), prefix, "}")
		}
	}
	return []byte(b.String())
}

func list(items []string) string {
	q := make([]string, len(items))
	for i, s := range items {
		q[i] = strconv.Quote(s)
	}
	return "[" + strings.Join(q, ", ") + "]"
}
