package dns

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/penstock/penstock/hooks"
)

// Event is a question of the pen and what it was told. Name holds the tool's
// bytes: it is to be escaped wherever it is shown.
type Event struct {
	Name      string
	QType     string // "A", "AAAA", "HTTPS", …
	Answer    netip.Addr
	RCode     string // "NOERROR", "NXDOMAIN", "REFUSED", …
	Transport string // "udp" or "tcp"
	Server    netip.AddrPort
	Reason    string // why it was refused, if it was
	Hooks     []hooks.Trace
}

// Config is what a Server is made of. Table is needed.
type Config struct {
	Table *Table
	// NoIPv6 leaves AAAA empty, for a pen whose kernel has no IPv6.
	NoIPv6 bool
	// Record is called with each distinct question once (as far as a bounded
	// memory can tell), at a bounded rate; what was left out is counted in a
	// later event. It is called from several goroutines and must not block.
	Record func(Event)
	// Judge is asked about each canonical name that is to be answered with an address,
	// with "A" or "AAAA". It does not block, and returns what does: who asks hooks. What
	// that says other than Next refuses the name. Nil, or nil returned: nobody is asked.
	Judge func(name, qtype string) func(context.Context) (hooks.Decision, []hooks.Trace)
	// Connections bounds open TCP connections; 0 means 64. Idle ends those
	// without a query; 0 means 10 s.
	Connections int
	Idle        time.Duration
}

// Server answers the pen's questions. Its methods may be called concurrently.
type Server struct {
	cfg   Config
	told  *told
	slots chan struct{}
	held  chan struct{} // a token for each datagram that is judged, or waits for that
	turns chan struct{} // a token for each question that is judged
	wait  time.Duration // for one

	ctx context.Context // done after Close
	end context.CancelFunc

	mu     sync.Mutex
	closed bool
	open   map[io.Closer]struct{}
	wg     sync.WaitGroup
}

// ErrClosed is returned by the Serve methods after Close.
var ErrClosed = errors.New("resolver is closed")

// NewServer returns a server without sockets.
func NewServer(cfg Config) *Server {
	if cfg.Connections <= 0 {
		cfg.Connections = 64
	}
	if cfg.Idle <= 0 {
		cfg.Idle = 10 * time.Second
	}
	s := &Server{cfg: cfg, told: newTold(time.Now), open: make(map[io.Closer]struct{}),
		slots: make(chan struct{}, cfg.Connections), held: make(chan struct{}, maxHeld), turns: make(chan struct{}, maxTurns), wait: maxWait}
	s.ctx, s.end = context.WithCancel(context.Background())
	return s
}

// adopt remembers c for Close; false means that the server is closed already.
func (s *Server) adopt(c io.Closer) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.open[c] = struct{}{}
	s.wg.Add(1)
	return true
}

func (s *Server) release(c io.Closer) {
	c.Close()
	s.mu.Lock()
	delete(s.open, c)
	s.mu.Unlock()
	s.wg.Done()
}

// Close closes everything that is being served and waits for its end. It may be
// called twice.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	for c := range s.open {
		c.Close()
	}
	s.mu.Unlock()
	s.end()
	s.wg.Wait()
	return nil
}

// ServeUDP answers the datagrams of c, each from the address that it was sent
// to, until c is closed. It takes over c. The error is ErrClosed after Close.
func (s *Server) ServeUDP(c *net.UDPConn) error {
	if !s.adopt(c) {
		c.Close()
		return ErrClosed
	}
	defer s.release(c)
	buf := make([]byte, maxQuery+1) // one more, to see that a query is too long
	out := make([]byte, 0, ourSize)
	oob := make([]byte, controlSize)
	var reply []byte
	var q question
	for {
		n, oobn, _, from, err := c.ReadMsgUDPAddrPort(buf, oob)
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return s.ended(err)
			}
			// An ICMP error about an answer that nobody waited for, or no memory
			// for the moment: of one datagram, not of the socket.
			if !transient(err) {
				return fmt.Errorf("read the pen's DNS socket: %w", err)
			}
			continue
		}
		var to netip.Addr
		to, reply = answerFrom(oob[:oobn], reply[:0])
		msg := s.handle(buf[:n], out, "udp", netip.AddrPortFrom(to, 53), &q)
		if q.judge != nil {
			s.later(c, bytes.Clone(buf[:n]), bytes.Clone(reply), from, netip.AddrPortFrom(to, 53), q)
			continue
		}
		if msg == nil {
			continue
		}
		// Not writable means that the tool doesn't read: its loss.
		_, _, _ = c.WriteMsgUDPAddrPort(msg, reply, from)
	}
}

