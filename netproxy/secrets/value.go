package secrets

import (
	"errors"
	"fmt"
	"io"
)

// Value is a real credential. Every usual way of printing or encoding it gives
// a fixed text or an error. It holds a pointer because package fmt can't call
// the methods of unexported fields: inside another struct it would print a
// string, and prints an address.
type Value struct{ p *string }

// NewValue wraps a credential.
func NewValue(s string) Value { return Value{&s} }

func (v Value) reveal() string {
	if v.p == nil {
		return ""
	}
	return *v.p
}

// Empty says whether there is no value.
func (v Value) Empty() bool { return v.reveal() == "" }

// Equal says whether two values are the same.
func (v Value) Equal(w Value) bool { return v.reveal() == w.reveal() }

const redacted = "[redacted]"

// String returns a fixed text.
func (Value) String() string { return redacted }

// GoString returns a fixed text.
func (Value) GoString() string { return redacted }

// Format prints a fixed text for every verb.
func (Value) Format(f fmt.State, _ rune) { io.WriteString(f, redacted) }

// MarshalText refuses, and with it encoding/json's map keys and attributes.
func (Value) MarshalText() ([]byte, error) {
	return nil, errors.New("encode secret value: refused")
}

// MarshalJSON refuses. Values travel in a Donation only.
func (Value) MarshalJSON() ([]byte, error) {
	return nil, errors.New("encode secret value: refused")
}
