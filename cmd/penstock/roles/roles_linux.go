package roles

import (
	"os"
	"strings"

	"github.com/penstock/penstock/agent/shim"
	"github.com/penstock/penstock/sandbox"
	"github.com/penstock/penstock/sandbox/container"
	"github.com/penstock/penstock/sandbox/enter"
	"github.com/penstock/penstock/sandbox/netns"
	"github.com/penstock/penstock/sandbox/none"
	"github.com/penstock/penstock/supervisor/janitor"
	"github.com/penstock/penstock/supervisor/reaper"
)

func init() {
	if len(os.Args) < 2 {
		return
	}
	var role func() int
	switch os.Args[1] {
	case netns.Role:
		role = netns.Main
	case netns.ConnectorRole:
		role = netns.ConnectorMain
	case sandbox.ShimRole:
		role = func() int { return shim.Main(os.Args[2:]) }
	case enter.Role:
		role = func() int { return enter.Main(os.Args[2:]) }
	case none.Role:
		role = func() int { return none.Main(os.Args[2:]) }
	case janitor.Role:
		role = janitor.Main
	case container.Role:
		role = container.Main
	case janitor.GroupsRole:
		role = janitor.GroupsMain
	default:
		if reaper.First() && !strings.HasPrefix(os.Args[1], "role:") {
			role = first
			break
		}
		return
	}
	os.Exit(role())
}

// first is the first process of a container.
func first() int {
	self, err := os.Executable()
	if err != nil {
		self = os.Args[0]
	}
	return reaper.Main(self, os.Args, os.Stderr)
}
