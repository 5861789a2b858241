package config

import (
	"path"
	"slices"
	"sort"
	"strings"
)

// EnvOverride is one --env flag.
type EnvOverride struct {
	Name  string
	Value string
	Pass  bool // take the value from the caller's environment
}

// ParseEnv parses NAME or NAME=VALUE.
func ParseEnv(s string) (EnvOverride, error) {
	name, value, set := strings.Cut(s, "=")
	if !validName(name) {
		return EnvOverride{}, &FlagError{Flag: "--env", Value: s, Why: "not a variable name", Fix: "use NAME to pass a variable, NAME=VALUE to set one"}
	}
	return EnvOverride{Name: name, Value: value, Pass: !set}, nil
}

func validName(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c != '_' && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return s != ""
}

// passed names the caller's variables that enter every pen: what a program
// needs to behave as in the caller's terminal, and nothing that can be a
// credential or a path to a host service.
func passed(name string) bool {
	switch name {
	case "PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TERM", "COLORTERM", "TERM_PROGRAM",
		"NO_COLOR", "FORCE_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "COLUMNS", "LINES",
		"EDITOR", "VISUAL", "PAGER", "LESS", "CI",
		"GOROOT", "GOPATH", "GOFLAGS", "JAVA_HOME", "VIRTUAL_ENV", "NVM_DIR", "PYENV_ROOT", "CARGO_HOME", "RUSTUP_HOME":
		return true
	}
	return strings.HasPrefix(name, "LC_")
}

// EnvInput is all that decides the pen's environment.
type EnvInput struct {
	Host      []string          // the caller's, NAME=value
	Pass      []string          // policy: names or patterns
	Set       map[string]string // policy
	Overrides []EnvOverride     // command line
	Trust     []string          // certificate variables, NAME=value
	Proxy     []string          // proxy variables, NAME=value
	Secrets   map[string]string // name to placeholder
}

// Environment returns the pen's environment, sorted, and the names of the
// caller's variables that were left out. Later sources win: the host's
// allow-list, policy, command line, then what Penstock itself must set, and the
// placeholders of secrets over everything, so that no other source can put a
// real credential under a secret's name.
func Environment(in EnvInput) (env, withheld []string) {
	vars := map[string]string{}
	put := func(kv []string) {
		for _, e := range kv {
			if k, v, ok := strings.Cut(e, "="); ok {
				vars[k] = v
			}
		}
	}
	for _, e := range in.Host {
		k, v, ok := strings.Cut(e, "=")
		if !ok || k == "" {
			continue
		}
		if passed(k) || slices.ContainsFunc(in.Pass, func(p string) bool { return matchName(p, k) }) {
			vars[k] = v
		} else if _, secret := in.Secrets[k]; !secret {
			withheld = append(withheld, k)
		}
	}
	put(in.Trust)
	put(in.Proxy)
	for k, v := range in.Set {
		vars[k] = v
	}
	for _, o := range in.Overrides {
		if !o.Pass {
			vars[o.Name] = o.Value
			continue
		}
		for _, e := range in.Host {
			if k, v, ok := strings.Cut(e, "="); ok && k == o.Name {
				vars[k] = v
			}
		}
	}
	for k, v := range in.Secrets {
		vars[k] = v
	}
	vars["PENSTOCK"] = "1" // lets a tool know that it is in a pen
	for k, v := range vars {
		env = append(env, k+"="+v)
	}
	sort.Strings(env)
	withheld = slices.DeleteFunc(withheld, func(k string) bool { _, in := vars[k]; return in })
	sort.Strings(withheld)
	return env, withheld
}

// matchName matches a variable's name against a name or a pattern with '*'.
func matchName(pattern, name string) bool {
	ok, err := path.Match(pattern, name)
	return err == nil && ok
}

// LooksSecret tells whether a variable of this name usually holds a credential,
// so that passing it can be warned about. It never decides what is passed.
func LooksSecret(name string) bool {
	n := strings.ToUpper(name)
	for _, part := range []string{"TOKEN", "SECRET", "PASSWORD", "PASSWD", "API_KEY", "APIKEY", "ACCESS_KEY", "PRIVATE_KEY", "CREDENTIAL", "SESSION_KEY"} {
		if strings.Contains(n, part) {
			return true
		}
	}
	return n == "SSH_AUTH_SOCK"
}
