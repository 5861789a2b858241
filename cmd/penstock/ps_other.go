//go:build !linux

package main

import "github.com/spf13/cobra"

func newPsCmd() *cobra.Command   { return elsewhere("ps", "List the running sessions") }
func newKillCmd() *cobra.Command { return elsewhere("kill", "End running sessions") }
func newTopCmd() *cobra.Command  { return elsewhere("top", "Watch the running sessions") }

func newExecCmd() *cobra.Command {
	return elsewhere("exec", "Run a further command in a running session")
}

func newApproveCmd() *cobra.Command {
	return elsewhere("approve", "Answer what running sessions ask")
}

func newCopyCmd() *cobra.Command {
	return elsewhere("copy", "List, look at, bring back and remove copies of sessions")
}

func newFreezeCmd() *cobra.Command { return elsewhere("freeze", "Stop everything in running sessions") }
func newResumeCmd() *cobra.Command { return elsewhere("resume", "Let frozen sessions go on") }

// elsewhere is a command that this operating system has no pens for.
func elsewhere(use, short string) *cobra.Command {
	return &cobra.Command{Use: use, Short: short, DisableFlagParsing: true, RunE: func(*cobra.Command, []string) error {
		return &exitError{code: 125, err: errNoPens{}}
	}}
}

type errNoPens struct{}

func (errNoPens) Error() string { return "pens can't be built on this operating system yet" }
func (errNoPens) Hint() string {
	return "run it on Linux; policies and audits can be worked with here"
}
