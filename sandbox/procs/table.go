//go:build linux || darwin

package procs

// row is a process, as a table of all has it.
type row struct {
	pid, parent, group int
	ended              bool // a zombie
}

// session lists who of a table belongs to root: root's process group, root's
// descendants, and theirs and their groups' members, without root itself and without
// who has ended. A group that root or a descendant leads has no other's members in it.
func session(table []row, root int) (out []int) {
	in, groups := map[int]bool{root: true}, map[int]bool{root: true}
	for more := true; more; {
		more = false
		for _, r := range table {
			if !in[r.pid] && r.pid > 1 && (in[r.parent] || groups[r.group]) {
				in[r.pid], more = true, true
			}
			if in[r.pid] && r.group == r.pid && !groups[r.pid] {
				groups[r.pid], more = true, true
			}
		}
	}
	for _, r := range table {
		if in[r.pid] && r.pid != root && !r.ended {
			out = append(out, r.pid)
		}
	}
	return out
}
