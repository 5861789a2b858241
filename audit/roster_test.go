package audit

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/penstock/penstock/hooks"
)

// list is an audit in memory.
type list struct {
	mu   sync.Mutex
	fail error
	all  []Process
}

func (l *list) Append(e Event) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fail != nil {
		return l.fail
	}
	l.all = append(l.all, *e.(*Process))
	return nil
}

// Each process is recorded once, after its parents, whoever asks at the same time.
func TestRoster(t *testing.T) {
	shell := &hooks.Process{PID: 1, Args: []string{"sh", "-c", "curl -H 'key: s3cr3t'"}}
	var all []*hooks.Process
	for i := range 20 {
		all = append(all, &hooks.Process{PID: 100 + i, UID: 7, Start: 9, Parent: &hooks.Process{PID: 50 + i, Parent: shell}})
	}
	var l list
	r := NewRoster(&l, func(s string) string { return strings.ReplaceAll(s, "s3cr3t", "[redacted]") })
	if n, err := r.Number(nil); n != 0 || err != nil {
		t.Error(n, err)
	}
	var wait sync.WaitGroup
	numbers := make([]uint64, 20*len(all))
	for i := range numbers {
		wait.Go(func() {
			n, err := r.Number(all[i%len(all)])
			if err != nil {
				t.Error(err)
			}
			numbers[i] = n
		})
	}
	wait.Wait()
	if len(l.all) != 41 {
		t.Fatalf("%d records", len(l.all))
	}
	for i, p := range l.all {
		if p.Number != uint64(i+1) || p.Parent >= p.Number || p.Action != "seen" {
			t.Errorf("record %d: %+v", i, p)
		}
		if p.PID == 1 && (p.Parent != 0 || p.Argv[2] != "curl -H 'key: [redacted]'") || p.PID != 1 && (l.all[p.Parent-1].PID != p.PPID) {
			t.Errorf("%+v", p)
		}
	}
	for i, n := range numbers {
		if p := l.all[n-1]; p.PID != all[i%len(all)].PID {
			t.Errorf("number %d is %+v, want process %d", n, p, all[i%len(all)].PID)
		}
	}
	if shell.Args[2] != "curl -H 'key: s3cr3t'" {
		t.Error("redacting changed the process itself")
	}
}

// More processes than are remembered get new numbers and new records.
func TestRosterForgets(t *testing.T) {
	var l list
	r := NewRoster(&l, nil)
	first := &hooks.Process{PID: 1}
	var up *hooks.Process
	for i := range 3 * maxRoster {
		up = &hooks.Process{PID: i, Parent: up}
		if i%200 == 0 {
			up = first // a chain without end is cut
		}
		if _, err := r.Number(up); err != nil {
			t.Fatal(err)
		}
		if len(r.numbers) > maxRoster {
			t.Fatalf("%d processes are remembered", len(r.numbers))
		}
	}
	n, err := r.Number(first)
	if err != nil || l.all[n-1].PID != 1 {
		t.Error(n, err)
	}
	var chain *hooks.Process
	for i := range 10 * maxParents {
		chain = &hooks.Process{PID: 1000 + i, Parent: chain}
	}
	before := len(l.all)
	if n, err := r.Number(chain); err != nil || l.all[n-1].PID != 999+10*maxParents || len(l.all)-before > maxParents {
		t.Errorf("%d, %v: %d records", n, err, len(l.all)-before)
	}
}

// What could not be recorded has no number, and is tried again.
func TestRosterFails(t *testing.T) {
	l := list{fail: errors.New("disk full")}
	r := NewRoster(&l, nil)
	p := &hooks.Process{PID: 2, Parent: &hooks.Process{PID: 1}}
	if n, err := r.Number(p); n != 0 || err == nil {
		t.Errorf("%d, %v", n, err)
	}
	l.fail = nil
	if n, err := r.Number(p); n != 2 || err != nil || fmt.Sprint(l.all[0].PID, l.all[1].PID) != "1 2" {
		t.Errorf("%d, %v, %+v", n, err, l.all)
	}
}

// TestRosterThreads: the threads of a process are one process, another program or
// another user of the same number is not.
func TestRosterThreads(t *testing.T) {
	var l list
	r := NewRoster(&l, nil)
	parent := &hooks.Process{PID: 1, Args: []string{"sh"}}
	image := hooks.Process{PID: 7, Start: 3, UID: 5, Args: []string{"tool", "x"}, Parent: parent, Exe: hooks.Executable{Path: "/tool", Ino: 4}}
	var first uint64
	for tid := range 10 {
		p := image
		p.TID = 100 + tid
		n, err := r.Number(&p)
		if err != nil || first != 0 && n != first {
			t.Errorf("thread %d: process %d, not %d: %v", tid, n, first, err)
		}
		first = n
	}
	if len(l.all) != 2 {
		t.Errorf("%d records", len(l.all))
	}
	for what, change := range map[string]func(p *hooks.Process){
		"exec": func(p *hooks.Process) { p.Args = []string{"tool", "x"} }, "program": func(p *hooks.Process) { p.Exe.Ino = 5 },
		"user": func(p *hooks.Process) { p.UID = 6 }, "start": func(p *hooks.Process) { p.Start = 4 }, "parent": func(p *hooks.Process) { p.Parent = nil },
	} {
		p := image
		change(&p)
		if n, err := r.Number(&p); err != nil || n == first {
			t.Errorf("another %s is the same process: %v", what, err)
		}
	}
}

// The end of a process is named as its flows name it, or else says who it was.
func TestRosterExit(t *testing.T) {
	var l list
	r := NewRoster(&l, func(s string) string { return strings.ReplaceAll(s, "s3cr3t", "[redacted]") })
	shell := &hooks.Process{PID: 1, Args: []string{"sh"}}
	known, other := &hooks.Process{PID: 2, TID: 7, Start: 9, Parent: shell, Args: []string{"curl"}}, &hooks.Process{PID: 3, Parent: shell, Args: []string{"s3cr3t"}}
	if _, err := r.Number(known); err != nil {
		t.Fatal(err)
	}
	later := *known // as its last event has it
	later.TID = 8
	if e := r.Exit(&later); e.Number != 2 || e.Parent != 1 || e.PPID != 1 || e.PID != 2 || e.Start != 9 || e.Argv != nil || e.Action != "exit" {
		t.Errorf("%+v", e)
	}
	if e := r.Exit(other); e.Number != 0 || e.Parent != 1 || len(e.Argv) != 1 || e.Argv[0] != "[redacted]" {
		t.Errorf("%+v", e)
	}
	if len(l.all) != 2 {
		t.Errorf("%d records", len(l.all))
	}
}
