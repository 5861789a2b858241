package hooks

import (
	"context"
	"net/http"
	"time"
)

// Hook decides about requests that the policy allows. It can only take away: it
// says Next, Deny, Ask, Route or Reply, and everything else is a deny. What it makes of a
// request with Next is judged like one that the pen has sent.
type Hook interface {
	// Decide judges one request at its point: before anything of it has left, or
	// before anything of its answer is the pen's. It returns soon after ctx is done;
	// an error is a deny. It is called concurrently, and does not change the request
	// nor keep it.
	Decide(ctx context.Context, r *Request) (Decision, error)
}

// Answer is what a hook replies in the upstream's place.
type Answer struct {
	Status int         // 200 to 599
	Header http.Header // content-type and fields that begin with x-; others are dropped
	Body   []byte      // at most MaxAnswer bytes
}

// MaxAnswer bounds the body of an Answer.
const MaxAnswer = 64 << 10

// Trace is what one hook did with a request, for the audit.
type Trace struct {
	Hook     string // name
	Point    Point
	Decision string // "next", "deny", "ask", "route", "reply", or "failed" for a deny that is no answer of the hook
	Reason   string // printable ASCII, "" for next; of route it begins with the upstream
	Duration time.Duration
	Times    uint64     // how often it was asked about one body
	Fields   *Fields    // of the request's header, that the hook has changed; nil: none
	Body     *Rewritten // what the hook has made of the body; nil: nothing
}
