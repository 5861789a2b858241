package exec

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	osexec "os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/hooks/hookstest"
	"github.com/penstock/penstock/hooks/wire"
)

// over starts f as a process over real pipes. It ends when f returns or it is
// killed, which closes its ends.
func over(t *testing.T, f func(in *bufio.Reader, out *os.File) int) Start {
	return func(context.Context) (*Process, error) {
		theirIn, in, err := os.Pipe()
		if err != nil {
			return nil, err
		}
		out, theirOut, err := os.Pipe()
		if err != nil {
			return nil, err
		}
		ended := make(chan int, 1)
		kill := sync.OnceFunc(func() { theirIn.Close(); theirOut.Close() })
		go func() {
			code := f(bufio.NewReaderSize(theirIn, 1<<20), theirOut)
			kill()
			ended <- code
		}()
		return &Process{In: in, Out: out, Ended: ended, Kill: kill}, nil
	}
}

// behave answers lines, or all of its input, with a behaviour.
func behave(b hookstest.Behaviour, read func(*bufio.Reader) ([]byte, error), end string) func(*bufio.Reader, *os.File) int {
	return func(in *bufio.Reader, out *os.File) int {
		for {
			q, err := read(in)
			if err != nil || len(q) == 0 {
				return 0
			}
			switch {
			case b.Crash:
				io.WriteString(out, `{"version":1`)
				return 1
			case b.Hang:
				io.Copy(io.Discard, in) //nolint:errcheck // until it is killed
				if _, err := out.Stat(); err == nil {
					select {} // a process that ignores that nobody asks any more
				}
				return 0
			case b.Drip:
				for {
					if _, err := io.WriteString(out, " "); err != nil {
						return 1
					}
				}
			}
			if _, err := out.Write(append(b.Answer(q), end...)); err != nil {
				return 1
			}
		}
	}
}

func line(r *bufio.Reader) ([]byte, error) { return r.ReadBytes('\n') }

func all(r *bufio.Reader) ([]byte, error) { return io.ReadAll(r) }

func newHook(t *testing.T, start Start) *Hook {
	h := New("h", start)
	t.Cleanup(func() { h.Close() })
	return h
}

func TestConformance(t *testing.T) {
	t.Run("stays", func(t *testing.T) {
		hookstest.Run(t, func(t *testing.T, b hookstest.Behaviour) hooks.Hook {
			return newHook(t, over(t, behave(b, line, "\n")))
		})
	})
	t.Run("once", func(t *testing.T) {
		hookstest.Run(t, func(t *testing.T, b hookstest.Behaviour) hooks.Hook { return NewOnce("h", over(t, behave(b, all, ""))) })
	})
}

func next(q []byte) string {
	return `{"version":1,"id":"` + hookstest.ID(q) + `","decision":"next"}` + "\n"
}

// ask asks with a bound that only a failure reaches.
func ask(t *testing.T, h hooks.Hook) (hooks.Decision, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	return h.Decide(ctx, hookstest.Request())
}

// TestAgain: whatever ends a process, what it was asked is denied, it is let go of,
// and the next question goes to another.
func TestAgain(t *testing.T) {
	for name, c := range map[string]struct {
		does func(in *bufio.Reader, out *os.File, q []byte)
		want string
	}{
		"it ends":                  {func(*bufio.Reader, *os.File, []byte) {}, "its process ended"},
		"it ends half way":         {func(_ *bufio.Reader, out *os.File, _ []byte) { io.WriteString(out, "{") }, "in the middle of an answer"},
		"an answer to nobody":      {func(_ *bufio.Reader, out *os.File, _ []byte) { io.WriteString(out, next([]byte(`{"id":"-"}`))) }, "to no question"},
		"a line that is no answer": {func(_ *bufio.Reader, out *os.File, _ []byte) { io.WriteString(out, "ready\n") }, "no decision in JSON"},
	} {
		t.Run(name, func(t *testing.T) {
			var starts, lost atomic.Int32
			h := newHook(t, over(t, func(in *bufio.Reader, out *os.File) int {
				defer lost.Add(1)
				first := starts.Add(1) == 1
				for {
					q, err := line(in)
					if err != nil {
						return 0
					}
					if first {
						c.does(in, out, q)
						return 0
					}
					io.WriteString(out, next(q))
				}
			}))
			if d, err := ask(t, h); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%+v, %v; want %s", d, err, c.want)
			}
			if d, err := ask(t, h); err != nil || d.Action != hooks.Next || starts.Load() != 2 {
				t.Errorf("%+v, %v after %d starts", d, err, starts.Load())
			}
		})
	}
}

