//go:build linux || darwin

package proxyrole

import (
	"sync/atomic"

	"github.com/penstock/penstock/audit"
	"github.com/penstock/penstock/netproxy/dns"
)

// maxRefusals bounds how many names that hooks refuse are told to the user.
const maxRefusals = 10

// names records the pen's questions for names. What a hook refuses is said to the user
// too: a tool says of it no more than that there is no such name.
type names struct {
	note    func(audit.Event)
	notice  func(string)
	refused atomic.Int64
}

// record is dns.Config.Record.
func (n *names) record(q dns.Event) {
	n.note(&audit.DNS{Name: q.Name, QType: q.QType, Answer: q.Answer, RCode: q.RCode, Transport: q.Transport, Server: q.Server, Reason: q.Reason, Hooks: q.Hooks})
	if q.Answer.IsValid() || len(q.Hooks) == 0 {
		return
	}
	switch i := n.refused.Add(1); {
	case i <= maxRefusals:
		n.notice("no address for " + q.Name + " (" + q.QType + "): " + q.Reason)
	case i == maxRefusals+1:
		n.notice("further names that hooks refuse are in the audit only")
	}
}
