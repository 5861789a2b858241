package policy

import (
	"errors"
	"strings"

	"github.com/penstock/penstock/hooks"
)

// Signed is the rule of a signed answer, as a policy of its own: it says of which
// requests it is one. It widens nothing by itself: who holds it asks it only about
// what another policy has a person asked about.
type Signed struct {
	p    *Policy
	rule *Rule
}

// ParseSigned reads the text of a rule, which must be canonical, and of host or
// cidr, protocol, ports, methods, paths and process only. deny is what it says.
func ParseSigned(text string, deny bool) (*Signed, error) {
	list := "allow"
	if deny {
		list = "deny"
	}
	f, err := Parse("the token", CommandLine, []byte("version: 1\negress: {"+list+": ["+text+"]}\n"))
	if err != nil {
		return nil, err
	}
	if len(f.rules) != 1 || f.rules[0].Deny != deny {
		return nil, errors.New("it is not one rule")
	}
	r := f.rules[0]
	switch {
	case r.Text != text:
		return nil, errors.New("its rule is not written as " + r.Text)
	case r.pin != nil || r.budget != nil || r.capture != nil || r.when != nil || r.speech != nil || r.via != "" || r.address != nil:
		return nil, errors.New("its rule says more than host or cidr, protocol, ports, methods, paths and process")
	case r.process != nil && (r.process.exe[0] != '/' || r.process.sha256 != ""):
		return nil, errors.New("the process of its rule is not an absolute path alone")
	}
	s := &Signed{rule: r}
	return s, s.compile()
}

func (s *Signed) compile() (err error) {
	d := data{Rules: []*Rule{s.rule}}
	if s.rule.Deny {
		d.Default = Value[string]{V: "allow", Set: true}
	}
	s.p, err = compile(d)
	return err
}

// Text is the rule, on one line of YAML.
func (s *Signed) Text() string { return s.rule.Text }

// Loose says what is remarkable about the rule.
func (s *Signed) Loose() []string { return looseRule(s.rule) }

// Executable is the path that the rule's process has, "" for none.
func (s *Signed) Executable() string {
	if s.rule.process == nil {
		return ""
	}
	return s.rule.process.exe
}

// Resolve says which files the rule's process is. Until then such an allow is about
// nothing, and such a deny about every process.
func (s *Signed) Resolve(find Finder) error {
	rules, err := resolveRules([]*Rule{s.rule}, find)
	if err != nil {
		return err
	}
	s.rule = rules[0]
	return s.compile()
}

// About says whether the rule is about a request.
func (s *Signed) About(r *hooks.Request) bool {
	v := s.p.Decide(r)
	return v.Rule != nil && (v.Action == hooks.Deny) == s.rule.Deny && (v.Action == hooks.Allow) != s.rule.Deny
}

// SignedRule writes the text of a rule for ParseSigned: target is as with --allow
// and --deny, process an absolute path; what is empty is any.
func SignedRule(target string, methods, paths []string, process string, deny bool) (string, error) {
	in := Inline{Flag: "--allow", Value: target}
	if deny {
		in.Flag = "--deny"
	}
	var errs ErrorList
	r := inlineRule(in, Source{File: "--host " + target, Layer: CommandLine}, &errs)
	if err := errs.err(); err != nil {
		return "", err
	}
	text := strings.TrimSuffix(r.Text, "}")
	list := func(key string, values []string) {
		if len(values) > 0 {
			quoted := make([]string, len(values))
			for i, v := range values {
				quoted[i] = quoteYAML(v)
			}
			text += ", " + key + ": [" + strings.Join(quoted, ", ") + "]"
		}
	}
	list("methods", methods)
	list("paths", paths)
	if process != "" {
		text += ", process: {exe: " + quoteYAML(process) + "}"
	}
	f, err := Parse("the rule", CommandLine, []byte("version: 1\negress: {"+r.list()+": ["+text+"}]}\n"))
	if err != nil {
		return "", err
	}
	_, err = ParseSigned(f.rules[0].Text, deny)
	return f.rules[0].Text, err
}
