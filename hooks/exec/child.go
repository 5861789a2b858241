package exec

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/penstock/penstock/hooks/wire"
)

// A process that has left so many questions in a row unanswered, or owes so many
// answers, is ended.
const (
	maxSilent = 5
	maxOwed   = 1024
)

// child is a process that stays, with the questions on their way to it.
type child struct {
	p    *Process
	turn chan struct{} // held by who writes a question
	gone chan struct{} // closed when it can't be asked any more
	why  error         // what it did then; read after gone

	mu      sync.Mutex
	limit   int                      // of the bytes of a line: that of the longest answer asked for
	waiting map[string]chan<- []byte // nil: nobody waits any more
	silent  int                      // questions without an answer in time, since the last answer
}

func newChild(p *Process) *child {
	c := &child{p: p, turn: make(chan struct{}, 1), gone: make(chan struct{}), waiting: map[string]chan<- []byte{}, limit: wire.MaxDecision}
	go c.read()
	return c
}

// fail ends the process. The first reason stays.
func (c *child) fail(why error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-c.gone:
		return
	default:
	}
	c.why = why
	close(c.gone)
	c.p.close()
}

// errNotAsked is that a process had ended before it was asked.
var errNotAsked = errors.New("its process has ended")

// ask writes a question and returns the line that answers it. limit is that of the
// answer, in bytes; from then on no line is longer than the greatest of them.
func (c *child) ask(ctx context.Context, id string, question []byte, limit int) ([]byte, error) {
	select {
	case c.turn <- struct{}{}:
	case <-c.gone:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	select {
	case <-c.gone:
		return nil, errNotAsked
	default:
	}
	answer := make(chan []byte, 1)
	c.mu.Lock()
	c.waiting[id] = answer
	c.limit = max(c.limit, limit)
	c.mu.Unlock()
	deadline, _ := ctx.Deadline()
	n, err := 0, c.p.In.SetWriteDeadline(deadline)
	if err == nil {
		n, err = c.p.In.Write(question)
	}
	<-c.turn
	switch {
	case err == nil:
	case n == 0 && errors.Is(err, os.ErrDeadlineExceeded):
		c.leave(id, true)
		c.mu.Lock()
		delete(c.waiting, id) // it was not asked
		c.mu.Unlock()
		return nil, context.DeadlineExceeded
	default:
		// A part of it may be there, so that nothing after it would be a question.
		c.fail(fmt.Errorf("its process does not read what it is asked: %w", err))
	}
	select {
	case line := <-answer:
		return line, nil
	case <-c.gone:
		select {
		case line := <-answer: // it was the last thing that it did
			return line, nil
		default:
			return nil, c.why
		}
	case <-ctx.Done():
		c.leave(id, errors.Is(ctx.Err(), context.DeadlineExceeded))
		return nil, ctx.Err()
	}
}

// leave stops waiting for an answer, which may still come.
func (c *child) leave(id string, late bool) {
	c.mu.Lock()
	if _, ok := c.waiting[id]; ok {
		c.waiting[id] = nil
		if late {
			c.silent++
		}
	}
	hangs := c.silent >= maxSilent || len(c.waiting) > maxOwed
	c.mu.Unlock()
	if hangs {
		c.fail(errors.New("its process did not answer several times in a row"))
	}
}

// read takes the process's lines until it ends.
func (c *child) read() {
	r := bufio.NewReaderSize(c.p.Out, wire.MaxDecision+1)
	for {
		line, err := c.line(r)
		if err == nil {
			err = c.take(line)
		}
		if err != nil {
			c.fail(err)
			return
		}
	}
}

// line reads a line.
func (c *child) line(r *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		line = append(line, part...)
		if full := errors.Is(err, bufio.ErrBufferFull); full || err == nil {
			c.mu.Lock()
			limit := c.limit
			c.mu.Unlock()
			switch {
			case len(line) > limit:
				return nil, wire.LongError(limit)
			case full:
				continue
			}
			return line, nil
		}
		if len(line) > 0 {
			return nil, errors.New("its process ended in the middle of an answer")
		}
		return nil, errors.New("its process ended")
	}
}

// take gives a line to who waits for it. An error is what is wrong with a line that
// nobody waits for.
func (c *child) take(line []byte) error {
	var a struct {
		ID string `json:"id"`
	}
	var waits bool
	var to chan<- []byte
	if json.Unmarshal(line, &a) == nil {
		c.mu.Lock()
		if to, waits = c.waiting[a.ID]; waits {
			delete(c.waiting, a.ID)
			c.silent = 0
		}
		c.mu.Unlock()
	}
	if !waits {
		if _, err := wire.Decision("-", line, wire.MaxDecision); err != nil { // no number
			return err
		}
		return errors.New("its answer is to no question")
	}
	if to != nil {
		to <- line
	}
	return nil
}
