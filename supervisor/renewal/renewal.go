// Package renewal reads the values of secrets anew while a session runs: files when
// the kernel says that they have changed, commands and items of the keyring by the clock.
//
// Its hazard is who else can change what it reads. It runs with the rights of the
// session's user, outside the pen, for as long as the pen's tool does: a file that
// the tool could write, or put a link in the place of, would be the tool's way to
// have another file of the user's sent out as a secret, or a credential of its own
// where a rule pins the user's. The caller leaves such sources out. A value that
// can't be read or used changes nothing, so that a half-done rotation does not
// take a working credential away; it is told once, and again after a good one.
//
// Only the supervisor imports it.
package renewal

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/penstock/penstock/netproxy/secrets"
)

// Source is one value that can change.
type Source struct {
	Name  string        // of the secret, or secrets.PartName
	First secrets.Value // what is in force when Run begins
	Read  func() (secrets.Value, error)
	// File is the absolute path that Read reads, "" if there is none.
	File string
	// Every is how often to read what is no file; Expires how long after its last
	// good reading a value is taken away, 0 for never.
	Every, Expires time.Duration
}

// Sink takes what has become of values. Its methods are called concurrently.
type Sink interface {
	// Renew puts v in force; none takes the secret's value away.
	Renew(name string, v secrets.Value) error
	// Failed says that a value could not be read or used. The old one is kept.
	Failed(name string, err error)
}

// How often is read what fails, and a file of whose changes the kernel need not tell
// (on a network, in a directory that is a link now).
const (
	retry = 10 * time.Second
	slow  = 30 * time.Second
	// grace is for a file that was just told of and can't be used: it may be in the
	// middle of being written again.
	grace = 500 * time.Millisecond
)

// Run renews the sources until ctx is done.
func Run(ctx context.Context, sources []Source, sink Sink) {
	var files []string
	for _, s := range sources {
		if s.File != "" {
			files = append(files, s.File)
		}
	}
	changed, closeWatch := watch(files)
	defer closeWatch()
	var all sync.WaitGroup
	for _, s := range sources {
		all.Go(func() { s.run(ctx, changed[s.File], sink) })
	}
	all.Wait()
}

var errEmpty = errors.New("it is empty")

func (s *Source) run(ctx context.Context, changed <-chan struct{}, sink Sink) {
	last, good := s.First, time.Now()
	failing, expired, doubtful := false, false, false
	read := func(patient bool) {
		doubtful = false
		v, err := s.Read()
		if err == nil && v.Empty() {
			err = errEmpty
		}
		if err == nil && (expired || !v.Equal(last)) {
			err = sink.Renew(s.Name, v)
		}
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			switch {
			case patient && !failing:
				doubtful = true
				return
			case !failing:
				sink.Failed(s.Name, err)
			}
			failing = true
			return
		}
		last, good, failing, expired = v, time.Now(), false, false
	}
	wait := s.Every
	if s.File != "" {
		read(true) // it may have changed before it was watched
		wait = slow
	}
	for {
		next := wait
		switch {
		case doubtful:
			next = grace
		case failing:
			next = min(next, retry)
		}
		left := s.Expires - time.Since(good)
		expires := s.Expires > 0 && !expired
		if expires {
			next = min(next, max(left, 0))
		}
		t, told := time.NewTimer(next), false
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-changed:
			t.Stop()
			told = true
		case <-t.C:
		}
		read(told)
		if expires && failing && time.Since(good) >= s.Expires && sink.Renew(s.Name, secrets.Value{}) == nil {
			expired = true
		}
	}
}
