package daemon

import (
	"errors"
	"io"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/penstock/penstock/supervisor/daemonctl"
)

// said is one message of a fuzzed conversation, and what must be answered to it
// before a session and in one.
type said struct {
	m      *daemonctl.Message
	files  int
	raw    []byte // instead of m
	before daemonctl.Op
	inside daemonctl.Op
}

// vocabulary is everything that a caller can say, well-formed or not. Joining
// needs a pen, which there is none of here, so it fails always.
func vocabulary() []said {
	const no = daemonctl.OpError
	v := daemonctl.Version
	return []said{
		{m: &daemonctl.Message{Op: daemonctl.OpOpen, Version: v, Open: request()}, before: daemonctl.OpOpened, inside: no},
		{m: &daemonctl.Message{Op: daemonctl.OpEnd, End: &daemonctl.End{}}, before: no, inside: daemonctl.OpEnded},
		{m: &daemonctl.Message{Op: daemonctl.OpStatus, Version: v}, before: daemonctl.OpDaemon, inside: no},
		{m: &daemonctl.Message{Op: daemonctl.OpList, Version: v}, before: daemonctl.OpSessions, inside: no},
		{m: &daemonctl.Message{Op: daemonctl.OpAudit, Version: v}, before: daemonctl.OpDirectory, inside: no},
		{m: &daemonctl.Message{Op: daemonctl.OpKill, Version: v, Session: "0"}, before: no, inside: no},
		{m: &daemonctl.Message{Op: daemonctl.OpJoin}, files: 1, before: no, inside: no},
		{m: &daemonctl.Message{Op: daemonctl.OpJoin}, before: no, inside: no},
		{m: &daemonctl.Message{Op: daemonctl.OpNetwork, Sockets: []string{"capture4"}}, files: 2, before: no, inside: no},
		{m: &daemonctl.Message{Op: daemonctl.OpVerify}, files: 1, before: no, inside: no},
		{m: &daemonctl.Message{Op: daemonctl.OpStatus, Version: v}, files: 3, before: no, inside: no},
		{m: &daemonctl.Message{Op: daemonctl.OpStatus, Version: v + 1}, before: no, inside: no},
		{m: &daemonctl.Message{Op: daemonctl.OpEnding, Text: "x"}, before: no, inside: no},
		{raw: []byte("{"), before: no, inside: no},
		{raw: make([]byte, daemonctl.MaxMessage+1), before: no, inside: no},
	}
}

// FuzzConversation says anything in any order: each is answered as its place in
// the conversation has it, an error is the end, and nothing is left then.
func FuzzConversation(f *testing.F) {
	f.Add([]byte{2, 3, 4, 0, 1})
	f.Add([]byte{0, 0})
	f.Add([]byte{0, 6})
	f.Add([]byte{0})
	f.Add([]byte{1})
	f.Add([]byte{2, 13})
	f.Add([]byte{0, 14})
	f.Add([]byte{0, 9, 1})
	f.Add([]byte{0, 8})
	s := serve(f, nil)
	words := vocabulary()
	f.Fuzz(func(t *testing.T, script []byte) {
		if len(script) > 16 {
			script = script[:16]
		}
		c, err := rawDial(s.socket)
		if err != nil {
			t.Fatal(err)
		}
		defer s.idle(t)
		defer c.Close()
		inside := false
		var held []*os.File
		defer func() { daemonctl.CloseAll(held) }()
		for i, b := range script {
			w := words[int(b)%len(words)]
			files := make([]*os.File, w.files)
			for i := range files {
				files[i] = os.Stdin
			}
			if w.raw != nil {
				_, err = c.Raw().Write(w.raw)
			} else {
				err = c.Send(w.m, files...)
			}
			if errors.Is(err, unix.EPERM) && w.files > 0 && !inside {
				return // the kernel refuses descriptors where none are taken
			}
			if err != nil {
				t.Fatalf("message %d: %v", i, err)
			}
			daemonctl.CloseAll(held) // so its proxy, which waits for a word, ends soon
			c.SetReadDeadline(time.Now().Add(10 * time.Second))
			m, got, err := c.Recv()
			if held != nil && err == nil && m.Op == daemonctl.OpEnding {
				return // that was seen before the message
			}
			held = got
			want := w.before
			if inside {
				want = w.inside
			}
			if err != nil || m.Op != want {
				t.Fatalf("message %d is answered by %+v, %v; want %s", i, m, err, want)
			}
			switch m.Op {
			case daemonctl.OpOpened:
				inside = true
			case daemonctl.OpError, daemonctl.OpEnded:
				if _, _, err := c.Recv(); !errors.Is(err, io.EOF) {
					t.Fatalf("after message %d it goes on: %v", i, err)
				}
				return
			}
		}
	})
}

// FuzzParseStatus: whatever a process calls itself, its facts are the kernel's.
func FuzzParseStatus(f *testing.F) {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(b))
	f.Add("Name:\tUid:\t0 0 0 0\n")
	f.Fuzz(func(t *testing.T, text string) {
		if p, err := parseStatus(text); err == nil && p == nil {
			t.Error("neither facts nor error")
		}
		fdinfoPID(text)
		inode(text)
		nameServers(text)
	})
}
