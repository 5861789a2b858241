package darwin

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// A small reader of the profile language and what its rules mean, written from what is
// known of it and not from the code that writes profiles. It knows the forms that a
// profile of ours may have and nothing else.

// node is an atom (Text, with its kind) or a list.
type node struct {
	kind byte // 'a' atom, 's' string, 'r' raw string of a regular expression, 'l' list
	text string
	list []node
}

// read takes a whole profile apart.
func read(src string) ([]node, error) {
	r := &reader{src: src}
	var out []node
	for {
		r.space()
		if r.at == len(r.src) {
			return out, nil
		}
		n, err := r.node(0)
		if err != nil {
			return nil, fmt.Errorf("offset %d: %w", r.at, err)
		}
		if n.kind != 'l' {
			return nil, fmt.Errorf("offset %d: %q outside of a list", r.at, n.text)
		}
		out = append(out, n)
	}
}

type reader struct {
	src string
	at  int
}

func (r *reader) space() {
	for r.at < len(r.src) && strings.IndexByte(" \n", r.src[r.at]) >= 0 {
		r.at++
	}
}

func (r *reader) node(depth int) (node, error) {
	if depth > 4 {
		return node{}, fmt.Errorf("too deep")
	}
	r.space()
	switch {
	case r.at == len(r.src):
		return node{}, fmt.Errorf("it ends in a list")
	case r.src[r.at] == '(':
		r.at++
		n := node{kind: 'l'}
		for {
			r.space()
			if r.at < len(r.src) && r.src[r.at] == ')' {
				r.at++
				return n, nil
			}
			c, err := r.node(depth + 1)
			if err != nil {
				return node{}, err
			}
			n.list = append(n.list, c)
		}
	case r.src[r.at] == '"':
		r.at++
		var b strings.Builder
		for ; r.at < len(r.src); r.at++ {
			switch c := r.src[r.at]; {
			case c == '"':
				r.at++
				return node{kind: 's', text: b.String()}, nil
			case c == '\\':
				// Before another character a backslash has a meaning that versions of the
				// interpreter differ in.
				if r.at++; r.at == len(r.src) || r.src[r.at] != '"' && r.src[r.at] != '\\' {
					return node{}, fmt.Errorf("unknown escape")
				}
				b.WriteByte(r.src[r.at])
			case c < ' ' || c == 0x7f:
				return node{}, fmt.Errorf("control character %#x in a string", c)
			default:
				b.WriteByte(c)
			}
		}
		return node{}, fmt.Errorf("a string does not end")
	case strings.HasPrefix(r.src[r.at:], `#"`):
		end := strings.IndexByte(r.src[r.at+2:], '"')
		if end < 0 {
			return node{}, fmt.Errorf("an expression does not end")
		}
		n := node{kind: 'r', text: r.src[r.at+2 : r.at+2+end]}
		r.at += end + 3
		return n, nil
	}
	begin := r.at
	for r.at < len(r.src) && (strings.IndexByte("-*/.", r.src[r.at]) >= 0 || 'a' <= r.src[r.at] && r.src[r.at] <= 'z' || '0' <= r.src[r.at] && r.src[r.at] <= '9') {
		r.at++
	}
	if r.at == begin {
		return node{}, fmt.Errorf("unexpected %q", r.src[r.at])
	}
	return node{kind: 'a', text: r.src[begin:r.at]}, nil
}

// families are the operations that profiles of ours may name, and what each stands for.
// Those that none may name are here too: asking about one is denied by default.
func families() map[string][]string {
	return map[string][]string{
		"file-read*":          {"file-read-data", "file-read-metadata", "file-read-xattr"},
		"file-write*":         {"file-write-data", "file-write-create", "file-write-unlink", "file-write-mode", "file-write-owner", "file-write-flags", "file-write-times", "file-write-setugid", "file-write-xattr"},
		"process-exec*":       {"process-exec", "process-exec-interpreter"},
		"process-info*":       {"process-info-pidinfo", "process-info-setcontrol"},
		"file-map-executable": nil, "file-ioctl": nil, "process-fork": nil, "signal": nil, "sysctl-read": nil, "mach-lookup": nil,
		"network-outbound": nil, "pseudo-tty": nil, "file-read-metadata": nil, "file-write-create": nil, "file-write-unlink": nil, "file-write-data": nil, "file-write-setugid": nil,
	}
}

// asked is one question to a profile.
type asked struct {
	op        string
	path      string
	remote    string // "tcp localhost:80", "udp …", "unix …"
	target    string // "self", "same-sandbox", "others"
	service   string
	sysctl    string
	extension string
}

type sbplRule struct {
	deny   bool
	ops    []string
	family []string           // that the ops stand for
	any    []func(asked) bool // none: always
}

// profile is a profile that was read.
type profile struct{ rules []sbplRule }

