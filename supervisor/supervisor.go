package supervisor

import (
	"bytes"
	"fmt"
	"io"
	"os"

	"github.com/penstock/penstock/supervisor/proxyctl"
)

// Stdio are the caller's standard streams.
type Stdio struct {
	In, Out, Err *os.File
}

// Result is how a session ended.
type Result struct {
	Session  string
	ExitCode int // the command's own, or 128+n for signal n
	Summary  *proxyctl.Summary
}

// undo is a stack of reversals: each step of a set-up pushes its own, and they
// run last first, once.
type undo struct{ steps []func() }

func (u *undo) push(f func()) { u.steps = append(u.steps, f) }

func (u *undo) run() {
	for i := len(u.steps) - 1; i >= 0; i-- {
		u.steps[i]()
	}
	u.steps = nil
}

// printer writes Penstock's own lines to the user's stderr, which the command
// may be using too: whole lines, and a carriage return where the terminal is raw.
type printer struct {
	w     io.Writer
	raw   func() bool // nil: never
	quiet bool
}

func (p *printer) line(format string, args ...any) {
	fmt.Fprintf(p, "penstock: "+format+"\n", args...)
}

// Write is for text of several lines.
func (p *printer) Write(b []byte) (int, error) {
	out := b
	if p.raw != nil && p.raw() {
		out = bytes.ReplaceAll(b, []byte("\n"), []byte("\r\n"))
	}
	if _, err := p.w.Write(out); err != nil {
		return 0, err
	}
	return len(b), nil
}
