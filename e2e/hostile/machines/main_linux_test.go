package machines

import (
	"os"
	"testing"

	"github.com/penstock/penstock/e2e/hostile"
	"github.com/penstock/penstock/internal/world"
)

func TestMain(m *testing.M) { os.Exit(world.Main(m)) }

// TestHostileToolOnMicrovm makes every attempt in a machine: what comes of it, and what is
// recorded of it, is what it is in a pen of the tier bwrap.
func TestHostileToolOnMicrovm(t *testing.T) { hostile.OnTier(t, "microvm") }
