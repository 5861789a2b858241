package world

import (
	"errors"
	"net/netip"
	"strings"
)

// Outside returns what left H and arrived in W since New, but for DNS questions
// to the resolver (see Queries).
func (w *World) Outside() []Packet {
	w.t.Helper()
	w.settle()
	var out []Packet
	for _, p := range w.n.sniffer.since(w.packets) {
		if p.To == netip.AddrPortFrom(resolver, 53) {
			continue
		}
		out = append(out, p)
	}
	return out
}

// Queries returns the DNS questions that reached W since New.
func (w *World) Queries() []Query {
	w.t.Helper()
	w.settle()
	return w.n.dns.since(w.queries)
}

// Asked says whether DNS was asked for the name since New.
func (w *World) Asked(name string) bool {
	w.t.Helper()
	for _, q := range w.Queries() {
		if q.Name == strings.ToLower(name) {
			return true
		}
	}
	return false
}

// Reached says whether a packet for the origin's address arrived since New.
func (w *World) Reached(o *Origin) bool {
	w.t.Helper()
	for _, p := range w.Outside() {
		if a := p.To.Addr(); a == o.Addr || a == o.Addr6 {
			return true
		}
	}
	return false
}

func (w *World) settle() {
	w.t.Helper()
	if err := errors.Join(w.n.dns.settle(), w.n.sniffer.settle()); err != nil {
		w.t.Fatalf("world: %v", err)
	}
}
