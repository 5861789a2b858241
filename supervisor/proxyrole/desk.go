//go:build linux || darwin

package proxyrole

import (
	"time"

	"github.com/penstock/penstock/audit"
	"github.com/penstock/penstock/netproxy/desk"
	"github.com/penstock/penstock/policy/approval"
	"github.com/penstock/penstock/supervisor/proxyctl"
)

// newDesk returns who answers questions, nil if nobody does.
func newDesk(cfg *proxyctl.Config, conn *proxyctl.Conn, record func(audit.Event) error) (*desk.Desk, error) {
	if !cfg.Ask && cfg.Approvals == nil {
		return nil, nil
	}
	var person desk.Person
	if cfg.Ask {
		person = proxyctl.Person{Conn: conn}
	}
	var signed *approval.Set
	if a := cfg.Approvals; a != nil {
		var err error
		if signed, err = approval.NewSet(a, cfg.Policy.Approvers(), time.Now()); err != nil {
			return nil, err
		}
	}
	return desk.New(person, signed, record), nil
}
