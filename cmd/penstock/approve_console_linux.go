package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/term"

	"github.com/penstock/penstock/policy/ask"
)

const (
	// consoleEvery is how often the sessions are asked.
	consoleEvery = 300 * time.Millisecond
	// settle is how long a question must have been on the screen before a key
	// answers it: a tool can't have its own slipped under one that is answered.
	settle = 700 * time.Millisecond
	// consoleFor is what the key t stands for.
	consoleFor = 10 * time.Minute
)

// console is penstock approve on a terminal.
type console struct {
	a       *answering
	in, out *os.File
	every   time.Duration
	settle  time.Duration

	list   []waiting
	chosen string    // identifier; it is not another's before a person chooses that
	since  time.Time // when chosen was first drawn
	said   string    // of the last answer
}

func newConsole(a *answering, in, out *os.File) *console {
	own := *a
	own.hold = consoleFor
	return &console{a: &own, in: in, out: out, every: consoleEvery, settle: settle}
}

// run shows questions until q is typed or ctx ends.
func (c *console) run(ctx context.Context) error {
	old, err := term.MakeRaw(int(c.in.Fd()))
	if err != nil {
		return fmt.Errorf("take over the terminal: %w", err)
	}
	defer term.Restore(int(c.in.Fd()), old) //nolint:errcheck // it may be gone
	// The other screen, without a cursor; and back.
	io.WriteString(c.out, "\x1b[?1049h\x1b[?25l")       //nolint:errcheck // the next write tells
	defer io.WriteString(c.out, "\x1b[?25h\x1b[?1049l") //nolint:errcheck // it may be gone
	keys := make(chan byte)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go readKeys(ctx, c.in, keys)
	resized := make(chan os.Signal, 1)
	signal.Notify(resized, syscall.SIGWINCH)
	defer signal.Stop(resized)
	t := time.NewTicker(c.every)
	defer t.Stop()
	for {
		if err := c.look(); err != nil {
			return err
		}
		if err := c.draw(time.Now()); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-resized:
		case <-t.C:
		case k := <-keys:
			if k == 'q' || k == 'Q' || k == 3 || k == 4 { // Ctrl-C and Ctrl-D, which mean nothing else in raw mode
				return nil
			}
			c.key(k, keys)
		}
	}
}

func (c *console) look() error {
	list, err := questions()
	if err != nil {
		return err
	}
	c.list = list
	if c.index() < 0 {
		c.choose(0)
	}
	return nil
}

func (c *console) index() int {
	return slices.IndexFunc(c.list, func(q waiting) bool { return q.ID == c.chosen })
}

func (c *console) choose(i int) {
	c.chosen, c.since = "", time.Time{}
	if 0 <= i && i < len(c.list) {
		c.chosen = c.list[i].ID
	}
}

// key does what a key stands for.
func (c *console) key(k byte, keys <-chan byte) {
	i := c.index()
	if i < 0 {
		return
	}
	switch k {
	case 'j', 'B': // B and A end what the arrow keys send
		c.choose(min(i+1, len(c.list)-1))
		return
	case 'k', 'A':
		c.choose(max(i-1, 0))
		return
	}
	answer, ok := map[byte]struct {
		allow bool
		scope ask.Scope
	}{
		'o': {true, ask.Once}, 't': {true, ask.For}, 's': {true, ask.Session}, 'a': {true, ask.Always},
		'd': {false, ask.Once}, 'x': {false, ask.Session}, 'X': {false, ask.Always},
	}[k]
	if !ok {
		return
	}
	if c.since.IsZero() || time.Since(c.since) < c.settle {
		c.said = "read it first: the question has only just come"
		return
	}
	var shown bytes.Buffer
	said, err := c.a.give(&shown, func(question string) bool { return c.sure(shown.String(), question, keys) }, &c.list[i], answer.allow, answer.scope)
	if c.said = said; err != nil {
		c.said = strings.ReplaceAll(err.Error(), "\n", "; ")
	}
}

// sure shows what is to be written, and waits for y.
func (c *console) sure(shown, question string, keys <-chan byte) bool {
	io.WriteString(c.out, "\x1b[H"+strings.ReplaceAll(shown, "\n", "\x1b[K\r\n")+question+" [y/N] \x1b[J") //nolint:errcheck // no key comes then
	k := <-keys
	return k == 'y' || k == 'Y'
}

// draw shows the questions, and all of the chosen one.
func (c *console) draw(now time.Time) error {
	width, height, err := term.GetSize(int(c.out.Fd()))
	if err != nil || width < 1 || height < 1 {
		width, height = 80, 24
	}
	lines := []string{fmt.Sprintf("penstock approve  %s  questions: %d", now.Local().Format(time.TimeOnly), len(c.list)), ""}
	for i := range c.list {
		mark := "  "
		if c.list[i].ID == c.chosen {
			mark = "> "
		}
		lines = append(lines, mark+c.list[i].ID+"  "+c.list[i].what())
	}
	if i := c.index(); i >= 0 {
		lines = append(append(lines, ""), wrapped(c.list[i].detail(now), width)...)
		lines = append(lines, "", "yes: o once  t "+consoleFor.String()+"  s session  a always    no: d once  x session  X always    j k choose  q end")
		if c.since.IsZero() {
			c.since = now
		}
	} else {
		lines = append(lines, "nothing is asked", "", "q end")
	}
	if c.said != "" {
		lines = append(lines, "", c.said)
	}
	var b bytes.Buffer
	b.WriteString("\x1b[H")
	for i, line := range lines[:min(len(lines), height)] {
		if i > 0 {
			b.WriteString("\r\n")
		}
		b.WriteString(clipRunes(line, width) + "\x1b[K")
	}
	b.WriteString("\x1b[J")
	_, err = c.out.Write(b.Bytes())
	return err
}

// wrapped breaks lines that are longer than the screen is wide: what is said yes to
// is to be seen whole.
func wrapped(lines []string, width int) (out []string) {
	width = max(width, 20)
	for _, l := range lines {
		r := []rune(l)
		for len(r) > width {
			out = append(out, string(r[:width]))
			r = append([]rune("    "), r[width:]...)
		}
		out = append(out, string(r))
	}
	return out
}

// confirmed asks on a terminal in its usual mode.
func confirmed(in, out *os.File, question string) bool {
	fmt.Fprint(out, question+" [y/N] ")
	answer, _ := bufio.NewReader(in).ReadString('\n')
	a := strings.ToLower(strings.TrimSpace(answer))
	return a == "y" || a == "yes"
}
