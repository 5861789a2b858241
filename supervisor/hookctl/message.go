package hookctl

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
)

// Bounds of a packet.
const (
	MaxMessage = 4 << 10 // bytes
	MaxFiles   = 2       // descriptors
)

// Op is what a message means.
type Op string

// The messages.
const (
	OpStart   Op = "start"   // the proxy's: a process of Hook, under a number of its choice
	OpStop    Op = "stop"    // the proxy's: end it
	OpStarted Op = "started" // its standard input and output come with it
	OpFailed  Op = "failed"  // there is none, and Error is why
	OpEnded   Op = "ended"   // it has ended with Code
)

// Message is one packet in either direction.
type Message struct {
	Op    Op     `json:"op"`
	ID    uint64 `json:"id"`
	Hook  string `json:"hook,omitempty"`
	Error string `json:"error,omitempty"`
	Code  int    `json:"code,omitempty"` // -1: a signal ended it
}

// Encode renders a message.
func (m *Message) Encode() ([]byte, error) {
	b, err := json.Marshal(m)
	if err == nil && len(b) > MaxMessage {
		err = errors.New("it is too long")
	}
	if err != nil {
		return nil, fmt.Errorf("encode message about a hook: %w", err)
	}
	return b, nil
}

// Decode reads one packet.
func Decode(b []byte) (*Message, error) {
	var m Message
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if len(b) > MaxMessage || dec.Decode(&m) != nil || dec.More() {
		return nil, errors.New("decode message about a hook: it is none")
	}
	switch m.Op {
	case OpStart, OpStop, OpStarted, OpFailed, OpEnded:
		return &m, nil
	}
	return nil, fmt.Errorf("decode message about a hook: unknown op %.20q", string(m.Op))
}
