package roles

import (
	"os"

	"github.com/penstock/penstock/agent/shim"
	"github.com/penstock/penstock/sandbox"
)

func init() {
	if len(os.Args) >= 2 && os.Args[1] == sandbox.ShimRole {
		os.Exit(shim.Main(os.Args[2:]))
	}
}
