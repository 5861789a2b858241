package wire_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/hooks/hookpb"
	"github.com/penstock/penstock/hooks/hookstest"
	"github.com/penstock/penstock/hooks/wire"
)

// fill gives each field below v that is empty a value of its own.
func fill(v reflect.Value, n *int) {
	*n++
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			v.Set(reflect.New(v.Type().Elem()))
		}
		fill(v.Elem(), n)
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.IsExported() && f.Name != "Parent" && f.Type != reflect.TypeFor[netip.Addr]() {
				fill(v.Field(i), n)
			}
		}
	case reflect.String:
		if v.IsZero() {
			v.SetString(fmt.Sprint("text ", *n))
		}
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Map:
		if v.Len() == 0 {
			v.Set(reflect.ValueOf(map[string][]string{"X-" + fmt.Sprint(*n): {"a", "", "b"}}).Convert(v.Type()))
		}
	case reflect.Slice:
		switch {
		case v.Len() > 0:
		case v.Type() == reflect.TypeFor[[]string]():
			v.Set(reflect.ValueOf([]string{"a", fmt.Sprint(*n)}))
		default:
			v.SetBytes([]byte{0, 0xff})
		}
	default:
		if v.Type() == reflect.TypeFor[time.Duration]() {
			v.SetInt(int64(*n) * int64(time.Second))
		} else if v.IsZero() && v.CanInt() {
			v.SetInt(int64(*n))
		} else if v.IsZero() {
			v.SetUint(uint64(*n))
		}
	}
}

// questions are some at each point, of which the last at each has all that there can be.
func questions() (out []*hooks.Request) {
	for _, name := range hooks.PointNames() {
		p, _ := hooks.PointNamed(name)
		address := hookstest.At(p)
		address.Target = hooks.Target{Addr: netip.MustParseAddr("2001:db8::7"), Port: 8443}
		none := hookstest.At(p)
		none.Header, none.Size, none.Process = nil, -1, nil
		empty := hookstest.At(p)
		if empty.Size = 0; empty.Body != nil {
			empty.Body = &hooks.Body{}
		}
		if empty.Tool != nil {
			empty.Tool.Arguments = nil
		}
		all := hookstest.At(p)
		all.Protocol, all.Run = hooks.ProtocolTLS, &hooks.Run{Mode: "audit"}
		all.Tool = &hooks.Tool{Arguments: []byte(`{"a":[1,"\u0000"]}`)}
		n := 0
		fill(reflect.ValueOf(all).Elem(), &n)
		all.Point, all.Message.In = p, false
		out = append(out, hookstest.At(p), address, none, empty, all)
	}
	return out
}

// strict fills m with what JSON says. A key or a word that it has not is an error.
func strict(doc []byte, m protoreflect.Message) error {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(doc, &members); err != nil {
		return err
	}
	for key, raw := range members {
		f := m.Descriptor().Fields().ByName(protoreflect.Name(key))
		if f == nil {
			return fmt.Errorf("%s has no %s", m.Descriptor().Name(), key)
		}
		var text string
		switch {
		case f.IsMap() && f.MapValue().Message() != nil:
			var all map[string][]string
			if err := json.Unmarshal(raw, &all); err != nil {
				return err
			}
			for k, list := range all {
				m.Mutable(f).Map().Set(protoreflect.ValueOf(k).MapKey(), protoreflect.ValueOf((&hookpb.Values{Values: list}).ProtoReflect()))
			}
			continue
		case f.IsList():
			var list []string
			if err := json.Unmarshal(raw, &list); err != nil {
				return err
			}
			for _, s := range list {
				m.Mutable(f).List().Append(protoreflect.ValueOf(s))
			}
			continue
		case f.Message() != nil:
			if err := strict(raw, m.Mutable(f).Message()); err != nil {
				return err
			}
			continue
		case f.FullName() == "penstock.hook.v1.Tool.arguments":
			text = string(raw)
		case f.Kind() == protoreflect.StringKind, f.Kind() == protoreflect.EnumKind:
			if err := json.Unmarshal(raw, &text); err != nil {
				return err
			}
		}
		switch f.Kind() {
		case protoreflect.StringKind:
			m.Set(f, protoreflect.ValueOf(text))
		case protoreflect.EnumKind:
			for i := range f.Enum().Values().Len() {
				if v := f.Enum().Values().Get(i).Number(); hookstest.Word(f.Enum(), v) == text {
					m.Set(f, protoreflect.ValueOf(v))
				}
			}
			if m.Get(f).Enum() == 0 {
				return fmt.Errorf("%s has no %s", f.Enum().Name(), text)
			}
		default:
			to := reflect.New(reflect.TypeOf(m.Get(f).Interface()))
			if err := json.Unmarshal(raw, to.Interface()); err != nil {
				return err
			}
			m.Set(f, protoreflect.ValueOf(to.Elem().Interface()))
		}
	}
	return nil
}

