package clients

import (
	"os"
	"testing"

	"github.com/penstock/penstock/internal/world"
)

func TestMain(m *testing.M) { os.Exit(world.Main(m)) }