// TestTwice: a second answer to one question is an answer to nobody.
func TestTwice(t *testing.T) {
	var starts atomic.Int32
	h := newHook(t, over(t, func(in *bufio.Reader, out *os.File) int {
		starts.Add(1)
		for {
			q, err := line(in)
			if err != nil {
				return 0
			}
			io.WriteString(out, next(q)+next(q))
		}
	}))
	for starts.Load() < 3 { // each process is good for one answer
		ask(t, h) //nolint:errcheck // denied or not
	}
}

// TestSilent: a process that keeps its questions for itself, or does not take them,
// is ended; one that is only late is not, and its late answers are nobody's.
func TestSilent(t *testing.T) {
	short := func(t *testing.T, h hooks.Hook, r *hooks.Request) error {
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		_, err := h.Decide(ctx, r)
		return err
	}
	t.Run("it answers nothing", func(t *testing.T) {
		var starts atomic.Int32
		h := newHook(t, over(t, func(in *bufio.Reader, out *os.File) int {
			starts.Add(1)
			return behave(hookstest.Behaviour{Hang: true}, line, "")(in, out)
		}))
		for starts.Load() < 2 {
			if short(t, h, hookstest.Request()) == nil {
				t.Fatal("it answered")
			}
		}
	})
	t.Run("it reads nothing", func(t *testing.T) {
		var starts atomic.Int32
		h := newHook(t, over(t, func(in *bufio.Reader, out *os.File) int {
			starts.Add(1)
			select {}
		}))
		r := hookstest.Request()
		r.Query = strings.Repeat("q", 100<<10) // more than a pipe holds
		for starts.Load() < 2 {
			if short(t, h, r) == nil {
				t.Fatal("it answered")
			}
		}
	})
	t.Run("it answers others", func(t *testing.T) {
		var starts atomic.Int32
		h := newHook(t, over(t, func(in *bufio.Reader, out *os.File) int {
			starts.Add(1)
			for {
				q, err := line(in)
				if err != nil {
					return 0
				}
				if !strings.Contains(string(q), `"/mute"`) {
					io.WriteString(out, next(q))
				}
			}
		}))
		mute := hookstest.Request()
		mute.Path = "/mute"
		for range 4 * maxSilent {
			if short(t, h, mute) == nil {
				t.Fatal("it answered")
			}
			if d, err := ask(t, h); err != nil || starts.Load() != 1 {
				t.Fatalf("%+v, %v after %d starts", d, err, starts.Load())
			}
		}
	})
	t.Run("it is late", func(t *testing.T) {
		var starts atomic.Int32
		got, late := make(chan bool, 1), make(chan bool)
		h := newHook(t, over(t, func(in *bufio.Reader, out *os.File) int {
			starts.Add(1)
			for {
				q, err := line(in)
				if err != nil {
					return 0
				}
				got <- true
				<-late
				io.WriteString(out, next(q))
			}
		}))
		for range 20 {
			done := make(chan error)
			ctx, cancel := context.WithCancel(t.Context())
			go func() { _, err := h.Decide(ctx, hookstest.Request()); done <- err }()
			<-got
			cancel()
			if err := <-done; !errors.Is(err, context.Canceled) {
				t.Fatal(err)
			}
			late <- true
		}
		close(late)
		if d, err := ask(t, h); err != nil || d.Action != hooks.Next || starts.Load() != 1 {
			t.Errorf("%+v, %v after %d starts", d, err, starts.Load())
		}
	})
}