// seen notes which fields of a message there are.
func seen(m protoreflect.Message, to map[protoreflect.FullName]bool) {
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		to[f.FullName()] = true
		switch {
		case f.IsMap() && f.MapValue().Message() != nil:
			v.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool { seen(v.Message(), to); return true })
		case !f.IsMap() && !f.IsList() && f.Message() != nil:
			seen(v.Message(), to)
		}
		return true
	})
}

// below calls f with each field of a message, and of those in it.
func below(d protoreflect.MessageDescriptor, f func(protoreflect.FieldDescriptor)) {
	for i := range d.Fields().Len() {
		field := d.Fields().Get(i)
		f(field)
		switch {
		case field.IsMap() && field.MapValue().Message() != nil:
			below(field.MapValue().Message(), f)
		case !field.IsMap() && field.Message() != nil:
			below(field.Message(), f)
		}
	}
}

// TestQuestionInBothForms: a question says the same in JSON and in protobuf, to readers
// that are not ours, and each field of both is told at some point.
func TestQuestionInBothForms(t *testing.T) {
	told := map[protoreflect.FullName]bool{}
	for i, r := range questions() {
		doc, err := wire.Request("an id", "h", r)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := wire.ProtoRequest("an id", "h", r)
		if err != nil {
			t.Fatal(err)
		}
		want, got := new(hookpb.Question), new(hookpb.Question)
		if err := strict(doc, want.ProtoReflect()); err != nil {
			t.Errorf("%s: %v", doc, err)
		}
		err = proto.Unmarshal(raw, got)
		if a := got.GetTool(); a != nil && a.Arguments != nil { // JSON writes them in its own way
			if a.GetArguments() != string(r.Tool.Arguments) {
				t.Errorf("%s are told as %s", r.Tool.Arguments, a.GetArguments())
			}
			in, _ := json.Marshal(json.RawMessage(a.GetArguments()))
			a.Arguments = proto.String(string(in))
		}
		if err != nil || len(got.ProtoReflect().GetUnknown()) > 0 || !proto.Equal(got, want) {
			t.Errorf("%s, question %d: %v\nin protobuf %v\nin JSON     %v", r.Point, i, err, got, want)
		}
		seen(got.ProtoReflect(), told)
	}
	below((*hookpb.Question)(nil).ProtoReflect().Descriptor(), func(f protoreflect.FieldDescriptor) {
		if !told[f.FullName()] {
			t.Errorf("%s is never told", f.FullName())
		}
	})
}

// TestProtoIsTheSchema: hook.proto has the names of hook.schema.json, and its words.
func TestProtoIsTheSchema(t *testing.T) {
	doc, err := os.ReadFile("../../docs/schema/hook.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	type node struct {
		Properties map[string]node
		Enum       []string
	}
	var schema struct {
		Defs map[string]node `json:"$defs"`
	}
	if err := json.Unmarshal(doc, &schema); err != nil {
		t.Fatal(err)
	}
	var compare func(d protoreflect.MessageDescriptor, n node)
	compare = func(d protoreflect.MessageDescriptor, n node) {
		var names []string
		for i := range d.Fields().Len() {
			f := d.Fields().Get(i)
			p := n.Properties[string(f.Name())]
			names = append(names, string(f.Name()))
			if !f.IsMap() && f.Message() != nil {
				compare(f.Message(), p)
			}
			if f.Kind() == protoreflect.EnumKind {
				var words []string
				for i := range f.Enum().Values().Len() - 1 {
					words = append(words, hookstest.Word(f.Enum(), protoreflect.EnumNumber(i+1)))
				}
				if slices.Sort(words); !slices.Equal(words, slices.Sorted(slices.Values(p.Enum))) {
					t.Errorf("%s: %s, in JSON %s", f.FullName(), words, p.Enum)
				}
			}
		}
		slices.Sort(names)
		if want := slices.Sorted(maps.Keys(n.Properties)); !slices.Equal(names, want) {
			t.Errorf("%s has %s, in JSON %s", d.FullName(), names, want)
		}
	}
	compare((*hookpb.Question)(nil).ProtoReflect().Descriptor(), schema.Defs["request"])
	compare((*hookpb.Decision)(nil).ProtoReflect().Descriptor(), schema.Defs["decision"])
}

// same compares what was read of two forms of an answer: the same decision, or none of both.
func same(a hooks.Decision, errA error, b hooks.Decision, errB error) error {
	if (errA == nil) != (errB == nil) || errA == nil && !reflect.DeepEqual(a, b) {
		return fmt.Errorf("%+v %v, in JSON %+v %v", a, errA, b, errB)
	}
	return nil
}

