package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/penstock/penstock/policy/ask"
	"github.com/penstock/penstock/supervisor/registry"
)

// asker is a session of this process that asks.
type asker struct {
	mu       sync.Mutex
	open     []ask.Question
	answered chan ask.Answer
}

func newAsker(t *testing.T, id string, hosts ...string) *asker {
	t.Helper()
	a := &asker{answered: make(chan ask.Answer, 8)}
	now := time.Now()
	for i, h := range hosts {
		a.open = append(a.open, ask.Question{ID: uint64(i + 1), Protocol: "https", Host: h, Port: 443, Method: "POST", Path: "/\x1b]0;owned\x07\u202e", Size: 1234, By: "default: ask",
			PID: 42, Exe: "/tmp/\x1b[2Jcurl", Args: []string{"curl\r\n", "\u202e"}, Rule: "{host: " + h + ", protocol: https}", DenyRule: "{host: " + h + "}", Asked: now, Until: now.Add(time.Minute)})
	}
	e, err := registry.Register(registry.Status{Session: id, UID: os.Getuid(), Started: now, Workdir: "/project/\x1b[31m"}, registry.Control{
		Live:      func(s *registry.Status) { s.Questions = len(a.list()) },
		Questions: a.list,
		Answer: func(x *ask.Answer) error {
			a.mu.Lock()
			defer a.mu.Unlock()
			i := slices.IndexFunc(a.open, func(q ask.Question) bool { return q.ID == x.ID })
			if i < 0 {
				return fmt.Errorf("no such question")
			}
			a.open = slices.Delete(a.open, i, i+1)
			a.answered <- *x
			return nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return a
}

func (a *asker) list() []ask.Question {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.open)
}

// tty is the person's side of a terminal.
type tty struct {
	t      *testing.T
	master *os.File
	seen   strings.Builder
	from   int // behind what was seen last
}

// sees reads the screen until it has a text behind the last one.
func (y *tty) sees(text string) {
	y.t.Helper()
	buf := make([]byte, 4096)
	for i := -1; i < 0; {
		if i = strings.Index(y.seen.String()[y.from:], text); i >= 0 {
			y.from += i + len(text)
			return
		}
		n, err := y.master.Read(buf)
		if err != nil {
			y.t.Fatalf("%v, waiting for %q after %q", err, text, y.seen.String()[y.from:])
		}
		if y.seen.Write(buf[:n]); y.seen.Len()-y.from > 1<<20 {
			y.t.Fatalf("no %q in %q", text, y.seen.String()[y.seen.Len()-4096:])
		}
	}
}

// TestApproveOnTerminal: questions are shown, keys answer them, and the terminal is
// as before.
func TestApproveOnTerminal(t *testing.T) {
	master, slave := openPTY(t)
	unix.IoctlSetWinsize(int(slave.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 60, Col: 60})
	before, err := unix.IoctlGetTermios(int(slave.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	suffix := fmt.Sprintf("t%d", os.Getpid())
	a := newAsker(t, "20260101-000000-"+suffix, "first.example", "xn--bcher-kva.example", "third.example")
	c := newConsole(&answering{}, slave, slave)
	c.every, c.settle = 10*time.Millisecond, time.Hour
	ended := make(chan error, 1)
	go func() { ended <- c.run(context.Background()) }()
	y := &tty{t: t, master: master}
	y.sees("> " + suffix + ".1  POST https://first.example:443/")
	y.sees("yes is:   allow: [{host: first.example, protocol: https}]")
	// Too early is no answer.
	master.WriteString("o")
	y.sees("read it first")
	if len(a.list()) != 3 {
		t.Error("a key that came with the question answered it")
	}
	master.WriteString("q")
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	after, err := unix.IoctlGetTermios(int(slave.Fd()), unix.TCGETS)
	if err != nil || *after != *before {
		t.Errorf("the terminal is left as %+v, %v", after, err)
	}
	// What read the keys reads one more.
	first := y.seen.String()
	master, slave = openPTY(t)
	y = &tty{t: t, master: master}
	c = newConsole(&answering{}, slave, slave)
	c.every, c.settle = 10*time.Millisecond, 0
	go func() { ended <- c.run(context.Background()) }()
	y.sees("> " + suffix + ".1")
	master.WriteString("j")
	y.sees("> " + suffix + ".2")
	y.sees("LOOK TWICE: it has letters of other scripts")
	master.WriteString("s")
	if got := <-a.answered; got.ID != 2 || !got.Allow || got.Scope != ask.Session {
		t.Errorf("%+v", got)
	}
	y.sees(suffix + ".2: approved for the session")
	y.sees("> " + suffix + ".1")
	master.WriteString("d")
	if got := <-a.answered; got.ID != 1 || got.Allow || got.Scope != ask.Once {
		t.Errorf("%+v", got)
	}
	y.sees("> " + suffix + ".3")
	master.WriteString("t")
	if got := <-a.answered; got.ID != 3 || !got.Allow || got.Scope != ask.For || got.For != 10*time.Minute {
		t.Errorf("%+v", got)
	}
	y.sees("nothing is asked")
	master.WriteString("\x03")
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if all := first + y.seen.String(); strings.ContainsAny(all, "\x07\u202e") || strings.Contains(all, "\x1b]") || strings.Contains(all, "\x1b[2J") {
		t.Errorf("the tool's bytes reach the terminal: %q", all)
	}
}

// A rule is written when it was shown and y was typed, and not otherwise.
func TestApproveAlwaysOnTerminal(t *testing.T) {
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("XDG_CONFIG_HOME", "")
	t.Setenv("XDG_STATE_HOME", "")
	master, slave := openPTY(t)
	suffix := fmt.Sprintf("u%d", os.Getpid())
	a := newAsker(t, "20260101-000000-"+suffix, "first.example")
	c := newConsole(&answering{write: ruleWriter{to: "user"}}, slave, slave)
	c.every, c.settle = 10*time.Millisecond, 0
	ended := make(chan error, 1)
	go func() { ended <- c.run(context.Background()) }()
	y := &tty{t: t, master: master}
	file := home + "/.config/penstock/policy.yaml"
	y.sees("> " + suffix + ".1")
	master.WriteString("a")
	y.sees("+     - {host: first.example, protocol: https}")
	y.sees("write it? [y/N]")
	master.WriteString("n")
	y.sees("not written, and not answered")
	if _, err := os.Stat(file); err == nil || len(a.list()) != 1 {
		t.Error("it was written without a yes")
	}
	master.WriteString("a")
	y.sees("write it? [y/N]")
	master.WriteString("y")
	if got := <-a.answered; got.ID != 1 || !got.Allow || got.Scope != ask.Always {
		t.Errorf("%+v", got)
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != "version: 1\negress:\n  allow:\n    - {host: first.example, protocol: https}\n" {
		t.Errorf("%q, %v", b, err)
	}
	master.WriteString("q")
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestLineDiff(t *testing.T) {
	got := lineDiff("/x/\x1b", []byte("a\nb\nc\nd\n"), []byte("a\nb\nc\nnew\x1b[2J\nd\n"))
	if want := "/x/\\x1b:\n  b\n  c\n+ new\\x1b[2J\n  d\n"; got != want {
		t.Errorf("%q", got)
	}
}
