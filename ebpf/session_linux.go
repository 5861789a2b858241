package ebpf

import (
	"errors"
	"fmt"
	"os"

	cilium "github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/penstock/penstock/ebpf/internal/objects"
)

// Session is what the programs keep of one session. Its methods may be called
// concurrently.
type Session struct {
	p     *Programs
	id    uint64
	ring  *cilium.Map
	steer *steering
}

// counters is struct session of bpf/session.h.
type counters struct {
	UpBytes, UpPackets, DownBytes, DownPackets, Flows, Denied, Lost, Muted uint64
}

// AddSession begins to watch the group of that number (CgroupID) with everything
// below it. It must be empty, or its processes and connections so far are
// nobody's. Takes CAP_BPF.
func (p *Programs) AddSession(cgroupID uint64) (*Session, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, errors.New("add session: the programs are closed")
	}
	if p.sessions[cgroupID] != nil {
		return nil, fmt.Errorf("add session: group %d has one", cgroupID)
	}
	ring, err := cilium.NewMap(&cilium.MapSpec{Name: "ring", Type: cilium.RingBuf, MaxEntries: uint32(p.opts.RingBytes)})
	if err != nil {
		return nil, fmt.Errorf("add session: make ring of events: %w", err)
	}
	s := &Session{p: p, id: cgroupID, ring: ring}
	err = p.pen.Maps[objects.PenMapRings].Put(cgroupID, ring)
	if err == nil {
		// Last: the programs take a session for one as soon as it is here.
		err = p.pen.Maps[objects.PenMapSessions].Put(cgroupID, counters{})
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("add session: %w", err), s.release())
	}
	p.sessions[cgroupID] = s
	return s, nil
}

// Events returns the ring of the session's events, for ebpf/events; the caller
// closes it. It gives no other right than to read this ring, and to say how far
// it was read.
func (s *Session) Events() (*os.File, error) {
	fd, err := unix.FcntlInt(uintptr(s.ring.FD()), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("pass ring of events: %w", err)
	}
	return os.NewFile(uintptr(fd), "events"), nil
}

// Counters returns what was counted so far.
func (s *Session) Counters() (Counters, error) {
	var c counters
	if err := s.p.pen.Maps[objects.PenMapSessions].Lookup(s.id, &c); err != nil {
		return Counters{}, fmt.Errorf("read counters of session: %w", err)
	}
	return Counters(c), nil
}

// Close ends the session: nothing is steered, counted or told any more. The ring
// lives on as long as somebody holds it. It may be called twice.
func (s *Session) Close() error {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	if s.p.sessions[s.id] != s {
		return nil
	}
	delete(s.p.sessions, s.id)
	return s.release()
}

// release undoes AddSession and Steer, in the reverse order.
func (s *Session) release() error {
	err := s.unsteer()
	for _, name := range []string{objects.PenMapSealed, objects.PenMapSessions, objects.PenMapRings} {
		if derr := s.p.pen.Maps[name].Delete(s.id); derr != nil && !errors.Is(derr, cilium.ErrKeyNotExist) {
			err = errors.Join(err, fmt.Errorf("remove session from %s: %w", name, derr))
		}
	}
	return errors.Join(err, s.ring.Close())
}
