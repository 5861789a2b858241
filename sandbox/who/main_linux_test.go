package who

import (
	"os"
	"testing"

	"github.com/penstock/penstock/sandbox/netns"
)

// TestMain lets the test binary be the pen's builder, and the tools that run in it.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case netns.Role:
			os.Exit(netns.Main())
		case toolRole:
			os.Exit(toolMain(os.Args[2:]))
		}
	}
	os.Exit(m.Run())
}