// parse reads a profile strictly: known forms, operations and filters only.
func parse(src string) (*profile, error) {
	forms, err := read(src)
	if err != nil {
		return nil, err
	}
	if len(forms) < 2 || !words(forms[0], "version", "1") || !words(forms[1], "deny", "default") {
		return nil, fmt.Errorf("it does not begin with its version and a denial")
	}
	p := &profile{}
	known := families()
	for _, f := range forms[2:] {
		if len(f.list) < 2 || f.list[0].kind != 'a' || f.list[0].text != "allow" && f.list[0].text != "deny" {
			return nil, fmt.Errorf("neither allow nor deny: %+v", f)
		}
		r := sbplRule{deny: f.list[0].text == "deny"}
		rest := f.list[1:]
		for len(rest) > 0 && rest[0].kind == 'a' {
			if _, ok := known[rest[0].text]; !ok {
				return nil, fmt.Errorf("unknown operation %q", rest[0].text)
			}
			r.ops = append(r.ops, rest[0].text)
			r.family = append(r.family, known[rest[0].text]...)
			rest = rest[1:]
		}
		for _, n := range rest {
			m, err := matcher(n)
			if err != nil {
				return nil, err
			}
			r.any = append(r.any, m)
		}
		unfiltered := len(r.any) == 0
		if len(r.ops) == 0 || unfiltered && !r.deny && (len(r.ops) != 1 || r.ops[0] != "process-fork" && r.ops[0] != "pseudo-tty") {
			return nil, fmt.Errorf("a rule for everything: %+v", f)
		}
		p.rules = append(p.rules, r)
	}
	return p, nil
}

func words(n node, want ...string) bool {
	return n.kind == 'l' && slices.EqualFunc(n.list, want, func(c node, w string) bool { return c.kind == 'a' && c.text == w })
}

func matcher(n node) (func(asked) bool, error) {
	if n.kind != 'l' || len(n.list) < 2 || n.list[0].kind != 'a' {
		return nil, fmt.Errorf("no filter: %+v", n)
	}
	name, args := n.list[0].text, n.list[1:]
	one := func(kind byte) bool { return len(args) == 1 && args[0].kind == kind }
	switch {
	case (name == "literal" || name == "subpath") && one('s'):
		at := args[0].text
		if !strings.HasPrefix(at, "/") || len(at) > 1 && strings.HasSuffix(at, "/") || len(at) > 1023 || at == "/" && name == "subpath" {
			return nil, fmt.Errorf("path %q", at)
		}
		tree := name == "subpath"
		return func(a asked) bool { return a.path == at || tree && strings.HasPrefix(a.path, at+"/") }, nil
	case name == "regex" && one('r'):
		x, err := regexp.Compile(args[0].text)
		if err != nil || !strings.HasPrefix(args[0].text, "^") || !strings.HasSuffix(args[0].text, "$") {
			return nil, fmt.Errorf("expression %q: %v", args[0].text, err)
		}
		return func(a asked) bool { return x.MatchString(a.path) }, nil
	case name == "extension" && one('s'):
		return func(a asked) bool { return a.extension == args[0].text }, nil
	case name == "global-name" && one('s'):
		return func(a asked) bool { return a.service == args[0].text }, nil
	case name == "sysctl-name" && one('s'):
		return func(a asked) bool { return a.sysctl == args[0].text }, nil
	case name == "target" && one('a') && args[0].text == "same-sandbox":
		return func(a asked) bool { return a.target == "same-sandbox" || a.target == "self" }, nil
	case name == "remote" && len(args) == 2 && args[0].kind == 'a' && args[0].text == "tcp" && args[1].kind == 's':
		if !regexp.MustCompile(`^localhost:[1-9][0-9]{0,4}$`).MatchString(args[1].text) {
			return nil, fmt.Errorf("remote %q", args[1].text)
		}
		return func(a asked) bool { return a.remote == "tcp "+args[1].text }, nil
	case name == "require-all" && len(args) > 1:
		var all []func(asked) bool
		for _, c := range args {
			m, err := matcher(c)
			if err != nil {
				return nil, err
			}
			all = append(all, m)
		}
		return func(a asked) bool {
			return !slices.ContainsFunc(all, func(m func(asked) bool) bool { return !m(a) })
		}, nil
	}
	return nil, fmt.Errorf("unknown filter %+v", n)
}

func (r *sbplRule) about(a asked) bool {
	return len(r.any) == 0 || slices.ContainsFunc(r.any, func(m func(asked) bool) bool { return m(a) })
}

func (r *sbplRule) names(op string) bool {
	return slices.Contains(r.ops, op) || slices.Contains(r.family, op)
}

// lastMatch: of all rules that name the operation or its family, the last one.
func (p *profile) lastMatch(a asked) bool {
	for _, r := range slices.Backward(p.rules) {
		if r.names(a.op) && r.about(a) {
			return !r.deny
		}
	}
	return false
}

// exactFirst: rules that name the operation itself go before those of its family.
func (p *profile) exactFirst(a asked) bool {
	for _, exact := range []bool{true, false} {
		for _, r := range slices.Backward(p.rules) {
			names := r.family
			if exact {
				names = r.ops
			}
			if slices.Contains(names, a.op) && r.about(a) {
				return !r.deny
			}
		}
	}
	return false
}

// allows answers by both readings; they have to agree.
func (p *profile) allows(a asked) (bool, error) {
	last, exact := p.lastMatch(a), p.exactFirst(a)
	if last != exact {
		return false, fmt.Errorf("%+v: by the last rule %t, by the exact one %t", a, last, exact)
	}
	return last, nil
}
