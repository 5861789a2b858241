package tokens

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/penstock/penstock/netproxy/secrets"
	"github.com/penstock/penstock/policy"
)

// Bounds of asking.
const (
	patience = 20 * time.Second // for one answer
	pause    = 5 * time.Second  // after one that was none
	// skew is how long before its end a value is renewed, at most: a request takes its
	// time, and clocks differ.
	skew = time.Minute
	// unsaid is how long a value is kept whose end nobody said.
	unsaid = 5 * time.Minute
)

// Change is what became of a value.
type Change struct {
	Name, Action, Reason string // see audit.SecretRenewal
}

// Config is what a Keeper is made of.
type Config struct {
	Set      *secrets.Set
	Declared []policy.Secret
	// Ask returns what asks, which verifies who answers and follows nothing. It
	// belongs to the Keeper.
	Ask func() (http.RoundTripper, error)
	// Told is called with each change. It must not block.
	Told func(Change)
}

// Keeper has the values of fetched secrets. It is safe for concurrent use; nil has
// none.
type Keeper struct {
	cfg    Config
	ask    func() (http.RoundTripper, error)
	kept   map[string]*kept
	ending context.Context
	end    context.CancelFunc
	tasks  sync.WaitGroup
}

// grant is a value that was got.
type grant struct {
	value secrets.Value
	lives time.Duration // 0: nobody said
}

// getter gets one value from one place.
type getter interface {
	get(context.Context, http.RoundTripper) (grant, error)
}

// kept is one secret.
type kept struct {
	name   string
	getter getter

	mu      sync.Mutex
	flight  chan struct{} // closed when the question is answered; nil: none is asked
	err     error         // what became of the last question
	renew   time.Time     // when the value is to be renewed
	dead    time.Time     // when it is none any more; zero: never by itself
	failed  time.Time     // when the last question failed
	has     bool
	refused bool // the value was refused, and is to be another
	forced  bool // the value came of a refusal of the one before
}

// New returns what keeps the policy's fetched secrets that are in the Set; nil if
// there are none.
func New(c Config) *Keeper {
	k := &Keeper{cfg: c, kept: map[string]*kept{}, ask: sync.OnceValues(c.Ask)}
	k.ending, k.end = context.WithCancel(context.Background())
	for i := range c.Declared {
		d := &c.Declared[i]
		if _, ok := c.Set.Current(d.Name); !ok || !d.Fetched() {
			continue
		}
		e := &kept{name: d.Name}
		if d.OAuth2 != nil {
			e.getter = &tokenEndpoint{d.OAuth2, d.Name, c.Set}
		} else {
			e.getter = &vault{Vault: d.Vault, name: d.Name, keeper: k}
		}
		k.kept[d.Name] = e
	}
	if len(k.kept) == 0 {
		k.end()
		return nil
	}
	return k
}

// Close ends what is asked. Values stay as they are.
func (k *Keeper) Close() {
	if k != nil {
		k.end()
		k.tasks.Wait()
	}
}

// Ready returns when the named secrets have values that are good for a while, or
// could not be renewed and are good still.
func (k *Keeper) Ready(ctx context.Context, names []string) error {
	if k == nil {
		return nil
	}
	for _, name := range names {
		if e := k.kept[name]; e != nil {
			if err := k.ready(ctx, e); err != nil {
				return err
			}
		}
	}
	return nil
}

func (k *Keeper) ready(ctx context.Context, e *kept) error {
	e.mu.Lock()
	now := time.Now()
	alive := e.has && (e.dead.IsZero() || now.Before(e.dead))
	switch {
	case alive && now.Before(e.renew), alive && now.Before(e.failed.Add(pause)):
		e.mu.Unlock()
		return nil
	case e.flight == nil && !e.failed.IsZero() && now.Before(e.failed.Add(pause)):
		err := e.err
		e.mu.Unlock()
		return &UnavailableError{e.name, err}
	case e.flight == nil:
		if k.ending.Err() != nil {
			e.mu.Unlock()
			return &UnavailableError{e.name, errEnding}
		}
		e.flight = make(chan struct{})
		k.tasks.Go(func() { k.question(e) })
	}
	flight := e.flight
	e.mu.Unlock()
	select {
	case <-flight:
	case <-ctx.Done():
		return ctx.Err()
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.err != nil && !(e.has && (e.dead.IsZero() || time.Now().Before(e.dead))) {
		return &UnavailableError{e.name, e.err}
	}
	return nil
}

var errEnding = errors.New("the session ends")

// question asks once, for all who wait.
func (k *Keeper) question(e *kept) {
	ctx, cancel := context.WithTimeout(k.ending, patience)
	defer cancel()
	g, err := k.get(ctx, e)
	if err == nil {
		err = k.cfg.Set.Replace(e.name, g.value)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	now := time.Now()
	if e.err = err; err != nil {
		if e.failed.IsZero() && k.ending.Err() == nil {
			k.cfg.Told(Change{e.name, "failed", err.Error()})
		}
		e.failed = now
		if e.has && !e.dead.IsZero() && !now.Before(e.dead) {
			e.has = false
			k.cfg.Set.Replace(e.name, secrets.Value{}) //nolint:errcheck // it was there
			k.cfg.Told(Change{e.name, "expired", ""})
		}
	} else {
		e.has, e.failed = true, time.Time{}
		e.forced, e.refused = e.refused, false
		if e.renew, e.dead = now.Add(unsaid), (time.Time{}); g.lives > 0 {
			e.dead = now.Add(g.lives)
			e.renew = e.dead.Add(-min(skew, g.lives/4))
		}
		k.cfg.Told(Change{e.name, "renewed", ""})
	}
	close(e.flight)
	e.flight = nil
}

func (k *Keeper) get(ctx context.Context, e *kept) (grant, error) {
	rt, err := k.ask()
	if err != nil {
		return grant{}, err
	}
	g, err := e.getter.get(ctx, rt)
	switch {
	case err != nil && ctx.Err() != nil:
		return grant{}, fmt.Errorf("there was no answer within %s", patience)
	case err != nil:
		return grant{}, errors.New(k.cfg.Set.Redact(err.Error()))
	case g.value.Empty():
		return grant{}, errors.New("the answer has no value")
	}
	return g, nil
}

// Refused says that a server has answered 401 to a request with these secrets, whose
// values are in force. It returns whether another value may be had for one of them:
// once for each that was not itself got in this way.
func (k *Keeper) Refused(names []string) bool {
	if k == nil {
		return false
	}
	again := false
	for _, name := range names {
		e := k.kept[name]
		if e == nil {
			continue
		}
		e.mu.Lock()
		if e.has && !e.forced && !e.refused && e.flight == nil {
			e.refused, again = true, true
			e.renew = time.Time{}
		}
		e.mu.Unlock()
	}
	return again
}

// UnavailableError says that a secret has no value because nobody gave one.
type UnavailableError struct {
	Secret string
	Cause  error
}

// Error returns one line.
func (e *UnavailableError) Error() string {
	return "secret " + e.Secret + " could not be had: " + e.Cause.Error()
}

// Unwrap returns the cause.
func (e *UnavailableError) Unwrap() error { return e.Cause }
