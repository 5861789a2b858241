package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// invocation matches a call of penstock in a document: in a code span, or at a
// prompt or the start of a line of a code block.
var invocation = regexp.MustCompile("(?m)(?:`|^\\s*(?:\\$ )?|&& )penstock ([^`\n]*)")

// TestDocumentsNameRealCommands holds every command and flag that a document
// mentions to the command tree.
func TestDocumentsNameRealCommands(t *testing.T) {
	root := filepath.Join("..", "..")
	files, err := filepath.Glob(filepath.Join(root, "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	more, _ := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	count := 0
	for _, file := range append(files, more...) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range invocation.FindAllStringSubmatch(string(text), -1) {
			count++
			if why := wrongInvocation(m[1]); why != "" {
				t.Errorf("%s: penstock %s: %s", filepath.Base(file), m[1], why)
			}
		}
	}
	if count < 10 {
		t.Errorf("found %d invocations in the documents, that can't be all", count)
	}
	for _, bad := range []string{"fly", "audit dance", "run --no-such-flag -- true"} {
		if wrongInvocation(bad) == "" {
			t.Errorf("penstock %s passes as a real command", bad)
		}
	}
}

// wrongInvocation says why a command line could not be typed, "" if it could.
func wrongInvocation(line string) string {
	line, _, _ = strings.Cut(line, " #")
	words := strings.Fields(line)
	cmd := newRootCmd()
	cmd.InitDefaultHelpCmd()
	cmd.InitDefaultCompletionCmd("completion")
	cmd.InitDefaultVersionFlag()
	for len(words) > 0 {
		next := subCommand(cmd, words[0])
		if next == nil {
			break
		}
		cmd, words = next, words[1:]
	}
	if cmd.HasSubCommands() && len(words) > 0 && !strings.HasPrefix(words[0], "-") && cmd.Run == nil && cmd.RunE == nil {
		return "no such command"
	}
	for _, w := range words {
		if w == "--" || w == "|" {
			break
		}
		if name, ok := strings.CutPrefix(w, "--"); ok {
			name, _, _ = strings.Cut(name, "=")
			name = strings.TrimRight(name, "`.,;:)…")
			if cmd.Flags().Lookup(name) == nil && cmd.InheritedFlags().Lookup(name) == nil && name != "help" {
				return "no flag --" + name
			}
		}
	}
	return ""
}

func subCommand(c *cobra.Command, name string) *cobra.Command {
	for _, sub := range c.Commands() {
		if sub.Name() == strings.TrimRight(name, ".,;:") {
			return sub
		}
	}
	return nil
}
