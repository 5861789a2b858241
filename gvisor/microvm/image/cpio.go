package image

import (
	"bytes"
	"fmt"
)

// archive is a file system in the form in which Linux takes one at its start ("newc",
// Documentation/driver-api/early-userspace/buffer-format.rst).
type archive struct {
	w   *bytes.Buffer
	ino int
}

// Types of files, as in stat(2).
const (
	typeDirectory = 0o040000
	typeFile      = 0o100000
	typeDevice    = 0o020000
)

func (a *archive) entry(name string, mode, major, minor int, content []byte) {
	a.ino++
	fmt.Fprintf(a.w, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x",
		a.ino, mode, 0, 0, 1, 0, len(content), 0, 0, major, minor, len(name)+1, 0)
	a.w.WriteString(name)
	a.w.WriteByte(0)
	a.pad()
	a.w.Write(content)
	a.pad()
}

func (a *archive) pad() {
	for a.w.Len()%4 != 0 {
		a.w.WriteByte(0)
	}
}

func (a *archive) directory(name string) { a.entry(name, typeDirectory|0o755, 0, 0, nil) }

func (a *archive) file(name string, mode int, content []byte) {
	a.entry(name, typeFile|mode, 0, 0, content)
}

func (a *archive) device(name string, major, minor int) {
	a.entry(name, typeDevice|0o600, major, minor, nil)
}

func (a *archive) close() { a.entry("TRAILER!!!", 0, 0, 0, nil) }
