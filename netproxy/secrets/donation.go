package secrets

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
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
	list := slices.Clone(s.secrets)
	for i := range list {
		c := &list[i]
		c.Value, c.Parts = c.held.now.Load().value, map[string]Value{}
		for part, h := range c.parts {
			c.Parts[part] = h.now.Load().value
		}
	}
	return &Donation{list}
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
	WebSocket   string   `json:"websocket,omitempty"`
	Value       string   `json:"value,omitempty"`
	Late        bool     `json:"late,omitempty"`
	Placeholder string   `json:"placeholder"`

	AWS   *AWS              `json:"aws,omitempty"`
	Parts map[string]string `json:"parts,omitempty"`
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
		out[i] = donated{c.Name, c.Hosts, c.Header, c.Prefix, c.Basic, c.User, c.Query, c.JSON, c.WebSocket, c.Value.reveal(), c.Late, c.Placeholder, c.AWS, map[string]string{}}
		for part, v := range c.Parts {
			out[i].Parts[part] = v.reveal()
		}
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
		parts := map[string]Value{}
		for part, v := range c.Parts {
			parts[part] = NewValue(v)
		}
		d.list = append(d.list, Secret{Name: c.Name, Hosts: c.Hosts, Header: c.Header, Prefix: c.Prefix, Basic: c.Basic, User: c.User, Query: c.Query, JSON: c.JSON, WebSocket: c.WebSocket,
			Value: NewValue(c.Value), Late: c.Late, AWS: c.AWS, Parts: parts, Placeholder: c.Placeholder})
	}
	return nil
}

// Format prints a fixed text for every verb.
func (*Donation) Format(f fmt.State, _ rune) { io.WriteString(f, redacted) }

// Renewal is a new value on its way from the supervisor to the proxy role: the
// second form in which a value is encoded. It goes over the control socket between
// the two, and nowhere else.
type Renewal struct {
	Name  string // of the secret, or PartName
	Value Value
}

type renewal struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// MarshalJSON encodes the value.
func (r *Renewal) MarshalJSON() ([]byte, error) {
	return json.Marshal(renewal{r.Name, r.Value.reveal()})
}

// UnmarshalJSON is the reverse of MarshalJSON.
func (r *Renewal) UnmarshalJSON(doc []byte) error {
	var in renewal
	if err := json.Unmarshal(doc, &in); err != nil {
		// The decoder's message could quote the document.
		return fmt.Errorf("read renewed secret: malformed document")
	}
	r.Name, r.Value = in.Name, NewValue(in.Value)
	return nil
}

// Format prints a fixed text for every verb.
func (*Renewal) Format(f fmt.State, _ rune) { io.WriteString(f, redacted) }
