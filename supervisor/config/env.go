package config

import (
	"slices"
	"sort"
	"strings"
)

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
	Host    []string               // the caller's, NAME=value
	Pass    func(name string) bool // policy and command line
	Trust   []string               // certificate variables, NAME=value
	Proxy   []string               // proxy variables, NAME=value
	Set     []string               // policy and command line, NAME=value
	Secrets []string               // NAME=placeholder
}

// Environment returns the pen's environment, sorted, and the names of the
// caller's variables that were left out. Later sources win: the host's
// allow-list and what the policy passes, what Penstock itself sets, what the
// policy sets, and the placeholders of secrets over everything, so that no other
// source can put a real credential under a secret's name.
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
		if k != ApprovalsVariable && (passed(k) || in.Pass != nil && in.Pass(k)) {
			vars[k] = v
		} else {
			withheld = append(withheld, k)
		}
	}
	put(in.Trust)
	put(in.Proxy)
	put(in.Set)
	put(in.Secrets)
	delete(vars, ApprovalsVariable) // whatever passes or sets it
	vars["PENSTOCK"] = "1"          // lets a tool know that it is in a pen
	for k, v := range vars {
		env = append(env, k+"="+v)
	}
	sort.Strings(env)
	withheld = slices.DeleteFunc(withheld, func(k string) bool { _, in := vars[k]; return in })
	sort.Strings(withheld)
	return env, withheld
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
