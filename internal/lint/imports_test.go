package lint

import (
	"fmt"
	"slices"
	"sort"
	"strconv"
	"strings"
)

// layer says what the packages below one directory may import of this module.
// The longest matching directory counts.
type layer struct {
	dir  string
	may  []string // directories, with everything below them
	test bool     // for tests only: no shipped package may import it
}

// layers is the picture of ARCHITECTURE.md: arrows point down to values.
var layers = []layer{
	{dir: "hooks"},
	{dir: "internal/version"},
	{dir: "internal/donate"},
	{dir: "internal/text"}, // escaping
	{dir: "internal/lint"},
	// The kernel's witness: values only, so that the proxy role has the reader
	// of its events and nothing of the loader.
	{dir: "ebpf", may: []string{"ebpf/internal"}},
	{dir: "ebpf/events", may: []string{"hooks"}},
	{dir: "hooks/cel", may: []string{"hooks"}},
	{dir: "hooks/chain", may: []string{"hooks"}},
	{dir: "hooks/wire", may: []string{"hooks"}},
	{dir: "hooks/webhook", may: []string{"hooks"}},
	{dir: "hooks/exec", may: []string{"hooks", "hooks/wire"}},
	{dir: "hooks/wasm", may: []string{"hooks"}},
	{dir: "hooks/wasm/guest"}, // in a module, not in Penstock
	{dir: "hooks/wasm/wasmtest", test: true},
	{dir: "examples/hooks", may: []string{"hooks/wasm/guest"}}, // modules as well
	{dir: "hooks/extauthz", may: []string{"hooks"}},
	{dir: "hooks/protobuf"},
	{dir: "hooks/rpc", may: []string{"hooks"}},
	{dir: "hooks/service", may: []string{"hooks"}},
	// For services in Go: what it registers would be made before each role's main.
	{dir: "hooks/hookpb", test: true},
	{dir: "hooks/hookstest", test: true},
	// The language of conditions is given to it, see hooks.Language.
	{dir: "policy", may: []string{"hooks", "policy", "internal/text"}},
	{dir: "audit", may: []string{"hooks", "policy", "audit", "internal/text"}},
	{dir: "sandbox", may: []string{"sandbox", "internal/donate", "internal/text"}},
	// Its answers are values of the vocabulary; another type would only be copied.
	{dir: "sandbox/who", may: []string{"sandbox/who", "hooks"}},
	{dir: "agent", may: []string{"agent", "sandbox", "internal/donate", "internal/text"}},
	{dir: "netproxy", may: []string{"netproxy", "audit", "policy", "hooks", "internal/text"}},
	{dir: "supervisor", may: []string{"supervisor", "ebpf", "agent", "sandbox", "netproxy", "audit", "policy", "hooks", "internal/donate", "internal/text", "internal/version"}},
	{dir: "cmd", may: []string{"cmd", "supervisor", "agent", "sandbox", "netproxy", "audit", "policy", "hooks", "internal/donate", "internal/text", "internal/version"}},
	{dir: "internal/world", test: true},
	{dir: "internal/fakemodel", test: true},
	{dir: "internal/sessionbench", test: true},
	{dir: "internal/bench", test: true},
	{dir: "e2e", test: true},
	{dir: "packaging", test: true}, // tools that make packages and images
}

// layerOf returns the layer of a package's directory, nil if none was declared.
func layerOf(dir string) *layer {
	var best *layer
	for i := range layers {
		if within(dir, layers[i].dir) && (best == nil || len(layers[i].dir) > len(best.dir)) {
			best = &layers[i]
		}
	}
	return best
}

// outside says which third-party modules may be imported, and by whom. A
// dependency is a decision: a new one gets a line here and one in RATIONALE.md.
var outside = map[string][]string{
	"github.com/cilium/ebpf":             {"ebpf"},
	"github.com/elazarl/goproxy":         {"netproxy"},
	"github.com/godbus/dbus/v5":          {"supervisor/keyring"},
	"github.com/google/nftables":         {"sandbox/netns"},
	"github.com/jcmturner/gokrb5/v8":     {"netproxy/upstream"},
	"github.com/spf13/cobra":             {"cmd"},
	"github.com/spf13/pflag":             {"cmd"},
	"github.com/tetratelabs/wazero":      {"agent/wasm", "hooks/wasm"},
	"github.com/vektah/gqlparser/v2":     {"netproxy/speech"},
	"go.yaml.in/yaml/v3":                 {"policy", "supervisor/daemon/settings"},
	"golang.org/x/crypto":                {"netproxy/secrets"},
	"golang.org/x/net":                   {"netproxy", "policy", "sandbox/confine"},
	"golang.org/x/sys":                   {"agent", "audit", "cmd", "ebpf", "internal", "netproxy", "policy", "sandbox", "supervisor"},
	"golang.org/x/term":                  {"cmd", "supervisor"},
	"golang.org/x/text":                  {"policy"},
	"modernc.org/sqlite":                 {"audit"},
	"software.sslmate.com/src/go-pkcs12": {"netproxy/ca"},
}

