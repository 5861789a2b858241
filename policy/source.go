package policy

import (
	"encoding/json"
	"fmt"
	"strconv"
)

// Layer says whose word a policy file is. A limit or a deny of a layer binds
// every layer with a greater number.
type Layer uint8

// The layers, from the highest authority to the lowest.
const (
	System      Layer = iota // the administrator: /etc/penstock/policy.yaml
	User                     // the person: $XDG_CONFIG_HOME/penstock/policy.yaml
	Project                  // the repository: .penstock.yaml, once trusted
	CommandLine              // --policy, --allow and the like
	Profile                  // what an agent's profile asks for, bounded by all the others
)

var layerNames = [...]string{"system", "user", "project", "command line", "profile"}

// String returns the layer's name for a person.
func (l Layer) String() string {
	if int(l) < len(layerNames) {
		return layerNames[l]
	}
	return "unknown layer"
}

// MarshalText writes the layer's name.
func (l Layer) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (l *Layer) UnmarshalText(b []byte) error {
	for i, n := range layerNames {
		if n == string(b) {
			*l = Layer(i)
			return nil
		}
	}
	return fmt.Errorf("read layer: %s is none", quote(string(b)))
}

// rank orders layers by who wins where a value can have only one: the later the
// more specific, but a profile's values are only suggestions.
func (l Layer) rank() int {
	if l == Profile {
		return -1
	}
	return int(l)
}

// Source is where a value comes from.
type Source struct {
	File   string `json:"file"`             // path as it was given, or a flag with its value
	Line   int    `json:"line,omitempty"`   // from 1; 0 for a flag
	Column int    `json:"column,omitempty"` // from 1; 0 for a flag
	Layer  Layer  `json:"layer"`
}

// Ref returns "file:line", or the flag. It is safe for a terminal.
func (s Source) Ref() string {
	if s.File == "" {
		return ""
	}
	if s.Line == 0 {
		return printable(s.File)
	}
	return printable(s.File) + ":" + strconv.Itoa(s.Line)
}

// Value is a setting with where it comes from. The zero Value is not set.
type Value[T any] struct {
	V    T
	From Source
	Set  bool
}

// MarshalJSON writes null for a value that is not set.
func (v Value[T]) MarshalJSON() ([]byte, error) {
	if !v.Set {
		return []byte("null"), nil
	}
	return json.Marshal(struct {
		V    T      `json:"value"`
		From Source `json:"from"`
	}{v.V, v.From})
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (v *Value[T]) UnmarshalJSON(b []byte) error {
	*v = Value[T]{}
	if string(b) == "null" {
		return nil
	}
	var w struct {
		V    T      `json:"value"`
		From Source `json:"from"`
	}
	if err := json.Unmarshal(b, &w); err != nil {
		return err
	}
	v.V, v.From, v.Set = w.V, w.From, true
	return nil
}
