package events

import "github.com/penstock/penstock/hooks"

// Bounds of the tree. Processes are bounded by the session's limit as long as no
// Exit is lost; ancestors that are gone live as long as a descendant does.
const (
	mostProcesses = 1 << 16
	mostAncestors = 64
)

// node is a living process. Its image is replaced when it executes, never
// changed: connections that were made before have the old one.
type node struct {
	id    ID
	exec  uint64
	depth int
	image *hooks.Process

	connections, refusals uint64 // that were told of
}

// tree is the session's processes, by their pids.
type tree struct {
	nodes  map[int]*node
	cgroup func(uint64) string
	by     string         // who tells
	first  *hooks.Process // the oldest process that we know
	top    *node          // the same, as it is now or was last
	// over: the pen ends. The first process outside of it has ended, which the one
	// inside dies of, or that one, which every process inside dies of.
	over bool
}

func newTree(cgroup func(uint64) string) *tree {
	return &tree{nodes: map[int]*node{}, cgroup: cgroup}
}

// find returns the node of a process, nil if another one has its pid.
func (t *tree) find(id ID) *node {
	if n := t.nodes[id.PID]; n != nil && n.id == id {
		return n
	}
	return nil
}

func (t *tree) add(n *node) {
	if len(t.nodes) >= mostProcesses {
		// Exits were lost. What is still alive comes back bare.
		clear(t.nodes)
	}
	if t.first == nil {
		t.first, t.top = n.image, n
	}
	t.nodes[n.id.PID] = n
}

// actor returns the node of who an event is about, as it was then. A process
// that was never heard of, or whose last execve was lost, has no executable.
func (t *tree) actor(e *Event) *node {
	n := t.find(e.ID)
	if n == nil {
		n = &node{id: e.ID, exec: e.Exec, depth: 1, image: t.bare(e, nil)}
		// One that ended before, told of late, does not displace a younger one.
		if now := t.nodes[e.ID.PID]; now == nil || now.id.Start < e.ID.Start {
			t.add(n)
		}
	} else if n.exec != e.Exec {
		n.exec = e.Exec
		n.image = t.bare(e, n.image.Parent)
	}
	return n
}

func (t *tree) bare(e *Event, parent *hooks.Process) *hooks.Process {
	return &hooks.Process{PID: e.ID.PID, UID: e.UID, Start: e.ID.Start, Cgroup: t.cgroup(e.Cgroup), SaidBy: t.by, Parent: parent}
}

// fork adds a child that is for now the image of its parent.
func (t *tree) fork(e *Event) {
	parent := t.actor(e)
	image := *parent.image
	image.PID, image.Start, image.UID = e.Other.PID, e.Other.Start, e.UID
	image.Parent = parent.image
	n := &node{id: e.Other, exec: e.OtherExec, depth: parent.depth + 1, image: &image}
	if n.depth > mostAncestors {
		// The nearest one and the first stay; the ones between are forgotten.
		nearest := *parent.image
		nearest.Parent = t.first
		image.Parent = &nearest
		n.depth = 3
	}
	t.add(n)
}

func (t *tree) execute(e *Event) {
	image := t.bare(e, nil)
	image.Exe = hooks.Executable{Path: e.Path, Dev: e.Dev, Ino: e.Ino}
	image.Args = e.Args
	n := t.find(e.ID)
	if n == nil {
		n = &node{id: e.ID, depth: 1}
		// Its fork was lost, or it is the session's first.
		if parent := t.find(e.Other); parent != nil {
			image.Parent, n.depth = parent.image, parent.depth+1
		}
		n.image = image
		t.add(n)
	} else {
		image.Parent = n.image.Parent
	}
	n.image, n.exec = image, e.Exec
}

func (t *tree) exit(e *Event) {
	n := t.find(e.ID)
	if n == nil {
		return
	}
	delete(t.nodes, e.ID.PID)
	// The first process inside is bwrap as well, a child of bwrap. No process of
	// the tool's is one: its parent is who called fork, whatever it asks for.
	up := n.image.Parent
	t.over = t.over || n == t.top || up != nil && ID{up.PID, up.Start} == t.top.id && n.image.Exe == t.top.image.Exe
}
