package proxyctl

import (
	"errors"
	"io"
	"testing"
	"time"

	"github.com/penstock/penstock/policy/ask"
)

func question(id uint64) *ask.Question {
	now := time.Now()
	return &ask.Question{ID: id, Protocol: "https", Host: "a.example", Port: 443, Method: "GET", Path: "/", Size: -1, By: "default: ask",
		Rule: "{host: a.example, protocol: https}", DenyRule: "{host: a.example}", Asked: now, Until: now.Add(time.Minute)}
}

// A question comes to the person, and the answer back.
func TestPerson(t *testing.T) {
	c, p, _ := pair(t)
	came := make(chan *ask.Question, 8)
	book := c.AskPerson(func(q *ask.Question) { came <- q })
	person := Person{p}
	for id := range uint64(3) {
		if err := person.Ask(question(id + 1)); err != nil {
			t.Fatal(err)
		}
		<-came
	}
	person.Withdraw(2)
	if err := book.Answer(&ask.Answer{ID: 3, Allow: true, Scope: ask.Session, By: "anna"}); err != nil {
		t.Fatal(err)
	}
	m, err := p.Recv()
	if err != nil || m.Op != OpAnswer || m.Answer.ID != 3 || !m.Answer.Allow || m.Answer.By != "anna" {
		t.Errorf("%+v, %v", m, err)
	}
	// What is said after the withdrawal is read after it.
	person.Ask(question(4))
	<-came
	if l := book.List(); len(l) != 2 || l[0].ID != 1 || l[1].ID != 4 {
		t.Errorf("%+v", l)
	}
	for _, id := range []uint64{2, 3, 7} {
		if err := book.Answer(&ask.Answer{ID: id, Allow: true, Scope: ask.Once, By: "anna"}); err == nil {
			t.Errorf("question %d is answered", id)
		}
	}
	if err := book.Answer(&ask.Answer{ID: 1, Allow: true, Scope: "ever", By: "anna"}); err == nil {
		t.Error("any answer is taken")
	}
}

// A proxy in a tool's hands can neither flood a person nor have another thing
// approved than it shows.
func TestHostileQuestions(t *testing.T) {
	for name, play := range map[string]func(Person){
		"nothing":           func(p Person) { p.Ask(nil) },
		"no question":       func(p Person) { p.Ask(&ask.Question{ID: 1}) },
		"a number again":    func(p Person) { p.Ask(question(1)); p.Ask(question(1)) },
		"an earlier number": func(p Person) { p.Ask(question(2)); p.Ask(question(1)) },
		"another rule":      func(p Person) { q := question(1); q.Rule = "{host: b.example}"; p.Ask(q) },
		"too many": func(p Person) {
			for i := range uint64(ask.MaxOpen + 1) {
				p.Ask(question(i + 1))
			}
		},
		"too fast": func(p Person) {
			for i := range uint64(ask.MaxMinute + 1) {
				p.Ask(question(i + 1))
				p.Withdraw(i + 1)
			}
		},
	} {
		c, p, _ := pair(t)
		c.AskPerson(func(*ask.Question) {})
		go play(Person{p})
		select {
		case <-c.Done():
			if errors.Is(c.err, io.EOF) {
				t.Errorf("%s: %v", name, c.err)
			}
		case <-time.After(10 * time.Second):
			t.Errorf("%s: the conversation goes on", name)
		}
	}
}