func (s *Server) ended(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	return err
}

// ServeTCP answers the queries of l's connections (RFC 7766) until l is closed.
// It takes over l. The error is ErrClosed after Close.
func (s *Server) ServeTCP(l net.Listener) error {
	if !s.adopt(l) {
		l.Close()
		return ErrClosed
	}
	defer s.release(l)
	for {
		c, err := l.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return s.ended(err)
			}
			if transient(err) {
				pause()
				continue
			}
			return fmt.Errorf("accept on the pen's DNS socket: %w", err)
		}
		select {
		case s.slots <- struct{}{}:
		default:
			c.Close() // one connection too many; the tool still has UDP
			continue
		}
		if !s.adopt(c) {
			c.Close()
			<-s.slots
			return ErrClosed
		}
		go func() {
			defer func() { <-s.slots }()
			defer s.release(c)
			s.serveConn(c)
		}()
	}
}

// serveConn answers one connection's queries in turn.
func (s *Server) serveConn(c net.Conn) {
	to := localAddr(c)
	buf := make([]byte, maxQuery)
	out := make([]byte, 2, 2+plainSize)
	var q question
	for {
		// One deadline for a whole query and its answer: a byte now and then
		// doesn't keep a place.
		if c.SetDeadline(time.Now().Add(s.cfg.Idle)) != nil {
			return
		}
		if _, err := io.ReadFull(c, buf[:2]); err != nil {
			return
		}
		n := int(binary.BigEndian.Uint16(buf))
		if n < headerSize || n > maxQuery {
			return
		}
		if _, err := io.ReadFull(c, buf[:n]); err != nil {
			return
		}
		msg := s.handle(buf[:n], out, "tcp", to, &q)
		if q.judge != nil {
			msg = s.judged(buf[:n], out, "tcp", to, &q)
			// That took its own time, which hooks' limits bound.
			if c.SetDeadline(time.Now().Add(s.cfg.Idle)) != nil {
				return
			}
		}
		if msg == nil {
			return
		}
		binary.BigEndian.PutUint16(msg, uint16(len(msg)-2))
		if _, err := c.Write(msg); err != nil {
			return
		}
	}
}

func localAddr(c net.Conn) netip.AddrPort {
	if a, ok := c.LocalAddr().(*net.TCPAddr); ok {
		ap := a.AddrPort()
		return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	}
	return netip.AddrPort{}
}

// handle answers one query and records it; nil: there is no answer, or not before
// q.judge was asked. A defect of ours costs the tool an answer, not the session its
// proxy.
func (s *Server) handle(query, out []byte, transport string, to netip.AddrPort, q *question) (msg []byte) {
	defer func() {
		if recover() != nil && len(query) >= headerSize {
			q.judge, msg = nil, failure(query, out)
		}
	}()
	q.judge = nil
	if !s.read(query, q) || q.judge != nil {
		return nil
	}
	return s.tell(query, out, transport, to, q)
}

// tell answers a question and records it.
func (s *Server) tell(query, out []byte, transport string, to netip.AddrPort, q *question) []byte {
	msg := q.respond(query, out, transport == "udp")
	if s.cfg.Record == nil {
		return msg
	}
	if ok, missed := s.told.first(q); ok {
		e := Event{Transport: transport, Server: to, RCode: rcodeName(q.rcode), Answer: q.answer, Reason: q.reason, Hooks: q.told}
		if q.asked {
			e.Name, e.QType = nameText(q.name), typeName(q.kind)
		}
		if missed > 0 {
			if e.Reason != "" {
				e.Reason += "; "
			}
			e.Reason += fmt.Sprintf("%d questions before this one were not recorded", missed)
		}
		s.cfg.Record(e)
	}
	return msg
}

// nameText is the name without the dot at the end.
func nameText(n dnsmessage.Name) string {
	if n.Length <= 1 {
		return "."
	}
	return string(n.Data[:n.Length-1])
}
