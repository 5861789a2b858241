package e2e

import (
	"testing"

	"github.com/penstock/penstock/internal/world"
)

// pen is a pen of this suite's cases; package world has what every suite does with one.
type pen struct{ *world.Pen }

func newPen(t *testing.T, w *world.World) *pen {
	t.Helper()
	return &pen{world.NewPen(t, w)}
}
