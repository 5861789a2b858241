package execctl

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/penstock/penstock/supervisor/packet"
)

// ends makes both ends of a conversation.
func ends(t *testing.T) (a, b *Conn) {
	t.Helper()
	a, f, err := Pair()
	if err != nil {
		t.Fatal(err)
	}
	uc, err := packet.Open(f)
	if err != nil {
		t.Fatal(err)
	}
	b = NewConn(uc)
	for _, c := range []*Conn{a, b} {
		t.Cleanup(func() { c.Close() })
		c.SetDeadline(time.Now().Add(time.Minute))
	}
	return a, b
}

func TestComplete(t *testing.T) {
	base := []string{"A=1", "HOME=/home/a", "KEY=placeholder"}
	keep := func(name string) string {
		if name == "KEY" {
			return "it is a secret"
		}
		return ""
	}
	for _, tt := range []struct {
		in   Start
		dir  string
		env  []string
		fail string
	}{
		{in: Start{Argv: []string{"x"}}, dir: "/w", env: base},
		{in: Start{Argv: []string{"x"}, Dir: "sub/../b"}, dir: "/w/b", env: base},
		{in: Start{Argv: []string{"x"}, Dir: "/tmp/./c"}, dir: "/tmp/c", env: base},
		{in: Start{Argv: []string{"x"}, Env: []string{"A=2", "B=3", "A=4="}}, dir: "/w", env: []string{"HOME=/home/a", "KEY=placeholder", "A=4=", "B=3"}},
		{in: Start{}, fail: "no command"},
		{in: Start{Argv: []string{""}}, fail: "no command"},
		{in: Start{Argv: []string{"x", "a\x00b"}}, fail: "NUL"},
		{in: Start{Argv: []string{"x"}, Dir: "\x00"}, fail: "NUL"},
		{in: Start{Argv: []string{"x"}, Env: []string{"A=\x00"}}, fail: "NUL"},
		{in: Start{Argv: []string{"x"}, Env: []string{"A"}}, fail: "not NAME=VALUE"},
		{in: Start{Argv: []string{"x"}, Env: []string{"=A"}}, fail: "not NAME=VALUE"},
		{in: Start{Argv: []string{"x"}, Env: []string{"KEY=real"}}, fail: "it is a secret"},
	} {
		got, err := tt.in.Complete(base, "/w", keep)
		if tt.fail != "" {
			if err == nil || !strings.Contains(err.Error(), tt.fail) {
				t.Errorf("%+v: %v", tt.in, err)
			}
			continue
		}
		if err != nil || got.Dir != tt.dir || !slices.Equal(got.Env, tt.env) || !slices.Equal(got.Argv, tt.in.Argv) {
			t.Errorf("%+v: %+v, %v", tt.in, got, err)
		}
	}
}

// TestCheck: what could be connected or opened as something else is no stream.
func TestCheck(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	if err := Check([3]*os.File{r, file, null}, false); err != nil {
		t.Error(err)
	}
	dir, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	zero, err := os.Open("/dev/zero")
	if err != nil {
		t.Fatal(err)
	}
	_, socket, err := Pair()
	if err != nil {
		t.Fatal(err)
	}
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range []*os.File{dir, zero, socket, master} {
		if err := Check([3]*os.File{r, f, null}, false); err == nil || !strings.Contains(err.Error(), "stream 1") {
			t.Errorf("%s: %v", f.Name(), err)
		}
	}
	if err := Check([3]*os.File{r, master, null}, true); err != nil {
		t.Errorf("a terminal: %v", err)
	}
	for _, f := range []*os.File{r, w, null, file, dir, zero, socket, master} {
		f.Close()
	}
}

// TestHostileAnswers: who answers from the pen can say an exit code and a few words,
// and hand nothing over.
func TestHostileAnswers(t *testing.T) {
	a, b := ends(t)
	long := strings.Repeat("\x1b[31m\xff", 5000)
	for _, m := range []*Message{{Ended: &Ended{Code: 1 << 20}}, {Failed: &Failed{Text: long, Hint: long, Code: 256}}, {Started: true}} {
		if err := b.Send(m); err != nil {
			t.Fatal(err)
		}
		got, err := a.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if e := got.Ended; e != nil && e.Code != 0 {
			t.Errorf("%+v", e)
		}
		if f := got.Failed; f != nil && (f.Code != 125 || len(f.Text) > MaxText+8 || len(f.Hint) > MaxText+8) {
			t.Errorf("%d, %d and %d bytes", f.Code, len(f.Text), len(f.Hint))
		}
	}
	for name, send := range map[string]func(*Conn) error{
		"a descriptor": func(b *Conn) error { return b.Send(&Message{Started: true}, os.Stdin) },
		"no JSON":      func(b *Conn) error { return b.s.Send([]byte("{")) },
		"no signal":    func(b *Conn) error { return b.Send(&Message{Signal: 65}) },
	} {
		a, b := ends(t)
		if err := send(b); err != nil {
			t.Fatal(err)
		}
		if m, err := a.Recv(); err == nil || errors.Is(err, io.EOF) {
			t.Errorf("%s: %+v, %v", name, m, err)
		}
	}
}

// TestRecvStart: a command comes with its three streams, or not at all.
func TestRecvStart(t *testing.T) {
	start := &Start{Argv: []string{"x"}, Env: []string{"A=" + strings.Repeat("x", 1<<20)}}
	for n := range 4 {
		a, b := ends(t)
		sent := make(chan error, 1)
		go func() {
			sent <- b.Send(&Message{Start: start}, []*os.File{os.Stdin, os.Stdin, os.Stdin}[:n]...)
		}()
		got, files, err := a.RecvStart()
		if serr := <-sent; serr != nil {
			t.Fatal(serr)
		}
		if (err == nil) != (n == 3) {
			t.Errorf("%d streams: %v", n, err)
		}
		if err == nil && (len(got.Env[0]) != len(start.Env[0]) || got.Argv[0] != "x") {
			t.Errorf("%.40v", got)
		}
		if err == nil {
			packet.CloseAll(files[:])
		}
	}
	a, b := ends(t)
	if err := b.Send(&Message{Signal: 2}, os.Stdin, os.Stdin, os.Stdin); err != nil {
		t.Fatal(err)
	}
	if _, _, err := a.RecvStart(); err == nil {
		t.Error("a signal is a command")
	}
	if err := b.Send(&Message{Start: &Start{Argv: []string{strings.Repeat("x", MaxMessage)}}}); !errors.Is(err, unix.E2BIG) {
		t.Error(err)
	}
}
