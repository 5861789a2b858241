package hooks

// Message is what is known of a WebSocket's message beside its bytes, which are the
// question's Body. It is a value that nobody changes.
type Message struct {
	// In says that it is the upstream's; else it is the pen's.
	In bool
	// Binary says that it was sent as one of bytes; else as one of text. That this is
	// UTF-8 nobody has looked at.
	Binary bool
}

// Direction returns "in" for a message to the pen, "out" for one from it.
func (m *Message) Direction() string {
	if m.In {
		return "in"
	}
	return "out"
}

// Type returns "text" or "binary".
func (m *Message) Type() string {
	if m.Binary {
		return "binary"
	}
	return "text"
}
