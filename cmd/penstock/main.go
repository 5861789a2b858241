// Command penstock runs an AI coding agent, or any command, in a pen: a sandbox
// whose only way out is a proxy that decides, records and routes every request.
//
// This package parses, calls and prints; nothing is decided here. Its hazard is
// the exit code: `penstock run` gives back the command's own, so every failure
// of Penstock itself must come out as 125, 126 or 127.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/penstock/penstock/internal/text"
	"github.com/penstock/penstock/internal/version"
	"github.com/penstock/penstock/policy"
)

// rolePrefix marks the hidden sub-commands by which penstock starts itself in
// another role. They are dispatched before anything else is parsed.
const rolePrefix = "role:"

func main() {
	// All that this process does is short: a collection in between costs more
	// than the garbage. The proxy role sets its own.
	debug.SetGCPercent(400)
	if len(os.Args) > 1 && strings.HasPrefix(os.Args[1], rolePrefix) {
		os.Exit(runRole(strings.TrimPrefix(os.Args[1], rolePrefix), os.Args[2:]))
	}
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// exitError carries an exit code out of a command. A nil err prints nothing.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// run executes one command line and returns the exit code.
func run(args []string, stdin *os.File, stdout, stderr io.Writer) int {
	root := newRootCmd()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(context.Background())
	if err == nil {
		return 0
	}
	code := 1
	err = unknownCommand(err)
	var exit *exitError
	if errors.As(err, &exit) {
		code = exit.code
		if exit.err == nil {
			return code
		}
	}
	printError(stderr, err)
	return code
}

// printError prints one line of cause and, where the error knows it, one of
// what to do; for a policy, so for each of its errors.
func printError(w io.Writer, err error) {
	var list *policy.ErrorList
	if errors.As(err, &list) {
		const most = 30 // the first ones say enough of a file of rubbish
		printPolicyErrors(w, "penstock: ", list.Errors[:min(len(list.Errors), most)])
		if n := len(list.Errors) - most; n > 0 {
			fmt.Fprintf(w, "penstock: and %d more errors\n", n)
		}
		return
	}
	fmt.Fprintf(w, "penstock: %v\n", err)
	var h interface{ Hint() string }
	if errors.As(err, &h) && h.Hint() != "" {
		fmt.Fprintf(w, "  hint: %s\n", h.Hint())
	}
}

func newRootCmd() *cobra.Command {
	root := &cobra.Command{
		Use:   "penstock",
		Short: "Run AI agents in a pen whose only way out is a proxy that decides",
		Long: `Penstock runs an agent (OpenCode, Claude Code, Codex, Gemini, Aider, or any
command) in a pen: a sandbox without a network of its own, whose only way out is
a proxy that decides, records and routes every request.`,
		Example: `  penstock run -- npm test
  penstock run claude
  penstock run --allow registry.npmjs.org -- npm install
  penstock audit show
  penstock doctor`,
		Version:       version.String(),
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetVersionTemplate("penstock {{.Version}}\n")
	root.AddCommand(commands()...)
	strictHelp(root)
	wrapArgs(root)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return &exitError{code: 2, err: &usageError{cmd: cmd.CommandPath(), err: err}}
	})
	return root
}

// strictHelp makes the help command fail on a command that there is not.
func strictHelp(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	for _, c := range root.Commands() {
		if c.Name() != "help" {
			continue
		}
		c.Run = nil
		c.RunE = func(_ *cobra.Command, args []string) error {
			about, rest, err := root.Find(args)
			if err == nil && len(rest) > 0 {
				err = &exitError{code: 2, err: &usageError{cmd: about.CommandPath(), err: fmt.Errorf("unknown command %q for %q", rest[0], about.CommandPath())}}
			}
			if err != nil {
				return err
			}
			about.InitDefaultHelpFlag()
			return about.Help()
		}
	}
}

// wrapArgs makes every complaint about arguments a usage error.
func wrapArgs(c *cobra.Command) {
	for _, sub := range c.Commands() {
		wrapArgs(sub)
		check := sub.Args
		if check == nil {
			continue
		}
		sub.Args = func(c *cobra.Command, args []string) error {
			err := check(c, args)
			var exit *exitError
			if err == nil || errors.As(err, &exit) {
				return err
			}
			if len(args) > 0 && !c.HasSubCommands() && strings.HasPrefix(err.Error(), "unknown command") {
				err = fmt.Errorf("%s takes no argument, and %q is one", c.CommandPath(), args[0])
			}
			return &exitError{code: 2, err: &usageError{cmd: c.CommandPath(), err: err}}
		}
	}
}

// unknownCommand gives cobra's error for an unknown command, which has no type,
// a hint. A program's name is a likely one.
func unknownCommand(err error) error {
	first, more, _ := strings.Cut(err.Error(), "\n")
	name, ok := strings.CutPrefix(first, "unknown command ")
	var exit *exitError
	if !ok || errors.As(err, &exit) {
		return err
	}
	hint := "see penstock --help"
	if _, like, ok := strings.Cut(more, "Did you mean this?\n\t"); ok {
		like, _, _ = strings.Cut(like, "\n")
		hint = "did you mean penstock " + like + "?"
	} else if q, err := strconv.QuotedPrefix(name); err == nil {
		if name, err = strconv.Unquote(q); err == nil && !strings.ContainsAny(name, " \t") {
			hint += "; to run a program in a pen: penstock run -- " + text.Escape(name)
		}
	}
	return &exitError{code: 2, err: &hintError{err: errors.New(first), hint: hint}}
}

// usageError is a wrong flag or argument.
type usageError struct {
	cmd string
	err error
}

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Hint() string  { return "see " + e.cmd + " --help" }
