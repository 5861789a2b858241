package ebpf

import (
	"errors"
	"fmt"
	"os"

	cilium "github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/penstock/penstock/ebpf/internal/objects"
)

// maxSessions is MAX_SESSIONS of bpf/session.h.
const maxSessions = 4096

// Session is what the programs keep of one session. Its methods may be called
// concurrently.
type Session struct {
	p       *Programs
	id      uint64
	made    *prepared
	steered bool
	denied  [][]byte // keys
}

// record is struct session of bpf/session.h.
type record struct {
	Ring uint64
	Counters
}

// prepared is what takes the kernel too long to make when a session starts.
type prepared struct {
	index uint32
	ring  *cilium.Map
	steer *steering
}

// prepare makes a ring and puts it where the programs find it, and loads a
// steering program. p.mu is not held.
func (p *Programs) prepare() (made *prepared, err error) {
	p.mu.Lock()
	if len(p.free) == 0 {
		p.mu.Unlock()
		return nil, fmt.Errorf("no more than %d sessions at once", maxSessions)
	}
	index := p.free[len(p.free)-1]
	p.free = p.free[:len(p.free)-1]
	p.mu.Unlock()
	m := &prepared{index: index}
	m.ring, err = cilium.NewMap(&cilium.MapSpec{Name: "ring", Type: cilium.RingBuf, MaxEntries: uint32(p.opts.RingBytes)})
	if err != nil {
		err = fmt.Errorf("make ring of events: %w", err)
	} else if err = p.pen.Maps[objects.PenMapRings].Put(index, m.ring); err != nil {
		err = fmt.Errorf("place ring of events: %w", err)
	} else {
		m.steer, err = loadSteering(p.steer)
	}
	if err != nil {
		return nil, errors.Join(err, p.discard(m))
	}
	return m, nil
}

// discard takes apart what prepare made, and a session used perhaps: its ring is
// nobody else's, since whoever read it may still hold it. p.mu is not held.
func (p *Programs) discard(m *prepared) error {
	var err error
	if m.steer != nil {
		err = m.steer.close()
	}
	if m.ring != nil {
		if derr := p.pen.Maps[objects.PenMapRings].Delete(m.index); derr != nil && !errors.Is(derr, cilium.ErrKeyNotExist) {
			err = errors.Join(err, fmt.Errorf("remove ring of events: %w", derr))
		}
		err = errors.Join(err, m.ring.Close())
	}
	p.mu.Lock()
	p.free = append(p.free, m.index)
	p.mu.Unlock()
	return err
}

// topUp prepares for the next sessions, beside everything else. p.mu is held.
func (p *Programs) topUp() {
	for !p.closed && len(p.ready)+p.coming < p.opts.Ready {
		p.coming++
		p.work.Go(func() {
			m, err := p.prepare()
			p.mu.Lock()
			defer p.mu.Unlock()
			p.coming--
			if err == nil { // else the next AddSession will say it
				p.ready = append(p.ready, m)
			}
		})
	}
}

// take returns something prepared.
func (p *Programs) take() (*prepared, error) {
	p.mu.Lock()
	var m *prepared
	if n := len(p.ready); n > 0 {
		m, p.ready = p.ready[n-1], p.ready[:n-1]
	}
	p.topUp()
	p.mu.Unlock()
	if m != nil {
		return m, nil
	}
	return p.prepare()
}

// AddSession begins to watch the group of that number (CgroupID) with everything
// below it. It must be empty, or its processes and connections so far are
// nobody's. Takes CAP_BPF and CAP_NET_ADMIN. Fast for as many sessions at once as
// Options.Ready, some 20 ms for each one more.
func (p *Programs) AddSession(cgroupID uint64) (*Session, error) {
	m, err := p.take()
	if err != nil {
		return nil, fmt.Errorf("add session: %w", err)
	}
	p.mu.Lock()
	s := &Session{p: p, id: cgroupID, made: m}
	switch {
	case p.closed:
		err = errors.New("the programs are closed")
	case p.sessions[cgroupID] != nil:
		err = fmt.Errorf("group %d has one", cgroupID)
	default:
		// The programs take it for a session as soon as it is there.
		err = p.pen.Maps[objects.PenMapSessions].Put(cgroupID, record{Ring: uint64(m.index)})
	}
	if err == nil {
		p.sessions[cgroupID] = s
	}
	p.mu.Unlock()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("add session: %w", err), p.discard(m))
	}
	return s, nil
}

// Events returns the ring of the session's events, for ebpf/events; the caller
// closes it. It gives no other right than to read this ring, and to say how far
// it was read, which kernels without the fix of CVE-2024-41009 believe too much.
func (s *Session) Events() (*os.File, error) {
	fd, err := unix.FcntlInt(uintptr(s.made.ring.FD()), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("pass ring of events: %w", err)
	}
	return os.NewFile(uintptr(fd), "events"), nil
}

// Counters returns what was counted so far.
func (s *Session) Counters() (Counters, error) {
	var r record
	if err := s.p.pen.Maps[objects.PenMapSessions].Lookup(s.id, &r); err != nil {
		return Counters{}, fmt.Errorf("read counters of session: %w", err)
	}
	return r.Counters, nil
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
	err := s.release()
	if !s.p.closed {
		s.p.work.Go(func() { _ = s.p.discard(s.made) })
	}
	return err
}

// release undoes AddSession and Steer; what was prepared stays. p.mu is held.
func (s *Session) release() error {
	err := errors.Join(s.unsteer(), s.forgetDenied())
	for _, name := range []string{objects.PenMapSealed, objects.PenMapSessions} {
		if derr := s.p.pen.Maps[name].Delete(s.id); derr != nil && !errors.Is(derr, cilium.ErrKeyNotExist) {
			err = errors.Join(err, fmt.Errorf("remove session from %s: %w", name, derr))
		}
	}
	return err
}
