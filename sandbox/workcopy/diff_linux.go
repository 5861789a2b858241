package workcopy

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/penstock/penstock/internal/text"
)

// maxDiff bounds the content that is compared line by line, in bytes of one file.
const maxDiff = 1 << 20

// Diff writes what Write does, and under each file that is text its lines. They are
// escaped: it is to be read, and no patch for a program.
func (c *Changes) Diff(ctx context.Context, w io.Writer, copied, work string) error {
	from, err := openRoot(copied)
	if err != nil {
		return fmt.Errorf("show changes: %w", err)
	}
	defer from.Close()
	to, err := openRoot(work)
	if err != nil {
		return fmt.Errorf("show changes: %w", err)
	}
	defer to.Close()
	for i := range c.Changes {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		x := &c.Changes[i]
		fmt.Fprintf(w, "%-8s %s%s\n", x.Do, text.Escape(x.Path), x.detail())
		if x.Do == Mode {
			continue
		}
		before, note := content(to, x.Was, "on the host")
		after, more := content(from, x.Is, "in the copy")
		switch {
		case note != "" || more != "":
			fmt.Fprintf(w, "  (%s%s)\n", note, more)
		case before == nil && after == nil:
		default:
			writeLines(w, before, after)
		}
	}
	List(w, "left out", c.Left, 0)
	return nil
}

// content reads a file that has to be what an entry says; a note says why it is not shown.
func content(dir *os.File, e *Entry, where string) (b []byte, note string) {
	if e == nil || e.Kind != File {
		return nil, ""
	}
	if e.Size > maxDiff {
		return nil, fmt.Sprintf("%d bytes %s; ", e.Size, where)
	}
	var st unix.Stat_t
	f, err := openFile(dir, e.Path, &st)
	if err == nil {
		b, err = io.ReadAll(io.LimitReader(f, e.Size+1))
		f.Close()
	}
	if err == nil && sha256.Sum256(b) != e.Hash {
		err = errors.New("it is not the one that was compared")
	}
	switch {
	case err != nil:
		return nil, where + ": " + text.Escape(because(err)) + "; "
	case bytes.IndexByte(b, 0) >= 0:
		return nil, fmt.Sprintf("%d bytes %s, no text; ", e.Size, where)
	}
	return b, ""
}
