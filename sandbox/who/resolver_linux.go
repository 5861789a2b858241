package who

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/penstock/penstock/hooks"
)

const (
	// maxWork bounds the system calls of one answer, roughly; they are about a
	// microsecond each.
	maxWork = 20_000
	// maxHeld bounds the processes that are held by descriptors, three each.
	maxHeld = 256
	// maxRecent bounds how many processes are tried where they had their last
	// socket, maxFresh how many new ones are tried before all are looked at, and
	// maxQueued how many questions may wait for that.
	maxRecent = 16
	maxFresh  = 8
	maxQueued = 2
	// maxAgain bounds the waits before a socket of nobody is looked for again.
	maxAgain = 100 * time.Millisecond
	// maxKnown bounds the numbers of processes that are remembered as the pen's.
	maxKnown = 1 << 16
	// maxProbe bounds how many numbers are tried one by one for new processes.
	maxProbe  = 2048
	maxAbsent = 128
)

// Resolver answers for one pen. It is safe for concurrent use; questions are
// answered one after the other.
type Resolver struct {
	pen       Pen
	namespace string // what /proc/PID/ns/pid says of the pen's processes
	hashes    *hashes
	tickets   atomic.Uint64 // numbers questions as they come

	mu          sync.Mutex
	diag, track *netlink
	closed      bool
	held        []*process // most recently used first
	pids        map[int]struct{}
	absent      []int // numbers that were given out and that no process had yet
	last        int   // number that the kernel gave out last when we looked
	work        int
	budget      budget
	all         holding
	entries     [8192]byte
	numbers     []int
	patient     bool       // descriptions without a hash are made again
	pending     []*hashing // hashes that they wait for
}

// New returns a Resolver of p. Its Close closes the sockets.
func New(p Pen) (*Resolver, error) {
	if p.Diag == nil {
		return nil, errors.New("find the processes of connections: no sock_diag socket")
	}
	for _, f := range []*os.File{p.Diag, p.Track} {
		if f == nil {
			continue
		}
		// To the kernel only, without saying so each time.
		if err := unix.Connect(int(f.Fd()), &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
			return nil, fmt.Errorf("find the processes of connections: %w", err)
		}
	}
	r := &Resolver{pen: p, namespace: fmt.Sprintf("pid:[%d]", p.PIDNamespace), diag: &netlink{f: p.Diag},
		hashes: newHashes(), pids: make(map[int]struct{})}
	if p.Track != nil {
		r.track = &netlink{f: p.Track}
	}
	return r, nil
}

// Close ends all answering. It may be called twice.
func (r *Resolver) Close() error {
	r.hashes.close()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil
	}
	r.closed = true
	for _, p := range r.held {
		p.close()
	}
	r.held = nil
	err := r.pen.Diag.Close()
	if r.pen.Track != nil {
		err = errors.Join(err, r.pen.Track.Close())
	}
	return err
}

// Lookup finds who opened a connection: client is its peer as the proxy sees it,
// server the address that it was made to. The same process running the same
// program is always the same pointer.
func (r *Resolver) Lookup(ctx context.Context, client, server netip.AddrPort) (*hooks.Process, error) {
	w, pending, err := r.lookup(client, server, true)
	// A socket that is open is somebody's: who was missed was being forked, or was
	// executing something.
	for wait := time.Millisecond; errors.Is(err, ErrGone) && wait < maxAgain; wait *= 4 {
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(wait):
		}
		w, pending, err = r.lookup(client, server, true)
	}
	if len(pending) > 0 {
		r.await(ctx, pending)
		w, _, err = r.lookup(client, server, false)
	}
	return w, err
}

// lookup answers, or if it may wait returns what it would have to wait for.
func (r *Resolver) lookup(client, server netip.AddrPort, wait bool) (*hooks.Process, []*hashing, error) {
	client, server = unmap(client), unmap(server)
	if !client.IsValid() || !server.IsValid() || client.Addr().Is4() != server.Addr().Is4() {
		return nil, nil, ErrNoSocket
	}
	ticket := r.tickets.Add(1)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, nil, ErrGone
	}
	s, err := r.socket(client, server)
	if err != nil {
		return nil, nil, err
	}
	// With Exact the work is needed for a rule: its bound is that it is done by one.
	if !r.pen.Exact && !r.budget.may() {
		return nil, nil, ErrBusy
	}
	r.work = 0
	defer r.budget.spend(r.budget.begin())
	link := socketLink + strconv.FormatUint(s.inode, 10) + "]"
	var p *process
	shared := false
	if !r.pen.Exact {
		p, err = r.holder(link, ticket)
	}
	if p == nil && err == nil {
		p, shared, err = r.holders(s.inode, link, ticket)
	}
	if err != nil {
		return nil, nil, err
	}
	r.pending, r.patient = r.pending[:0], wait
	w, err := r.describe(p, maxChain)
	if err != nil {
		return nil, nil, ErrGone
	}
	if len(r.pending) > 0 {
		return nil, slices.Clone(r.pending), nil
	}
	if shared {
		if p.both == nil || p.of != w {
			both := *w
			both.Shared = true
			p.both, p.of = &both, w
		}
		return p.both, nil, nil
	}
	return w, nil, nil
}

