package dns

import (
	"context"
	"net"
	"net/netip"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/penstock/penstock/hooks"
)

// A pen can ask for more names than hooks can judge. It gets few of their turns, so that
// requests get theirs, and what finds no place to wait, or waits too long, is refused;
// names that no hook is about are answered meanwhile.
const (
	maxTurns = 8
	maxHeld  = 256
	maxWait  = 5 * time.Second // as long as resolvers wait for an answer
)

// judge asks hooks about one question.
type judge = func(context.Context) (hooks.Decision, []hooks.Trace)

// asks says whether hooks are to be asked about a name, and remembers by whom.
func (s *Server) asks(q *question, canonical string) bool {
	if s.cfg.Judge == nil {
		return false
	}
	q.judge, q.host = s.cfg.Judge(canonical, typeName(q.kind)), canonical
	return q.judge != nil
}

// later answers a datagram when it was judged: the socket has others.
func (s *Server) later(c *net.UDPConn, query, reply []byte, from, to netip.AddrPort, q question) {
	write := func(msg []byte) { _, _, _ = c.WriteMsgUDPAddrPort(msg, reply, from) }
	select {
	case s.held <- struct{}{}:
	default:
		q.busy()
		write(s.tell(query, nil, "udp", to, &q))
		return
	}
	// ServeUDP is not over, so Close waits for it.
	s.wg.Go(func() {
		defer func() { <-s.held }()
		if msg := s.judged(query, nil, "udp", to, &q); msg != nil {
			write(msg)
		}
	})
}

// judged asks about a question and answers it as handle does; nil: the server is
// closed.
func (s *Server) judged(query, out []byte, transport string, to netip.AddrPort, q *question) (msg []byte) {
	defer func() {
		if recover() != nil {
			msg = failure(query, out)
		}
	}()
	if s.judge(q); s.ctx.Err() != nil {
		return nil
	}
	return s.tell(query, out, transport, to, q)
}

// judge waits for a turn, asks, and finds the answer.
func (s *Server) judge(q *question) {
	wait := time.NewTimer(s.wait)
	defer wait.Stop()
	select {
	case s.turns <- struct{}{}:
	case <-wait.C:
		q.busy()
		return
	case <-s.ctx.Done():
		return
	}
	defer func() { <-s.turns }()
	if s.ctx.Err() != nil {
		return
	}
	d, told := q.judge(s.ctx)
	q.told = told
	if d.Action == hooks.Next {
		q.ttl = 0
		s.give(q, q.host)
		return
	}
	q.refuse(d.Reason, len(told) > 0 && told[len(told)-1].Decision == hooks.Deny.String())
}

// refuse denies a name: as one that there is not, or, where nobody has said so, as one
// that can't be told now.
func (q *question) refuse(reason string, said bool) {
	q.rcode, q.reason = uint16(dnsmessage.RCodeServerFailure), reason
	if said {
		q.rcode = uint16(dnsmessage.RCodeNameError)
	}
	q.blocked = true
}

// busy refuses a name that could not be judged.
func (q *question) busy() { q.refuse("too many names are being judged", false) }

// options tell a client that reads them why a name was refused (RFC 8914).
func (q *question) options() (o dnsmessage.OPTResource) {
	if q.blocked {
		text := q.reason[:min(len(q.reason), edeText)]
		o.Options = []dnsmessage.Option{{Code: optEDE, Data: append([]byte{0, edeBlocked}, text...)}}
	}
	return o
}
