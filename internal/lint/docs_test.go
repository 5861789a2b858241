package lint

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// link matches the target of a Markdown link.
var link = regexp.MustCompile(`\]\(([^)#\s]+)(#[^)]*)?\)`)

// TestDocumentLinks holds relative links to files that exist.
func TestDocumentLinks(t *testing.T) {
	tr := load(t)
	for _, name := range tr.names() {
		if path.Ext(name) != ".md" {
			continue
		}
		for _, m := range link.FindAllStringSubmatch(tr.texts[name], -1) {
			if strings.Contains(m[1], "://") || strings.HasPrefix(m[1], "mailto:") {
				continue
			}
			file := filepath.Join("..", "..", filepath.FromSlash(path.Join(path.Dir(name), m[1])))
			if _, err := os.Stat(file); err != nil {
				t.Errorf("%s: link to %s, which does not exist", name, m[1])
			}
		}
	}
}

// folder matches a line of ARCHITECTURE.md's list of folders.
var folder = regexp.MustCompile(`^([a-z][a-z0-9/_-]*)\s{2,}\S`)

// folderDifferences compares the list of folders in ARCHITECTURE.md with the
// packages that there are.
func folderDifferences(t *tree) (found []string) {
	listed := map[string]bool{}
	in := false
	for _, line := range strings.Split(t.texts["ARCHITECTURE.md"], "\n") {
		if strings.HasPrefix(line, "## ") {
			in = line == "## Folders"
		}
		if m := folder.FindStringSubmatch(line); in && m != nil {
			listed[m[1]] = true
		}
	}
	present := map[string]bool{
		"docs": true, "bpf": true,
		// A module of its own, whose sources are not read here.
		"gvisor": true, "gvisor/microvm": true, "gvisor/microvm/firecracker": true, "gvisor/microvm/firecracker/imitation": true, "gvisor/microvm/guest": true, "gvisor/microvm/image": true, "gvisor/microvm/stack": true, "gvisor/microvm/wire": true,
	}
	for _, s := range t.sources {
		present[s.dir] = true
		if !listed[s.dir] && !strings.Contains(s.dir, "/internal/") && !strings.HasPrefix(s.dir, "internal/lint/") {
			listed[s.dir] = true // once
			found = append(found, fmt.Sprintf("ARCHITECTURE.md does not list %s", s.dir))
		}
	}
	for dir := range listed {
		if !present[dir] {
			found = append(found, fmt.Sprintf("ARCHITECTURE.md lists %s, which has no Go files", dir))
		}
	}
	return found
}

// TestArchitectureListsFolders holds the list of folders to the tree.
func TestArchitectureListsFolders(t *testing.T) {
	for _, f := range folderDifferences(load(t)) {
		t.Error(f)
	}
	bad := sample(t, "ARCHITECTURE.md", "## Folders\n```\nghost    not there\n```\n", "real/a.go", "package real\n")
	if n := len(folderDifferences(bad)); n != 2 {
		t.Errorf("%d differences in a bad sample, want 2", n)
	}
}
