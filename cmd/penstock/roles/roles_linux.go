package roles

import (
	"os"

	"github.com/penstock/penstock/agent/shim"
	"github.com/penstock/penstock/sandbox"
	"github.com/penstock/penstock/sandbox/container"
	"github.com/penstock/penstock/sandbox/netns"
	"github.com/penstock/penstock/sandbox/none"
	"github.com/penstock/penstock/supervisor/janitor"
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
	case none.Role:
		role = func() int { return none.Main(os.Args[2:]) }
	case janitor.Role:
		role = janitor.Main
	case container.Role:
		role = container.Main
	case janitor.GroupsRole:
		role = janitor.GroupsMain
	default:
		return
	}
	os.Exit(role())
}
