package world

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// Query is one question that reached the internet's DNS server.
type Query struct {
	Time time.Time
	Name string // lower case, without the trailing dot
	Type string // A, AAAA, ...
}

// markerName is the name that settle asks for; it is not written down.
const markerName = "settled.invalid"

// dnsServer answers for the names of the rig and writes every question down.
type dnsServer struct {
	mu      sync.Mutex
	names   map[string]func(asked int) []netip.Addr
	asked   map[string]int
	queries []Query
}

func startDNS(n *network) (*dnsServer, error) {
	d := &dnsServer{names: map[string]func(int) []netip.Addr{}, asked: map[string]int{}}
	if err := n.hold(resolver); err != nil {
		return nil, err
	}
	address := netip.AddrPortFrom(resolver, 53).String()
	var pc net.PacketConn
	var ln net.Listener
	err := n.outside(func() (err error) {
		if pc, err = net.ListenPacket("udp4", address); err != nil {
			return err
		}
		ln, err = net.Listen("tcp4", address)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listen for DNS: %w", err)
	}
	go func() {
		buf := make([]byte, 65535)
		for {
			k, from, err := pc.ReadFrom(buf)
			if err != nil {
				return
			}
			if answer := d.answer(buf[:k]); answer != nil {
				pc.WriteTo(answer, from)
			}
		}
	}()
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go d.serveTCP(c)
		}
	}()
	return d, nil
}

func (d *dnsServer) serveTCP(c net.Conn) {
	defer c.Close()
	for {
		var size [2]byte
		if _, err := io.ReadFull(c, size[:]); err != nil {
			return
		}
		msg := make([]byte, binary.BigEndian.Uint16(size[:]))
		if _, err := io.ReadFull(c, msg); err != nil {
			return
		}
		answer := d.answer(msg)
		if answer == nil {
			return
		}
		c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(answer))), answer...))
	}
}

func (d *dnsServer) answer(msg []byte) []byte {
	var p dnsmessage.Parser
	h, err := p.Start(msg)
	if err != nil {
		return nil
	}
	q, err := p.Question()
	if err != nil {
		return nil
	}
	name := strings.ToLower(strings.TrimSuffix(q.Name.String(), "."))
	kind := strings.TrimPrefix(q.Type.String(), "Type")
	d.mu.Lock()
	if name != markerName {
		d.queries = append(d.queries, Query{Time: time.Now(), Name: name, Type: kind})
	}
	lookup := d.names[name]
	key := name + " " + kind
	times := d.asked[key]
	d.asked[key]++
	d.mu.Unlock()

	reply := dnsmessage.Header{ID: h.ID, Response: true, Authoritative: true, RecursionDesired: h.RecursionDesired, RecursionAvailable: true}
	var addrs []netip.Addr
	if lookup == nil {
		reply.RCode = dnsmessage.RCodeNameError
	} else {
		addrs = lookup(times)
	}
	b := dnsmessage.NewBuilder(nil, reply)
	b.EnableCompression()
	b.StartQuestions()
	b.Question(q)
	b.StartAnswers()
	for _, a := range addrs {
		rh := dnsmessage.ResourceHeader{Name: q.Name, Class: dnsmessage.ClassINET, TTL: 1}
		switch {
		case q.Type == dnsmessage.TypeA && a.Is4():
			b.AResource(rh, dnsmessage.AResource{A: a.As4()})
		case q.Type == dnsmessage.TypeAAAA && a.Is6():
			b.AAAAResource(rh, dnsmessage.AAAAResource{AAAA: a.As16()})
		}
	}
	out, err := b.Finish()
	if err != nil {
		return nil
	}
	return out
}

// settle returns when every datagram with a question that left H before the call
// has been written down: it asks one more, which is read after them.
func (d *dnsServer) settle() error {
	b := dnsmessage.NewBuilder(nil, dnsmessage.Header{ID: 1})
	b.StartQuestions()
	b.Question(dnsmessage.Question{Name: dnsmessage.MustNewName(markerName + "."), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET})
	msg, err := b.Finish()
	if err != nil {
		return fmt.Errorf("make marker question: %w", err)
	}
	conn, err := net.Dial("udp4", netip.AddrPortFrom(resolver, 53).String())
	if err != nil {
		return fmt.Errorf("ask marker question: %w", err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := conn.Write(msg); err != nil {
		return fmt.Errorf("ask marker question: %w", err)
	}
	if _, err := conn.Read(make([]byte, 512)); err != nil {
		return fmt.Errorf("the DNS server did not answer the marker question: %w", err)
	}
	return nil
}

func (d *dnsServer) set(name string, f func(int) []netip.Addr) {
	d.mu.Lock()
	defer d.mu.Unlock()
	name = strings.ToLower(name)
	if f == nil {
		delete(d.names, name)
		return
	}
	d.names[name] = f
	delete(d.asked, name+" A")
	delete(d.asked, name+" AAAA")
}

func (d *dnsServer) count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.queries)
}

func (d *dnsServer) since(i int) []Query {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]Query(nil), d.queries[min(i, len(d.queries)):]...)
}
