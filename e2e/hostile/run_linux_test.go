package hostile

import (
	"maps"
	"slices"
	"testing"

	"github.com/penstock/penstock/internal/world"
)

// TestHostileTool runs every attempt as each kind of user.
func TestHostileTool(t *testing.T) {
	list := attempts()
	users := world.Users()
	for _, name := range slices.Sorted(maps.Keys(users)) {
		t.Run(name, func(t *testing.T) {
			_, results := every(t, caller{Options: users[name]}, list, func(int) bool { return true })
			writeTable(t, name, list, results)
		})
	}
}

// TestHostileToolOnGvisor does so on a kernel of its own: what comes of it, and what is
// recorded of it, is what it is in a pen of the tier bwrap.
func TestHostileToolOnGvisor(t *testing.T) {
	world.Gvisor(t)
	OnTier(t, "gvisor")
}
