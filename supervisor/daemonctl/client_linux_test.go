package daemonctl

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/penstock/penstock/supervisor/packet"
)

// daemon answers a client with f until it returns nil.
func daemon(t *testing.T, f func(*Message) *Message, files ...*os.File) *Client {
	t.Helper()
	a, b, err := packet.Pair()
	if err != nil {
		t.Fatal(err)
	}
	uc, err := packet.Open(b)
	if err != nil {
		t.Fatal(err)
	}
	server, client := NewConn(uc), NewClient(NewConn(a))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer server.Close()
		for {
			m, got, err := server.Recv()
			CloseAll(got)
			if err != nil {
				return
			}
			r := f(m)
			if r == nil || server.Send(r, files...) != nil {
				return
			}
		}
	}()
	t.Cleanup(func() { client.Close(); <-ended })
	return client
}

func null(t *testing.T) *os.File {
	t.Helper()
	f, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func TestClientCalls(t *testing.T) {
	ctx := context.Background()
	c := daemon(t, func(m *Message) *Message {
		switch m.Op {
		case OpList:
			return &Message{Op: OpSessions, List: []Status{{Session: "s"}}}
		case OpKill:
			return &Message{Op: OpKilled, Session: m.Session + "-whole"}
		case OpStatus:
			return &Message{Op: OpDaemon, Daemon: &Daemon{Version: "v"}}
		case OpJoin:
			return &Message{Op: OpJoined}
		case OpNetwork:
			if len(m.Sockets) != 2 {
				return nil
			}
			return &Message{Op: OpNetworked}
		case OpVerify:
			return &Message{Op: OpVerified}
		case OpEnd:
			return &Message{Op: OpEnded}
		}
		return nil
	})
	if l, err := c.List(ctx); err != nil || len(l) != 1 || l[0].Session != "s" {
		t.Errorf("List: %v, %v", l, err)
	}
	if id, err := c.Kill(ctx, "x"); err != nil || id != "x-whole" {
		t.Errorf("Kill: %q, %v", id, err)
	}
	if d, err := c.Status(ctx); err != nil || d.Version != "v" {
		t.Errorf("Status: %+v, %v", d, err)
	}
	f := null(t)
	if err := c.Join(ctx, f); err != nil {
		t.Error(err)
	}
	if err := c.Network(ctx, map[string]*os.File{"a": f, "b": f}, f); err != nil {
		t.Error(err)
	}
	if err := c.Verify(ctx, f); err != nil {
		t.Error(err)
	}
	if err := c.End(ctx, &End{ExitCode: 3}); err != nil {
		t.Error(err)
	}
}

func TestClientTakesDescriptors(t *testing.T) {
	f := null(t)
	answers := func(m *Message) *Message {
		if m.Op == OpOpen {
			return &Message{Op: OpOpened, Opened: &Opened{Session: "s"}}
		}
		return &Message{Op: OpDirectory}
	}
	open := &Open{Command: []string{"true"}, Workdir: "/", Tier: "bwrap", Mode: "enforce"}
	o, control, audit, err := daemon(t, answers, f, f).Open(context.Background(), open)
	if err != nil || o.Session != "s" || control == nil || audit == nil {
		t.Fatalf("%+v, %v", o, err)
	}
	control.Close()
	audit.Close()
	if _, _, _, err := daemon(t, answers, f).Open(context.Background(), open); err == nil {
		t.Error("one descriptor is missing and nobody says so")
	}
	dir, err := daemon(t, answers, f).Audit(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	dir.Close()
	if _, err := daemon(t, answers).Audit(context.Background()); err == nil {
		t.Error("no directory and nobody says so")
	}
}

func TestClientErrors(t *testing.T) {
	ctx := context.Background()
	c := daemon(t, func(*Message) *Message { return &Message{Op: OpError, Text: "no", Hint: "do"} })
	var e *Error
	if _, err := c.Status(ctx); !errors.As(err, &e) || e.Error() != "no" || e.Hint() != "do" {
		t.Errorf("%v", err)
	}
	c = daemon(t, func(*Message) *Message { return &Message{Op: OpEnding, Text: "killed by root"} })
	c.conn.Send(&Message{Op: OpJoin})
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	if err := c.Join(short, null(t)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
	<-c.Done()
	if err := c.Why(); !strings.Contains(err.Error(), "killed by root") {
		t.Errorf("%v", err)
	}
	c = daemon(t, func(*Message) *Message { return nil })
	if _, err := c.Status(ctx); err == nil || !strings.Contains(err.Error(), "gone") {
		t.Errorf("%v", err)
	}
	c = daemon(t, func(*Message) *Message { return &Message{Op: OpJoined} })
	if _, err := c.Status(ctx); err == nil || !strings.Contains(err.Error(), "with joined") {
		t.Errorf("%v", err)
	}
	if _, err := Dial(ctx, filepath.Join(t.TempDir(), "none")); !errors.Is(err, fs.ErrNotExist) || !errors.As(err, &e) || e.Hint() == "" {
		t.Errorf("%v", err)
	}
}
