package netns

import (
	"os"
	"testing"
)

// Roles of the test binary beside the real ones.
const (
	limitedRole = "role:test-limited"
	starterRole = "role:test-starter"
)

// TestMain lets the test binary be the roles that Start starts, and the tools
// that run inside a pen.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case Role:
			os.Exit(Main())
		case ConnectorRole:
			os.Exit(ConnectorMain())
		case limitedRole:
			os.Exit(limitedMain(os.Args[2]))
		case starterRole:
			os.Exit(starterMain())
		case toolRole:
			os.Exit(toolMain(os.Args[2:]))
		}
	}
	os.Exit(m.Run())
}
