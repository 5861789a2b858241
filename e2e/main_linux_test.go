package e2e

import (
	"fmt"
	"os"
	"testing"

	"github.com/penstock/penstock/internal/world"
)

func TestMain(m *testing.M) {
	// The test binary is also the clients that no package provides: see roles.
	if len(os.Args) > 1 {
		if f := roles(os.Args[1]); f != nil {
			if err := f(os.Args[2:]); err != nil {
				fmt.Fprintln(os.Stderr, "error:", err)
				os.Exit(1)
			}
			os.Exit(0)
		}
	}
	os.Exit(world.Main(m))
}

// roles returns the client that an argument names.
func roles(name string) func(args []string) error {
	switch name {
	case "client:grpc":
		return grpcClient
	case "client:swarm":
		return swarmClient
	case "client:mark":
		return markClient
	case "client:ws":
		return wsClient
	}
	return nil
}
