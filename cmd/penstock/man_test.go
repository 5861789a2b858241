package main

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

//go:generate go test -count=1 -run ^TestManualPagesAreCurrent$ . -update-man

var updateMan = flag.Bool("update-man", false, "write docs/man again")

// manualPages renders one page per command. The generator is part of the tests
// and not of the binary: it would bring a Markdown parser into every start.
func manualPages(t *testing.T) map[string][]byte {
	t.Helper()
	// A fixed date: a page changes when its command does.
	date := time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)
	pages := map[string][]byte{}
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		if !c.IsAvailableCommand() && c.HasParent() || c.Name() == "help" || c.Name() == "completion" {
			return
		}
		c.DisableAutoGenTag = true
		var page bytes.Buffer
		header := &doc.GenManHeader{Section: "1", Source: "Penstock", Manual: "Penstock", Date: &date}
		if err := doc.GenMan(c, header, &page); err != nil {
			t.Fatal(err)
		}
		pages[strings.ReplaceAll(c.CommandPath(), " ", "-")+".1"] = page.Bytes()
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(newRootCmd())
	return pages
}

func TestManualPagesAreCurrent(t *testing.T) {
	dir := filepath.Join("..", "..", "docs", "man")
	pages := manualPages(t)
	if *updateMan {
		old, _ := filepath.Glob(filepath.Join(dir, "*.1"))
		for _, f := range old {
			os.Remove(f)
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		for name, page := range pages {
			if err := os.WriteFile(filepath.Join(dir, name), page, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, page := range pages {
		have, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || !bytes.Equal(have, page) {
			t.Errorf("docs/man/%s is not what the command says: run make generate", name)
		}
	}
	have, err := filepath.Glob(filepath.Join(dir, "*.1"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range have {
		if pages[filepath.Base(f)] == nil {
			t.Errorf("%s describes no command: run make generate", f)
		}
	}
}

// TestManualSaysEverything holds each command to a description and, where it
// can be useful, an example.
func TestManualSaysEverything(t *testing.T) {
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		for _, sub := range c.Commands() {
			if !sub.IsAvailableCommand() {
				continue
			}
			if sub.Short == "" || strings.HasSuffix(sub.Short, ".") {
				t.Errorf("%s: Short %q is empty or ends in a full stop", sub.CommandPath(), sub.Short)
			}
			walk(sub)
		}
	}
	walk(newRootCmd())
}
