package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
)

// commands lists the sub-commands, in the order of the manual.
func commands() []*cobra.Command {
	return []*cobra.Command{
		newPsCmd(),
		newKillCmd(),
		newVersionCmd(),
	}
}

// roles are the process roles that penstock starts itself in. A role gets its
// configuration and descriptors by internal/donate and returns its exit code.
func runRole(name string, args []string) int {
	switch name {
	}
	fmt.Fprintf(os.Stderr, "penstock: unknown role %q\n", name)
	return 125
}
