package secrets

import (
	"net/http"
	"strings"

	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/policy"
)

// Wanted returns the names of the late secrets whose value a request, as the pen sent
// it, is about to get. body says that Body has deferred it, upgrade that it begins a
// WebSocket; pin is nil without one.
func (s *Set) Wanted(h http.Header, query string, body, upgrade bool, pin *policy.Pin, target hooks.Target) (names []string) {
	if s == nil {
		return nil
	}
	for i := range s.secrets {
		c := &s.secrets[i]
		if !c.Late || !s.goes(c, target) {
			continue
		}
		wanted := pin != nil && pin.Secret == c.Name || c.JSON != "" && body || c.WebSocket != "" && upgrade
		for _, v := range h[c.Header] {
			n, _ := s.find(v)
			wanted = wanted || n == i
		}
		if c.Query != "" {
			for part := range strings.SplitSeq(query, "&") {
				wanted = wanted || s.parameter(part, target) == c
			}
		}
		if wanted {
			names = append(names, c.Name)
		}
	}
	return names
}

// Use calls f with a value, which can be a part, to ask somebody for another value
// with it. f keeps nothing of it.
func (s *Set) Use(name string, f func(value string) error) error {
	v, _ := s.Current(name)
	if v.Empty() {
		return &NoValueError{name}
	}
	return f(v.reveal())
}

// Sent says which of the secrets in a request have still the value that it had.
func (s *Set) Sent(used []Swapped) (names []string) {
	for _, u := range used {
		if v, ok := s.Current(u.Secret); ok && v.Equal(u.value) {
			names = append(names, u.Secret)
		}
	}
	return names
}
