package lint

import (
	"fmt"
	"go/ast"
	"strings"
)

// resolving are the functions of package net that can send a DNS query, or
// hold what can.
var resolving = map[string]bool{
	"DefaultResolver": true, "Resolver": true, "ResolveIPAddr": true, "ResolveTCPAddr": true, "ResolveUDPAddr": true,
	"Dial": true, "DialTimeout": true, "Dialer": true,
}

// dialling says who else may use a dialler, and why no name can get there.
var dialling = map[string]string{
	"supervisor/demo": "the client that runs inside the pen, where resolving is what is to be shown",
}

// ruleResolve is invariant 4 in the source: names are resolved by the dial
// guard and by nothing else.
func ruleResolve(t *tree) (found []string) {
	for _, s := range t.sources {
		if l := layerOf(s.dir); s.test || within(s.dir, "netproxy/dialguard") || (l != nil && l.test) || dialling[s.dir] != "" {
			continue
		}
		s.selected(func(n *ast.SelectorExpr, pkg, name string) {
			switch pkg {
			case "net":
				if !resolving[name] && !strings.HasPrefix(name, "Lookup") {
					return
				}
			case "net/http":
				// The shared client takes proxies from the environment and resolves.
				switch name {
				case "Get", "Post", "PostForm", "Head", "DefaultClient", "DefaultTransport", "ProxyFromEnvironment":
				default:
					return
				}
			default:
				return
			}
			found = append(found, fmt.Sprintf("%s: only netproxy/dialguard resolves and dials; %s.%s here", s.at(n), pkg, name))
		})
	}
	return found
}

// ambient are the ways to reach the process's surroundings.
var ambient = map[string]map[string]bool{
	"os": {"Exit": true, "Getenv": true, "LookupEnv": true, "Environ": true, "Setenv": true, "Unsetenv": true, "ExpandEnv": true, "Args": true},
	"log": {"Fatal": true, "Fatalf": true, "Fatalln": true, "Panic": true, "Panicf": true, "Panicln": true,
		"Print": true, "Printf": true, "Println": true, "Default": true, "SetOutput": true},
	"flag":      nil, // nil: all of it
	"os/signal": nil,
	"syscall":   {"Exit": true, "Getenv": true, "Environ": true},
}

// surroundings says which packages outside cmd may use one of ambient: the
// mains of roles, and who handles the user's terminal.
var surroundings = map[string][]string{
	// The first process of the pen: its environment is what it clears.
	"agent/shim": {"os.Exit", "os.Environ", "os/signal"},
	"agent/wasm": {"os.Exit", "os.Environ", "os/signal"},
	// The mains of two roles.
	"sandbox/netns": {"os.Args", "os.Environ"},
	// Which engine's container this is, for a diagnosis.
	"sandbox/container": {"os.Environ"},
	// The main of its role, which puts away what is below it.
	"sandbox/none": {"os/signal"},
	// The default of LoadOptions.Environ, of which only HOME is asked.
	"policy": {"os.Getenv"},
	// The main of its role, which must outlive what ends the others.
	"supervisor/janitor": {"os/signal"},
	// The main of its role, which must outlive a record that finds no room.
	"supervisor/proxyrole": {"os/signal"},
	// The first process of a container hands its signals on.
	"supervisor/reaper": {"os/signal"},
	// A session passes the caller's signals and window size on to the command.
	"supervisor":          {"os/signal"},
	"supervisor/terminal": {"os/signal"},
}

// ruleAmbient keeps the environment, the flags and the exit in cmd and in the
// mains of roles.
func ruleAmbient(t *tree) (found []string) {
	for _, s := range t.sources {
		if l := layerOf(s.dir); s.test || within(s.dir, "cmd") || (l != nil && l.test) {
			continue
		}
		s.selected(func(n *ast.SelectorExpr, pkg, name string) {
			names, ok := ambient[pkg]
			if !ok || (names != nil && !names[name]) {
				return
			}
			for _, may := range surroundings[s.dir] {
				if may == pkg || may == pkg+"."+name {
					return
				}
			}
			found = append(found, fmt.Sprintf("%s: %s.%s belongs in cmd or a role's main", s.at(n), pkg, name))
		})
	}
	return found
}

// early is the one package whose purpose is to run before the others.
const early = "cmd/penstock/roles"

// ruleInit forbids init functions: they run in every role, before main.
func ruleInit(t *tree) (found []string) {
	for _, s := range t.sources {
		if s.dir == early || generated(s.name, s.text) {
			continue
		}
		for _, d := range s.file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
				found = append(found, fmt.Sprintf("%s: init function: each of our roles would pay for it", s.at(f)))
			}
		}
	}
	return found
}

// ruleSleep forbids waiting by the clock in tests.
func ruleSleep(t *tree) (found []string) {
	for _, s := range t.sources {
		if !s.test {
			continue
		}
		s.selected(func(n *ast.SelectorExpr, pkg, name string) {
			if pkg == "time" && name == "Sleep" {
				found = append(found, fmt.Sprintf("%s: time.Sleep in a test: wait for what you wait for", s.at(n)))
			}
		})
	}
	return found
}

// ruleComment asks for one package comment per package, with more than a name in it.
func ruleComment(t *tree) (found []string) {
	for dir, sources := range t.packages() {
		var comments []string
		for _, s := range sources {
			if s.file.Doc == nil {
				continue
			}
			text := s.file.Doc.Text()
			if !strings.HasPrefix(text, "Package "+s.file.Name.Name+" ") && !strings.HasPrefix(text, "Command ") {
				continue
			}
			comments = append(comments, s.name)
			if len(text) < 120 {
				found = append(found, fmt.Sprintf("%s: the package comment says too little: its job, its hazard, who must not import it", s.name))
			}
		}
		switch {
		case len(comments) == 0:
			found = append(found, fmt.Sprintf("%s: no package comment (Package %s …)", dir, sources[0].file.Name.Name))
		case len(comments) > 1:
			found = append(found, fmt.Sprintf("%s: more than one package comment: %s", dir, strings.Join(comments, ", ")))
		}
	}
	return found
}
