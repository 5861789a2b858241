//go:build !linux

package supervisor

import (
	"context"
	"errors"

	"github.com/penstock/penstock/sandbox"
	"github.com/penstock/penstock/supervisor/config"
)

// Run says that pens need Linux.
func Run(context.Context, *config.Config, Stdio, []sandbox.Backend) (*Result, error) {
	return nil, errors.New("pens can't be built on this operating system yet")
}
