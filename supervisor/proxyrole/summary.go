//go:build linux || darwin

package proxyrole

import (
	"encoding/hex"
	"fmt"

	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/netproxy"
	"github.com/penstock/penstock/supervisor/proxyctl"
)

// maxListed bounds each list of the summary that the supervisor gets.
const maxListed = 50

// summarize puts the counts of the flows into the supervisor's words.
func summarize(st netproxy.Stats) *proxyctl.Summary {
	s := &proxyctl.Summary{AllowedTotal: st.Allowed, DeniedTotal: st.Denied}
	for _, c := range st.Counts {
		n := proxyctl.Count{Target: c.Target.String(), Rule: c.Rule, Reason: c.Reason, N: c.N}
		switch {
		case c.Verdict == hooks.Allow:
			if len(s.Allowed) < maxListed {
				s.Allowed = append(s.Allowed, n)
			}
		case len(s.Denied) < maxListed:
			// Only where no rule denies can a rule that allows change anything.
			if c.Rule == "" && c.Target.Host != "" {
				n.Allow = allowFlag(c.Target)
			}
			s.Denied = append(s.Denied, n)
		}
	}
	for _, h := range st.Pinned {
		s.Notes = append(s.Notes, "a client did not accept Penstock's certificate for "+h+": if it pins certificates, a rule with inspect: false lets it through unread")
	}
	s.Notes = append(s.Notes, hookNotes(st.Hooks)...)
	if st.Overload > 0 {
		s.Notes = append(s.Notes, fmt.Sprintf("%d connections were refused because too many were open", st.Overload))
	}
	return s
}

// allowFlag is the value of --allow that would allow t.
func allowFlag(t hooks.Target) string {
	if t.Port == 443 || t.Port == 80 {
		return t.Host
	}
	return t.String()
}

// summary tells the supervisor what the session did.
func (e *engine) summary() *proxyctl.Summary {
	s := summarize(e.proxy.Stats())
	seq, hash := e.writer.Head()
	s.HeadSeq, s.HeadHash = seq, hex.EncodeToString(hash[:])
	s.Lost = e.writer.Counts().Lost
	return s
}
