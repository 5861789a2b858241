package packet

import (
	"errors"
	"io"
	"testing"
	"time"
)

// TestLastWord: what an end says before it is closed is heard, whether or not it
// has read all that was said to it, and whoever is waiting at that moment.
func TestLastWord(t *testing.T) {
	for name, unread := range map[string]bool{"all read": false, "something unread": true} {
		for _, waiting := range []bool{false, true} {
			ours, f, err := Pair()
			if err != nil {
				t.Fatal(err)
			}
			theirs, err := Open(f)
			if err != nil {
				t.Fatal(err)
			}
			a, b := NewConn(ours, 100, 1), NewConn(theirs, 100, 1)
			a.SetReadDeadline(time.Now().Add(10 * time.Second))
			if unread {
				if err := a.Send([]byte("never read")); err != nil {
					t.Fatal(err)
				}
			}
			type heard struct {
				b   []byte
				err error
			}
			first := make(chan heard, 1)
			listen := func() {
				m, _, err := a.Recv()
				first <- heard{m, err}
			}
			if waiting {
				go listen()
			}
			if err := b.Send([]byte("last word")); err != nil {
				t.Fatal(err)
			}
			b.Close()
			if !waiting {
				listen()
			}
			if got := <-first; got.err != nil || string(got.b) != "last word" {
				t.Errorf("%s, waiting %v: %q, %v", name, waiting, got.b, got.err)
			}
			if m, _, err := a.Recv(); !errors.Is(err, io.EOF) {
				t.Errorf("%s: after it: %q, %v", name, m, err)
			}
			a.Close()
		}
	}
}
