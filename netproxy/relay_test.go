package netproxy

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock/penstock/audit"
)

// idling is a relay between two pipes, both directions under way, that a sweeper
// looks after. It runs in a bubble of synctest, by a clock that no load disturbs.
func idling(t *testing.T, idle time.Duration) (tool, server net.Conn, ends <-chan error) {
	tool, pen := net.Pipe()
	up, server := net.Pipe()
	s := newSweeper(&Proxy{limits: Limits{Header: idle, Idle: idle, Raw: idle}})
	r := &relay{pen: pen, up: up, idle: idle}
	s.relay(r)
	var f flow
	c := make(chan error, 2)
	go func() { c <- r.copy(up, pen, &f.up) }()
	go func() { c <- r.copy(pen, up, &f.down) }()
	t.Cleanup(func() {
		s.close()
		for _, c := range []net.Conn{tool, pen, up, server} {
			c.Close()
		}
	})
	return tool, server, c
}

// ended waits for both directions and says when the first has ended. One of them
// must say why.
func ended(t *testing.T, ends <-chan error) time.Time {
	t.Helper()
	first := <-ends
	at := time.Now()
	if err := errors.Join(first, <-ends); !errors.Is(err, errIdle) {
		t.Errorf("ended by %v", err)
	}
	return at
}

// A relay is ended when nothing moves either way, and not while one way is busy.
func TestRelayIdle(t *testing.T) {
	const idle = time.Minute
	synctest.Test(t, func(t *testing.T) {
		tool, server, ends := idling(t, idle)
		go func() { // silence from the client, a busy server
			for range 20 {
				<-time.After(idle * 2 / 5)
				server.Write([]byte("s"))
			}
		}()
		if _, err := io.ReadFull(tool, make([]byte, 20)); err != nil {
			t.Errorf("busy: %v", err)
		}
		last := time.Now()
		if d := ended(t, ends).Sub(last); d < idle || d > 2*idle {
			t.Errorf("quiet: ended after %s", d)
		}
	})
}

// So is one in which both ends write and neither reads.
func TestRelayStuck(t *testing.T) {
	const idle = time.Minute
	synctest.Test(t, func(t *testing.T) {
		tool, server, ends := idling(t, idle)
		start := time.Now()
		for _, c := range []net.Conn{tool, server} {
			go c.Write(make([]byte, 1<<20))
		}
		if d := ended(t, ends).Sub(start); d < idle || d > 4*idle {
			t.Errorf("ended after %s", d)
		}
	})
}

// To look whether a relay is idle takes no byte away from a slow reader.
func TestRelayInterrupted(t *testing.T) {
	pair := func() (ours, theirs *net.TCPConn) {
		l := listen(t)
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		d, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close(); d.Close() })
		return c.(*net.TCPConn), d.(*net.TCPConn)
	}
	tool, pen := pair()
	server, up := pair()
	r := &relay{pen: pen, up: up, idle: time.Hour}
	r.last.Store(time.Now().UnixNano())
	data := make([]byte, 16<<20)
	rand.NewChaCha8([32]byte{}).Read(data)
	go func() {
		server.Write(data)
		server.CloseWrite()
	}()
	var f flow
	go r.copy(pen, up, &f.down)
	var got bytes.Buffer
	buf := make([]byte, 128<<10)
	for {
		r.interrupt()
		n, err := tool.Read(buf)
		got.Write(buf[:n])
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(got.Bytes(), data) {
		t.Errorf("%d bytes arrived of %d, or others", got.Len(), len(data))
	}
}

// What a relay was ended for stands in the record.
func TestRelayIdleRecorded(t *testing.T) {
	pn := newPen(t, someRules, func(c *Config) { c.Limits.Raw = 300 * time.Millisecond })
	l := listen(t)
	pn.place("raw.test:22", l.Addr().String())
	go func() {
		if c, err := l.Accept(); err == nil {
			defer c.Close()
			io.Copy(io.Discard, c)
		}
	}()
	quiet := pn.dial("raw.test:22")
	io.WriteString(quiet, "q")
	if _, err := quiet.Read(make([]byte, 1)); err == nil {
		t.Error("read something")
	}
	wait(t, pn.records, func(e *audit.FlowClose) bool { return e.Class == "idle" })
}