// small lists packages that stay small: of other modules they import only these,
// whatever outside says of the folders that they are in.
var small = map[string][]string{
	// In each proxy, which has no use for a loader of eBPF programs.
	"ebpf/events": {"golang.org/x/sys"},
}

// imports calls f for each import of a file.
func (s *source) imports(f func(at, path string)) {
	for _, spec := range s.file.Imports {
		p, err := strconv.Unquote(spec.Path.Value)
		if err == nil {
			f(s.at(spec), p)
		}
	}
}

// own cuts the module's name off an import path.
func own(importPath string) (dir string, ok bool) {
	return strings.CutPrefix(importPath, module+"/")
}

// ruleImports holds layers.
func ruleImports(t *tree) (found []string) {
	for _, s := range t.sources {
		if s.test { // tests may look at their own layer's users
			continue
		}
		l := layerOf(s.dir)
		if l == nil {
			found = append(found, fmt.Sprintf("%s: package %s has no line in layers: say what it may import", s.name, s.dir))
			continue
		}
		if l.test {
			continue
		}
		s.imports(func(at, p string) {
			dir, ok := own(p)
			if !ok {
				return
			}
			for _, may := range l.may {
				if within(dir, may) && !layerOf(dir).test {
					return
				}
			}
			found = append(found, fmt.Sprintf("%s: %s must not import %s", at, s.dir, dir))
		})
	}
	return found
}

// ruleOutside holds outside.
func ruleOutside(t *tree) (found []string) {
	for _, s := range t.sources {
		if l := layerOf(s.dir); s.test || l == nil || l.test {
			continue
		}
		s.imports(func(at, p string) {
			first, _, _ := strings.Cut(p, "/")
			if !strings.Contains(first, ".") || p == module || strings.HasPrefix(p, module+"/") {
				return
			}
			for mod, dirs := range outside {
				if !within(p, mod) || small[s.dir] != nil && !slices.Contains(small[s.dir], mod) {
					continue
				}
				for _, dir := range dirs {
					if within(s.dir, dir) {
						return
					}
				}
			}
			found = append(found, fmt.Sprintf("%s: %s must not import %s (no line in outside)", at, s.dir, p))
		})
	}
	return found
}

// parsers are the packages that read a peer's bytes off the wire.
var parsers = []string{
	"net/http", "net/textproto", "net/rpc", "net/smtp", "crypto/tls", "mime/multipart",
	"golang.org/x/net/dns", "golang.org/x/net/http", "golang.org/x/net/http2", "golang.org/x/net/proxy",
	"golang.org/x/net/websocket", "github.com/elazarl/goproxy",
	module + "/netproxy",
}

// unprivileged are the packages below the supervisor's that may hold parsers:
// the proxy role itself, and the commands that bring an origin and a client of
// their own and run no user's session.
var unprivileged = []string{"supervisor/proxyrole", "supervisor/demo", "supervisor/doctor", "supervisor/internal/origin", "agent/wasm"}

// parsesNothing are packages of the proxy that the supervisor may call: ca reads
// files of the user, secrets makes placeholders (and names net/http for the type
// of a header); neither reads a peer's bytes.
var parsesNothing = []string{"netproxy/ca", "netproxy/secrets"}

// privileged are the roots of what runs in the supervisor, in the pen's builder
// and in the shim.
var privileged = []string{"supervisor", "sandbox", "agent", "internal/donate"}

// ruleParsers is invariant 7 in the import graph: nothing that the privileged
// process is made of can parse traffic. The closure stops at hooks and policy,
// which are values: hooks names net/http for the type of its header field.
func ruleParsers(t *tree) (found []string) {
	packages := t.packages()
	in := func(dir string, roots []string) bool {
		for _, r := range roots {
			if within(dir, r) {
				return true
			}
		}
		return false
	}
	seen := map[string]bool{}
	var visit func(dir, from string)
	visit = func(dir, from string) {
		if seen[dir] || in(dir, []string{"hooks", "policy"}) {
			return
		}
		seen[dir] = true
		for _, s := range packages[dir] {
			s.imports(func(at, p string) {
				if d, ok := own(p); ok && in(d, parsesNothing) {
					return
				}
				for _, parser := range parsers {
					if within(p, parser) {
						found = append(found, fmt.Sprintf("%s: %s%s is privileged and must not import %s", at, dir, from, p))
						return
					}
				}
				if d, ok := own(p); ok {
					visit(d, " (imported by "+dir+")")
				}
			})
		}
	}
	dirs := make([]string, 0, len(packages))
	for dir := range packages {
		dirs = append(dirs, dir)
	}
	sort.Strings(dirs)
	for _, dir := range dirs {
		if in(dir, privileged) && !in(dir, unprivileged) {
			visit(dir, "")
		}
	}
	return found
}
