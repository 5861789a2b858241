package events

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"strings"
)

// Kind is what an event tells.
type Kind uint32

// Kinds of events; the numbers are those of bpf/event.h.
const (
	Flow Kind = 1 + iota // a connection is about to be made
	Fork                 // a process was made
	Exec                 // a process has executed another file
	Exit                 // the last thread of a process ends
	Deny                 // the kernel refused something
	// Access is a watched file that somebody opens, or tried to. No program of the
	// kernel's tells of it.
	Access Kind = 16
)

// Why says what was refused.
type Why uint16

// What a Deny is about.
const (
	DeniedAddress  Why = 1 + iota // a connection to an address that is denied to the session
	DeniedDatagram                // a datagram to where none may be sent
	DeniedSocket                  // a kind of socket
	DeniedBind                    // a port of ours
	DeniedPacket                  // a packet that should not have come so far
)

// ID names a process for ever.
type ID struct {
	PID   int    // thread group, in the first pid namespace
	Start uint64 // nanoseconds since boot
}

// Event is one record of the ring. Which fields are set depends on its kind.
type Event struct {
	Kind   Kind
	ID     ID // who did it; of Fork the parent; zero if not known (DeniedPacket)
	TID    int
	UID    int
	Exec   uint64 // how often the process had executed a file
	Time   uint64 // nanoseconds since boot
	Lost   uint64 // events of the session lost before this one
	Cgroup uint64 // inode of the process's group

	Source, Target netip.AddrPort // Flow; Deny: Target, if there is one

	Other     ID     // Fork: the child; Exec: the parent
	OtherExec uint64 // Fork

	Dev, Ino uint64 // Exec: the executable, as stat(2) names it
	Path     string // Exec, Access: in the process's own view of the file system
	Name     string // Exec: as given to execve; of a script the script's
	Args     []string
	PathCut  bool // Path lacks its beginning
	Unlinked bool // the file had no name any more
	ArgsCut  bool // there was more, or they could not be read

	Write bool // Access: to write to it
	Code  int  // Exit: as wait(2) gives it; Access: the error, 0 for none
	OOM   bool // Exit: the kernel chose it when memory ran out

	Why          Why // Deny
	Family, Type int // Deny of a socket
	Protocol     int // Deny: as in IP
}

// Sizes of the structs in bpf/event.h.
const (
	headSize = 56
	flowSize = headSize + 40
	forkSize = headSize + 24
	execSize = headSize + 40 // and what follows
	exitSize = headSize + 8
	denySize = headSize + 32
	openSize = headSize + 8 // and the path
)

var (
	errShort = errors.New("read event: too short")
	errKind  = errors.New("read event: no such kind")
	errParts = errors.New("read event: parts are longer than the whole")
)

// Parse reads one record. It keeps nothing of b.
func Parse(b []byte) (Event, error) {
	var e Event
	if len(b) < headSize {
		return e, errShort
	}
	ne := binary.NativeEndian
	e.Kind = Kind(ne.Uint32(b))
	e.UID = int(ne.Uint32(b[4:]))
	e.Time = ne.Uint64(b[8:])
	e.Lost = ne.Uint64(b[16:])
	e.Cgroup = ne.Uint64(b[24:])
	e.ID.PID = int(ne.Uint32(b[32:]))
	e.TID = int(ne.Uint32(b[36:]))
	e.ID.Start = ne.Uint64(b[40:])
	e.Exec = ne.Uint64(b[48:])
	body := b[headSize:]
	switch e.Kind {
	case Flow:
		if len(b) < flowSize {
			return Event{}, errShort
		}
		e.Source = addrPort(body, ne.Uint16(body[32:]))
		e.Target = addrPort(body[16:], ne.Uint16(body[34:]))
	case Fork:
		if len(b) < forkSize {
			return Event{}, errShort
		}
		e.Other = ID{PID: int(ne.Uint32(body[16:])), Start: ne.Uint64(body)}
		e.OtherExec = ne.Uint64(body[8:])
	case Exec:
		if len(b) < execSize {
			return Event{}, errShort
		}
		return e, e.parseExec(body)
	case Exit:
		if len(b) < exitSize {
			return Event{}, errShort
		}
		e.Code = int(ne.Uint32(body))
		e.OOM = ne.Uint32(body[4:])&flagOOM != 0
	case Deny:
		if len(b) < denySize {
			return Event{}, errShort
		}
		e.Target = addrPort(body, ne.Uint16(body[16:]))
		e.Why = Why(ne.Uint16(body[18:]))
		e.Family = int(ne.Uint16(body[20:]))
		e.Type = int(ne.Uint16(body[22:]))
		e.Protocol = int(ne.Uint32(body[24:]))
	case Access:
		if len(b) < openSize {
			return Event{}, errShort
		}
		e.Code = int(int32(ne.Uint32(body)))
		e.Write = ne.Uint16(body[4:]) != 0
		n := int(ne.Uint16(body[6:]))
		if n > len(b)-openSize {
			return Event{}, errParts
		}
		e.Path = string(body[8 : 8+n])
	default:
		return Event{}, errKind
	}
	return e, nil
}

// flagOOM is a flag of an Exit.
const flagOOM = 1

func addrPort(b []byte, port uint16) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom16([16]byte(b[:16])).Unmap(), port)
}

// Flags of an Exec.
const (
	flagPathCut  = 1
	flagUnlinked = 2
	flagArgsCut  = 4
	flagArgsLost = 8
)

func (e *Event) parseExec(body []byte) error {
	ne := binary.NativeEndian
	e.Other = ID{PID: int(ne.Uint32(body[16:])), Start: ne.Uint64(body)}
	e.Ino = ne.Uint64(body[8:])
	e.Dev = device(ne.Uint32(body[20:]))
	flags := ne.Uint32(body[24:])
	e.PathCut = flags&flagPathCut != 0
	e.Unlinked = flags&flagUnlinked != 0
	e.ArgsCut = flags&(flagArgsCut|flagArgsLost) != 0
	path, name, args := int(ne.Uint16(body[28:])), int(ne.Uint16(body[30:])), int(ne.Uint16(body[32:]))
	data := body[execSize-headSize:]
	if path+name+args > len(data) {
		return errParts
	}
	e.Path = joinParts(data[:path], e.PathCut)
	name0, _, _ := bytes.Cut(data[path:path+name], []byte{0})
	e.Name = string(name0)
	e.Args = split(data[path+name : path+name+args])
	return nil
}

// device converts the kernel's dev_t, 12 bits of major and 20 of minor number,
// into what stat(2) returns.
func device(kernel uint32) uint64 {
	major, minor := uint64(kernel>>20), uint64(kernel&0xfffff)
	return minor&0xff | major<<8 | (minor&^0xff)<<12
}

// joinParts makes a path of its parts, which come last one first.
func joinParts(b []byte, cut bool) string {
	parts := bytes.Split(bytes.TrimSuffix(b, []byte{0}), []byte{0})
	var out strings.Builder
	out.Grow(len(b) + 4)
	if cut {
		out.WriteString("/…")
	}
	for i := len(parts) - 1; i >= 0; i-- {
		out.WriteByte('/')
		out.Write(parts[i])
	}
	return out.String()
}

// split takes arguments apart. Each ends in NUL, a clipped last one does not.
func split(b []byte) []string {
	if len(b) == 0 {
		return nil
	}
	return strings.Split(string(bytes.TrimSuffix(b, []byte{0})), "\x00")
}
