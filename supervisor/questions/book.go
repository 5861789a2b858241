// Package questions keeps what a session's proxy asks a person, until it is
// answered, withdrawn or too late.
//
// Its hazard is the proxy, which may be in a tool's hands: each question is
// checked again, there are ask.MaxOpen at most and no more in a minute than an
// honest proxy asks, and no number comes twice. A question that breaks this ends the
// conversation. The other hazard is who
// answers: the caller of Answer has checked that (registry).
package questions

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/penstock/penstock/policy/ask"
)

// Book is safe for concurrent use. Make one with New.
type Book struct {
	answer func(*ask.Answer) error // tells the proxy
	notice func(*ask.Question)     // tells the user that there is one

	mu   sync.Mutex
	last uint64
	open []*ask.Question
	came []time.Time // in the last minute
}

// New returns an empty book. notice is called for each question, from the one
// goroutine that calls Put; it must not block.
func New(answer func(*ask.Answer) error, notice func(*ask.Question)) *Book {
	return &Book{answer: answer, notice: notice}
}

// grace is how much longer than said a question may stand: the proxy ends it.
const grace = 10 * time.Second

// Put takes a question of the proxy's.
func (b *Book) Put(q *ask.Question) error {
	if q == nil {
		return errors.New("proxy asked nothing")
	}
	if err := q.Check(); err != nil {
		return err
	}
	b.mu.Lock()
	b.expire(time.Now())
	if q.ID <= b.last {
		b.mu.Unlock()
		return fmt.Errorf("proxy asked question %d again", q.ID)
	}
	b.came = append(slices.DeleteFunc(b.came, func(t time.Time) bool { return time.Since(t) > time.Minute }), time.Now())
	if len(b.open) >= ask.MaxOpen || len(b.came) > ask.MaxMinute {
		b.mu.Unlock()
		return errors.New("proxy asked too much")
	}
	b.last = q.ID
	b.open = append(b.open, q)
	b.mu.Unlock()
	b.notice(q)
	return nil
}

func (b *Book) expire(now time.Time) {
	b.open = slices.DeleteFunc(b.open, func(q *ask.Question) bool { return now.After(q.Until.Add(grace)) })
}

// Withdraw forgets a question; one that is not there is none.
func (b *Book) Withdraw(id uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.open = slices.DeleteFunc(b.open, func(q *ask.Question) bool { return q.ID == id })
}

// List returns the questions that wait, the oldest first.
func (b *Book) List() []ask.Question {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.expire(time.Now())
	out := make([]ask.Question, 0, len(b.open))
	for _, q := range b.open {
		out = append(out, *q)
	}
	return out
}

// Answer gives a person's answer to the proxy.
func (b *Book) Answer(a *ask.Answer) error {
	if err := a.Check(); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	i := slices.IndexFunc(b.open, func(q *ask.Question) bool { return q.ID == a.ID })
	if i < 0 {
		return errors.New("no such question waits: it was answered, withdrawn or denied for want of an answer")
	}
	b.open = slices.Delete(b.open, i, i+1)
	return b.answer(a)
}
