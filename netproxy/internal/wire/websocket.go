package wire

import (
	"bufio"
	"encoding/binary"
	"io"
	"unicode/utf8"
)

// Opcodes of frames (RFC 6455 section 5.2).
const (
	OpContinuation = 0
	OpText         = 1
	OpBinary       = 2
	OpClose        = 8
	OpPing         = 9
	OpPong         = 10
)

// Bounds of frames.
const (
	MaxControl     = 125 // bytes of a control frame
	MaxFrameHeader = 14
)

// Codes of close frames (section 7.4.1).
const (
	CloseProtocol = 1002
	ClosePolicy   = 1008
)

// FrameError says what is wrong with a WebSocket's frames.
type FrameError struct{ Reason string }

// Error returns the reason.
func (e *FrameError) Error() string { return "WebSocket: " + e.Reason }

func badFrame(reason string) error { return &FrameError{reason} }

// Frames reads what one side of a WebSocket sends, message by message. No extension
// is in use: reserved bits are refused. It holds one buffer of 4 KiB.
type Frames struct {
	src     *bufio.Reader
	masked  bool
	control func(op byte, payload []byte) error

	left   uint64 // bytes of the frame that are not read
	key    [4]byte
	at     int  // of key
	fin    bool // the frame is the message's last
	open   bool // a message has begun, and its end was not told
	closed bool // there was a close frame
}

// NewFrames reads frames from src. masked: each has to be (those of a client), else
// none may be. control gets each control frame as it comes, also in the middle of a
// message; its error is that of the reader. The payload is valid until it returns.
func NewFrames(src io.Reader, masked bool, control func(op byte, payload []byte) error) *Frames {
	return &Frames{src: bufio.NewReaderSize(src, 4<<10), masked: masked, control: control}
}

// Next waits for the next message and returns its type, OpText or OpBinary. The one
// before must have been read to its end. io.EOF says that there is none: after a
// close frame, or where frames end.
func (f *Frames) Next() (byte, error) {
	if f.closed {
		return 0, io.EOF
	}
	if f.open {
		return 0, badFrame("the message before is not read")
	}
	op, err := f.header()
	if err != nil {
		return 0, err
	}
	if op == OpContinuation {
		return 0, badFrame("a continuation of no message")
	}
	f.open = true
	return op, nil
}

// Read implements io.Reader for the message that Next has found. io.EOF comes with
// its last bytes.
func (f *Frames) Read(p []byte) (int, error) {
	for f.open && f.left == 0 && !f.fin {
		switch op, err := f.header(); {
		case err == io.EOF: //nolint:errorlint // header returns it bare
			return 0, io.ErrUnexpectedEOF
		case err != nil:
			return 0, err
		case op != OpContinuation:
			return 0, badFrame("a message inside another one")
		}
	}
	if !f.open {
		return 0, io.EOF
	}
	n := 0
	if f.left > 0 {
		if len(p) == 0 {
			return 0, nil
		}
		var err error
		if uint64(len(p)) > f.left {
			p = p[:f.left]
		}
		if n, err = f.src.Read(p); n == 0 && err != nil {
			return 0, unexpected(err)
		}
		f.unmask(p[:n])
		f.left -= uint64(n)
	}
	if f.left == 0 && f.fin {
		f.open = false
		return n, io.EOF
	}
	return n, nil
}

// Closed says whether there was a close frame.
func (f *Frames) Closed() bool { return f.closed }

// Discard reads and forgets what comes up to a close frame. Control frames before it
// are forgotten too.
func (f *Frames) Discard() {
	f.control = func(byte, []byte) error { return nil }
	buf := make([]byte, 4<<10)
	for {
		if !f.open {
			if _, err := f.Next(); err != nil {
				return
			}
		}
		if _, err := f.Read(buf); err != nil && err != io.EOF { //nolint:errorlint // Read returns it bare
			return
		}
	}
}

func unexpected(err error) error {
	if err == io.EOF { //nolint:errorlint // readers return it bare
		return io.ErrUnexpectedEOF
	}
	return err
}

