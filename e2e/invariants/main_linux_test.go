package invariants

import (
	"os"
	"testing"

	"github.com/penstock/penstock/e2e/invariants/host"
)

func TestMain(m *testing.M) {
	os.Exit(host.Main(m, map[string]func([]string) int{
		"fetch":     fetchTool,
		"send":      sendTool,
		"misdirect": misdirectTool,
		"ask":       askTool,
		"scan":      scanTool,
		"hold":      holdTool,
		"exit":      exitTool,
		"trap":      trapTool,
		"terminal":  terminalTool,
		"write":     writeTool,
		"flood":     floodTool,
	}))
}
