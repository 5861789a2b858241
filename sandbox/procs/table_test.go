//go:build linux || darwin

package procs

import (
	"slices"
	"testing"
)

// TestSession: who has lost its parents is found by its group, and nobody by a number
// that is not the session's.
func TestSession(t *testing.T) {
	const root = 100
	table := []row{
		{pid: 1, parent: 0, group: 1},
		{pid: 50, parent: 1, group: 50}, // the supervisor
		{pid: root, parent: 50, group: root},
		{pid: 107, parent: 106, group: 106}, // before its parent in the table
		{pid: 101, parent: root, group: root},
		{pid: 102, parent: 1, group: root}, // its parent has ended
		{pid: 103, parent: 101, group: 103, ended: true},
		{pid: 104, parent: 1, group: 103}, // of a group that a zombie led
		{pid: 106, parent: 104, group: 106},
		{pid: 200, parent: 1, group: 200},
		{pid: 201, parent: 50, group: 50},
		{pid: 202, parent: 200, group: 50},
	}
	got := session(table, root)
	slices.Sort(got)
	if want := []int{101, 102, 104, 106, 107}; !slices.Equal(got, want) {
		t.Errorf("%v, not %v", got, want)
	}
	if got := session(table[:2], root); len(got) != 0 {
		t.Errorf("of nobody: %v", got)
	}
}
