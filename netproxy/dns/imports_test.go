package dns

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"
)

// TestInvariant04ResolverHasNoUpstream: nothing in this package can look a name up or open a
// connection: of net it uses types and constants, never a function that does.
// Mutation: use net.Dial or net.DefaultResolver anywhere in the package.
func TestInvariant04ResolverHasNoUpstream(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range f.Imports {
			switch p := strings.Trim(i.Path.Value, `"`); {
			case p == "net/http", p == "os/exec", p == "syscall", strings.Contains(p, "miekg/dns"), strings.HasSuffix(p, "/dialguard"):
				t.Errorf("%s imports %s", name, p)
			}
		}
		ast.Inspect(f, func(n ast.Node) bool {
			s, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			for _, bad := range []string{"Lookup", "Dial", "Resolve", "Default", "Connect", "Socket", "Listen"} {
				x, isName := s.X.(*ast.Ident)
				if isName && (x.Name == "net" || x.Name == "unix" || x.Name == "syscall") && strings.HasPrefix(s.Sel.Name, bad) && s.Sel.Name != "Listener" {
					t.Errorf("%s uses %s.%s", name, x.Name, s.Sel.Name)
				}
			}
			return true
		})
	}
}
