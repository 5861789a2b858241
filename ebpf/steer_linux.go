package ebpf

import (
	"errors"
	"fmt"
	"os"

	cilium "github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/penstock/penstock/ebpf/internal/objects"
)

// steering is one program with its map of listeners; a program knows one map.
type steering struct {
	c    *cilium.Collection
	link *link.NetNsLink
}

func (s *steering) close() error {
	var err error
	if s.link != nil {
		err = s.link.Close()
	}
	s.c.Close()
	return err
}

// steerSpec is the program for pens like pen.
func steerSpec(pen Pen) (*cilium.CollectionSpec, error) {
	spec, err := objects.LoadSteer()
	if err != nil {
		return nil, err
	}
	// Kernels have no types for the contents of a SOCKMAP. To be told so takes
	// some 30 ms, because they make the map first and wait for readers of it.
	listeners := spec.Maps[objects.SteerMapListeners]
	listeners.Key, listeners.Value = nil, nil
	return spec, set(spec, map[string]any{
		objects.SteerVarOwn4:        word4(pen.Own4),
		objects.SteerVarOwn6:        pen.Own6.As16(),
		objects.SteerVarCapturePort: pen.CapturePort,
		objects.SteerVarDnsPort:     pen.DNSPort,
	})
}

func loadSteering(spec *cilium.CollectionSpec) (*steering, error) {
	c, err := collection("steering", spec.Copy(), nil)
	if err != nil {
		return nil, err
	}
	return &steering{c: c}, nil
}

// Steer makes every TCP connection of a network namespace end at listener4 or
// listener6 (nil where there is no IPv6), except those to the pen's own
// addresses and to its resolver. The namespace must be a pen's, in which every
// address is local, and nothing may run in it yet. From then on the session can
// bind none of our ports.
//
// The link is not pinned: when this process dies, connections are refused. Takes
// CAP_BPF and CAP_NET_ADMIN, in no namespace but the first.
func (s *Session) Steer(netns, listener4, listener6 *os.File) error {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	if s.p.sessions[s.id] != s {
		return errors.New("steer session: it is closed")
	}
	if s.steered {
		return errors.New("steer session: it is steered")
	}
	st := s.made.steer
	var err error
	for slot, listener := range []*os.File{listener4, listener6} {
		if listener == nil {
			continue
		}
		err = errors.Join(err, control(listener, func(fd int) error {
			// What is accepted has the port that was asked for. Without this, a
			// server of the tool's could not use that port on all addresses while
			// the connection lives; what is accepted inherits it.
			if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
				return err
			}
			return st.c.Maps[objects.SteerMapListeners].Put(uint32(slot), uint64(fd))
		}))
	}
	if err == nil {
		err = s.p.pen.Maps[objects.PenMapSealed].Put(s.id, uint8(1))
	}
	if err == nil {
		err = control(netns, func(fd int) (err error) {
			st.link, err = link.AttachNetNs(fd, st.c.Programs[objects.SteerProgPenSteer])
			return err
		})
	}
	if err != nil {
		return fmt.Errorf("steer session: %w", err)
	}
	s.steered = true
	return nil
}

// unsteer ends the steering. p.mu is held.
func (s *Session) unsteer() error {
	st := s.made.steer
	if st.link == nil {
		return nil
	}
	err := st.link.Close()
	st.link = nil
	if err != nil {
		return fmt.Errorf("end steering: %w", err)
	}
	return nil
}
