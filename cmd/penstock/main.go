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
	"strings"

	"github.com/spf13/cobra"

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
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return &exitError{code: 2, err: &usageError{cmd: cmd.CommandPath(), err: err}}
	})
	return root
}

// usageError is a wrong flag or argument.
type usageError struct {
	cmd string
	err error
}

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Hint() string  { return "see " + e.cmd + " --help" }
