//go:build !linux

package main

import "github.com/spf13/cobra"

func newSuperviseCmd() *cobra.Command {
	return elsewhere("supervise", "Be the privileged supervisor of this machine")
}