// TestDead: a question that has met a dead process waits for the next one.
func TestDead(t *testing.T) {
	dead := &child{gone: make(chan struct{}), turn: make(chan struct{}, 1), why: errors.New("another question's")}
	close(dead.gone)
	h := &Hook{name: "h", now: dead, done: make(chan struct{}), changed: make(chan struct{})}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if d, err := h.Decide(ctx, hookstest.Request()); !errors.Is(err, errNotAsked) || ctx.Err() == nil {
		t.Errorf("%+v, %v at once", d, err)
	}
}

// TestNotStarted: without a process there is a deny that says why.
func TestNotStarted(t *testing.T) {
	h := newHook(t, func(context.Context) (*Process, error) { return nil, errors.New("no such program") })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if d, err := h.Decide(ctx, hookstest.Request()); err == nil || d.Action != hooks.Deny || !strings.Contains(err.Error(), "no such program") {
		t.Errorf("%+v, %v", d, err)
	}
	h.Close()
	if d, err := ask(t, h); err == nil {
		t.Errorf("closed: %+v", d)
	}
}

// TestOnceCode: an answer counts only if its process ends well.
func TestOnceCode(t *testing.T) {
	for code, want := range map[int]hooks.Action{0: hooks.Next, 1: hooks.Deny, -1: hooks.Deny} {
		h := NewOnce("h", over(t, func(in *bufio.Reader, out *os.File) int {
			q, _ := all(in)
			io.WriteString(out, next(q))
			return code
		}))
		if d, err := ask(t, h); d.Action != want || (err == nil) != (code == 0) {
			t.Errorf("code %d: %+v, %v", code, d, err)
		}
	}
}

// TestOnceInVain: without an answer and a good end in time there is a deny, by the runner's
// own word: it does not count on who asks it to look at the clock.
func TestOnceInVain(t *testing.T) {
	release := make(chan struct{})
	t.Cleanup(func() { close(release) })
	for name, tt := range map[string]struct {
		start Start
		path  int // bytes of the request's path
		why   string
	}{
		"not started": {func(context.Context) (*Process, error) { return nil, errors.New("no such program") }, 0, "no such program"},
		"not read":    {over(t, func(*bufio.Reader, *os.File) int { <-release; return 0 }), 1 << 20, "does not read"},
		"no word":     {over(t, func(in *bufio.Reader, _ *os.File) int { all(in); <-release; return 0 }), 0, "does not end"},
		"no end of it": {over(t, func(in *bufio.Reader, out *os.File) int {
			q, _ := all(in)
			io.WriteString(out, next(q))
			<-release
			return 0
		}), 0, "does not end"},
		"it lives on": {over(t, func(in *bufio.Reader, out *os.File) int {
			q, _ := all(in)
			io.WriteString(out, next(q))
			out.Close()
			<-release
			return 0
		}), 0, "deadline exceeded"},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		r := hookstest.Request()
		r.Path = "/" + strings.Repeat("a", tt.path)
		if d, err := NewOnce("h", tt.start).Decide(ctx, r); err == nil || d.Action != hooks.Deny || !strings.Contains(err.Error(), tt.why) {
			t.Errorf("%s: %+v, %v", name, d, err)
		}
	}
}

