package secrets

import (
	"encoding/json"
	"fmt"
	"io"
)

// Donation is a Set on its way from the supervisor to the proxy role: the one
// form in which values are encoded. It goes through package internal/donate, a
// sealed memory file, and nowhere else.
type Donation struct{ list []Secret }

// Donate returns what the proxy role needs to make an equal Set.
func (s *Set) Donate() *Donation {
	if s == nil {
		return &Donation{}
	}
	return &Donation{s.secrets}
}

type donated struct {
	Name        string   `json:"name"`
	Hosts       []string `json:"hosts"`
	Header      string   `json:"header,omitempty"`
	Prefix      string   `json:"prefix,omitempty"`
	Basic       bool     `json:"basic,omitempty"`
	User        string   `json:"user,omitempty"`
	Query       string   `json:"query,omitempty"`
	JSON        string   `json:"json,omitempty"`
	Value       string   `json:"value"`
	Placeholder string   `json:"placeholder"`
}

// Set returns the Set that was donated, with the same placeholders.
func (d *Donation) Set() (*Set, error) {
	if d == nil {
		return nil, nil
	}
	return New(d.list)
}

// MarshalJSON encodes the values.
func (d *Donation) MarshalJSON() ([]byte, error) {
	out := make([]donated, len(d.list))
	for i, c := range d.list {
		out[i] = donated{c.Name, c.Hosts, c.Header, c.Prefix, c.Basic, c.User, c.Query, c.JSON, c.Value.reveal(), c.Placeholder}
	}
	return json.Marshal(out)
}

// UnmarshalJSON is the reverse of MarshalJSON.
func (d *Donation) UnmarshalJSON(doc []byte) error {
	var in []donated
	if err := json.Unmarshal(doc, &in); err != nil {
		// The decoder's message could quote the document.
		return fmt.Errorf("read donated secrets: malformed document")
	}
	d.list = nil
	for _, c := range in {
		d.list = append(d.list, Secret{c.Name, c.Hosts, c.Header, c.Prefix, c.Basic, c.User, c.Query, c.JSON, NewValue(c.Value), c.Placeholder})
	}
	return nil
}

// Format prints a fixed text for every verb.
func (*Donation) Format(f fmt.State, _ rune) { io.WriteString(f, redacted) }
