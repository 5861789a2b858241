package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/penstock/penstock/agent/wasm"
	_ "github.com/penstock/penstock/cmd/penstock/roles" // the small roles
	"github.com/penstock/penstock/supervisor/proxyrole"
)

// commands lists the sub-commands, in the order of the manual.
func commands() []*cobra.Command {
	return []*cobra.Command{
		newRunCmd(),
		newExecCmd(),
		newPsCmd(),
		newTopCmd(),
		newApproveCmd(),
		newLogsCmd(),
		newKillCmd(),
		newFreezeCmd(),
		newResumeCmd(),
		newToolCmd(),
		newWorktreeCmd(),
		newCopyCmd(),
		newPolicyCmd(),
		newAuditCmd(),
		newCACmd(),
		newDoctorCmd(),
		newSuperviseCmd(),
		newDemoCmd(),
		newVersionCmd(),
	}
}

// runRole is the main of the processes that penstock starts itself as and that
// are not as small as those of package roles, which have ended before main is
// called. A role gets its configuration and descriptors by internal/donate or
// over its socket, and returns its exit code.
func runRole(name string, args []string) int {
	switch name {
	case "proxy":
		return proxyrole.Main()
	case "wasm":
		return wasm.Main(args)
	case "democlient":
		return demoClientMain(args)
	}
	fmt.Fprintf(os.Stderr, "penstock: unknown role %q\n", name)
	return 125
}
