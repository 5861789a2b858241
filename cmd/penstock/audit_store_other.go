//go:build !linux

package main

import (
	"context"
	"io/fs"
	"os"

	"github.com/penstock/penstock/audit"
)

// supervisorAudit finds none: the privileged supervisor is Linux only.
func supervisorAudit(context.Context, string) (*audit.Store, *os.File, error) {
	return nil, nil, fs.ErrNotExist
}
