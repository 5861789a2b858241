package main

import (
	"encoding/binary"
	"net/netip"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// Kinds of records. Their form is that of bpf/event.h, behind the length of each, with
// one kind more.
const (
	kindFlow = 1
	kindFork = 2
	kindExec = 3
	kindExit = 4
	kindOpen = 16
)

// What a record holds at most, in bytes. A whole one is written at once, so that no
// other is in between: less than PIPE_BUF.
const (
	mostPath   = 1024
	mostName   = 256
	mostArgs   = 1536
	mostRecord = 4096
)

// pathCut says that a path lacks its beginning, argsCut that arguments lack their end.
const (
	pathCut = 1
	argsCut = 4
)

// subject is who a record is about.
type subject struct {
	pid, tid int32
	uid      uint32
	start    int64 // when the process began, by gVisor's clock
}

// journal writes records to whoever listens outside of the pen. It never waits for
// that one: what it does not take is lost, and counted.
type journal struct {
	fd int

	mu    sync.Mutex
	execs map[int32]execution // by the process's number
	lost  uint64
	buf   [mostRecord]byte
}

// execution is how often a process has executed a file: whoever reads sees by it that
// a record of one is missing.
type execution struct {
	start int64
	n     uint64
}

func newJournal(fd int) *journal { return &journal{fd: fd, execs: map[int32]execution{}} }

// mostProcesses bounds what is remembered of processes.
const mostProcesses = 1 << 16

func (j *journal) executions(s *subject) uint64 {
	if e := j.execs[s.pid]; e.start == s.start {
		return e.n
	}
	return 0
}

// knows says whether anything was told of a process.
func (j *journal) knows(s *subject) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	e, ok := j.execs[s.pid]
	return ok && e.start == s.start
}

func (j *journal) remember(pid int32, start int64, n uint64) {
	if len(j.execs) >= mostProcesses {
		clear(j.execs)
	}
	j.execs[pid] = execution{start, n}
}

// begin starts a record of s.
func (j *journal) begin(kind uint32, s *subject) []byte {
	ne := binary.NativeEndian
	b := append(j.buf[:0], 0, 0) // its length, see write
	b = ne.AppendUint32(b, kind)
	b = ne.AppendUint32(b, s.uid)
	b = ne.AppendUint64(b, 0) // nobody asks for the time
	b = ne.AppendUint64(b, j.lost)
	b = ne.AppendUint64(b, 0)
	b = ne.AppendUint32(b, uint32(s.pid))
	b = ne.AppendUint32(b, uint32(s.tid))
	b = ne.AppendUint64(b, uint64(s.start))
	return ne.AppendUint64(b, j.executions(s))
}

func (j *journal) write(b []byte) {
	binary.NativeEndian.PutUint16(b, uint16(len(b)-2))
	if n, err := unix.Write(j.fd, b); err != nil || n != len(b) {
		j.lost++
	}
}

func (j *journal) flow(s *subject, source, target netip.AddrPort) {
	j.mu.Lock()
	defer j.mu.Unlock()
	ne := binary.NativeEndian
	b := j.begin(kindFlow, s)
	from, to := source.Addr().As16(), target.Addr().As16()
	b = append(append(b, from[:]...), to[:]...)
	b = ne.AppendUint16(b, source.Port())
	b = ne.AppendUint16(b, target.Port())
	j.write(ne.AppendUint32(b, 0))
}

// fork tells of a child, which is for now what its parent is.
func (j *journal) fork(parent *subject, child int32, start int64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	ne := binary.NativeEndian
	n := j.executions(parent)
	j.remember(child, start, n)
	b := j.begin(kindFork, parent)
	b = ne.AppendUint64(b, uint64(start))
	b = ne.AppendUint64(b, n)
	b = ne.AppendUint32(b, uint32(child))
	j.write(ne.AppendUint32(b, 0))
}

// exec tells of a process that executes a file. parent is zero where it has none.
func (j *journal) exec(s, parent *subject, file, name string, args []string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.remember(s.pid, s.start, j.executions(s)+1)
	ne := binary.NativeEndian
	b := j.begin(kindExec, s)
	b = ne.AppendUint64(b, uint64(parent.start))
	b = ne.AppendUint64(b, 0) // a number of a file that only gVisor knows
	b = ne.AppendUint32(b, uint32(parent.pid))
	b = ne.AppendUint32(b, 0)
	at := len(b)
	b = append(b, make([]byte, 16)...)
	b, flags := appendParts(b, file)
	if !strings.HasPrefix(file, "/") { // where it was found is not known
		flags |= pathCut
	}
	ne.PutUint16(b[at+4:], uint16(len(b)-at-16))
	b = append(append(b, name[:min(len(name), mostName-1)]...), 0)
	ne.PutUint16(b[at+6:], uint16(min(len(name), mostName-1)+1))
	n := 0
	for _, a := range args {
		if n+len(a)+1 > mostArgs {
			a = a[:mostArgs-n]
			b, n = append(b, a...), mostArgs
			flags |= argsCut
			break
		}
		b, n = append(append(b, a...), 0), n+len(a)+1
	}
	ne.PutUint32(b[at:], flags)
	ne.PutUint16(b[at+8:], uint16(n))
	j.write(b)
}

// appendParts appends the parts of a path, the last one first.
func appendParts(b []byte, file string) ([]byte, uint32) {
	parts := strings.Split(strings.Trim(file, "/"), "/")
	room := mostPath
	for i := len(parts) - 1; i >= 0; i-- {
		if room -= len(parts[i]) + 1; room < 0 {
			return b, pathCut
		}
		b = append(append(b, parts[i]...), 0)
	}
	return b, 0
}

// exit tells of the end of a process. status is as wait(2) gives it.
func (j *journal) exit(s *subject, status int32) {
	j.mu.Lock()
	defer j.mu.Unlock()
	b := j.begin(kindExit, s)
	delete(j.execs, s.pid)
	b = binary.NativeEndian.AppendUint32(b, uint32(status))
	j.write(binary.NativeEndian.AppendUint32(b, 0))
}

// open tells of an attempt to open a watched file. errno is 0 of one that is open.
func (j *journal) open(s *subject, file string, write bool, errno int64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	ne := binary.NativeEndian
	b := j.begin(kindOpen, s)
	b = ne.AppendUint32(b, uint32(errno))
	flags := uint16(0)
	if write {
		flags = 1
	}
	b = ne.AppendUint16(b, flags)
	file = file[:min(len(file), mostPath)]
	b = ne.AppendUint16(b, uint16(len(file)))
	j.write(append(b, file...))
}
