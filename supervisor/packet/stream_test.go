//go:build unix

package packet

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// streams makes two ends: one of a conversation, the other bare.
func streams(t *testing.T, size, files int) (*Stream, *net.UnixConn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	var ends [2]*net.UnixConn
	for i, fd := range fds {
		unix.CloseOnExec(fd)
		f := os.NewFile(uintptr(fd), "end")
		c, err := net.FileConn(f)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		ends[i] = c.(*net.UnixConn)
		ends[i].SetDeadline(time.Now().Add(time.Minute))
	}
	return NewStream(ends[0], size, files), ends[1]
}

// open counts this process's descriptors.
func open(t *testing.T) (n int) {
	t.Helper()
	for fd := range 1024 {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil {
			n++
		}
	}
	return n
}

// TestStream: messages of any size arrive whole, one by one and with their own
// descriptors, whoever else sends at the same time.
func TestStream(t *testing.T) {
	const size = 1 << 20
	a, raw := streams(t, size, 4)
	b := NewStream(raw, size, 4)
	before := open(t)
	var all sync.WaitGroup
	const senders, each = 4, 20
	for i := range senders {
		all.Go(func() {
			for k := range each {
				r, w, err := os.Pipe()
				if err != nil {
					t.Error(err)
					return
				}
				fmt.Fprintf(w, "%d-%d", i, k)
				w.Close()
				body := append([]byte(fmt.Sprintf("%d-%d ", i, k)), bytes.Repeat([]byte{byte(k)}, k*k*k*30)...)
				if k == each-1 {
					body = append(body, make([]byte, size-len(body))...)
				}
				if err := a.Send(body, []*os.File{r, r, r}[:k%4]...); err != nil {
					t.Error(err)
				}
				r.Close()
			}
		})
	}
	for range senders * each {
		m, files, err := b.Recv()
		if err != nil {
			t.Fatal(err)
		}
		name, rest, _ := bytes.Cut(m, []byte(" "))
		var i, k int
		fmt.Sscanf(string(name), "%d-%d", &i, &k)
		if len(files) != k%4 || k < each-1 && len(rest) != k*k*k*30 || k == each-1 && len(m) != size || len(rest) > 0 && rest[0] != byte(k) {
			t.Fatalf("%s: %d bytes, %d files", name, len(m), len(files))
		}
		if len(files) > 0 {
			if text, err := io.ReadAll(files[0]); err != nil || string(text) != string(name) {
				t.Errorf("%s: its descriptor says %q, %v", name, text, err)
			}
		}
		CloseAll(files)
	}
	all.Wait()
	if after := open(t); after != before {
		t.Errorf("%d descriptors, %d before", after, before)
	}
	if err := a.Send(nil); err == nil {
		t.Error("an empty message")
	}
	if err := a.Send(make([]byte, size+1)); err == nil {
		t.Error("a message too long")
	}
	if err := a.Send([]byte("x"), make([]*os.File, 5)...); err == nil {
		t.Error("too many descriptors")
	}
	a.Close()
	if _, _, err := b.Recv(); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
}

// TestStreamHostile: a peer that keeps to no frame is refused, nothing that it sent
// stays open, and nothing after it is read.
func TestStreamHostile(t *testing.T) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	oob := func(n int) []byte {
		fds := make([]int, n)
		for i := range fds {
			fds[i] = int(null.Fd())
		}
		return unix.UnixRights(fds...)
	}
	type part struct {
		b   string
		oob []byte
	}
	good := "\x00\x00\x00\x02\x00ab"
	for name, tt := range map[string]struct {
		parts []part
		eof   bool // io.EOF itself
	}{
		"nothing":                 {nil, true},
		"half a head":             {[]part{{"\x00\x00", nil}}, false},
		"half a message":          {[]part{{"\x00\x00\x00\x05\x00abc", nil}}, false},
		"a head only":             {[]part{{"\x00\x00\x00\x05\x00", nil}}, false},
		"empty":                   {[]part{{"\x00\x00\x00\x00\x00" + good, nil}}, false},
		"too long":                {[]part{{"\x00\x00\x00\x65\x00" + good, nil}}, false},
		"very long":               {[]part{{"\xff\xff\xff\xff\x00" + good, nil}}, false},
		"none of those it says":   {[]part{{"\x00\x00\x00\x02\x01ab" + good, nil}}, false},
		"more than it says":       {[]part{{"\x00\x00\x00\x02\x01ab" + good, oob(2)}}, false},
		"some that it hides":      {[]part{{good + good, oob(1)}}, false},
		"too many":                {[]part{{"\x00\x00\x00\x02\x03ab" + good, oob(3)}}, false},
		"far too many":            {[]part{{"\x00\x00\x00\x02\xc8ab" + good, oob(200)}}, false},
		"in the middle":           {[]part{{"\x00\x00\x00\x02\x00a", nil}, {"b" + good, oob(1)}}, false},
		"in both":                 {[]part{{"\x00\x00\x00\x02\x01a", oob(1)}, {"b" + good, oob(1)}}, false},
		"spread over the head":    {[]part{{"\x00\x00", oob(2)}, {"\x00\x02\x03ab" + good, oob(1)}}, false},
		"a descriptor and an end": {[]part{{"\x00", oob(1)}}, false},
	} {
		s, raw := streams(t, 100, 2)
		before := open(t)
		for _, p := range tt.parts {
			if _, _, err := raw.WriteMsgUnix([]byte(p.b), p.oob, nil); err != nil {
				t.Fatal(err)
			}
		}
		raw.CloseWrite()
		m, files, err := s.Recv()
		if err == nil || m != nil || files != nil || errors.Is(err, io.EOF) != tt.eof {
			t.Errorf("%s: %q, %d files, %v", name, m, len(files), err)
		}
		if again, _, err2 := s.Recv(); again != nil || err2 == nil {
			t.Errorf("%s: after it: %q, %v", name, again, err2)
		}
		if after := open(t); after != before {
			t.Errorf("%s: %d descriptors are left open", name, after-before)
		}
	}
	// Byte by byte is slow, and right.
	s, raw := streams(t, 100, 2)
	go func() {
		for i := range len(good) {
			raw.Write([]byte{good[i]})
		}
	}()
	if m, _, err := s.Recv(); err != nil || string(m) != "ab" {
		t.Errorf("%q, %v", m, err)
	}
}