// answers are some that are decisions, or nearly.
func answers() (out []*hookpb.Decision) {
	for n := range hookpb.Action_name {
		out = append(out, &hookpb.Decision{Version: 1, Id: "q", Decision: hookpb.Action(n)})
	}
	out = append(out, &hookpb.Decision{}, &hookpb.Decision{Version: 2, Id: "q", Decision: 1}, &hookpb.Decision{Version: 1, Id: "r", Decision: 1})
	for _, more := range []*hookpb.Decision{
		{Reason: "x"}, {Via: "corp"}, {Set: map[string]string{"x-a": "b", "": ""}}, {Remove: []string{"x-a", ""}}, {Body: []byte("hi")}, {Body: []byte{}}, {Reply: &hookpb.Reply{}},
		{Reply: &hookpb.Reply{Status: 418, Headers: map[string]*hookpb.Values{"x-a": {Values: []string{"b", "c"}}, "x-b": {}}, Body: []byte("hi")}},
	} {
		for n := range hookpb.Action_name {
			d := proto.Clone(more).(*hookpb.Decision)
			d.Version, d.Id, d.Decision = 1, "q", hookpb.Action(n)
			out = append(out, d)
		}
	}
	return out
}

// TestDecisionInBothForms: an answer is read alike in JSON and in protobuf, whichever of
// its fields there are.
func TestDecisionInBothForms(t *testing.T) {
	told := map[protoreflect.FullName]bool{}
	read := 0
	for _, d := range answers() {
		raw, err := proto.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		got, err := wire.ProtoDecision("q", raw, wire.MaxDecision)
		want, errJSON := wire.Decision("q", hookstest.JSON(d), wire.MaxDecision)
		if err := same(got, err, want, errJSON); err != nil {
			t.Errorf("%v: %v", d, err)
		}
		if err == nil {
			read++
			seen(d.ProtoReflect(), told)
		}
	}
	below((*hookpb.Decision)(nil).ProtoReflect().Descriptor(), func(f protoreflect.FieldDescriptor) {
		if !told[f.FullName()] {
			t.Errorf("%s is in no decision", f.FullName())
		}
	})
	if read < 10 {
		t.Errorf("%d decisions of all", read)
	}
}

// FuzzProtoDecision: what is believed is what other readers of protobuf read, and what the
// same answer in JSON says. What is no answer denies.
func FuzzProtoDecision(f *testing.F) {
	for _, d := range answers() {
		b, err := proto.Marshal(d)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
		f.Add(append(b, b...))
		f.Add(append(b, 0xf8, 0x06, 1)) // an unknown field
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		d, err := wire.ProtoDecision("q", doc, wire.MaxDecision)
		if err != nil {
			if d.Action != hooks.Deny || d.Answer != nil || d.Change != nil || d.Via != "" {
				t.Errorf("an error with %+v", d)
			}
			return
		}
		var m hookpb.Decision
		if err := proto.Unmarshal(doc, &m); err != nil || len(m.ProtoReflect().GetUnknown()) > 0 {
			t.Fatalf("%+v of what others do not read: %v %v", d, &m, err)
		}
		want, err := wire.Decision("q", hookstest.JSON(&m), 1<<20)
		if err := same(d, nil, want, err); err != nil {
			t.Errorf("%q: %v", doc, err)
		}
		if _, err := wire.ProtoDecision("r", doc, wire.MaxDecision); err == nil {
			t.Errorf("%q answers any question", doc)
		}
	})
}

// TestProtoHasNoWord: what hook.proto has no word for is not told as nothing.
func TestProtoHasNoWord(t *testing.T) {
	for _, change := range []func(*hooks.Request){
		func(r *hooks.Request) { r.Point = 200 }, func(r *hooks.Request) { r.Protocol = hooks.ProtocolUDP }, func(r *hooks.Request) { r.Run = &hooks.Run{Mode: "dry"} },
	} {
		r := hookstest.Request()
		change(r)
		if doc, err := wire.ProtoRequest("q", "h", r); err == nil || bytes.Contains(doc, []byte("/x")) {
			t.Errorf("%q, %v", doc, err)
		}
	}
	r := hookstest.Request()
	r.Header.Set("X-A", "\xff")
	if _, err := wire.ProtoRequest("q", "h", r); err == nil || !strings.Contains(err.Error(), "UTF-8") {
		t.Errorf("%v", err)
	}
	if _, err := wire.ProtoDecision("q", make([]byte, 11), 10); err == nil || errors.Unwrap(err) != nil || !strings.Contains(err.Error(), "more than 10 bytes") {
		t.Errorf("%v", err)
	}
}
