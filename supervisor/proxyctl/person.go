//go:build unix

package proxyctl

import "github.com/penstock/penstock/policy/ask"

// Person is the proxy's side of the questions to a person (desk.Person).
type Person struct{ Conn *Conn }

// Ask sends a question.
func (p Person) Ask(q *ask.Question) error { return p.Conn.Send(&Message{Op: OpAsk, Question: q}) }

// Withdraw takes one back.
func (p Person) Withdraw(id uint64) {
	p.Conn.Send(&Message{Op: OpWithdraw, Withdrawn: id}) //nolint:errcheck // then the supervisor is gone
}
