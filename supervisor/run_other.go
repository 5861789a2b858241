//go:build !linux && !darwin

package supervisor

import (
	"context"
	"errors"
	"os"

	"github.com/penstock/penstock/netproxy/secrets"
	"github.com/penstock/penstock/policy"
	"github.com/penstock/penstock/sandbox"
	"github.com/penstock/penstock/supervisor/config"
)

// Values is where the user of a host has values: variables and files.
func Values(_ context.Context, h *config.Host) secrets.Source {
	none := errors.New("this can't be read on this operating system yet")
	return secrets.Source{
		Lookup:     h.Lookup,
		Read:       os.ReadFile,
		Credential: func(string) ([]byte, bool, error) { return nil, false, none },
		Keyring:    func(policy.KeyringItem) ([]byte, bool, error) { return nil, false, none },
		Run:        func([]string) ([]byte, error) { return nil, none },
	}
}

// Run says that pens need another system.
func Run(context.Context, *config.Config, Stdio, []sandbox.Backend) (*Result, error) {
	return nil, errors.New("pens can't be built on this operating system yet")
}
