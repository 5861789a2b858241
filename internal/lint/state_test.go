package lint

import (
	"fmt"
	"go/ast"
	"go/token"
	"strings"
)

// state lists package variables that are allowed to be what they are, with why.
var state = map[string]string{
	"internal/version.version":  "set by the linker, never by code",
	"hooks/wasm/guest.question": "the memory that Penstock writes to; a guest has nothing else to keep it in",
	"hooks/wasm/guest.answer":   "the memory that Penstock reads",
}

// cheap are the calls that may initialise a package variable: they only make a
// value that nothing changes, at no cost worth counting.
var cheap = map[string]bool{
	"errors.New": true, "net/netip.MustParseAddr": true, "net/netip.MustParsePrefix": true,
	"net/netip.AddrFrom4": true, "net/netip.PrefixFrom": true, "net/netip.IPv6Unspecified": true,
	"sync.OnceValue": true, "sync.OnceValues": true,
}

// stateful are the types that only make sense when they change.
var stateful = map[string]bool{
	"sync.Mutex": true, "sync.RWMutex": true, "sync.Map": true, "sync.Once": true, "sync.WaitGroup": true, "sync.Cond": true,
}

// packageVar is one variable at package level.
type packageVar struct {
	s     *source
	ident *ast.Ident
	typ   ast.Expr
	value ast.Expr
}

// packageVars lists the variables of one package.
func packageVars(sources []*source) (out []packageVar) {
	for _, s := range sources {
		for _, d := range s.file.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok || g.Tok != token.VAR {
				continue
			}
			for _, spec := range g.Specs {
				v := spec.(*ast.ValueSpec)
				for i, id := range v.Names {
					if id.Name == "_" {
						continue // an interface guard
					}
					pv := packageVar{s: s, ident: id, typ: v.Type}
					if i < len(v.Values) {
						pv.value = v.Values[i]
					}
					out = append(out, pv)
				}
			}
		}
	}
	return out
}

// qualified renders pkg.Name of an expression such as sync.Mutex, "" for others.
func (s *source) qualified(e ast.Expr) string {
	if x, ok := e.(*ast.IndexExpr); ok { // atomic.Pointer[T]
		e = x.X
	}
	sel, ok := e.(*ast.SelectorExpr)
	if !ok {
		return ""
	}
	id, ok := sel.X.(*ast.Ident)
	if !ok {
		return ""
	}
	return s.imported(id.Name) + "." + sel.Sel.Name
}

// changed returns where a package's functions assign to one of its variables,
// or to an element or field of one.
func changed(sources []*source, vars []packageVar) map[string]string {
	names := map[string]bool{}
	for _, v := range vars {
		names[v.ident.Name] = true
	}
	out := map[string]string{}
	for _, s := range sources {
		mark := func(e ast.Expr) {
			n := ast.Node(e)
			for {
				switch x := e.(type) {
				case *ast.IndexExpr:
					e = x.X
					continue
				case *ast.SelectorExpr:
					e = x.X
					continue
				case *ast.StarExpr:
					e = x.X
					continue
				case *ast.ParenExpr:
					e = x.X
					continue
				case *ast.Ident:
					// The parser binds locals and this file's own declarations; what
					// is left is a variable of the package's other files.
					local := false
					if x.Obj != nil {
						_, spec := x.Obj.Decl.(*ast.ValueSpec)
						local = !spec || s.file.Scope.Lookup(x.Name) != x.Obj
					}
					if names[x.Name] && !local {
						out[x.Name] = s.at(n)
					}
				}
				return
			}
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			switch x := n.(type) {
			case *ast.AssignStmt:
				if x.Tok != token.DEFINE {
					for _, lhs := range x.Lhs {
						mark(lhs)
					}
				}
			case *ast.IncDecStmt:
				mark(x.X)
			case *ast.CallExpr:
				if id, ok := x.Fun.(*ast.Ident); ok && (id.Name == "delete" || id.Name == "clear") && len(x.Args) > 0 {
					mark(x.Args[0])
				}
			}
			return true
		})
	}
	return out
}

// ruleState forbids package variables that change, or that cost something
// before main: every role of the binary would pay for them at each start.
func ruleState(t *tree) (found []string) {
	for dir, sources := range t.packages() {
		if l := layerOf(dir); l != nil && l.test {
			continue
		}
		vars := packageVars(sources)
		types := typeNames(sources)
		writes := changed(sources, vars)
		for _, v := range vars {
			if state[dir+"."+v.ident.Name] != "" {
				continue
			}
			report := func(why string) {
				found = append(found, fmt.Sprintf("%s: package variable %s %s", v.s.at(v.ident), v.ident.Name, why))
			}
			if at := writes[v.ident.Name]; at != "" {
				report("is changed at " + at)
				continue
			}
			if q := v.s.qualified(v.typ); stateful[q] || strings.HasPrefix(q, "sync/atomic.") {
				report("is of type " + q + ", which is there to change")
				continue
			}
			if v.value == nil {
				continue
			}
			for _, call := range calls(v.value) {
				q := v.s.qualified(call.Fun)
				if id, ok := call.Fun.(*ast.Ident); ok {
					q = id.Name
				}
				if !cheap[q] && !types[q] && !conversion(call) {
					report("is made by a call before main: " + q)
				}
			}
			if lit, ok := v.value.(*ast.CompositeLit); ok {
				if _, ok := lit.Type.(*ast.MapType); ok && len(lit.Elts) > 0 {
					report("is a map, which every role builds before main: use a switch or a sorted slice")
				}
			}
		}
	}
	return found
}

// typeNames lists the types of one package: calling one is a conversion.
func typeNames(sources []*source) map[string]bool {
	out := map[string]bool{}
	for _, s := range sources {
		for _, d := range s.file.Decls {
			if g, ok := d.(*ast.GenDecl); ok && g.Tok == token.TYPE {
				for _, spec := range g.Specs {
					out[spec.(*ast.TypeSpec).Name.Name] = true
				}
			}
		}
	}
	return out
}

// calls lists the calls of an expression that run when it is evaluated.
func calls(e ast.Expr) (out []*ast.CallExpr) {
	ast.Inspect(e, func(n ast.Node) bool {
		switch x := n.(type) {
		case *ast.FuncLit:
			return false
		case *ast.CallExpr:
			out = append(out, x)
		}
		return true
	})
	return out
}

// conversion reports whether a call is certainly only a conversion or a builtin
// without cost.
func conversion(c *ast.CallExpr) bool {
	switch f := c.Fun.(type) {
	case *ast.ArrayType, *ast.ParenExpr, *ast.InterfaceType:
		return true
	case *ast.Ident:
		switch f.Name {
		case "string", "byte", "rune", "int", "int32", "int64", "uint", "uint8", "uint16", "uint32", "uint64", "len", "cap", "new":
			return true
		}
	case *ast.SelectorExpr:
		switch f.Sel.Name {
		case "Duration", "FileMode", "Signal", "Errno":
			return true
		}
	}
	return false
}