// TestOnceHalf: a process that ends well before it has said all, or says it and then more,
// has not answered.
func TestOnceHalf(t *testing.T) {
	for name, say := range map[string]func(string) string{
		"nothing": func(string) string { return "" },
		"half":    func(s string) string { return s[:len(s)/2] },
		"less":    func(s string) string { return s[:len(s)-2] },
		"more":    func(s string) string { return s + "{" },
		"twice":   func(s string) string { return s + s },
		"a flood": func(s string) string { return s + strings.Repeat(" ", wire.MaxDecision) },
	} {
		h := NewOnce("h", over(t, func(in *bufio.Reader, out *os.File) int {
			q, _ := all(in)
			io.WriteString(out, say(strings.TrimSpace(next(q))))
			return 0
		}))
		if d, err := ask(t, h); d.Action == hooks.Next || err == nil {
			t.Errorf("%s: %+v, %v", name, d, err)
		}
	}
}

// program starts a real program, without a cage.
func program(t testing.TB, argv ...string) Start {
	return func(context.Context) (*Process, error) {
		theirIn, in, err := os.Pipe()
		if err != nil {
			return nil, err
		}
		out, theirOut, err := os.Pipe()
		if err != nil {
			return nil, err
		}
		cmd := osexec.Command(argv[0], argv[1:]...)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = theirIn, theirOut, os.Stderr
		if err := cmd.Start(); err != nil {
			return nil, err
		}
		theirIn.Close()
		theirOut.Close()
		ended := make(chan int, 1)
		go func() { cmd.Wait(); ended <- cmd.ProcessState.ExitCode() }()                          //nolint:errcheck // the code says it
		return &Process{In: in, Out: out, Ended: ended, Kill: func() { cmd.Process.Kill() }}, nil //nolint:errcheck // it may have ended
	}
}

// tool returns a program of the system.
func tool(t testing.TB, name string) string {
	path, err := osexec.LookPath(name)
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	return path
}

// TestPrograms: real programs read the questions and answer, as one process in any
// order, and as a process for each.
func TestPrograms(t *testing.T) {
	python, sh := tool(t, "python3"), tool(t, "sh")
	const reversed = `
import json, sys
held = []
for line in sys.stdin:
    q = json.loads(line)
    held.append(q)
    if len(held) == 10:
        for q in reversed(held):
            print(json.dumps({"version": 1, "id": q["id"], "decision": "deny", "reason": q["path"]}), flush=True)
        held = []
`
	h := newHook(t, program(t, python, "-c", reversed))
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			r := hookstest.Request()
			r.Path = fmt.Sprint("/", i)
			if d, err := h.Decide(ctx, r); err != nil || d.Reason != r.Path {
				t.Errorf("%s: %+v, %v", r.Path, d, err)
			}
		})
	}
	wg.Wait()
	once := NewOnce("h", program(t, sh, "-c", `read -r q; echo '{"version":1,"id":"1","decision":"next"}'`))
	if d, err := ask(t, once); err != nil || d.Action != hooks.Next {
		t.Errorf("%+v, %v", d, err)
	}
}

func FuzzTake(f *testing.F) {
	f.Add([]byte(`{"version":1,"id":"7","decision":"next"}`))
	f.Add([]byte(`{"version":1,"id":"8","ID":"7","decision":"next"}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, doc []byte) {
		to := make(chan []byte, 1)
		c := &child{waiting: map[string]chan<- []byte{"7": to}}
		err := c.take(doc)
		var id struct{ ID string }
		switch json.Unmarshal(doc, &id); {
		case err == nil && id.ID != "7":
			t.Errorf("%q is believed", doc)
		case err == nil && string(<-to) != string(doc):
			t.Error("another line")
		}
	})
}

func BenchmarkDecide(b *testing.B) {
	h := New("h", program(b, tool(b, "python3"), "-c", `
import json, sys
for line in sys.stdin:
    q = json.loads(line)
    print(json.dumps({"version": 1, "id": q["id"], "decision": "next"}), flush=True)
`))
	defer h.Close()
	r := hookstest.Request()
	for b.Loop() {
		if d, err := h.Decide(b.Context(), r); err != nil || d.Action != hooks.Next {
			b.Fatal(d, err)
		}
	}
}
