package dns

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// serveLoopback runs s on UDP and TCP of 127.0.0.1 and returns both addresses.
func serveLoopback(t *testing.T, s *Server) (udp, tcp string) {
	t.Helper()
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for _, serve := range []func() error{func() error { return s.ServeUDP(c) }, func() error { return s.ServeTCP(l) }} {
		wg.Go(func() {
			if err := serve(); !errors.Is(err, ErrClosed) {
				t.Errorf("serve: %v", err)
			}
		})
	}
	t.Cleanup(func() {
		s.Close()
		s.Close()
		wg.Wait()
	})
	return c.LocalAddr().String(), l.Addr().String()
}

// resolver is Go's own, asking only us.
func resolver(network, addr string) *net.Resolver {
	return &net.Resolver{PreferGo: true, StrictErrors: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, addr)
	}}
}

func TestServe(t *testing.T) {
	var mu sync.Mutex
	var events []Event
	s := newServer(t, Config{Record: func(e Event) {
		mu.Lock()
		defer mu.Unlock()
		events = append(events, e)
	}})
	udp, tcp := serveLoopback(t, s)
	for network, addr := range map[string]string{"udp": udp, "tcp": tcp} {
		r := resolver(network, addr)
		got, err := r.LookupNetIP(t.Context(), "ip", "api.example.com.")
		if err != nil || len(got) != 2 {
			t.Fatalf("%s: %v, %v", network, got, err)
		}
		for _, a := range got {
			if name, ok := s.cfg.Table.Lookup(a); !ok || name != "api.example.com" {
				t.Errorf("%s: %v is %q", network, a, name)
			}
			if names, err := r.LookupAddr(t.Context(), a.Unmap().String()); err != nil || len(names) != 1 || names[0] != "api.example.com." {
				t.Errorf("%s: names of %v: %v, %v", network, a, names, err)
			}
		}
		if txt, err := r.LookupTXT(t.Context(), "example.com."); err == nil {
			t.Errorf("%s: TXT %v", network, txt)
		}
		var dnsErr *net.DNSError
		if _, err := r.LookupNetIP(t.Context(), "ip", "a.invalid."); !errors.As(err, &dnsErr) || !dnsErr.IsNotFound {
			t.Errorf("%s: %v", network, err)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	seen := map[string]int{}
	for _, e := range events {
		seen[e.Name+" "+e.QType+" "+e.RCode]++
	}
	for _, want := range []string{"api.example.com A NOERROR", "api.example.com AAAA NOERROR", "example.com TXT NOERROR", "a.invalid A NXDOMAIN"} {
		if seen[want] != 1 {
			t.Errorf("%q recorded %d times: %v", want, seen[want], events)
		}
	}
}

// TestTCPFraming: pipelined queries, split lengths, and lengths that lie.
func TestTCPFraming(t *testing.T) {
	s := newServer(t, Config{})
	_, addr := serveLoopback(t, s)
	frame := func(p []byte) []byte { return append(binary.BigEndian.AppendUint16(nil, uint16(len(p))), p...) }
	query := frame(ask(t, "a.example.", dnsmessage.TypeA, 0))

	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(5 * time.Second))
	for _, b := range query {
		if _, err := c.Write([]byte{b}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.Write(append(append([]byte{}, query...), query...)); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		var size [2]byte
		if _, err := io.ReadFull(c, size[:]); err != nil {
			t.Fatal(err)
		}
		p := make([]byte, binary.BigEndian.Uint16(size[:]))
		if _, err := io.ReadFull(c, p); err != nil {
			t.Fatal(err)
		}
		if m := unpack(t, p); len(m.Answers) != 1 {
			t.Fatal(m)
		}
	}
	for name, bad := range map[string][]byte{
		"no length":        {0, 0},
		"below a header":   {0, 11, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11},
		"beyond the limit": {0xff, 0xff},
		"a response":       frame([]byte{0, 1, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0}),
	} {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		c.SetDeadline(time.Now().Add(5 * time.Second))
		c.Write(bad)
		if n, err := c.Read(make([]byte, 10)); err == nil {
			t.Errorf("%s: %d bytes of an answer", name, n)
		} else if ne := net.Error(nil); errors.As(err, &ne) && ne.Timeout() {
			t.Errorf("%s: the connection stays open", name)
		}
		c.Close()
	}
}

// TestTCPConnectionLimit: those beyond it are closed at once, and places are
// given back.
func TestTCPConnectionLimit(t *testing.T) {
	s := newServer(t, Config{Connections: 2, Idle: time.Hour})
	_, addr := serveLoopback(t, s)
	query := ask(t, "a.example.", dnsmessage.TypeA, 0)
	query = append(binary.BigEndian.AppendUint16(nil, uint16(len(query))), query...)
	try := func() (net.Conn, error) {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		c.SetDeadline(time.Now().Add(10 * time.Second))
		c.Write(query)
		_, err = io.ReadFull(c, make([]byte, 2+len(query)-2))
		if err != nil {
			c.Close()
		}
		return c, err
	}
	a, err := try()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := try(); err != nil {
		t.Fatal(err)
	}
	if _, err := try(); err == nil {
		t.Fatal("a third connection is served")
	}
	a.Close()
	for range 1000 { // the server sees the close when it sees it
		if _, err = try(); err == nil {
			return
		}
	}
	t.Fatal("the place of a closed connection is not given back")
}

// TestTCPIdle: a byte now and then doesn't keep a connection.
func TestTCPIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewServer(Config{Table: newTable(t, 0), Idle: 10 * time.Second})
		ours, theirs := net.Pipe()
		begin := time.Now()
		done := make(chan struct{})
		go func() {
			defer close(done)
			for {
				if _, err := theirs.Write([]byte{1}); err != nil {
					return
				}
				<-time.After(3 * time.Second)
			}
		}()
		s.serveConn(ours)
		if took := time.Since(begin); took != 10*time.Second {
			t.Errorf("served for %v", took)
		}
		ours.Close()
		<-done
	})
}

