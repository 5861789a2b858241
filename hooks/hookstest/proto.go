package hookstest

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/penstock/penstock/hooks/hookpb"
	"github.com/penstock/penstock/hooks/protobuf"
)

// member is one of a JSON object's.
type member struct {
	key   string
	value json.RawMessage
}

// object reads the one that dec is before, with what is there twice.
func object(dec *json.Decoder) (out []member, err error) {
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil, fmt.Errorf("it is no object: %v, %w", t, err)
	}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return nil, err
		}
		var v json.RawMessage
		if err := dec.Decode(&v); err != nil {
			return nil, err
		}
		out = append(out, member{key.(string), v})
	}
	_, err = dec.Token()
	return out, err
}

// Protobuf returns an answer in JSON as a Decision of hook.proto that says the same, with
// what is wrong about it: an unknown key is an unknown field, one that is there twice is a
// field twice, a value of another kind one of another wire type, and garbage garbage.
func Protobuf(answer []byte) []byte {
	var m protobuf.Message
	for dec := json.NewDecoder(bytes.NewReader(answer)); dec.More(); {
		members, err := object(dec)
		if err != nil {
			return answer
		}
		fill(&m, (*hookpb.Decision)(nil).ProtoReflect().Descriptor(), members)
	}
	return m
}

// fill writes the fields of a message.
func fill(m *protobuf.Message, d protoreflect.MessageDescriptor, members []member) {
	for _, e := range members {
		if f := d.Fields().ByName(protoreflect.Name(e.key)); f == nil {
			m.Number(99, 1)
		} else if !put(m, f, e.value) {
			if f.Kind() == protoreflect.EnumKind || f.Kind() == protoreflect.Int32Kind || f.Kind() == protoreflect.Uint32Kind {
				m.Text(int(f.Number()), "of another kind")
			} else {
				m.Number(int(f.Number()), 1)
			}
		}
	}
}

// put writes one field. false: its value is of another kind.
func put(m *protobuf.Message, f protoreflect.FieldDescriptor, raw json.RawMessage) bool {
	n := int(f.Number())
	var list []json.RawMessage
	var text *string
	switch {
	case f.IsMap():
		members, err := object(json.NewDecoder(bytes.NewReader(raw)))
		for _, e := range members {
			var entry protobuf.Message
			entry.Text(1, e.key)
			if !put(&entry, f.MapValue(), e.value) {
				entry.Number(2, 1)
			}
			m.Part(n, entry)
		}
		return err == nil
	case f.IsList():
		if json.Unmarshal(raw, &list) != nil || list == nil {
			return false
		}
		for _, v := range list {
			var s string
			json.Unmarshal(v, &s) //nolint:errcheck // "" then
			m.Part(n, protobuf.Message(s))
		}
		return true
	case f.Message() != nil && f.Message().Name() == "Values":
		var values protobuf.Message
		if !put(&values, f.Message().Fields().ByNumber(1), raw) {
			return false
		}
		m.Part(n, values)
		return true
	case f.Message() != nil:
		members, err := object(json.NewDecoder(bytes.NewReader(raw)))
		var part protobuf.Message
		fill(&part, f.Message(), members)
		m.Part(n, part)
		return err == nil
	case f.Kind() == protoreflect.Int32Kind, f.Kind() == protoreflect.Uint32Kind:
		v, err := strconv.ParseUint(string(raw), 10, 64)
		m.Number(n, v)
		return err == nil
	case json.Unmarshal(raw, &text) != nil || text == nil:
		return false
	case f.Kind() == protoreflect.EnumKind:
		v := f.Enum().Values().ByName(protoreflect.Name("ACTION_" + strings.ToUpper(*text)))
		if v == nil || strings.ToLower(*text) != *text {
			m.Number(n, 77)
		} else {
			m.Number(n, uint64(v.Number()))
		}
		return true
	case f.Kind() == protoreflect.BytesKind:
		b, err := base64.StdEncoding.DecodeString(*text)
		if err == nil {
			m.Part(n, b)
		}
		return err == nil
	}
	m.Part(n, protobuf.Message(*text))
	return true
}

// JSON returns a message of hook.proto in the form that it has in JSON.
func JSON(m proto.Message) []byte {
	out, err := json.Marshal(plain(m.ProtoReflect()))
	if err != nil {
		panic(err)
	}
	return out
}

// plain returns what of a message is there, by its names in JSON.
func plain(m protoreflect.Message) any {
	out := map[string]any{}
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		name := string(f.Name())
		switch {
		case f.IsMap():
			all := map[string]any{}
			v.Map().Range(func(k protoreflect.MapKey, v protoreflect.Value) bool {
				if f.MapValue().Message() == nil {
					all[k.String()] = v.Interface()
				} else {
					all[k.String()] = v.Message().Interface().(*hookpb.Values).GetValues()
				}
				return true
			})
			out[name] = all
		case f.IsList():
			list := make([]any, v.List().Len())
			for i := range list {
				list[i] = v.List().Get(i).Interface()
			}
			out[name] = list
		case f.Message() != nil:
			out[name] = plain(v.Message())
		case f.Kind() == protoreflect.EnumKind:
			out[name] = Word(f.Enum(), v.Enum())
		case f.FullName() == "penstock.hook.v1.Tool.arguments":
			out[name] = json.RawMessage(v.String())
		default:
			out[name] = v.Interface()
		}
		return true
	})
	return out
}

// Word returns what the value of an enumeration is called in JSON, "" for the one that
// says nothing.
func Word(e protoreflect.EnumDescriptor, n protoreflect.EnumNumber) string {
	prefix := strings.TrimSuffix(string(e.Values().ByNumber(0).Name()), "UNSPECIFIED")
	v := e.Values().ByNumber(n)
	if v == nil || n == 0 {
		return ""
	}
	return strings.ToLower(strings.TrimPrefix(string(v.Name()), prefix))
}
