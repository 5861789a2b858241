package secrets

import (
	"net/url"
	"strings"

	"github.com/penstock/penstock/hooks"
)

// scanQuery looks for placeholders in a query, where none may be but as the whole
// value of the parameter that is declared for this host.
func (s *Set) scanQuery(query string, target hooks.Target) error {
	whole, enc := s.find(query)
	if whole < 0 {
		return nil
	}
	seen := false
	for part := range strings.SplitSeq(query, "&") {
		i, enc := s.find(part)
		if i < 0 {
			continue
		}
		seen = true
		if c := s.parameter(part, target); c == nil || c != &s.secrets[i] {
			return &Violation{Secret: s.secrets[i].Name, Where: "request target", Encoding: enc, Reason: s.reason(i, target)}
		}
	}
	if !seen { // it is spread over parameters
		return &Violation{Secret: s.secrets[whole].Name, Where: "request target", Encoding: enc, Reason: s.reason(whole, target)}
	}
	return nil
}

// parameter returns the secret whose parameter with its placeholder, and nothing
// else, this part of a query is.
func (s *Set) parameter(part string, target hooks.Target) *Secret {
	name, value, _ := strings.Cut(part, "=")
	name, err := url.QueryUnescape(name)
	if err == nil {
		value, err = url.QueryUnescape(value)
	}
	if err != nil {
		return nil
	}
	for i := range s.secrets {
		if c := &s.secrets[i]; c.Query != "" && c.Query == name && value == c.Placeholder && s.goes(c, target) {
			return c
		}
	}
	return nil
}

// SwapQuery is Swap for the query, as it stands in the request target.
func (s *Set) SwapQuery(query string, target hooks.Target, confidential bool) (string, []Swapped, error) {
	if s == nil {
		return query, nil, nil
	}
	if i, _ := s.find(query); i < 0 {
		return query, nil, nil
	}
	parts := strings.Split(query, "&")
	var done []Swapped
	for n, part := range parts {
		c := s.parameter(part, target)
		if c == nil {
			continue
		}
		if !confidential {
			return "", nil, &Violation{Secret: c.Name, Where: c.place(), Reason: "the real value would travel in clear text"}
		}
		value, err := c.value()
		if err != nil {
			return "", nil, err
		}
		name, _, _ := strings.Cut(part, "=")
		parts[n] = name + "=" + url.QueryEscape(value.reveal())
		done = append(done, Swapped{c.Name, c.place(), value})
	}
	return strings.Join(parts, "&"), done, nil
}
