//go:build unix

package proxyctl

import (
	"context"
	"net/netip"
	"sync"

	"github.com/penstock/penstock/hooks"
)

// Asker is the proxy's side of the questions about processes. It is safe for
// concurrent use.
type Asker struct {
	conn *Conn
	open chan struct{} // one for each question on its way

	mu      sync.Mutex
	last    uint64
	waiting map[uint64]chan *hooks.Process
	heard   heard
}

// NewAsker asks over conn, whose reader passes OpProcess messages to Answer.
func NewAsker(conn *Conn) *Asker {
	return &Asker{conn: conn, open: make(chan struct{}, MaxAsked), waiting: make(map[uint64]chan *hooks.Process)}
}

// Who asks and waits for the answer, until ctx is done at the latest. nil: not
// known.
func (a *Asker) Who(ctx context.Context, client, server netip.AddrPort) *hooks.Process {
	select {
	case a.open <- struct{}{}:
	case <-ctx.Done():
		return nil
	}
	defer func() { <-a.open }()
	answer := make(chan *hooks.Process, 1)
	a.mu.Lock()
	a.last++
	id := a.last
	a.waiting[id] = answer
	a.mu.Unlock()
	defer func() {
		a.mu.Lock()
		delete(a.waiting, id)
		a.mu.Unlock()
	}()
	if err := a.conn.Send(&Message{Op: OpWho, Who: &Who{ID: id, Client: client, Server: server}}); err != nil {
		return nil
	}
	select {
	case p := <-answer:
		return p
	case <-ctx.Done():
		return nil
	}
}

// Answer takes an OpProcess message.
func (a *Asker) Answer(m *Message) {
	if m.Found == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	p := a.heard.take(m.Found)
	if c := a.waiting[m.Found.ID]; c != nil {
		c <- p
		delete(a.waiting, m.Found.ID)
	}
}
