package query

import (
	"bytes"
	"context"
	"io"
	"os"

	"github.com/penstock/penstock/audit"
)

// maxFollowLine bounds what is kept of an unfinished line, in bytes.
const maxFollowLine = 2 << 20

// Follow calls each with every record that is added to a session's file from
// offset on, without its new line, as it is written. It returns nil when the
// session has ended, ctx's error when that is done, or what each returned. The
// bytes are valid until each returns.
func Follow(ctx context.Context, store *audit.Store, session string, offset int64, each func([]byte) error) error {
	f, err := store.OpenSession(session)
	if err != nil {
		return err
	}
	defer f.Close()
	// Watched before it is read, so that nothing is added in between unseen.
	w := newWatch(store.Dir())
	defer w.close()
	t := tailer{f: f, offset: offset, each: each}
	for {
		running := store.Running(session)
		if err := t.read(); err != nil {
			return err
		}
		// Asked before reading: all that a writer wrote before it went is read.
		if !running {
			return nil
		}
		if err := w.wait(ctx); err != nil {
			return err
		}
	}
}

type tailer struct {
	f       *os.File
	offset  int64
	pending []byte
	each    func([]byte) error
}

func (t *tailer) read() error {
	buf := make([]byte, 64<<10)
	for {
		n, err := t.f.ReadAt(buf, t.offset)
		t.offset += int64(n)
		t.pending = append(t.pending, buf[:n]...)
		for {
			line, rest, ok := bytes.Cut(t.pending, []byte("\n"))
			if !ok {
				break
			}
			if err := t.each(line); err != nil {
				return err
			}
			t.pending = rest
		}
		if len(t.pending) > maxFollowLine {
			t.pending = t.pending[:maxFollowLine] // no record, whatever follows
		}
		if err == io.EOF || n == 0 {
			t.pending = append([]byte(nil), t.pending...) // let go of what was cut off its front
			return nil
		}
		if err != nil {
			return err
		}
	}
}
