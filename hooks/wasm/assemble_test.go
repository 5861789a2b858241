package wasm

import (
	"bytes"
	"encoding/binary"
)

// module is a module that is put together by hand: nothing that a compiler would
// refuse to write is missing.
type module struct {
	imports  []byte // entries of the section
	nImports int
	foreign  int      // of them functions
	table    []byte   // the section, nil: none
	pages    uint32   // of memory at the start
	memory   []byte   // the section, nil: pages
	extra    [][]byte // further functions ()->(), from index 3 on
	start    int      // index of the start function, 0: none
	names    []string // exports of version, alloc, decide in place of their own, then again; "-": none
	alloc    []byte   // bodies; nil: the usual
	decide   []byte
	version  []byte
	data     string // at address 64
	global   bool   // a variable i32
	more     []byte // sections behind the others
}

func leb(n uint64) []byte { return binary.AppendUvarint(nil, n) }

// sleb is the signed form.
func sleb(n int64) (b []byte) {
	for {
		c := byte(n & 0x7f)
		n >>= 7
		if n == 0 && c&0x40 == 0 || n == -1 && c&0x40 != 0 {
			return append(b, c)
		}
		b = append(b, c|0x80)
	}
}

func cat(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

func i32(n int64) []byte { return cat([]byte{0x41}, sleb(n)) }
func i64(n int64) []byte { return cat([]byte{0x42}, sleb(n)) }

// get and set are a parameter's value.
func get(n byte) []byte { return []byte{0x20, n} }
func set(n byte) []byte { return []byte{0x21, n} }

func sec(id byte, count int, content ...[]byte) []byte {
	body := cat(append([][]byte{leb(uint64(count))}, content...)...)
	return cat([]byte{id}, leb(uint64(len(body))), body)
}

func name(s string) []byte { return cat(leb(uint64(len(s))), []byte(s)) }

// spin is code that does something for ever.
func spin(code ...byte) []byte { return cat([]byte{0x03, 0x40}, code, []byte{0x0c, 0, 0x0b}) }

// at is the result of decide: an answer of so many bytes at an address.
func at(address, size uint32) []byte { return i64(int64(uint64(address)<<32 | uint64(size))) }

// answered is the address where data is, and how long it is.
func answered(s string) []byte { return at(64, uint32(len(s))) }

func (m module) bytes() []byte {
	or := func(b, usual []byte) []byte {
		if b == nil {
			return usual
		}
		return b
	}
	bodies := [][]byte{or(m.version, i32(1)), or(m.alloc, i32(4096)), or(m.decide, i64(0))}
	types := []byte{0, 1, 2}
	for _, b := range m.extra {
		bodies, types = append(bodies, b), append(types, 3)
	}
	var code [][]byte
	for _, b := range bodies {
		f := cat([]byte{0}, b, []byte{0x0b})
		code = append(code, cat(leb(uint64(len(f))), f))
	}
	out := cat([]byte("\x00asm\x01\x00\x00\x00"),
		sec(1, 4, []byte{0x60, 0, 1, 0x7f}, []byte{0x60, 1, 0x7f, 1, 0x7f}, []byte{0x60, 2, 0x7f, 0x7f, 1, 0x7e}, []byte{0x60, 0, 0}))
	if m.nImports > 0 {
		out = cat(out, sec(2, m.nImports, m.imports))
	}
	out = cat(out, sec(3, len(bodies), types), m.table)
	pages := uint64(1)
	if m.pages > 0 {
		pages = uint64(m.pages)
	}
	out = cat(out, or(m.memory, sec(5, 1, []byte{0}, leb(pages))))
	if m.global {
		out = cat(out, sec(6, 1, []byte{0x7f, 1}, i32(0), []byte{0x0b}))
	}
	names := m.names
	if names == nil {
		names = []string{exportVersion, exportAlloc, exportDecide}
	}
	exports, n := []byte(nil), 0
	if len(m.memory) == 0 || len(m.memory) > 3 {
		exports, n = cat(name("memory"), []byte{2, 0}), 1
	}
	for i, s := range names {
		if s != "-" {
			exports, n = cat(exports, name(s), []byte{0}, leb(uint64(i%len(bodies)+m.foreign))), n+1
		}
	}
	out = cat(out, sec(7, n, exports))
	if m.start > 0 {
		out = cat(out, []byte{8}, leb(uint64(len(leb(uint64(m.start))))), leb(uint64(m.start)))
	}
	out = cat(out, sec(10, len(bodies), code...))
	if m.data != "" {
		out = cat(out, sec(11, 1, []byte{0}, i32(64), []byte{0x0b}, name(m.data)))
	}
	return cat(out, m.more)
}
