package approval

import (
	"errors"
	"fmt"
	"time"

	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/policy"
)

// Given are a session's tokens as they travel: whoever gets them checks them again.
type Given struct {
	Tokens   []string `json:"tokens"`
	Audience string   `json:"audience,omitempty"` // of the session, "" for none
	// Executables are the files that the processes named in them are.
	Executables map[string][]hooks.Executable `json:"executables,omitempty"`
}

// Find is a policy.Finder of the executables.
func (g *Given) Find(path string) ([]hooks.Executable, error) {
	found, ok := g.Executables[path]
	if !ok {
		return nil, errors.New("nobody has looked")
	}
	return found, nil
}

// Set is the tokens of a session. It is not safe for concurrent use.
type Set struct {
	tokens []*Token
	used   []uint32
}

// NewSet checks the tokens of a session that begins now, and says of which one, from
// 1, something is wrong. approvers are the policy's.
func NewSet(g *Given, approvers []policy.Approver, now time.Time) (*Set, error) {
	tokens := g.Tokens
	if len(tokens) > MaxTokens {
		return nil, fmt.Errorf("there are %d tokens, more than %d", len(tokens), MaxTokens)
	}
	s := &Set{used: make([]uint32, len(tokens))}
	ids := map[string]int{}
	for i, text := range tokens {
		t, err := Open(text, approvers)
		if err == nil {
			err = t.Fit(g.Audience, now)
		}
		if err == nil && ids[t.ID] > 0 {
			err = fmt.Errorf("it has the id of token %d: once is enough", ids[t.ID])
		}
		if err == nil && t.rule.Executable() != "" {
			err = t.rule.Resolve(g.Find)
		}
		if err != nil {
			return nil, fmt.Errorf("token %d: %w", i+1, err)
		}
		ids[t.ID] = i + 1
		s.tokens = append(s.tokens, t)
	}
	return s, nil
}

// Tokens returns those of the set.
func (s *Set) Tokens() []*Token { return s.tokens }

// Denies returns the token that denies a request, nil if none does.
func (s *Set) Denies(r *hooks.Request, now time.Time) *Token {
	if s == nil {
		return nil
	}
	for _, t := range s.tokens {
		if !t.Allow() && t.holds(now) && t.rule.About(r) {
			return t
		}
	}
	return nil
}

// Allows uses a token for a request, nil if there is none.
func (s *Set) Allows(r *hooks.Request, now time.Time) *Token {
	if s == nil {
		return nil
	}
	for i, t := range s.tokens {
		if t.Allow() && s.used[i] < t.Max && t.holds(now) && t.rule.About(r) {
			s.used[i]++
			return t
		}
	}
	return nil
}
