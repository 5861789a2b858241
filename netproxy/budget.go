package netproxy

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/penstock/penstock/audit"
	"github.com/penstock/penstock/policy"
)

// ledger is what was used of the budgets of a session. One lock serves them all:
// a request counts against each of its budgets or against none.
type ledger struct {
	mu  sync.Mutex
	now func() time.Time
	use map[string]*usage // by the budget's subject, outlives a change of policy
}

func newLedger() *ledger { return &ledger{now: time.Now, use: map[string]*usage{}} }

// amount is one of the things that a budget limits.
type amount int

const (
	requests amount = iota
	bytesOut
	bytesIn
	amounts
)

func (a amount) String() string { return [...]string{"requests", "bytes out", "bytes in"}[a] }

func (a amount) limit(b *policy.Budget) int64 {
	return [...]int64{b.Requests, b.BytesOut, b.BytesIn}[a]
}

// usage is what was used of one budget.
type usage struct {
	used  [amounts]int64
	told  [amounts]int // 1: that it is nearly used up; 2: that it is
	until time.Time    // when used begins anew; zero: nothing was used, or never
	began []time.Time  // of the last requests, as many as the rate allows
	next  int          // of began: the oldest
	quick bool         // a request was refused for its rate
}

// meter is a budget with what was used of it.
type meter struct {
	*policy.Budget
	*usage
}

// meters returns the usages of a policy's budgets.
func (l *ledger) meters(p *policy.Policy) map[*policy.Budget]meter {
	list := p.Budgets()
	if len(list) == 0 {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make(map[*policy.Budget]meter, len(list))
	same := map[string]int{}
	for _, b := range list {
		same[b.Subject]++
		key := strconv.Itoa(same[b.Subject]) + " " + b.Subject
		if l.use[key] == nil {
			l.use[key] = &usage{}
		}
		out[b] = meter{b, l.use[key]}
	}
	return out
}

// overBudget says that something would exceed a budget.
type overBudget struct {
	b     *policy.Budget
	what  string
	retry time.Duration // until there is room again; 0: never
}

func (e *overBudget) Error() string {
	s := "the budget of " + e.b.Ref + " is used up: " + e.what
	if e.retry > 0 {
		s += ", again in " + strconv.FormatInt(seconds(e.retry), 10) + " s"
	}
	return s
}

// seconds rounds up, for Retry-After.
func seconds(d time.Duration) int64 { return int64((d + time.Second - 1) / time.Second) }

// roll begins a new window when the old one is over.
func (m *meter) roll(now time.Time) {
	w := m.Window()
	if w == 0 || now.Before(m.until) {
		return
	}
	m.until = now.Add(w)
	m.used, m.told = [amounts]int64{}, [amounts]int{}
}

func (m *meter) left(a amount) int64 {
	limit := a.limit(m.Budget)
	if limit == 0 {
		return 1 << 62
	}
	return max(limit-m.used[a], 0)
}

func (m *meter) over(a amount, now time.Time) *overBudget {
	e := &overBudget{b: m.Budget, what: fmt.Sprintf("%d %s per %s", a.limit(m.Budget), a, m.Per)}
	if m.Window() > 0 {
		e.retry = max(m.until.Sub(now), 1)
	}
	return e
}

// tooQuick says whether the request of Rate requests ago is too near.
func (m *meter) tooQuick(now time.Time) *overBudget {
	if m.Rate == 0 || int64(len(m.began)) < m.Rate {
		return nil
	}
	// A policy with a smaller rate may have come: what counts is its last Rate.
	i := (m.next + len(m.began) - int(m.Rate)) % len(m.began)
	if wait := m.RatePer - now.Sub(m.began[i]); wait > 0 {
		return &overBudget{b: m.Budget, what: "rate " + m.RateText(), retry: wait}
	}
	return nil
}

func (m *meter) begin(now time.Time) {
	if m.Rate == 0 {
		return
	}
	if int64(len(m.began)) < m.Rate {
		if m.next != 0 { // it was full, and the rate has grown
			m.began = append(append([]time.Time(nil), m.began[m.next:]...), m.began[:m.next]...)
			m.next = 0
		}
		m.began = append(m.began, now)
		return
	}
	m.began[m.next] = now
	m.next = (m.next + 1) % len(m.began)
}

// add uses n and says what has to be told of it.
func (m *meter) add(a amount, n int64, notes []audit.Limit) []audit.Limit {
	limit := a.limit(m.Budget)
	m.used[a] += n
	if limit == 0 {
		return notes
	}
	note := func(level int, action string) {
		if m.told[a] < level {
			m.told[a] = level
			notes = append(notes, audit.Limit{Kind: "budget", Count: 1, Action: action,
				Detail: fmt.Sprintf("%s: %d of %d %s per %s", m.Ref, m.used[a], limit, a, m.Per)})
		}
	}
	switch used := m.used[a]; {
	case used >= limit:
		note(2, "reached")
	case used*5 >= limit*4:
		note(1, "near")
	}
	return notes
}

// admit counts a request of out bytes so far that declares more to come, or
// refuses it and counts nothing.
func (l *ledger) admit(ms []meter, out, more int64) (notes []audit.Limit, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	for i := range ms {
		m := &ms[i]
		m.roll(now)
		switch quick := m.tooQuick(now); {
		case m.left(requests) < 1:
			return nil, m.over(requests, now)
		case m.left(bytesOut) < max(out+more, 1):
			return nil, m.over(bytesOut, now)
		case m.left(bytesIn) < 1:
			return nil, m.over(bytesIn, now)
		case quick != nil:
			if !m.quick {
				m.quick = true
				notes = append(notes, audit.Limit{Kind: "budget", Count: 1, Action: "reached", Detail: m.Ref + ": rate " + m.RateText()})
			}
			return notes, quick
		}
	}
	for i := range ms {
		m := &ms[i]
		m.begin(now)
		notes = m.add(requests, 1, notes)
		notes = m.add(bytesOut, out, notes)
	}
	return notes, nil
}

// take counts up to n bytes that are about to pass and returns how many may.
func (l *ledger) take(ms []meter, a amount, n int64) (granted int64, notes []audit.Limit, err *overBudget) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	granted = n
	for i := range ms {
		m := &ms[i]
		m.roll(now)
		if left := m.left(a); left < granted {
			granted, err = left, m.over(a, now)
		}
	}
	for i := range ms {
		notes = ms[i].add(a, granted, notes)
	}
	return granted, notes, err
}

