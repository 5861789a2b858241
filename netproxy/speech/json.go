package speech

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxDepth bounds how deep a document may be nested: recursive parsers have bounds
// of their own, behind which they differ.
const maxDepth = 100

var errJSON = errors.New("it is not JSON (RFC 8259) in UTF-8")

// strict checks that a document is JSON that every parser reads alike: UTF-8
// without a byte order mark, whole surrogate pairs, no key twice in one object, not
// deeper than maxDepth, nothing behind it.
func strict(doc []byte) error {
	if !utf8.Valid(doc) || !json.Valid(doc) {
		return errJSON
	}
	if !wholePairs(doc) {
		return errors.New("it has half a surrogate pair")
	}
	dec := json.NewDecoder(bytes.NewReader(doc))
	dec.UseNumber()
	type object struct {
		keys map[string]bool // nil: an array
		key  bool            // a key comes next
	}
	var open []object
	for {
		tok, err := dec.Token()
		if err != nil {
			return nil // its end: it is valid
		}
		top := len(open) - 1
		if s, ok := tok.(string); ok && top >= 0 && open[top].key {
			if open[top].keys[s] {
				return errors.New("it has a key twice in one object")
			}
			open[top].keys[s] = true
			open[top].key = false
			continue
		}
		switch tok {
		case json.Delim('{'), json.Delim('['):
			if len(open) == maxDepth {
				return fmt.Errorf("it is nested deeper than %d", maxDepth)
			}
			o := object{}
			if tok == json.Delim('{') {
				o = object{map[string]bool{}, true}
			}
			open = append(open, o)
			continue
		case json.Delim('}'), json.Delim(']'):
			open = open[:top]
		}
		// A value has ended: in an object a key comes next.
		if top = len(open) - 1; top >= 0 && open[top].keys != nil {
			open[top].key = true
		}
	}
}

// wholePairs says whether every \u escape of a surrogate in a valid document is in
// a pair. Parsers make different things of half a one.
func wholePairs(doc []byte) bool {
	unit := func(i int) (uint64, bool) {
		if i+6 > len(doc) || doc[i] != '\\' || doc[i+1] != 'u' {
			return 0, false
		}
		u, err := strconv.ParseUint(string(doc[i+2:i+6]), 16, 16)
		return u, err == nil
	}
	for i := 0; i < len(doc); i++ {
		if doc[i] != '\\' {
			continue
		}
		u, ok := unit(i)
		switch {
		case !ok || u < 0xd800 || u > 0xdfff:
			i++ // what is escaped is no backslash that escapes
		case u >= 0xdc00:
			return false
		default:
			if low, ok := unit(i + 6); !ok || low < 0xdc00 || low > 0xdfff {
				return false
			}
			i += 11
		}
	}
	return true
}

// member is a key of an object with its value.
type member struct {
	key   string
	value json.RawMessage
}

// members are those of a strict object; ok is false for any other value.
func members(doc json.RawMessage) (list []member, ok bool) {
	dec := json.NewDecoder(bytes.NewReader(doc))
	if tok, err := dec.Token(); err != nil || tok != json.Delim('{') {
		return nil, false
	}
	for dec.More() {
		tok, err := dec.Token()
		key, isKey := tok.(string)
		if err != nil || !isKey {
			return nil, false
		}
		var v json.RawMessage
		if err := dec.Decode(&v); err != nil {
			return nil, false
		}
		list = append(list, member{key, v})
	}
	return list, true
}

// maxBatch bounds how many requests one body may hold.
const maxBatch = 1000

// batch are the members of a strict array, or the one value itself.
func batch(doc []byte) ([]json.RawMessage, error) {
	if doc = bytes.TrimLeft(doc, " \t\r\n"); len(doc) == 0 || doc[0] != '[' {
		return []json.RawMessage{doc}, nil
	}
	var list []json.RawMessage
	if err := json.Unmarshal(doc, &list); err != nil {
		return nil, errJSON
	}
	if len(list) == 0 || len(list) > maxBatch {
		return nil, fmt.Errorf("its batch is empty or has more than %d members", maxBatch)
	}
	return list, nil
}

// str is a value that is text.
func str(v json.RawMessage) (s string, ok bool) {
	if len(v) == 0 || v[0] != '"' {
		return "", false
	}
	return s, json.Unmarshal(v, &s) == nil
}

func isNull(v json.RawMessage) bool { return string(v) == "null" }

// looksLike says whether a parser that does not tell capitals from small letters
// takes a key for another.
func looksLike(key, other string) bool { return key != other && strings.EqualFold(key, other) }

// Quoted is a name of the pen's, short and printable.
func Quoted(s string) string {
	if len(s) > 100 {
		s = s[:100] + "..."
	}
	return strconv.QuoteToASCII(s)
}
