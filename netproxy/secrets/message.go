package secrets

import (
	"bytes"
	"io"

	"github.com/penstock/penstock/hooks"
)

// Messages is what secrets have to do with one WebSocket to a host that one is
// declared for in its first text message. Sent is for one goroutine, Received for
// another.
type Messages struct {
	set          *Set
	target       hooks.Target
	confidential bool
	first        bool // a text message was sent
}

// Messages returns nil if no value can go into a message to the target, which is
// nobody's to read then.
func (s *Set) Messages(target hooks.Target, confidential bool) *Messages {
	if s == nil {
		return nil
	}
	for i := range s.secrets {
		if c := &s.secrets[i]; c.WebSocket != "" && s.goes(c, target) {
			return &Messages{set: s, target: target, confidential: confidential}
		}
	}
	return nil
}

const inMessageWhere = "message of a WebSocket"

// Sent returns what leaves of a message from the pen: doc, with the values in it, if
// it is the first of text, which is read whole for it, up to a mebibyte; else a reader
// of the message. A placeholder anywhere else is a *Violation, at once or of the reader.
func (m *Messages) Sent(text bool, message io.Reader) (doc []byte, rest io.Reader, used []Swapped, err error) {
	if !text || m.first {
		return nil, m.scanned(message), nil, nil
	}
	m.first = true
	if doc, err = io.ReadAll(io.LimitReader(message, maxJSON+1)); err != nil {
		return nil, nil, nil, err
	}
	if len(doc) > maxJSON {
		return nil, m.scanned(io.MultiReader(bytes.NewReader(doc), message)), nil, nil
	}
	doc, used, err = m.swap(doc)
	return doc, nil, used, err
}

func (m *Messages) scanned(message io.Reader) io.Reader {
	return m.set.scannedAs(inMessageWhere, io.NopCloser(message))
}

// swap puts the values into the first message.
func (m *Messages) swap(doc []byte) ([]byte, []Swapped, error) {
	s := m.set
	out, rest, done, err := s.swapJSON(doc, m.target, inMessage)
	if err != nil {
		return nil, nil, err
	}
	if i, enc := s.scan.find(rest); i >= 0 {
		return nil, nil, &Violation{Secret: s.secrets[i].Name, Where: inMessageWhere, Encoding: enc, Reason: s.reason(i, m.target)}
	}
	if len(done) > 0 && !m.confidential {
		return nil, nil, &Violation{Secret: done[0].Secret, Where: inMessageWhere, Reason: "the real value would travel in clear text"}
	}
	return out, done, nil
}

// Received returns a reader of a message to the pen that fails with a *Reflection
// before the last bytes of a value that may have been sent. It is searched for from
// the first message on: one that has begun before may end behind the value.
func (m *Messages) Received(message io.Reader) io.Reader {
	s := m.set
	groups := m.reflections()
	if len(groups) == 0 {
		return message
	}
	return &bodyScanner{body: io.NopCloser(message), scan: joinScanner(groups), hold: true, found: func(i int, enc string) error {
		return &Reflection{Secret: s.secrets[i].Name, Where: inMessageWhere, Encoding: enc}
	}}
}

// Control is Sent, or Received, for a control frame, which no value may be in.
func (m *Messages) Control(received bool, payload []byte) error {
	s := m.set
	if !received {
		if i, enc := s.scan.find(payload); i >= 0 {
			return &Violation{Secret: s.secrets[i].Name, Where: "control frame of a WebSocket", Encoding: enc, Reason: "it may stand in its declared place only"}
		}
	} else if i, enc := joinScanner(m.reflections()).find(payload); i >= 0 {
		return &Reflection{Secret: s.secrets[i].Name, Where: "control frame of a WebSocket", Encoding: enc}
	}
	return nil
}

// reflections are what finds the values that may have been sent.
func (m *Messages) reflections() (groups []group) {
	s := m.set
	for i := range s.secrets {
		if c := &s.secrets[i]; c.WebSocket != "" && s.goes(c, m.target) {
			groups = append(groups, c.reflections(i, Value{})...)
		}
	}
	return groups
}
