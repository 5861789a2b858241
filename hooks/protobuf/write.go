package protobuf

import (
	"encoding/binary"
	"maps"
	"slices"
)

// Wire types.
const (
	varint = 0
	fixed8 = 1
	bytesT = 2
	fixed4 = 5
)

// Message is one that is being written. The zero value is empty.
type Message []byte

// Number writes an integer, a bool or an enumeration, also one that is 0.
func (m *Message) Number(field int, v uint64) {
	*m = binary.AppendUvarint(*m, uint64(field)<<3|varint)
	*m = binary.AppendUvarint(*m, v)
}

// Count writes an integer, and leaves out 0, as protobuf does.
func (m *Message) Count(field int, v uint64) {
	if v != 0 {
		m.Number(field, v)
	}
}

// Text writes a text, and leaves out an empty one, as protobuf does. It must be UTF-8.
func (m *Message) Text(field int, s string) {
	if s != "" {
		m.Part(field, Message(s))
	}
}

// Texts writes a list of texts.
func (m *Message) Texts(field int, list []string) {
	for _, s := range list {
		m.Part(field, Message(s))
	}
}

// Part writes bytes or a message, also empty ones.
func (m *Message) Part(field int, b Message) {
	*m = binary.AppendUvarint(*m, uint64(field)<<3|bytesT)
	*m = binary.AppendUvarint(*m, uint64(len(b)))
	*m = append(*m, b...)
}

// Entries writes a map, in the order of its keys; value writes field 2 of an entry.
func Entries[V any](m *Message, field int, all map[string]V, value func(*Message, V)) {
	for _, k := range slices.Sorted(maps.Keys(all)) {
		var e Message
		e.Text(1, k)
		value(&e, all[k])
		m.Part(field, e)
	}
}

// TextEntries writes a map of texts.
func (m *Message) TextEntries(field int, all map[string]string) {
	Entries(m, field, all, func(e *Message, v string) { e.Text(2, v) })
}
