package image

import (
	"bytes"
	"encoding/binary"
)

// maxKernel bounds a kernel that was decompressed.
const maxKernel = 256 << 20

// Extract returns the kernel that is compressed in a bzImage: an emulated processor
// takes seconds for what a real one does in a fraction of one. What is none, or
// compressed in a way that is not known here, is returned as it is: QEMU starts both.
func Extract(b []byte) []byte {
	// The kernel's own description, Documentation/arch/x86/boot.rst.
	const (
		sectors = 0x1f1 // of set-up code, before the rest
		magic   = 0x202
		version = 0x206
		offset  = 0x248 // of the payload, behind set-up code
		length  = 0x24c
	)
	if len(b) < 0x250 || !bytes.Equal(b[magic:magic+4], []byte("HdrS")) || binary.LittleEndian.Uint16(b[version:]) < 0x208 {
		return b
	}
	setup := int64(b[sectors])
	if setup == 0 {
		setup = 4
	}
	at := (setup+1)*512 + int64(binary.LittleEndian.Uint32(b[offset:]))
	end := at + int64(binary.LittleEndian.Uint32(b[length:]))
	if at >= end || end > int64(len(b)) {
		return b
	}
	payload := b[at:end]
	if bytes.HasPrefix(payload, []byte("\xfd7zXZ\x00")) {
		payload = payload[:len(payload)-4] // the size of what is in it
	}
	out, err := decompress(payload, maxKernel)
	if err != nil || !bytes.HasPrefix(out, []byte("\x7fELF")) {
		return b
	}
	return out
}
