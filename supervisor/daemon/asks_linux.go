package daemon

import (
	"net/netip"

	"github.com/penstock/penstock/supervisor/bossctl"
)

// asks are what a proxy may ask for its session, and tell of it.
type asks interface {
	guard([]bossctl.Reach) error
	deny([]netip.Prefix) error
	violated(*bossctl.Violated)
}

func (s *session) guard(reach []bossctl.Reach) error { return s.watched.guard(reach) }
func (s *session) deny(list []netip.Prefix) error    { return s.watched.deny(list) }
func (s *session) violated(v *bossctl.Violated)      { s.keeper.violated(v) }

// grant answers what a proxy has asked for, for its session.
func (x *proxy) grant(op, answer bossctl.Op, err error) error {
	x.asked[op] = true
	m := &bossctl.Message{Op: answer}
	if err != nil {
		m.Text = oneLine(err.Error())
	}
	return x.send(m)
}
