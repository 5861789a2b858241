package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/hooks/cel"
	"github.com/penstock/penstock/netproxy"
	"github.com/penstock/penstock/policy"
)

// invocation matches a call of penstock in a document: in a code span, or at a
// prompt or the start of a line of a code block.
var invocation = regexp.MustCompile("(?m)(?:`|^\\s*(?:\\$ )?|&& )penstock ([^`\n]*)")

// TestDocumentsNameRealCommands holds every command and flag that a document
// mentions to the command tree.
func TestDocumentsNameRealCommands(t *testing.T) {
	count := 0
	for file, text := range documents(t) {
		for _, m := range invocation.FindAllStringSubmatch(text, -1) {
			count++
			if why := wrongInvocation(m[1]); why != "" {
				t.Errorf("%s: penstock %s: %s", file, m[1], why)
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
	if cmd.HasSubCommands() && len(words) > 0 && !strings.HasPrefix(words[0], "-") && (cmd.Args == nil || cmd.Args(cmd, words[:1]) != nil) {
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

// documents returns the text of every Markdown file for users.
func documents(t *testing.T) map[string]string {
	t.Helper()
	root := filepath.Join("..", "..")
	out := map[string]string{}
	for _, pattern := range []string{"*.md", "docs/*.md"} {
		files, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			out[filepath.Base(file)] = string(text)
		}
	}
	return out
}

// fenced returns the code blocks of one language in a Markdown text, with the
// line on which each begins.
func fenced(text, language string) map[int]string {
	out := map[int]string{}
	var block []string
	begin := 0
	for i, line := range strings.Split(text, "\n") {
		switch {
		case begin == 0 && line == "```"+language:
			begin = i + 2
			block = nil
		case begin != 0 && line == "```":
			out[begin] = strings.Join(block, "\n") + "\n"
			begin = 0
		case begin != 0:
			block = append(block, line)
		}
	}
	return out
}

// TestDocumentedPoliciesParse parses every policy that a document shows.
func TestDocumentedPoliciesParse(t *testing.T) {
	count := 0
	for name, text := range documents(t) {
		for line, block := range fenced(text, "yaml") {
			count++
			f, err := policy.Parse(name, policy.User, []byte(block))
			if err == nil {
				err = f.CheckConditions(cel.Language{})
			}
			if err != nil {
				t.Errorf("%s, block at line %d: %v", name, line, err)
			}
		}
	}
	if count == 0 {
		t.Error("no policy found in any document")
	}
}

// TestHookExamplesDecide asks the policy that docs/hooks.md shows about the
// requests below it, and compares what it says.
func TestHookExamplesDecide(t *testing.T) {
	text := documents(t)["hooks.md"]
	var p *policy.Policy
	for _, block := range fenced(text, "yaml") {
		if !strings.Contains(block, "small-uploads") {
			continue // a webhook, see hooks/webhook
		}
		f, err := policy.Parse("hooks.md", policy.User, []byte(block))
		if err == nil {
			p, err = policy.New([]*policy.File{f})
		}
		if err == nil {
			p, err = p.CompileConditions(cel.Language{})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	c, err := netproxy.HooksOf(p, nil)
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for _, block := range fenced(text, "text") {
		for line := range strings.Lines(block) {
			words := strings.Fields(line)
			want := strings.Join(words[3:], " ")
			r, err := policy.ParseRequest(words[1], words[0])
			if err != nil {
				t.Fatal(err)
			}
			if words[2] != "-" {
				if r.Size, err = strconv.ParseInt(words[2], 10, 64); err != nil {
					t.Fatal(err)
				}
			}
			got := p.Decide(r).Reason
			if p.Decide(r).Action == hooks.Allow {
				d, _ := c.Request(t.Context(), r)
				got = d.Reason
				if d.Action == hooks.Next {
					got = "next"
				}
				if d.Via != "" {
					got += ", via " + d.Via + p.Reroute("mirrors", &r.Target, d.Via)
				}
			}
			if !strings.HasPrefix(got, want) {
				t.Errorf("%s%s: it says %s", line, words[1], got)
			}
			count++
		}
	}
	if count < 5 {
		t.Errorf("found %d requests in hooks.md", count)
	}
}

// TestAskDocument: what docs/ask.md says of its policy is what comes out.
func TestAskDocument(t *testing.T) {
	b, err := os.ReadFile("../../docs/ask.md")
	if err != nil {
		t.Fatal(err)
	}
	block := func(kind string) string {
		_, rest, ok := strings.Cut(string(b), "```"+kind+"\n")
		text, _, closed := strings.Cut(rest, "```\n")
		if !ok || !closed {
			t.Fatalf("no block of %s", kind)
		}
		return text
	}
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("XDG_CONFIG_HOME", "")
	t.Chdir(home)
	dir := filepath.Join(home, ".config", "penstock")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "policy.yaml"), []byte(block("yaml")), 0o600); err != nil {
		t.Fatal(err)
	}
	command, want, _ := strings.Cut(strings.TrimPrefix(block("console"), "$ penstock "), "\n")
	var out strings.Builder
	root := newRootCmd()
	root.SetArgs(strings.Fields(command))
	root.SetOut(&out)
	root.Execute() //nolint:errcheck // it is no allow
	if got := strings.ReplaceAll(out.String(), dir+string(filepath.Separator), ""); got != want {
		t.Errorf("penstock %s says\n%s\nnot\n%s", command, got, want)
	}
}
