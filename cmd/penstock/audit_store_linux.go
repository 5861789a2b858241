package main

import (
	"context"
	"fmt"
	"os"

	"github.com/penstock/penstock/audit"
	"github.com/penstock/penstock/supervisor/daemonctl"
)

// supervisorAudit opens what the privileged supervisor keeps of the caller. Only
// root can walk to it, so the supervisor opens the directory, which must stay open
// as long as the store is used.
func supervisorAudit(ctx context.Context, socket string) (*audit.Store, *os.File, error) {
	if socket == "" {
		socket = daemonctl.Path
	}
	c, err := daemonctl.Dial(ctx, socket)
	if err != nil {
		return nil, nil, err
	}
	defer c.Close()
	f, err := c.Audit(ctx)
	if err != nil {
		return nil, nil, err
	}
	s, err := audit.OpenExisting(fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
	return s, f, err
}