func unmap(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap().WithZone(""), a.Port())
}

// socket finds the pen's end of a connection.
func (r *Resolver) socket(client, server netip.AddrPort) (socket, error) {
	if r.track != nil && !server.Addr().IsLoopback() {
		listener := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), r.pen.CapturePort)
		if client.Addr().Is6() {
			listener = netip.AddrPortFrom(netip.IPv6Loopback(), r.pen.CapturePort)
		}
		from, to, err := r.track.asked(client, listener)
		if err != nil {
			return socket{}, err
		}
		if to != server {
			return socket{}, ErrNoSocket
		}
		client = from
	}
	return r.diag.socket(client, server)
}

// holder finds a process that holds a socket, and holds it: one that was asked
// for before, or one that has begun since. nil: neither.
func (r *Resolver) holder(link string, ticket uint64) (*process, error) {
	if p := r.recent(link); p != nil {
		return p, nil
	}
	if r.tickets.Load() > ticket+maxQueued {
		return nil, nil //nolint:nilnil // one look at all serves those that wait, too
	}
	fresh, _, err := r.discover()
	if err != nil {
		return nil, err
	}
	if len(fresh) > maxFresh {
		return nil, nil //nolint:nilnil // as above
	}
	for i := len(fresh) - 1; i >= 0; i-- {
		p, err := r.look(fresh[i], link)
		switch {
		case errors.Is(err, ErrBusy):
			return nil, err
		case err != nil:
			delete(r.pids, fresh[i]) // ended, or a thread, or not to be read
		case p != nil:
			return r.eldest(p, link), nil
		}
	}
	return nil, nil //nolint:nilnil // see above
}

// look returns process pid, held, if it has the socket; else nil.
func (r *Resolver) look(pid int, link string) (*process, error) {
	for _, p := range r.held {
		if p.pid == pid && p.alive() {
			has, err := r.holds(p, link)
			if !has {
				return nil, err
			}
			return p, nil
		}
	}
	p, err := r.openProcess(pid)
	if err != nil {
		return nil, err
	}
	if has, err := r.holds(p, link); !has {
		p.close()
		return nil, err
	}
	r.hold(p)
	return p, nil
}

// others returns the pen's processes that are not in list, ascending.
func (r *Resolver) others(list []int) []int {
	in := make(map[int]struct{}, len(list))
	for _, pid := range list {
		in[pid] = struct{}{}
	}
	var rest []int
	for pid := range r.pids {
		if _, ok := in[pid]; !ok {
			rest = append(rest, pid)
		}
	}
	slices.Sort(rest)
	return rest
}

// eldest goes from a holder to its parent as long as that holds the socket too:
// a process that has just forked is as new as the child, but the socket is its own.
func (r *Resolver) eldest(p *process, link string) *process {
	for range maxChain {
		_, parent, err := p.image()
		if err != nil || parent == r.pen.Init || parent <= 1 {
			break
		}
		up, err := r.look(parent, link)
		if err != nil || up == nil {
			break
		}
		p = up
	}
	return p
}

// inherited is eldest for a process that was described before, at the cost of one
// look: a child has its parent's descriptors under the same numbers.
func (r *Resolver) inherited(p *process, link string) *process {
	for range maxChain {
		i := slices.IndexFunc(r.held, func(up *process) bool { return up.pid == p.parent })
		if i < 0 || !r.isAt(r.held[i], p.hint, link) {
			break
		}
		r.held[i].hint = p.hint
		p = r.held[i]
		r.touch(i)
	}
	return p
}

// recent looks among the processes that were asked for before: first where each
// had its last socket, then at all descriptors of the last few.
func (r *Resolver) recent(link string) *process {
	for i, p := range r.held {
		if i == maxRecent {
			break
		}
		if r.isNear(p, link) {
			r.touch(i)
			return r.inherited(p, link)
		}
	}
	for i, p := range r.held {
		if i == 4 {
			break
		}
		if p.hint < 0 {
			continue // a parent only
		}
		if has, _ := r.holdsAny(p, link); has {
			r.touch(i)
			return r.eldest(p, link)
		}
	}
	return nil
}

// known returns process pid, held.
func (r *Resolver) known(pid int) (*process, error) {
	for i, p := range r.held {
		if p.pid != pid {
			continue
		}
		if p.alive() {
			r.touch(i)
			return p, nil
		}
		p.close()
		r.held = slices.Delete(r.held, i, i+1)
		break
	}
	p, err := r.openProcess(pid)
	if err != nil {
		return nil, err
	}
	r.hold(p)
	return p, nil
}

func (r *Resolver) hold(p *process) {
	if len(r.held) >= maxHeld {
		r.drop()
	}
	r.held = slices.Insert(r.held, 0, p)
}

// touch makes entry i the most recently used.
func (r *Resolver) touch(i int) {
	p := r.held[i]
	copy(r.held[1:i+1], r.held[:i])
	r.held[0] = p
}

// drop lets the process go that was not used for longest.
func (r *Resolver) drop() {
	last := len(r.held) - 1
	r.held[last].close()
	r.held = r.held[:last]
}
