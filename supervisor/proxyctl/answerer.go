//go:build unix

package proxyctl

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"github.com/penstock/penstock/hooks"
)

// Resolve finds who opened a connection, nil for unknown.
type Resolve func(ctx context.Context, client, server netip.AddrPort) *hooks.Process

const (
	// answerers is how many questions are worked on at a time.
	answerers = 8
	// answerTime bounds one answer; the proxy gives up before.
	answerTime = 15 * time.Second
)

// answerer answers the proxy's questions. The proxy may be in a tool's hands:
// what it can ask about are the pen's processes, MaxAsked at a time; what is too
// much gets "unknown" without a look, and a proxy that doesn't take its answers
// waits for itself.
type answerer struct {
	conn    *Conn
	resolve Resolve
	queue   chan *Who
	cancel  context.CancelFunc
	work    sync.WaitGroup

	mu   sync.Mutex
	told told
}

func newAnswerer(conn *Conn, resolve Resolve) *answerer {
	ctx, cancel := context.WithCancel(context.Background())
	a := &answerer{conn: conn, resolve: resolve, queue: make(chan *Who, MaxAsked), cancel: cancel}
	for range answerers {
		a.work.Go(func() { a.serve(ctx) })
	}
	return a
}

// ask takes a question; false: there are more than there may be.
func (a *answerer) ask(q *Who) bool {
	select {
	case a.queue <- q:
		return true
	default:
		return false
	}
}

func (a *answerer) serve(ctx context.Context) {
	for {
		select {
		case q := <-a.queue:
			within, cancel := context.WithTimeout(ctx, answerTime)
			p := a.resolve(within, q.Client, q.Server)
			cancel()
			if a.send(q.ID, p) != nil {
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

// send keeps the order of what is told of processes and what refers to it.
func (a *answerer) send(id uint64, p *hooks.Process) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	m := &Message{Op: OpProcess, Found: a.told.answer(id, p)}
	b, err := m.Encode()
	if err != nil {
		// Arguments of too many at once, full of bytes that need escaping.
		for i := range m.Found.New {
			m.Found.New[i].Args = nil
		}
		if b, err = m.Encode(); err != nil {
			return err
		}
	}
	return a.conn.write(OpProcess, b)
}

func (a *answerer) close() {
	a.cancel()
	a.work.Wait()
}
