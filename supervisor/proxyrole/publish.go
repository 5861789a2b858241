//go:build linux || darwin

package proxyrole

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/penstock/penstock/audit"
	"github.com/penstock/penstock/sandbox/netns"
	"github.com/penstock/penstock/supervisor/proxyctl"
)

// maxPublished bounds the connections to one published port at a time.
const maxPublished = 256

// publishDial bounds the connection to the pen's own server.
const publishDial = 10 * time.Second

// publisher makes one port of the pen reachable from the host. The bytes are
// relayed, not read.
type publisher struct {
	port     uint16
	listener *net.TCPListener
}

func newPublisher(p proxyctl.Publish, f *os.File) (publisher, error) {
	if f == nil {
		return publisher{}, fmt.Errorf("publish port %d: no descriptor %q", p.Port, p.Name)
	}
	defer f.Close()
	l, err := net.FileListener(f)
	if err != nil {
		return publisher{}, fmt.Errorf("publish port %d: %w", p.Port, err)
	}
	tcp, ok := l.(*net.TCPListener)
	if !ok {
		l.Close()
		return publisher{}, fmt.Errorf("publish port %d: not a TCP listener", p.Port)
	}
	return publisher{port: p.Port, listener: tcp}, nil
}

func (p *publisher) serve(pen *netns.Dialer, e *engine) error {
	slots := make(chan struct{}, maxPublished)
	for {
		c, err := p.listener.AcceptTCP()
		if err != nil {
			return err
		}
		select {
		case slots <- struct{}{}:
		default:
			c.Close()
			continue
		}
		go func() {
			defer func() { <-slots }()
			p.relay(c, pen, e)
		}()
	}
}

func (p *publisher) relay(c *net.TCPConn, pen *netns.Dialer, e *engine) {
	defer c.Close()
	ev := &audit.Publish{Action: "connect", Listen: addrPort(p.listener.Addr()), Port: p.port, Peer: addrPort(c.RemoteAddr())}
	if err := e.writer.Append(ev); err != nil {
		return // unrecorded is refused
	}
	ctx, cancel := context.WithTimeout(context.Background(), publishDial)
	defer cancel()
	inner, err := pen.Dial(ctx, p.port)
	if err != nil {
		return // nothing listens in the pen: the host sees a closed connection
	}
	defer inner.Close()
	if !e.track(c, inner) {
		return
	}
	defer e.untrack(c, inner)
	if !e.answering() {
		return
	}
	var both sync.WaitGroup
	both.Go(func() { relayHalf(inner, c) })
	both.Go(func() {
		defer e.answers.Done()
		relayHalf(c, inner)
	})
	both.Wait()
	ev.Action = "close"
	e.writer.Note(ev)
}

// answerGrace bounds how long the end of a session waits for clients to take
// what the pen's servers had sent before they ended.
const answerGrace = time.Second

// answering counts a relay whose answer is not to be cut off; false: it is over.
func (e *engine) answering() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return false
	}
	e.answers.Add(1)
	return true
}

// awaitAnswers is for after the pen's end: its sockets are closed, so each
// answer has an end. A server may well end itself with its answer, such as one
// that waits for the redirect of a login.
func (e *engine) awaitAnswers() {
	done := make(chan struct{})
	go func() {
		e.answers.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(answerGrace):
	}
}

// relayHalf copies one direction and passes its end on; both ends are TCP, so
// that the kernel moves the bytes (splice).
func relayHalf(dst, src *net.TCPConn) {
	if _, err := io.Copy(dst, src); err != nil {
		dst.SetLinger(0)
		src.SetReadDeadline(time.Unix(1, 0))
		dst.Close()
		return
	}
	dst.CloseWrite()
}

func addrPort(a net.Addr) netip.AddrPort {
	if t, ok := a.(*net.TCPAddr); ok {
		ap := t.AddrPort()
		return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	}
	return netip.AddrPort{}
}
