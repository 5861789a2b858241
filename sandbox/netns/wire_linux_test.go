package netns

import (
	"fmt"
	"net"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestWire sends a pen's sockets on, as the supervisor does to the proxy role.
func TestWire(t *testing.T) {
	for _, typ := range []int{unix.SOCK_STREAM, unix.SOCK_SEQPACKET} {
		b, err := Start("/proc/self/exe", builder(t, "sleep"), [3]*os.File{}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		s, err := b.Sockets(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		a, z := pair(t, typ)
		if err := s.Send(a); err != nil {
			t.Fatal(err)
		}
		if _, err := a.Write([]byte("after")); err != nil {
			t.Fatal(err)
		}
		names := fmt.Sprint(len(s.Files()))
		s.Close()
		s.Close()
		got, err := ReceiveSockets(z)
		if err != nil {
			t.Fatal(err)
		}
		if fmt.Sprint(len(got.Files())) != names || !got.IPv6() || got.Connector != nil {
			t.Fatalf("%v", got.Files())
		}
		buf := make([]byte, 10)
		if n, err := z.Read(buf); err != nil || string(buf[:n]) != "after" {
			t.Fatalf("what follows the sockets: %q, %v", buf[:n], err)
		}
		if _, err := SocketsFrom(map[string]*os.File{"capture4": got.Capture4}); err == nil {
			t.Error("incomplete sockets are accepted")
		}
		files := got.Files()
		files["more"] = got.Drops
		if _, err := SocketsFrom(files); err == nil {
			t.Error("an unknown name is accepted")
		}
		got.Close()
	}
}

func pair(t *testing.T, typ int) (a, b *net.UnixConn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, typ|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	var out [2]*net.UnixConn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "pair")
		c, err := net.FileConn(f)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		out[i] = c.(*net.UnixConn)
	}
	return out[0], out[1]
}

// TestBadFrames: a frame that is cut, foreign or lies is an error and leaves no
// descriptor behind.
func TestBadFrames(t *testing.T) {
	full := func(doc string) []byte { return []byte(doc + strings.Repeat(" ", frameSize-len(doc))) }
	for _, tc := range []struct {
		name  string
		frame []byte
		files int
	}{
		{"nothing", nil, 0},
		{"cut", []byte("{"), 1},
		{"not JSON", full("hello"), 1},
		{"no descriptors", full(`{"names":["capture4"]}`), 0},
		{"too many descriptors", full(`{"names":["capture4"]}`), 2},
		{"a name twice", full(`{"names":["capture4","capture4"]}`), 2},
		{"unknown name", full(`{"names":["x"]}`), 1},
		{"incomplete", full(`{"names":["capture4"]}`), 1},
		{"an error", full(`{"step":"execute","text":"no","errno":2}`), 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a, z := pair(t, unix.SOCK_STREAM)
			before := descriptors(t)
			var oob []byte
			if tc.files > 0 {
				fds := make([]int, tc.files)
				oob = unix.UnixRights(fds...) // copies of descriptor 0
			}
			if len(tc.frame) > 0 {
				if _, _, err := a.WriteMsgUnix(tc.frame, oob, nil); err != nil {
					t.Fatal(err)
				}
			}
			a.CloseWrite()
			if s, err := ReceiveSockets(z); err == nil {
				t.Fatalf("%v", s.Files())
			}
			if after := descriptors(t); after != before {
				t.Errorf("%d descriptors before, %d after", before, after)
			}
		})
	}
}
