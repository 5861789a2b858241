package policy

import (
	"iter"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// Origin is where a value of a secret is, one of them: a variable of the host, the
// absolute path of a file, a systemd credential, an item of the user's keyring, or what
// a command writes that is executed outside the pen.
type Origin struct {
	Env        string   `json:"env,omitempty"`
	File       string   `json:"file,omitempty"`
	Credential string   `json:"credential,omitempty"`
	Keyring    string   `json:"keyring,omitempty"` // see KeyringItem
	Command    []string `json:"command,omitempty"`
	// Every is how often the command is executed, 0 for once; Expires how old its
	// last good answer may become then, 0 for any age.
	Every   time.Duration `json:"every,omitempty"`
	Expires time.Duration `json:"expires,omitempty"`
}

// originHint says what an origin can be.
const originHint = "write env:NAME, file:PATH, credential:NAME, keyring:ATTRIBUTE=VALUE or {command: [PROGRAM, ARGUMENT]}; a secret's value never stands in a policy"

// origin reads env:NAME, file:PATH, credential:NAME, keyring:ITEM or {command: [...]}.
func (p *parser) origin(n *yaml.Node, key string) (o Origin) {
	if n.Kind == yaml.MappingNode {
		seen := p.fields(n, key, p.commandFields(&o, key))
		p.checkCommand(&o, n, key, seen)
		return o
	}
	v, ok := p.text(n, key)
	if !ok {
		return o
	}
	if strings.HasPrefix(v, "env:") || strings.HasPrefix(v, "file:") {
		o.Env, o.File = p.valueFrom(n, key, "a secret's value")
		return o
	}
	if name, ok := strings.CutPrefix(v, "credential:"); ok {
		if !validCredential(name) {
			p.fail(n, "write credential:NAME", "%s is not a name of a credential", quote(name))
		}
		o.Credential = name
		return o
	}
	if item, ok := strings.CutPrefix(v, "keyring:"); ok {
		i, msg := parseKeyringItem(item)
		switch {
		case !mayCommand(p.lay):
			p.fail(n, "declare the secret in your own policy", "a project's policy can't name what is in a keyring")
		case msg != "":
			p.fail(n, "write keyring:ATTRIBUTE=VALUE,ATTRIBUTE=VALUE or keyring:LABEL", "the item of %s %s", key, msg)
		}
		o.Keyring = i.String()
		return o
	}
	// Not quoted: it may be the credential itself.
	p.fail(n, originHint, "%s is neither env:, file:, credential:, keyring: nor a command", key)
	return o
}

// commandFields are the keys of a command.
func (p *parser) commandFields(o *Origin, key string) []field {
	return []field{
		{"command", func(n *yaml.Node) {
			p.list(n, key+".command", func(c *yaml.Node) {
				if v, ok := p.text(c, "an entry of "+key+".command"); ok {
					o.Command = append(o.Command, v)
				}
			})
			switch {
			case !mayCommand(p.lay):
				p.fail(n, "declare the secret in your own policy", "a project's policy can't have a command executed on the host")
			case !validCommand(o.Command):
				p.fail(n, "for example command: [pass, show, example/key]", "%s.command is not a program, by name or absolute path, and its arguments", key)
			}
		}},
		{"every", func(n *yaml.Node) {
			if d, ok := p.duration(n, key+".every"); ok {
				if o.Every = d; d < minEvery {
					p.fail(n, "for example every: 10m", "%s.every is less than %s", key, minEvery)
				}
			}
		}},
		{"expires", func(n *yaml.Node) { o.Expires, _ = p.duration(n, key+".expires") }},
	}
}

func (p *parser) checkCommand(o *Origin, n *yaml.Node, key string, seen map[string]*yaml.Node) {
	switch {
	case seen == nil:
	case seen["command"] == nil:
		p.fail(n, "for example {command: [pass, show, example/key]}", "%s has no command", key)
	case o.Expires > 0 && o.Expires <= o.Every:
		p.fail(seen["expires"], "give it time for another try", "%s.expires is not longer than every", key)
	case o.Expires > 0 && seen["every"] == nil:
		p.fail(seen["expires"], "for example every: 10m", "%s.expires needs every: nothing would renew the value", key)
	}
}

// minEvery is how often a command can be executed.
const minEvery = time.Second

// mayCommand says whose file may have a command executed outside the pen, or a keyring
// asked: that of a person who would do so anyway.
func mayCommand(l Layer) bool { return l == System || l == User || l == CommandLine }

// validCredential says whether s can name a file in $CREDENTIALS_DIRECTORY, see
// systemd.exec(5).
func validCredential(s string) bool {
	return s != "" && len(s) <= 255 && isPrintableASCII(s) && !strings.ContainsAny(s, "/\\ ") && s[0] != '.'
}

// validCommand says whether argv is a program by name or absolute path, with
// arguments.
func validCommand(argv []string) bool {
	ok := len(argv) > 0 && len(argv) <= 64 && argv[0] != "" && (!strings.Contains(argv[0], "/") || strings.HasPrefix(argv[0], "/"))
	for _, a := range argv {
		ok = ok && len(a) <= 4096 && !strings.ContainsAny(a, "\x00\n\r")
	}
	return ok
}

// Origins yields where the secret's values are, by the names that package secrets
// gives them.
func (s *Secret) Origins() iter.Seq2[string, *Origin] {
	return func(yield func(string, *Origin) bool) {
		switch {
		case s.Fetched():
		case s.AWS != nil:
			if !yield(s.Name, &s.AWS.AccessKey) {
				return
			}
		default:
			yield(s.Name, &s.Origin)
			return
		}
		for part, o := range s.Parts() {
			if !yield(s.Name+"."+part, o) {
				return
			}
		}
	}
}

// text is an origin in YAML.
func (o *Origin) text() string {
	switch {
	case o.File != "":
		return quoteYAML("file:" + o.File)
	case o.Credential != "":
		return quoteYAML("credential:" + o.Credential)
	case o.Keyring != "":
		return quoteYAML("keyring:" + o.Keyring)
	case len(o.Command) > 0:
		args := make([]string, len(o.Command))
		for i, a := range o.Command {
			args[i] = quoteYAML(a)
		}
		t := "{command: [" + strings.Join(args, ", ") + "]"
		if o.Every > 0 {
			t += ", every: " + timeText(o.Every)
		}
		if o.Expires > 0 {
			t += ", expires: " + timeText(o.Expires)
		}
		return t + "}"
	}
	return quoteYAML("env:" + o.Env)
}

// valid says whether an origin is as the parser makes it for a file of that layer.
func (o *Origin) valid(l Layer) bool {
	n := 0
	for _, is := range []bool{o.Env != "", o.File != "", o.Credential != "", o.Keyring != "", len(o.Command) > 0} {
		if is {
			n++
		}
	}
	times := o.Every == 0 && o.Expires == 0 || len(o.Command) > 0 && o.Every >= minEvery && (o.Expires == 0 || o.Expires > o.Every)
	return n == 1 && times && (o.Env == "" || validEnv(o.Env)) && (o.File == "" || plainPath(o.File)) &&
		(o.Credential == "" || validCredential(o.Credential)) &&
		(o.Keyring == "" || validKeyring(o.Keyring) && mayCommand(l)) &&
		(len(o.Command) == 0 || validCommand(o.Command) && mayCommand(l))
}
