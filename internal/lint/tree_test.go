package lint

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/penstock/penstock"

// source is one parsed Go file.
type source struct {
	name string // slash-separated, relative to the module root
	dir  string // its package's directory, "" for the root
	test bool
	text string
	file *ast.File
	set  *token.FileSet
}

// at returns the file:line of a node.
func (s *source) at(n ast.Node) string {
	return fmt.Sprintf("%s:%d", s.name, s.set.Position(n.Pos()).Line)
}

// imported returns the import path that the identifier stands for, "" if none.
func (s *source) imported(ident string) string {
	for _, spec := range s.file.Imports {
		p, _ := strconv.Unquote(spec.Path.Value)
		name := path.Base(p)
		if spec.Name != nil {
			name = spec.Name.Name
		}
		if name == ident {
			return p
		}
	}
	return ""
}

// selected calls f for each qualified identifier of an imported package, e.g.
// ("os", "Exit").
func (s *source) selected(f func(n *ast.SelectorExpr, pkg, name string)) {
	ast.Inspect(s.file, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		// An identifier with an object is a local that shadows the package.
		if id, ok := sel.X.(*ast.Ident); ok && id.Obj == nil {
			if p := s.imported(id.Name); p != "" {
				f(sel, p, sel.Sel.Name)
			}
		}
		return true
	})
}

// tree is every text file of the module, the Go ones parsed.
type tree struct {
	sources []*source
	texts   map[string]string // name to content, Go files included
}

// parse adds one file.
func (t *tree) parse(name, text string) error {
	t.texts[name] = text
	if !strings.HasSuffix(name, ".go") {
		return nil
	}
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, name, text, parser.ParseComments)
	if err != nil {
		return fmt.Errorf("parse %s: %w", name, err)
	}
	dir := path.Dir(name)
	if dir == "." {
		dir = ""
	}
	t.sources = append(t.sources, &source{
		name: name, dir: dir, test: strings.HasSuffix(name, "_test.go"), text: text, file: file, set: set,
	})
	return nil
}

// sample makes a tree of the given files, as pairs of name and content.
func sample(t *testing.T, files ...string) *tree {
	t.Helper()
	tr := &tree{texts: map[string]string{}}
	for i := 0; i < len(files); i += 2 {
		if err := tr.parse(files[i], files[i+1]); err != nil {
			t.Fatal(err)
		}
	}
	return tr
}

// load reads the module that this package belongs to.
func load(t *testing.T) *tree {
	t.Helper()
	root := filepath.Join("..", "..")
	tr := &tree{texts: map[string]string{}}
	err := filepath.WalkDir(root, func(p string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		name := filepath.ToSlash(rel)
		if d.IsDir() {
			switch name {
			case ".git", "bin", "dist", ".cache":
				return filepath.SkipDir
			case ".":
				return nil
			}
			// Another module is a program with its own rules about what it imports.
			if _, err := os.Stat(filepath.Join(p, "go.mod")); err == nil {
				return filepath.SkipDir
			}
			return nil
		}
		if !d.Type().IsRegular() {
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if info.Size() > 1<<20 { // a corpus or a capture, not source
			return nil
		}
		text, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		if strings.ContainsRune(string(text), 0) {
			return nil
		}
		// Test data may hold Go that is wrong on purpose.
		if strings.Contains(name, "testdata/") && strings.HasSuffix(name, ".go") {
			tr.texts[name] = string(text)
			return nil
		}
		return tr.parse(name, string(text))
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(tr.sources) < 10 {
		t.Fatalf("found %d Go files, that can't be the tree", len(tr.sources))
	}
	return tr
}

// packages groups the files that are not tests by directory.
func (t *tree) packages() map[string][]*source {
	out := map[string][]*source{}
	for _, s := range t.sources {
		if !s.test {
			out[s.dir] = append(out[s.dir], s)
		}
	}
	return out
}

// names returns the names of all text files, in order.
func (t *tree) names() []string {
	out := make([]string, 0, len(t.texts))
	for name := range t.texts {
		out = append(out, name)
	}
	sort.Strings(out)
	return out
}

// within reports whether dir is root or below it.
func within(dir, root string) bool {
	return dir == root || strings.HasPrefix(dir, root+"/")
}
