package policy

import (
	"iter"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// Origin is where a value is that is in no policy, of a secret, a proxy's password or a
// webhook's key, one of them: a variable of the host, the absolute path of a file, a
// systemd credential, an item of the user's keyring, or what a command writes that is
// executed outside the pen.
type Origin struct {
	Env        string   `json:"env,omitempty"`
	File       string   `json:"file,omitempty"`
	Credential string   `json:"credential,omitempty"`
	Keyring    string   `json:"keyring,omitempty"` // see KeyringItem
	Command    []string `json:"command,omitempty"`
	// Every is how often the command is executed, or the keyring read, 0 for once;
	// Expires how old its last good answer may become then, 0 for any age.
	Every   time.Duration `json:"every,omitempty"`
	Expires time.Duration `json:"expires,omitempty"`
}

// purpose is what an origin's value is for.
type purpose int

const (
	forSecret purpose = iota
	forProxy
	forHook
)

// words say what never stands in a policy, and what it belongs to.
func (u purpose) words() (value, owner string) {
	switch u {
	case forProxy:
		return "a proxy's password", "upstream"
	case forHook:
		return "a key", "hook"
	}
	return "a secret's value", "secret"
}

// origin reads env:NAME, file:PATH, credential:NAME, keyring:ITEM, {command: [...]} or
// {keyring: ITEM}.
func (p *parser) origin(n *yaml.Node, key string, use purpose) (o Origin) {
	value, owner := use.words()
	if n.Kind == yaml.MappingNode {
		seen := p.fields(n, key, p.originFields(&o, key, owner))
		p.checkOrigin(&o, n, key, seen)
		if at := seen["every"]; at != nil && use != forSecret {
			p.fail(at, "remove it", "%s.every is for secrets: %s is read when the session begins", key, value)
		}
		return o
	}
	v, ok := p.text(n, key)
	if !ok {
		return o
	}
	if name, ok := strings.CutPrefix(v, "env:"); ok {
		if !validEnv(name) {
			p.fail(n, "write env:NAME", "%s is not a name of a variable", quote(name))
		}
		o.Env = name
		return o
	}
	if path, ok := strings.CutPrefix(v, "file:"); ok {
		if msg, hint := badPath(path); msg != "" {
			p.fail(n, hint, "path %s %s", quote(path), msg)
		}
		o.File = path
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
		o.Keyring = p.keyringItem(n, item, key, owner, "keyring:")
		return o
	}
	// Not quoted: it may be the credential itself.
	p.fail(n, "write env:NAME, file:PATH, credential:NAME, keyring:ATTRIBUTE=VALUE or {command: [PROGRAM, ARGUMENT]}; "+value+" never stands in a policy",
		"%s is neither env:, file:, credential:, keyring: nor a command", key)
	return o
}

// keyringItem reads which item is meant; prefix is how it was begun.
func (p *parser) keyringItem(n *yaml.Node, s, key, owner, prefix string) string {
	i, msg := parseKeyringItem(s)
	switch {
	case !mayCommand(p.lay):
		p.fail(n, "declare the "+owner+" in your own policy", "a project's policy can't name what is in a keyring")
	case msg != "":
		p.fail(n, "write "+prefix+"ATTRIBUTE=VALUE,ATTRIBUTE=VALUE or "+prefix+"LABEL", "the item of %s %s", key, msg)
	}
	return i.String()
}

// originFields are the keys of a command, or of an item that is read again.
func (p *parser) originFields(o *Origin, key, owner string) []field {
	return []field{
		{"keyring", func(n *yaml.Node) {
			if s, ok := p.text(n, key+".keyring"); ok {
				o.Keyring = p.keyringItem(n, s, key, owner, "keyring: ")
			}
		}},
		{"command", func(n *yaml.Node) {
			p.list(n, key+".command", func(c *yaml.Node) {
				if v, ok := p.text(c, "an entry of "+key+".command"); ok {
					o.Command = append(o.Command, v)
				}
			})
			switch {
			case !mayCommand(p.lay):
				p.fail(n, "declare the "+owner+" in your own policy", "a project's policy can't have a command executed on the host")
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

func (p *parser) checkOrigin(o *Origin, n *yaml.Node, key string, seen map[string]*yaml.Node) {
	switch {
	case seen == nil:
	case seen["command"] == nil && seen["keyring"] == nil:
		p.fail(n, "for example {command: [pass, show, example/key]}", "%s has no command and no keyring", key)
	case seen["command"] != nil && seen["keyring"] != nil:
		p.fail(seen["keyring"], "remove one of them", "%s has both a command and a keyring", key)
	case o.Expires > 0 && o.Expires <= o.Every:
		p.fail(seen["expires"], "give it time for another try", "%s.expires is not longer than every", key)
	case o.Expires > 0 && seen["every"] == nil:
		p.fail(seen["expires"], "for example every: 10m", "%s.expires needs every: nothing would renew the value", key)
	}
}

// minEvery is how often a command can be executed, or a keyring read.
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
	case o.Keyring != "" && o.Every == 0:
		return quoteYAML("keyring:" + o.Keyring)
	case o.Keyring != "":
		return "{keyring: " + quoteYAML(o.Keyring) + o.timesText()
	case len(o.Command) > 0:
		args := make([]string, len(o.Command))
		for i, a := range o.Command {
			args[i] = quoteYAML(a)
		}
		return "{command: [" + strings.Join(args, ", ") + "]" + o.timesText()
	}
	return quoteYAML("env:" + o.Env)
}

// timesText ends a mapping.
func (o *Origin) timesText() (t string) {
	if o.Every > 0 {
		t = ", every: " + timeText(o.Every)
	}
	if o.Expires > 0 {
		t += ", expires: " + timeText(o.Expires)
	}
	return t + "}"
}

// set says whether there is one.
func (o *Origin) set() bool {
	return o.Env != "" || o.File != "" || o.Credential != "" || o.Keyring != "" || len(o.Command) > 0
}

// Words say where the value is, for a person.
func (o *Origin) Words() string {
	switch {
	case o.Env != "":
		return "variable " + o.Env
	case o.File != "":
		return "file " + printable(o.File)
	case o.Credential != "":
		return "credential " + o.Credential
	case o.Keyring != "":
		return "item " + printable(o.Keyring) + " of the keyring"
	case len(o.Command) > 0:
		return "command " + printable(o.Command[0])
	}
	return "no source"
}

// validOnce says whether an origin is one of a proxy's password or a key: read once. Its
// file need not be absolute yet.
func (o *Origin) validOnce(l Layer) bool {
	own := *o
	if own.File != "" && !strings.ContainsAny(own.File, "\x00\n\r") {
		own.File = "/"
	}
	return o.Every == 0 && own.valid(l)
}

// valid says whether an origin is as the parser makes it for a file of that layer.
func (o *Origin) valid(l Layer) bool {
	n := 0
	for _, is := range []bool{o.Env != "", o.File != "", o.Credential != "", o.Keyring != "", len(o.Command) > 0} {
		if is {
			n++
		}
	}
	times := o.Every == 0 && o.Expires == 0 || (len(o.Command) > 0 || o.Keyring != "") && o.Every >= minEvery && (o.Expires == 0 || o.Expires > o.Every)
	return n == 1 && times && (o.Env == "" || validEnv(o.Env)) && (o.File == "" || plainPath(o.File)) &&
		(o.Credential == "" || validCredential(o.Credential)) &&
		(o.Keyring == "" || validKeyring(o.Keyring) && mayCommand(l)) &&
		(len(o.Command) == 0 || validCommand(o.Command) && mayCommand(l))
}