// header reads up to the header of the next frame of a message. io.EOF comes where a
// frame could begin.
func (f *Frames) header() (byte, error) {
	for {
		op, err := f.one()
		if err != nil {
			return 0, err
		}
		if op < OpClose {
			return op, nil
		}
		var payload [MaxControl]byte
		b := payload[:f.left]
		if _, err := io.ReadFull(f.src, b); err != nil {
			return 0, unexpected(err)
		}
		f.unmask(b)
		f.left = 0
		if op == OpClose {
			if err := checkClose(b); err != nil {
				return 0, err
			}
			f.closed = true
		}
		if err := f.control(op, b); err != nil {
			return 0, err
		}
		if f.closed {
			return 0, io.EOF
		}
	}
}

// one reads the header of a frame.
func (f *Frames) one() (byte, error) {
	var b [8]byte
	if _, err := io.ReadFull(f.src, b[:2]); err != nil {
		return 0, err // io.EOF where there is nothing at all
	}
	op, fin, n := b[0]&0x0f, b[0]&0x80 != 0, uint64(b[1]&0x7f)
	switch {
	case b[0]&0x70 != 0:
		return 0, badFrame("a reserved bit is set, and no extension was agreed")
	case op > OpBinary && op < OpClose || op > OpPong:
		return 0, badFrame("an opcode that is not known")
	case b[1]&0x80 != 0 != f.masked:
		if f.masked {
			return 0, badFrame("a client's frame is not masked")
		}
		return 0, badFrame("a server's frame is masked")
	case op >= OpClose && (!fin || n > MaxControl):
		return 0, badFrame("a control frame that is too long, or a part of one")
	}
	var least uint64
	switch n {
	case 126:
		if _, err := io.ReadFull(f.src, b[:2]); err != nil {
			return 0, unexpected(err)
		}
		n, least = uint64(binary.BigEndian.Uint16(b[:])), 126
	case 127:
		if _, err := io.ReadFull(f.src, b[:8]); err != nil {
			return 0, unexpected(err)
		}
		n, least = binary.BigEndian.Uint64(b[:]), 1<<16
	}
	if n < least || n>>63 != 0 {
		return 0, badFrame("a length that is not written as it has to be")
	}
	if f.masked {
		if _, err := io.ReadFull(f.src, f.key[:]); err != nil {
			return 0, unexpected(err)
		}
	}
	f.left, f.at = n, 0
	if op < OpClose {
		f.fin = fin
	}
	return op, nil
}

func (f *Frames) unmask(b []byte) {
	if f.masked {
		f.at = Mask(f.key, f.at, b)
	}
}

// checkClose refuses what no close frame may hold (section 5.5.1).
func checkClose(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	if len(b) == 1 {
		return badFrame("half a close code")
	}
	switch code := binary.BigEndian.Uint16(b); {
	case code < 1000, code >= 1004 && code <= 1006, code > 1014 && code < 3000, code > 4999:
		return badFrame("a close code that is none")
	}
	if !utf8.Valid(b[2:]) {
		return badFrame("the reason of a close is not UTF-8")
	}
	return nil
}

// Mask masks or unmasks bytes, which begin at a byte of the key, and returns the byte
// of the key that comes next.
func Mask(key [4]byte, at int, b []byte) int {
	word := [4]byte{key[at&3], key[(at+1)&3], key[(at+2)&3], key[(at+3)&3]}
	k := uint64(binary.LittleEndian.Uint32(word[:]))
	k |= k << 32
	next := (at + len(b)) & 3
	for len(b) >= 8 {
		binary.LittleEndian.PutUint64(b, binary.LittleEndian.Uint64(b)^k)
		b = b[8:]
	}
	for i := range b {
		b[i] ^= word[i&3]
	}
	return next
}

// AppendFrameHeader appends the header of a frame of n bytes. key: the payload is
// masked with it; nil: it is not.
func AppendFrameHeader(b []byte, op byte, fin bool, n int, key *[4]byte) []byte {
	if fin {
		op |= 0x80
	}
	bit := byte(0)
	if key != nil {
		bit = 0x80
	}
	b = append(b, op)
	switch {
	case n > 0xffff:
		b = binary.BigEndian.AppendUint64(append(b, bit|127), uint64(n))
	case n > MaxControl:
		b = binary.BigEndian.AppendUint16(append(b, bit|126), uint16(n))
	default:
		b = append(b, bit|byte(n))
	}
	if key != nil {
		b = append(b, key[:]...)
	}
	return b
}
