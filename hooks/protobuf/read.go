package protobuf

import (
	"encoding/binary"
	"errors"
	"slices"
	"unicode/utf8"
)

// ErrMalformed is the error about what is no message, or not the expected one.
var ErrMalformed = errors.New("it is no such message of protobuf")

// Value is one field of a message that is read.
type Value struct {
	Field int
	n     uint64 // of a varint
	b     []byte // of bytes, a text or a message
	kind  uint8  // wire type
}

// Read calls f with each field of a message, until that is an error. No field but those in
// many is there twice.
func Read(b []byte, f func(Value) error, many ...int) error {
	seen := map[int]bool{}
	for len(b) > 0 {
		tag, n := binary.Uvarint(b)
		if n <= 0 || tag>>3 == 0 || tag>>3 > 1<<29-1 {
			return ErrMalformed
		}
		b = b[n:]
		v := Value{Field: int(tag >> 3), kind: uint8(tag & 7)}
		switch v.kind {
		case varint:
			if v.n, n = binary.Uvarint(b); n <= 0 {
				return ErrMalformed
			}
		case bytesT:
			size, m := binary.Uvarint(b)
			if m <= 0 || size > uint64(len(b)-m) {
				return ErrMalformed
			}
			n = m + int(size)
			v.b = b[m:n:n]
		case fixed8:
			n = 8
		case fixed4:
			n = 4
		default:
			return ErrMalformed
		}
		if n > len(b) || seen[v.Field] && !slices.Contains(many, v.Field) {
			return ErrMalformed
		}
		b, seen[v.Field] = b[n:], true
		if err := f(v); err != nil {
			return err
		}
	}
	return nil
}

// Bytes returns those of a field that holds bytes, or a message.
func (v Value) Bytes() ([]byte, error) {
	if v.kind != bytesT {
		return nil, ErrMalformed
	}
	return v.b, nil
}

// Text returns that of a field that holds one.
func (v Value) Text() (string, error) {
	if v.kind != bytesT || !utf8.Valid(v.b) {
		return "", ErrMalformed
	}
	return string(v.b), nil
}

// Number returns that of a field that holds one. It is not cut off to what the field's
// type can hold: a negative one is above all that are not.
func (v Value) Number() (uint64, error) {
	if v.kind != varint {
		return 0, ErrMalformed
	}
	return v.n, nil
}

// Entry reads an entry of a map, whose key is a text; value reads what it holds, if that is
// there.
func (v Value) Entry(value func(Value) error) (key string, err error) {
	b, err := v.Bytes()
	if err != nil {
		return "", err
	}
	err = Read(b, func(v Value) (err error) {
		switch v.Field {
		case 1:
			key, err = v.Text()
		case 2:
			err = value(v)
		default:
			err = ErrMalformed
		}
		return err
	})
	return key, err
}
