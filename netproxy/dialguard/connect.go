package dialguard

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"syscall"
	"time"
)

// connect dials the checked addresses in the resolver's order (RFC 6724),
// families interleaved, a new attempt every stagger or as soon as one fails
// (RFC 8305). The first connection wins; the others are closed.
func connect(ctx context.Context, addrs []netip.Addr, port uint16) (net.Conn, error) {
	if len(addrs) == 1 {
		return attempt(ctx, addrs[0], port)
	}
	type result struct {
		conn net.Conn
		err  error
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	order := interleave(addrs)
	results := make(chan result, len(order))
	next, pending := 0, 0
	start := func() {
		a := order[next]
		next, pending = next+1, pending+1
		go func() {
			c, err := attempt(ctx, a, port)
			results <- result{c, err}
		}()
	}
	start()
	timer := time.NewTimer(stagger)
	defer timer.Stop()
	var last error
	for pending > 0 {
		select {
		case r := <-results:
			pending--
			if r.err == nil {
				// Late winners are closed by whoever reads them.
				go func(n int) {
					for range n {
						if l := <-results; l.conn != nil {
							l.conn.Close()
						}
					}
				}(pending)
				return r.conn, nil
			}
			last = r.err
			if next < len(order) {
				start()
				timer.Reset(stagger)
			}
		case <-timer.C:
			if next < len(order) {
				start()
				timer.Reset(stagger)
			}
		}
	}
	return nil, last
}

// attempt dials exactly a. The control function looks at the address once more
// in the moment of connect(2): nothing between the check and the dial, such as
// another resolution, may have changed it.
func attempt(ctx context.Context, a netip.Addr, port uint16) (net.Conn, error) {
	ap := netip.AddrPortFrom(a, port)
	network := "tcp4"
	if a.Is6() {
		network = "tcp6"
	}
	d := net.Dialer{
		Timeout: attemptTimeout,
		Control: func(_, address string, _ syscall.RawConn) error {
			if got, err := netip.ParseAddrPort(address); err != nil || got != ap {
				return fmt.Errorf("about to connect to %s instead of %s", strconv.Quote(address), ap)
			}
			return nil
		},
	}
	c, err := d.DialContext(ctx, network, ap.String())
	// The kernel's word only: DialError has the address already.
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	return c, err
}

// interleave alternates the families, beginning with that of the first address.
func interleave(addrs []netip.Addr) []netip.Addr {
	var first, second []netip.Addr
	for _, a := range addrs {
		if a.Is4() == addrs[0].Is4() {
			first = append(first, a)
		} else {
			second = append(second, a)
		}
	}
	out := make([]netip.Addr, 0, len(addrs))
	for len(first) > 0 || len(second) > 0 {
		if len(first) > 0 {
			out, first = append(out, first[0]), first[1:]
		}
		if len(second) > 0 {
			out, second = append(out, second[0]), second[1:]
		}
	}
	return out
}
