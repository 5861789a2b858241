package hookctl

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/penstock/penstock/hooks/exec"
	"github.com/penstock/penstock/supervisor/packet"
)

// pair connects a client with a server, or with what stands for one.
func pair(t *testing.T) (client *Client, server *packet.Conn) {
	t.Helper()
	ours, f, err := packet.Pair()
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := packet.Open(f)
	if err != nil {
		t.Fatal(err)
	}
	client, server = NewClient(packet.NewConn(ours, MaxMessage, MaxFiles)), packet.NewConn(theirs, MaxMessage, MaxFiles)
	t.Cleanup(func() { client.Close(); server.Close() })
	return client, server
}

// echo launches processes that repeat lines until they are killed or hear "end".
func echo(alive *atomic.Int32) Launch {
	return func(context.Context, string) (*exec.Process, error) {
		theirIn, in, err := os.Pipe()
		if err != nil {
			return nil, err
		}
		out, theirOut, err := os.Pipe()
		if err != nil {
			return nil, err
		}
		alive.Add(1)
		ended := make(chan int, 1)
		kill := sync.OnceFunc(func() { theirIn.Close() })
		go func() {
			defer alive.Add(-1)
			lines, code := bufio.NewScanner(theirIn), -1
			for lines.Scan() {
				if lines.Text() == "end" {
					code = 7
					break
				}
				io.WriteString(theirOut, lines.Text()+"\n")
			}
			theirOut.Close()
			kill()
			ended <- code
		}()
		return &exec.Process{In: in, Out: out, Ended: ended, Kill: kill}, nil
	}
}

func serve(t *testing.T, launch Launch) *Client {
	c, conn := pair(t)
	s := NewServer(conn, launch)
	t.Cleanup(func() { s.Close() })
	return c
}

func start(t *testing.T, c *Client) *exec.Process {
	t.Helper()
	p, err := c.Start(t.Context(), "h")
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestProcess has ends with deadlines, and tells its code.
func TestProcess(t *testing.T) {
	var alive atomic.Int32
	c := serve(t, echo(&alive))
	p, q := start(t, c), start(t, c)
	io.WriteString(p.In, "hello\nend\n")
	if b, err := io.ReadAll(p.Out); string(b) != "hello\n" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
	if code := <-p.Ended; code != 7 {
		t.Errorf("code %d", code)
	}
	if err := q.Out.SetReadDeadline(time.Now()); err != nil {
		t.Error(err)
	}
	if _, err := q.Out.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error(err)
	}
	q.Kill()
	if code := <-q.Ended; code != -1 {
		t.Errorf("killed: code %d", code)
	}
	q.Kill() // says nothing to anybody else
	if p := start(t, c); p == nil {
		t.Error("no further one")
	}
}

// TestNoCopy: what reads a process's input sees that the proxy has closed it.
func TestNoCopy(t *testing.T) {
	var alive atomic.Int32
	p := start(t, serve(t, echo(&alive)))
	p.In.Close()
	if b, err := io.ReadAll(p.Out); len(b) != 0 || err != nil {
		t.Errorf("%q, %v", b, err)
	}
	<-p.Ended
}

// TestOver: with either end gone every process is, and nobody waits.
func TestOver(t *testing.T) {
	for name, end := range map[string]func(*Client, *Server){"client": func(c *Client, _ *Server) { c.Close() }, "server": func(_ *Client, s *Server) { s.Close() }} {
		var alive atomic.Int32
		c, conn := pair(t)
		s := NewServer(conn, func(ctx context.Context, hook string) (*exec.Process, error) {
			if hook == "later" {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return echo(&alive)(ctx, hook)
		})
		p := start(t, c)
		later := make(chan error)
		go func() { _, err := c.Start(context.Background(), "later"); later <- err }()
		end(c, s)
		if code := <-p.Ended; code != -1 {
			t.Errorf("%s: code %d", name, code)
		}
		if err := <-later; err == nil {
			t.Errorf("%s: a process after the end", name)
		}
		s.Close()
		if n := alive.Load(); n != 0 {
			t.Errorf("%s: %d left", name, n)
		}
		if _, err := c.Start(t.Context(), "h"); err == nil {
			t.Errorf("%s: a process after the end", name)
		}
	}
}

// TestFailed: the reason arrives, and one that nobody waits for any more is ended.
func TestFailed(t *testing.T) {
	gone := make(chan struct{})
	c := serve(t, func(ctx context.Context, hook string) (*exec.Process, error) {
		if hook == "slow" {
			<-ctx.Done()
			close(gone)
			return nil, ctx.Err()
		}
		return nil, errors.New("no " + hook + strings.Repeat("x", 8<<10))
	})
	if _, err := c.Start(t.Context(), "h"); err == nil || !strings.HasPrefix(err.Error(), "no hxxx") {
		t.Error(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := c.Start(ctx, "slow"); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	<-gone
}

// TestHostileProxy: what makes no sense ends the conversation.
func TestHostileProxy(t *testing.T) {
	for _, packets := range [][]string{
		{"x"}, {"{}"}, {`{"op":"started","id":1}`}, {`{"op":"start","id":1,"hook":"h"}`, `{"op":"start","id":1,"hook":"h"}`}, {`{"op":"start","id":1,"argv":["sh"]}`},
	} {
		var alive atomic.Int32
		ours, f, err := packet.Pair()
		if err != nil {
			t.Fatal(err)
		}
		theirs, err := packet.Open(f)
		if err != nil {
			t.Fatal(err)
		}
		proxy := packet.NewConn(ours, MaxMessage, MaxFiles)
		s := NewServer(packet.NewConn(theirs, MaxMessage, MaxFiles), echo(&alive))
		for _, p := range packets {
			proxy.Send([]byte(p)) //nolint:errcheck // it may be over
		}
		for {
			_, files, err := proxy.Recv()
			defer packet.CloseAll(files) // a process lives as long as its ends are open
			if err != nil {
				break
			}
		}
		s.Close()
		if n := alive.Load(); n != 0 {
			t.Errorf("%q: %d left", packets, n)
		}
		proxy.Close()
	}
}

// TestHostileSupervisor: under the privileged supervisor the other end is any user's.
// What is no pair of pipes is refused, and ends it.
func TestHostileSupervisor(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	for name, files := range map[string][]*os.File{"none": nil, "one": {w}, "a device": {w, null}, "another device": {null, r}} {
		c, conn := pair(t)
		go func() {
			if _, _, err := conn.Recv(); err == nil {
				conn.Send([]byte(`{"op":"started","id":1}`), files...) //nolint:errcheck // seen at the other end
			}
		}()
		if p, err := c.Start(t.Context(), "h"); err == nil {
			t.Errorf("%s: %+v", name, p)
		}
		if _, _, err := conn.Recv(); err == nil {
			t.Errorf("%s: it goes on", name)
		}
	}
}
