package query

import (
	"context"
	"encoding/json"
	"fmt"
)

// Process is a process of a session's pen that opened connections, or started one
// that did. Its strings are the tool's: escape them.
type Process struct {
	Process uint64   `json:"process"`
	Parent  uint64   `json:"parent,omitempty"` // number of who started it, 0 if not known
	PID     int      `json:"pid"`
	UID     int      `json:"uid"`
	Exe     string   `json:"exe"`
	Dev     string   `json:"dev,omitempty"`
	Ino     uint64   `json:"ino,omitempty"`
	SHA256  string   `json:"sha256,omitempty"`
	Argv    []string `json:"argv,omitempty"`
	Cgroup  string   `json:"cgroup,omitempty"`
	Shared  bool     `json:"shared,omitempty"`
	SaidBy  string   `json:"said_by,omitempty"` // who in the pen tells all this; "": it was seen from outside

	at int64 // of its record in the session's file
}

// maxLineage bounds how far up Lineage goes: the file may say anything.
const maxLineage = 64

// Processes are those of the sessions that a filter's flows belong to.
type Processes struct{ by map[processKey]*Process }

type processKey struct {
	session string
	number  uint64
}

// Processes reads the processes of all sessions that have a chosen flow.
func (x *Index) Processes(ctx context.Context, f Filter) (*Processes, error) {
	cond, args := f.where()
	rows, err := x.db.QueryContext(ctx, `SELECT session, process, parent, pid, uid, exe, dev, ino, sha256, argv, cgroup, shared, said_by, at FROM processes
		WHERE session IN (SELECT DISTINCT session FROM flows WHERE `+cond+")", args...)
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	defer rows.Close()
	all := &Processes{by: map[processKey]*Process{}}
	for rows.Next() {
		p := new(Process)
		var session, argv string
		var number, parent, ino int64
		if err := rows.Scan(&session, &number, &parent, &p.PID, &p.UID, &p.Exe, &p.Dev, &ino, &p.SHA256, &argv, &p.Cgroup, &p.Shared, &p.SaidBy, &p.at); err != nil {
			return nil, fmt.Errorf("list processes: %w", err)
		}
		p.Process, p.Parent, p.Ino = uint64(number), uint64(parent), uint64(ino)
		json.Unmarshal([]byte(argv), &p.Argv) //nolint:errcheck // written by Update
		all.by[processKey{session, p.Process}] = p
	}
	return all, rows.Err()
}

// Lineage returns a process of a session by its number, and its parents up to the
// session's first process. It is empty if the number is 0 or not recorded.
func (all *Processes) Lineage(session string, number uint64) []*Process {
	var line []*Process
	for number != 0 && len(line) < maxLineage {
		p := all.by[processKey{session, number}]
		if p == nil {
			break
		}
		line = append(line, p)
		if p.Parent >= number { // a parent's record is the earlier one
			break
		}
		number = p.Parent
	}
	return line
}

// places returns where the records of a process and its parents are that were not
// told yet, the first of them first.
func (all *Processes) places(session string, number uint64, told map[uint64]bool) []int64 {
	var at []int64
	if told[number] {
		return nil
	}
	line := all.Lineage(session, number)
	for i := len(line) - 1; i >= 0; i-- {
		if !told[line[i].Process] {
			told[line[i].Process] = true
			at = append(at, line[i].at)
		}
	}
	return at
}
