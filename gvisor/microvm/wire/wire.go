// Package wire is the conversation between the machine's first process (package
// guest) and the program that holds the machine: frames over a byte stream, such as
// a virtio serial port.
//
//	host                                guest
//	         ◄── Hello ──────────────   the kernel is up, the root is there
//	Start ──────────────────────────►   the command, as JSON
//	         ◄── Started ────────────   it is executed, or
//	         ◄── Failed ─────────────   it can't be: an exit code and why
//	Data, Close, Credit ◄───────────►   three streams, each with a window of its own
//	Signal, Size ───────────────────►
//	         ◄── Exit ───────────────   after all that it wrote, and all of it is on disk
//
// # Hazards
//
// Each side takes the other for hostile; for the host it is: a command that took over
// its kernel says here what it likes. So a frame has one of few kinds and a bounded
// length, which are looked at before anything is allocated, a stream that sends more
// than its window is the end of the conversation, and what is text is escaped by
// whoever prints it. The host's end runs in the pen, too.
package wire

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
)

// Kind says what a frame is.
type Kind uint8

// The kinds of frames.
const (
	Hello   Kind = iota + 1
	Start        // JSON of Command
	Started      // empty
	Failed       // an exit code in the first byte, then text
	Data         // bytes of a stream
	Close        // a stream's: no more will be sent, or nobody reads what is sent
	Credit       // of a stream: so many more bytes may be sent, 4 bytes
	Signal       // a number, 1 byte
	Size         // rows and columns, 2 bytes each
	Exit         // a code, 1 byte
)

// Bounds in bytes.
const (
	MaxData    = 32 << 10
	Window     = 256 << 10 // of a stream that is sent and was not yet taken
	maxText    = 4 << 10
	maxCommand = 4 << 20
)

// limit is how long a frame's body may be; least how long it has to be.
func (k Kind) limit() (least, most int, ok bool) {
	switch k {
	case Hello, Started, Close:
		return 0, 0, true
	case Start:
		return 2, maxCommand, true
	case Failed:
		return 1, maxText, true
	case Data:
		return 1, MaxData, true
	case Credit, Size:
		return 4, 4, true
	case Signal, Exit:
		return 1, 1, true
	}
	return 0, 0, false
}

// Frame is one message. Stream is 0, 1 or 2; other than for Data, Close and Credit it is 0.
type Frame struct {
	Kind   Kind
	Stream uint8
	Body   []byte
}

// ErrFrame is what every error about the other side's bytes is.
var ErrFrame = errors.New("malformed frame")

func (f Frame) check(length int) error {
	least, most, ok := f.Kind.limit()
	streams := f.Kind == Data || f.Kind == Close || f.Kind == Credit
	switch {
	case !ok:
		return fmt.Errorf("%w: kind %d", ErrFrame, f.Kind)
	case f.Stream > 2 || f.Stream != 0 && !streams:
		return fmt.Errorf("%w: stream %d of kind %d", ErrFrame, f.Stream, f.Kind)
	case length < least || length > most:
		return fmt.Errorf("%w: %d bytes of kind %d", ErrFrame, length, f.Kind)
	}
	return nil
}

const head = 6 // kind, stream, length

// Conn is one side. Send may be called by many at once, Receive by one.
type Conn struct {
	r  *bufio.Reader
	mu sync.Mutex
	w  io.Writer
}

// NewConn returns a side of a conversation.
func NewConn(rw io.ReadWriter) *Conn {
	return &Conn{r: bufio.NewReaderSize(rw, 64<<10), w: rw}
}

// Send sends a frame whole.
func (c *Conn) Send(f Frame) error {
	if err := f.check(len(f.Body)); err != nil {
		return err
	}
	b := make([]byte, head, head+len(f.Body))
	b[0], b[1] = byte(f.Kind), f.Stream
	binary.BigEndian.PutUint32(b[2:], uint32(len(f.Body)))
	b = append(b, f.Body...)
	c.mu.Lock()
	defer c.mu.Unlock()
	_, err := c.w.Write(b)
	return err
}

// Receive returns the next frame; io.EOF if there is none.
func (c *Conn) Receive() (Frame, error) {
	var b [head]byte
	if _, err := io.ReadFull(c.r, b[:]); err != nil {
		return Frame{}, err
	}
	f := Frame{Kind: Kind(b[0]), Stream: b[1]}
	n := binary.BigEndian.Uint32(b[2:])
	if n > maxCommand {
		return Frame{}, fmt.Errorf("%w: %d bytes", ErrFrame, n)
	}
	if err := f.check(int(n)); err != nil {
		return Frame{}, err
	}
	if n > 0 {
		f.Body = make([]byte, n)
		if _, err := io.ReadFull(c.r, f.Body); err != nil {
			return Frame{}, io.ErrUnexpectedEOF
		}
	}
	return f, nil
}

// Number returns the body of Credit.
func (f Frame) Number() uint32 { return binary.BigEndian.Uint32(f.Body) }

// Window returns the body of Size.
func (f Frame) Window() (rows, columns uint16) {
	return binary.BigEndian.Uint16(f.Body), binary.BigEndian.Uint16(f.Body[2:])
}

// SizeFrame is a terminal's size.
func SizeFrame(rows, columns uint16) Frame {
	b := binary.BigEndian.AppendUint16(nil, rows)
	return Frame{Kind: Size, Body: binary.BigEndian.AppendUint16(b, columns)}
}

// FailedFrame says that the command can't be executed.
func FailedFrame(code uint8, text string) Frame {
	return Frame{Kind: Failed, Body: append([]byte{code}, text[:min(len(text), maxText-1)]...)}
}

// Command is what the guest executes, and in what.
type Command struct {
	Argv     []string `json:"argv"`
	Env      []string `json:"env"`
	Dir      string   `json:"dir"`
	UID      int      `json:"uid"`
	GID      int      `json:"gid"`
	Hostname string   `json:"hostname"`
	Umask    int      `json:"umask"`
	// Terminal says of each stream whether it is the terminal, whose settings are
	// Termios (struct termios) and whose size is Rows and Columns.
	Terminal [3]bool `json:"terminal"`
	Termios  []byte  `json:"termios,omitempty"`
	Rows     uint16  `json:"rows,omitempty"`
	Columns  uint16  `json:"columns,omitempty"`
	// Closed are streams that the caller has not.
	Closed [3]bool `json:"closed"`
	// Filter is a seccomp program, as an array of struct sock_filter.
	Filter []byte  `json:"filter,omitempty"`
	Files  uint64  `json:"files,omitempty"` // limit of open files; 0: the kernel's
	PIDs   int64   `json:"pids,omitempty"`  // limit of processes; 0: none
	Time   int64   `json:"time"`            // nanoseconds since 1970
	Tmpfs  []Tmpfs `json:"tmpfs,omitempty"`
	// Relay are ports of the loopback interface at which the pen's proxy listens.
	Relay []uint16 `json:"relay,omitempty"`
}

// Tmpfs is a directory of the root in which the machine has memory of its own.
type Tmpfs struct {
	Path string `json:"path"`
	Mode uint32 `json:"mode"`
	Size int64  `json:"size,omitempty"`
}
