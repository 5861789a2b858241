package who

import (
	"bytes"
	"errors"
	"slices"
)

const socketLink = "socket:["

// holding is which process held which socket at one time. One look serves all
// questions that had come before it began: of a thousand connections at once the
// first is answered by looking, the others by what was seen.
type holding struct {
	asOf  uint64 // the last question that had come before
	whole bool   // nothing was guessed
	by    map[uint64][]int
}

// holders finds the process to name for a socket among all that hold it: the
// oldest. shared says that they don't all run the same program.
func (r *Resolver) holders(inode uint64, link string, ticket uint64) (*process, bool, error) {
	if r.all.asOf < ticket || r.all.by[inode] == nil && !r.all.whole {
		if err := r.lookAll(inode); err != nil {
			r.all = holding{}
			return nil, false, err
		}
	}
	var best *process
	var first image
	shared := false
	for _, pid := range r.all.by[inode] {
		p, err := r.known(pid)
		if err != nil {
			continue
		}
		m, _, err := p.image()
		if err != nil {
			continue
		}
		if has, err := r.holds(p, link); errors.Is(err, ErrBusy) {
			return nil, false, err
		} else if !has {
			// It has let go of it, or was another process then. What it ran may have
			// connected all the same.
			shared = true
			continue
		}
		if best != nil && m.exe != first.exe {
			shared = true
		}
		if best == nil || m.start < first.start || m.start == first.start && p.pid < best.pid {
			best, first = p, m
		}
	}
	if best == nil {
		return nil, false, ErrGone
	}
	return best, shared, nil
}

// lookAll notes the sockets of every process of the pen.
func (r *Resolver) lookAll(inode uint64) error {
	r.all = holding{asOf: r.tickets.Load(), by: make(map[uint64][]int)}
	fresh, whole, err := r.discover()
	if err != nil {
		return err
	}
	r.all.whole = whole
	if err := r.note(append(r.others(fresh), fresh...)); err != nil || whole || r.all.by[inode] != nil {
		return err
	}
	// What numbers there are was guessed from the last one; now all of them.
	r.all = holding{asOf: r.tickets.Load(), whole: true, by: make(map[uint64][]int)}
	if fresh, err = r.list(); err != nil {
		return err
	}
	return r.note(fresh)
}

func (r *Resolver) note(pids []int) error {
	for _, pid := range pids {
		err := r.noteOne(pid)
		if errors.Is(err, ErrBusy) {
			return err
		}
		if err != nil {
			delete(r.pids, pid) // ended, or a thread, or not to be read
		}
	}
	return nil
}

func (r *Resolver) noteOne(pid int) error {
	i := slices.IndexFunc(r.held, func(p *process) bool { return p.pid == pid && p.alive() })
	var p *process
	if i >= 0 {
		p = r.held[i]
	} else {
		var err error
		if p, err = r.openProcess(pid); err != nil {
			return err
		}
		if len(r.held) < maxHeld {
			r.held = append(r.held, p)
		} else {
			defer p.close()
		}
	}
	list, err := r.descriptors(p)
	if err != nil {
		return err
	}
	var buf [64]byte
	for _, fd := range list {
		if r.work > maxWork {
			return ErrBusy
		}
		is, ok := bytes.CutPrefix(r.descriptor(p, fd, &buf), []byte(socketLink))
		if !ok {
			continue
		}
		in := number(is)
		if by := r.all.by[in]; len(by) == 0 || by[len(by)-1] != pid {
			r.all.by[in] = append(by, pid)
		}
	}
	return nil
}
