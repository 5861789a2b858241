package profile

import "strings"

// Match recognises the agent that a command line starts, directly or through
// node, npx, uvx and their like, and returns its profile for the environment of
// the caller. Nothing is executed or looked up: what is recognised is the name.
func Match(argv, environ []string) (*Profile, bool) {
	// Each wrapper takes words off the front, so that this ends.
	for range 4 {
		if len(argv) == 0 {
			return nil, false
		}
		if a := named(base(argv[0])); a != nil {
			return a.bind(environ), true
		}
		rest, pkg := unwrap(argv)
		if rest == nil {
			return nil, false
		}
		if pkg {
			if a := packaged(rest[0]); a != nil {
				return a.bind(environ), true
			}
			return nil, false
		}
		argv = rest
	}
	return nil, false
}

// ByName returns the profile of a known agent for the environment of the caller.
func ByName(name string, environ []string) (*Profile, bool) {
	if a := named(name); a != nil {
		return a.bind(environ), true
	}
	return nil, false
}

func named(name string) *agent {
	list := agents()
	for i := range list {
		if list[i].name == name {
			return &list[i]
		}
	}
	return nil
}

// packaged finds the agent of a package specification (name, name@version) or
// of a script's path (…/node_modules/@openai/codex/bin/codex.js).
func packaged(spec string) *agent {
	list := agents()
	name := spec
	if i := strings.LastIndexByte(spec, '@'); i > 0 && !strings.Contains(spec[i:], "/") {
		name = spec[:i]
	}
	name, _, _ = strings.Cut(name, "==")
	for i := range list {
		for _, p := range list[i].packages {
			if name == p || strings.Contains(spec, "/node_modules/"+p+"/") {
				return &list[i]
			}
		}
	}
	return named(base(spec))
}

// base is the last part of a path without an extension that means a program.
func base(p string) string {
	p = p[strings.LastIndexAny(p, `/\`)+1:]
	for _, ext := range [...]string{".exe", ".cmd", ".ps1", ".js", ".mjs", ".cjs", ".py"} {
		if s, ok := strings.CutSuffix(p, ext); ok {
			return s
		}
	}
	return p
}

// unwrap returns the words that a known wrapper starts; pkg says that the first
// is a package or a script. A nil result says that it is no known wrapper.
func unwrap(argv []string) (rest []string, pkg bool) {
	args := argv[1:]
	sub := func(names ...string) bool {
		if len(args) == 0 {
			return false
		}
		for _, n := range names {
			if args[0] == n {
				args = args[1:]
				return true
			}
		}
		return false
	}
	switch base(argv[0]) {
	case "env":
		return words(args, "-u", "-C", "-S"), false
	case "node", "nodejs", "deno", "tsx":
		if sub("run") && len(args) > 0 {
			return words(args), true
		}
		return words(args, "-r", "--require", "--import", "--loader"), true
	case "bun":
		if sub("x", "run") {
			return words(args), true
		}
		return words(args), true
	case "npx", "bunx", "pnpx", "uvx":
		return words(args, "-p", "--package", "--with", "--python", "--from"), true
	case "npm", "pnpm", "yarn":
		if sub("exec", "x", "dlx") {
			return words(args, "-p", "--package"), true
		}
	case "uv":
		if sub("tool") && sub("run") || sub("run") {
			return words(args, "--with", "--python", "--from"), true
		}
	case "pipx":
		if sub("run") {
			return words(args, "--spec", "--python"), true
		}
	}
	if strings.HasPrefix(base(argv[0]), "python") && len(args) >= 2 && args[0] == "-m" {
		return args[1:], true
	}
	return nil, false
}

// words skips options, those in valued with the word after them, and
// assignments; nil if nothing is left.
func words(args []string, valued ...string) []string {
	for len(args) > 0 {
		a := args[0]
		switch {
		case a == "--":
			args = args[1:]
			if len(args) == 0 {
				return nil
			}
			return args
		case strings.HasPrefix(a, "-"):
			args = args[1:]
			for _, v := range valued {
				if a == v && len(args) > 0 {
					args = args[1:]
					break
				}
			}
		case assigns(a):
			args = args[1:]
		default:
			return args
		}
	}
	return nil
}

// assigns reports whether a word is NAME=value.
func assigns(word string) bool {
	name, _, ok := strings.Cut(word, "=")
	return ok && name != "" && strings.Trim(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_") == ""
}
