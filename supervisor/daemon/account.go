package daemon

import (
	"sync"
	"time"

	"github.com/penstock/penstock/supervisor/daemon/settings"
	"github.com/penstock/penstock/supervisor/daemonctl"
)

// refusal is what a caller is told. It never holds what another user said.
type refusal struct{ text, hint string }

func (r *refusal) Error() string { return r.text }
func (r *refusal) Hint() string  { return r.hint }

func (r *refusal) message() *daemonctl.Message {
	return &daemonctl.Message{Op: daemonctl.OpError, Text: r.text, Hint: r.hint}
}

// account counts what one user has and does. It is there before any work is
// done for the user, and costs a map's entry.
type account struct {
	conns    int
	away     int // connections that are being turned away
	sessions int
	lookups  int       // threads that look at the user's files
	tokens   float64   // of the rate
	at       time.Time // when tokens was right
}

// accounts are all users'.
type accounts struct {
	quota settings.Quota

	mu   sync.Mutex
	of   map[int]*account
	most int // sessions of everybody, by the number of proxies
	all  int
}

func newAccounts(s *settings.Settings) *accounts {
	return &accounts{quota: s.Quota, of: map[int]*account{}, most: s.Proxies.Most}
}

// get returns uid's account. Accounts that say nothing are forgotten now and
// then, so that their number is that of the users who are active.
func (a *accounts) get(uid int, now time.Time) *account {
	acc := a.of[uid]
	if acc == nil {
		if len(a.of)%64 == 63 {
			for id, old := range a.of {
				if old.conns == 0 && old.away == 0 && old.sessions == 0 && old.lookups == 0 && now.Sub(old.at) > 10*time.Second {
					delete(a.of, id)
				}
			}
		}
		acc = &account{tokens: float64(2 * a.quota.Rate), at: now}
		a.of[uid] = acc
	}
	acc.tokens = min(float64(2*a.quota.Rate), acc.tokens+now.Sub(acc.at).Seconds()*float64(a.quota.Rate))
	acc.at = now
	return acc
}

// connect counts a connection. Every nil is followed by one disconnect.
func (a *accounts) connect(uid int, now time.Time) *refusal {
	a.mu.Lock()
	defer a.mu.Unlock()
	acc := a.get(uid, now)
	if uid != 0 && acc.conns >= a.quota.Connections {
		return &refusal{"too many connections of this user are open", "close some, or raise quota.connections in the supervisor's settings"}
	}
	if r := acc.spend(uid); r != nil {
		return r
	}
	acc.conns++
	return nil
}

// spend takes one token. Root has as many as it likes: it could end the daemon.
func (acc *account) spend(uid int) *refusal {
	if uid == 0 {
		return nil
	}
	if acc.tokens < 1 {
		return &refusal{"too many requests of this user in a short time", "try again in a second"}
	}
	acc.tokens--
	return nil
}

// request counts a further message on an open connection.
func (a *accounts) request(uid int, now time.Time) *refusal {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.get(uid, now).spend(uid)
}

// maxLeaving bounds the connections of one user that are turned away beside the
// daemon's other work; beyond it each is turned away before the next is looked at.
const maxLeaving = 64

// leaving counts a connection that is being turned away, by 1, and its end, by -1.
func (a *accounts) leaving(uid, by int) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	acc := a.get(uid, time.Now())
	if by > 0 && acc.away >= maxLeaving {
		return false
	}
	acc.away += by
	return true
}

// errSlow says that a file system of the caller's does not answer.
var errSlow = &refusal{"the file systems that the administrator's policy names paths of don't answer", "a FUSE or network file system below them hangs: unmount it"}

// lookup counts a look at the user's files. Every nil is followed by one lookedUp,
// as late as the user's file systems like.
func (a *accounts) lookup(uid int) *refusal {
	a.mu.Lock()
	defer a.mu.Unlock()
	acc := a.get(uid, time.Now())
	if uid != 0 && acc.lookups >= a.quota.Sessions {
		return errSlow
	}
	acc.lookups++
	return nil
}

func (a *accounts) lookedUp(uid int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.get(uid, time.Now()).lookups--
}

func (a *accounts) disconnect(uid int, now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.get(uid, now).conns--
}

// begin counts a session. Every nil is followed by one end.
func (a *accounts) begin(uid int, now time.Time) *refusal {
	a.mu.Lock()
	defer a.mu.Unlock()
	acc := a.get(uid, now)
	switch {
	case uid != 0 && acc.sessions >= a.quota.Sessions:
		return &refusal{"this user has as many sessions as it may have", "penstock ps lists them, penstock kill ends one; or raise quota.sessions in the supervisor's settings"}
	case a.all >= a.most:
		return &refusal{"there are as many sessions as this machine may have", "raise proxies.most in the supervisor's settings"}
	}
	acc.sessions++
	a.all++
	return nil
}

func (a *accounts) end(uid int, now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.get(uid, now).sessions--
	a.all--
}

// rate bounds how often something may come: three seconds' worth at once.
type rate struct {
	left float64
	at   time.Time // when left was right
}

// spend takes one of what comes in at perSecond, if there is one left.
func (r *rate) spend(now time.Time, perSecond float64) bool {
	if r.at.IsZero() {
		r.left = 3 * perSecond
	} else {
		r.left = min(3*perSecond, r.left+now.Sub(r.at).Seconds()*perSecond)
	}
	r.at = now
	if r.left < 1 {
		return false
	}
	r.left--
	return true
}