// TestUDPOverlong: a datagram beyond the limit is answered FORMERR and the next
// one as usual.
func TestUDPOverlong(t *testing.T) {
	s := newServer(t, Config{})
	addr, _ := serveLoopback(t, s)
	c, err := net.Dial("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(5 * time.Second))
	long := append(ask(t, "a.example.", dnsmessage.TypeA, 0), make([]byte, 9000)...)
	for _, q := range []struct {
		p    []byte
		want dnsmessage.RCode
	}{{long, dnsmessage.RCodeFormatError}, {ask(t, "a.example.", dnsmessage.TypeA, 0), dnsmessage.RCodeSuccess}} {
		if _, err := c.Write(q.p); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 1500)
		n, err := c.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		if m := unpack(t, buf[:n]); m.RCode != q.want {
			t.Fatalf("%v, want %v", m.RCode, q.want)
		}
	}
}

// TestPanicIsAnAnswer: a defect in answering is a SERVFAIL.
func TestPanicIsAnAnswer(t *testing.T) {
	s := NewServer(Config{}) // no table
	var q question
	p := s.handle(ask(t, "a.example.", dnsmessage.TypeA, 0), nil, "udp", netip.AddrPort{}, &q)
	if m := unpack(t, p); m.RCode != dnsmessage.RCodeServerFailure || m.ID != 0x1234 || !m.Response {
		t.Fatal(m)
	}
}

func TestClosed(t *testing.T) {
	s := NewServer(Config{Table: newTable(t, 0)})
	s.Close()
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.ServeUDP(c); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.ServeTCP(l); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	if _, err := net.Dial("tcp", l.Addr().String()); err == nil {
		t.Error("the listener is still open")
	}
}

// TestRecordIsBounded: distinct questions once; a flood of new ones is cut, and
// counted.
func TestRecordIsBounded(t *testing.T) {
	var events []Event
	s := newServer(t, Config{Record: func(e Event) { events = append(events, e) }})
	now := time.Unix(1000, 0)
	s.told = newTold(func() time.Time { return now })
	var q question
	send := func(name string) {
		s.handle(ask(t, name, dnsmessage.TypeA, 0), nil, "udp", netip.AddrPort{}, &q)
	}
	for range 10 {
		send("a.example.")
		send("A.example.")
	}
	if len(events) != 1 {
		t.Fatalf("%d events for one question", len(events))
	}
	for i := range 3000 {
		send(fmt.Sprintf("n%d.example.", i))
	}
	if len(events) != toldBurst {
		t.Fatalf("%d events, want %d", len(events), toldBurst)
	}
	now = now.Add(time.Second)
	send("later.example.")
	last := events[len(events)-1]
	if want := fmt.Sprintf("%d questions before this one were not recorded", 3001-toldBurst); last.Name != "later.example" || last.Reason != want {
		t.Fatalf("%+v, want %q", last, want)
	}
}

func ExampleServer() {
	table, err := NewTable(0)
	if err != nil {
		panic(err)
	}
	server := NewServer(Config{Table: table, Record: func(e Event) { fmt.Println(e.Name, e.QType, e.RCode) }})
	defer server.Close()
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		panic(err)
	}
	go server.ServeUDP(c)
	addrs, err := resolver("udp", c.LocalAddr().String()).LookupNetIP(context.Background(), "ip4", "api.example.com.")
	if err != nil {
		panic(err)
	}
	fmt.Println(table.Lookup(addrs[0]))
	// Output:
	// api.example.com A NOERROR
	// api.example.com true
}
