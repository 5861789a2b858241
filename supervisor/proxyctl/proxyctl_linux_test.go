package proxyctl

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/penstock/penstock/policy"
	"github.com/penstock/penstock/policy/ask"
	"github.com/penstock/penstock/supervisor/questions"
)

// pair returns a client and the connection of a proxy that the test plays.
func pair(t *testing.T) (*Client, *Conn, chan string) {
	t.Helper()
	ours, theirs, err := Pair()
	if err != nil {
		t.Fatal(err)
	}
	uc, err := Open(theirs)
	if err != nil {
		t.Fatal(err)
	}
	notices := make(chan string, 8)
	c := NewClient(NewConn(ours), func(s string) { notices <- s })
	p := NewConn(uc)
	t.Cleanup(func() { c.Close(); p.Close() })
	return c, p, notices
}

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestConversation(t *testing.T) {
	c, p, notices := pair(t)
	go func() {
		for {
			m, err := p.Recv()
			if err != nil {
				return
			}
			switch m.Op {
			case OpListen:
				p.Send(&Message{Op: OpNotice, Text: "hello"})
				p.Send(&Message{Op: OpListening})
			case OpRecord:
				p.Send(&Message{Op: OpRecorded, Error: "disk full"})
			case OpCount:
				p.Send(&Message{Op: OpViolation, Kind: "k", Text: "first"})
				p.Send(&Message{Op: OpViolation, Kind: "k", Text: "second"})
				p.Send(&Message{Op: OpCounted, Counts: &Counts{Flows: 5, Denied: 2}})
			case OpEnd:
				p.Send(&Message{Op: OpEnded, Summary: &Summary{AllowedTotal: 7}})
			}
		}
	}()
	if err := c.Listen(within(t)); err != nil {
		t.Fatal(err)
	}
	if n := <-notices; n != "hello" {
		t.Errorf("notice %q", n)
	}
	if err := c.Record(within(t), "x", map[string]int{"a": 1}); err == nil || !strings.Contains(err.Error(), "disk full") {
		t.Errorf("record: %v", err)
	}
	for range 2 {
		if n, err := c.Counts(within(t)); err != nil || n != (Counts{Flows: 5, Denied: 2}) {
			t.Errorf("counts: %+v, %v", n, err)
		}
	}
	if v := <-c.Violations(); v != (Violation{Kind: "k", Detail: "first"}) {
		t.Errorf("violation: %+v", v)
	}
	s, err := c.End(within(t), struct{}{})
	if err != nil || s.AllowedTotal != 7 {
		t.Errorf("end: %+v, %v", s, err)
	}
}

// An answer that comes after the question was given up is none of another's.
func TestLateCounts(t *testing.T) {
	c, p, _ := pair(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if n, err := c.Counts(ctx); err == nil {
		t.Errorf("%+v", n)
	}
	go func() {
		p.Recv()
		p.Recv()
		p.Send(&Message{Op: OpCounted, Counts: &Counts{Flows: 1}})
		p.Send(&Message{Op: OpRecorded})
	}()
	if err := c.Record(within(t), "x", struct{}{}); err != nil {
		t.Error(err)
	}
}

// The proxy ends right after its last answer, which must not be lost.
func TestAnswerThenEnd(t *testing.T) {
	for range 200 {
		c, p, _ := pair(t)
		go func() {
			p.Recv()
			p.Send(&Message{Op: OpEnded, Summary: &Summary{}})
			p.Close()
		}()
		if _, err := c.End(within(t), struct{}{}); err != nil {
			t.Fatal(err)
		}
	}
}

// A proxy that was taken over can end the session, and do no more.
func TestHostileProxy(t *testing.T) {
	for name, play := range map[string]func(*Conn){
		"garbage":                      func(p *Conn) { p.uc.Write([]byte("{")) },
		"unknown op":                   func(p *Conn) { p.uc.Write([]byte(`{"op":"root"}`)) },
		"our own op":                   func(p *Conn) { p.Send(&Message{Op: OpEnd}) },
		"wrong answer":                 func(p *Conn) { p.Send(&Message{Op: OpListening}) },
		"unasked twice":                func(p *Conn) { p.Send(&Message{Op: OpListening}); p.Send(&Message{Op: OpRecorded}) },
		"no summary":                   func(p *Conn) { p.Send(&Message{Op: OpEnded}) },
		"a question that nobody takes": func(p *Conn) { p.Send(&Message{Op: OpAsk, Question: question(1)}) },
		"a withdrawal":                 func(p *Conn) { p.Send(&Message{Op: OpWithdraw, Withdrawn: 1}) },
		"an answer":                    func(p *Conn) { p.Send(&Message{Op: OpAnswer}) },
		"empty packet":                 func(p *Conn) { p.uc.Write(nil); p.Close() },
		"silent and end":               func(p *Conn) { p.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			c, p, _ := pair(t)
			go func() { p.Recv(); play(p) }()
			if s, err := c.End(within(t), struct{}{}); err == nil {
				t.Errorf("session ended well: %+v", s)
			}
		})
	}
}

func TestTooLong(t *testing.T) {
	c, p, _ := pair(t)
	if err := c.Record(within(t), "x", strings.Repeat("a", MaxMessage)); err == nil {
		t.Error("a message longer than the bound was sent")
	}
	go p.uc.Write([]byte(`{"op":"notice","text":"` + strings.Repeat("a", MaxMessage) + `"}`))
	<-c.Done()
	if errors.Is(c.err, io.EOF) || c.err == nil {
		t.Errorf("a message longer than the bound was read: %v", c.err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"op":"end","event":{}}`))
	f.Add([]byte(`{"op":"ask","question":{"id":1,"protocol":"https","host":"a.example","port":443,"method":"GET","path":"/","rule":"{host: a.example, protocol: https}"}}`))
	f.Add([]byte(`{"op":"answer","answer":{"id":1,"allow":true,"scope":"once","by":"x"}}`))
	f.Add([]byte(`{"op":"ended","summary":{"denied":[{"n":1}]}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := Decode(b)
		if err == nil && m.Op == "" {
			t.Error("message without op")
		}
		if err == nil && m.Op == OpAsk {
			book := questions.New(nil, func(q *ask.Question) {
				if _, err := policy.ParseApproval(q.Rule, q.Target(), false); err != nil {
					t.Error(err)
				}
			})
			book.Put(m.Question)
		}
	})
}