// admit holds a flow to the budgets of its verdict, right before it is recorded
// as allowed. head is the bytes that leave with it, body those it declares.
func (f *flow) admit(head, body int64) error {
	if len(f.budgets) == 0 {
		return nil
	}
	f.meters = make([]meter, 0, len(f.budgets))
	for _, b := range f.budgets {
		m, ok := f.gen.meters[b]
		if !ok {
			return &overBudget{b: b, what: "it is not known"} // can't be: both are of one policy
		}
		f.meters = append(f.meters, m)
	}
	notes, err := f.p.ledger.admit(f.meters, head+f.up.Load(), max(body-f.up.Load(), 0))
	f.p.tell(notes)
	return err
}

// take counts n bytes that are about to pass and returns how many may: fewer
// with an error, which cuts the stream.
func (f *flow) take(a amount, n int) (int, error) {
	if len(f.meters) == 0 || n <= 0 {
		return n, nil
	}
	granted, notes, err := f.p.ledger.take(f.meters, a, int64(n))
	f.p.tell(notes)
	if err == nil {
		return n, nil
	}
	f.cut.Store(err)
	return int(granted), err
}

// tell records what became of a budget, and says it to the user.
func (p *Proxy) tell(notes []audit.Limit) {
	for i := range notes {
		p.cfg.Record.Note(&notes[i])
		if p.cfg.Notice != nil {
			p.cfg.Notice("budget " + notes[i].Action + ": " + notes[i].Detail)
		}
	}
}

// admitResponse counts the head of a response, and refuses one that declares
// more than there is.
func (f *flow) admitResponse(resp *http.Response) error {
	head := int(headSize(16, resp.Header))
	if n, err := f.take(bytesIn, head); n < head {
		return err
	}
	if resp.Body == http.NoBody || resp.Request.Method == http.MethodHead {
		return nil
	}
	return f.p.ledger.room(f.meters, bytesIn, resp.ContentLength)
}

// room says whether n bytes could pass now. It counts nothing.
func (l *ledger) room(ms []meter, a amount, n int64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	for i := range ms {
		ms[i].roll(now)
		if ms[i].left(a) < n {
			return ms[i].over(a, now)
		}
	}
	return nil
}

// exhausted denies a request for want of budget.
func (f *flow) exhausted(r *http.Request, err error) *http.Response {
	if !f.begun { // else it was allowed, and its answer is too much
		f.refuse(err.Error(), "budget")
		if e := f.begin(); e != nil {
			return f.answer(http.StatusServiceUnavailable, "deny", e.Error()).response(r)
		}
	}
	f.fail(err)
	a := f.answer(http.StatusTooManyRequests, "deny", err.Error())
	a.rule = f.open.Rule
	resp := a.response(r)
	var over *overBudget
	if errors.As(err, &over) && over.retry > 0 {
		resp.Header["Retry-After"] = []string{strconv.FormatInt(seconds(over.retry), 10)}
	}
	return resp
}

// headSize is how long a head is, written as HTTP/1 would.
func headSize(first int, h http.Header) int64 {
	n := first + 12
	for name, values := range h {
		for _, v := range values {
			n += len(name) + len(v) + 4
		}
	}
	return int64(n)
}

// meteredConn is one end of a raw connection, whose reads count.
type meteredConn struct {
	net.Conn
	f *flow
	a amount
}

func (c *meteredConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	granted, over := c.f.take(c.a, n)
	if over != nil {
		clear(p[granted:n])
		return granted, over
	}
	return n, err
}

// metered returns a connection whose reads count, if any of the flow's do.
func (f *flow) metered(c net.Conn, a amount) net.Conn {
	if len(f.meters) == 0 {
		return c
	}
	return &meteredConn{c, f, a}
}
