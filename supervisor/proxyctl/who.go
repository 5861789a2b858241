package proxyctl

import (
	"net/netip"

	"github.com/penstock/penstock/hooks"
)

// Bounds of the conversation about processes.
const (
	// MaxAsked is how many questions the proxy may have open.
	MaxAsked = 256
	// maxTold is how many processes are told by number only, before both sides
	// forget them all.
	maxTold = 4096
)

// Who is a question: which process of the pen opened this connection?
type Who struct {
	ID     uint64         `json:"id"`
	Client netip.AddrPort `json:"client"` // its end in the pen
	Server netip.AddrPort `json:"server"` // the address that it was made to
}

// Found answers the question of the same id. Ref is 0 where nobody was found.
type Found struct {
	ID  uint64 `json:"id"`
	Ref uint64 `json:"ref,omitempty"`
	// New describes those that were not told yet, parents before children; Forget
	// says that what was told before this message is void.
	New    []Process `json:"new,omitempty"`
	Forget bool      `json:"forget,omitempty"`
}

// Process is a hooks.Process with numbers for pointers.
type Process struct {
	Ref    uint64   `json:"ref"`
	Parent uint64   `json:"parent,omitempty"`
	PID    int      `json:"pid"`
	TID    int      `json:"tid,omitempty"`
	UID    int      `json:"uid"`
	Start  uint64   `json:"start"`
	Path   string   `json:"path"`
	Dev    uint64   `json:"dev,omitempty"`
	Ino    uint64   `json:"ino,omitempty"`
	SHA256 string   `json:"sha256,omitempty"`
	Args   []string `json:"args,omitempty"`
	Cgroup string   `json:"cgroup,omitempty"`
	Shared bool     `json:"shared,omitempty"`
}

// told is what one side has said of processes.
type told struct {
	refs map[*hooks.Process]uint64
	last uint64
}

// answer describes p to somebody who knows what was told before.
func (t *told) answer(id uint64, p *hooks.Process) *Found {
	f := &Found{ID: id}
	if p == nil {
		return f
	}
	if t.refs == nil || len(t.refs) > maxTold {
		f.Forget = t.refs != nil
		t.refs = make(map[*hooks.Process]uint64)
	}
	var chain []*hooks.Process
	for up := p; up != nil && t.refs[up] == 0; up = up.Parent {
		chain = append(chain, up)
	}
	for i := len(chain) - 1; i >= 0; i-- {
		c := chain[i]
		t.last++
		n := Process{Ref: t.last, PID: c.PID, TID: c.TID, UID: c.UID, Start: c.Start, Path: c.Exe.Path, Dev: c.Exe.Dev, Ino: c.Exe.Ino,
			SHA256: c.Exe.SHA256, Args: c.Args, Cgroup: c.Cgroup, Shared: c.Shared}
		if c.Parent != nil {
			n.Parent = t.refs[c.Parent]
		}
		t.refs[c] = t.last
		f.New = append(f.New, n)
	}
	f.Ref = t.refs[p]
	return f
}

// heard is what the other side has understood.
type heard struct{ refs map[uint64]*hooks.Process }

func (h *heard) take(f *Found) *hooks.Process {
	if f.Forget || h.refs == nil {
		h.refs = make(map[uint64]*hooks.Process)
	}
	for i := range f.New {
		n := &f.New[i]
		h.refs[n.Ref] = &hooks.Process{PID: n.PID, TID: n.TID, UID: n.UID, Start: n.Start, Args: n.Args, Cgroup: n.Cgroup, Shared: n.Shared,
			Exe: hooks.Executable{Path: n.Path, Dev: n.Dev, Ino: n.Ino, SHA256: n.SHA256}, Parent: h.refs[n.Parent]}
	}
	return h.refs[f.Ref]
}
