package wire

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/hooks/protobuf"
)

// What the values of enumerations are called in JSON, by their numbers in hook.proto.
func points() []string {
	return []string{"", "request", "response", "connect", "request_body", "response_body", "websocket", "session_start", "session_end", "dns", "tool_call"}
}
func protocols() []string  { return []string{"", "http", "https", "tls", "tcp"} }
func directions() []string { return []string{"", "out", "in"} }
func kinds() []string      { return []string{"", "text", "binary"} }
func modes() []string      { return []string{"", "enforce", "audit"} }
func actions() []string    { return []string{"", "next", "deny", "ask", "route", "reply"} }

// form is a message of the question that is being written.
type form struct {
	protobuf.Message
	unknown string // a word that no enumeration has
}

// word writes a value of an enumeration.
func (f *form) word(field int, all []string, word string) {
	n := slices.Index(all, word)
	if n < 0 {
		f.unknown = word
	}
	f.Count(field, uint64(n))
}

// part writes a message.
func (f *form) part(field int, write func(*form)) {
	var p form
	write(&p)
	if p.unknown != "" {
		f.unknown = p.unknown
	}
	f.Part(field, p.Message)
}

// header writes a map of Values.
func (f *form) header(field int, h header) {
	protobuf.Entries(&f.Message, field, h, func(e *protobuf.Message, list []string) {
		var values protobuf.Message
		values.Texts(1, list)
		e.Part(2, values)
	})
}

// size writes a length that is known.
func (f *form) size(field int, n *int64) {
	if n != nil {
		f.Number(field, uint64(*n))
	}
}

// ProtoRequest renders the question that one hook is asked at the request's point, as a
// Question of hook.proto. id is to come back.
func ProtoRequest(id, hook string, r *hooks.Request) ([]byte, error) {
	q, err := question(id, hook, r)
	if err != nil {
		return nil, err
	}
	var f form
	f.Count(1, uint64(q.Version))
	f.Text(2, q.ID)
	f.Text(3, q.Hook)
	f.word(4, points(), q.Point)
	f.Text(5, q.Session)
	f.Count(6, q.Flow)
	f.word(7, protocols(), q.Protocol)
	f.Text(8, q.Host)
	f.Text(9, q.Address)
	f.Count(10, uint64(q.Port))
	f.Text(11, q.Method)
	f.Text(12, q.Path)
	f.Text(13, q.Query)
	if q.Headers != nil {
		f.header(14, *q.Headers)
	}
	f.size(15, q.Size)
	if p := q.Process; p != nil {
		f.part(16, func(f *form) {
			f.Count(1, uint64(p.PID))
			f.Text(2, p.Exe)
			f.Text(3, p.SHA256)
		})
	}
	if p := q.Response; p != nil {
		f.part(17, func(f *form) {
			f.Count(1, uint64(p.Status))
			f.header(2, p.Headers)
			f.size(3, p.Size)
		})
	}
	if b := q.Body; b != nil {
		f.Message = slices.Grow(f.Message, len(b.Data)+1<<10)
		f.part(18, func(f *form) { f.body(b) })
	}
	if m := q.Message; m != nil {
		f.part(19, func(f *form) {
			f.word(1, directions(), m.Direction)
			f.word(2, kinds(), m.Type)
		})
	}
	if r := q.Run; r != nil {
		f.part(20, func(f *form) { f.run(r) })
	}
	if p := q.Tool; p != nil {
		f.part(21, func(f *form) {
			f.Text(1, p.Name)
			if len(p.Arguments) > 0 {
				f.Text(2, string(p.Arguments))
			}
		})
	}
	if p := q.Lookup; p != nil {
		f.part(22, func(f *form) {
			f.Text(1, p.Type)
			f.Text(2, p.Rule)
		})
	}
	if f.unknown != "" {
		return nil, fmt.Errorf("the question has a word that hook.proto has not: %s", f.unknown)
	}
	return f.Message, nil
}

func (f *form) body(b *body) {
	f.Message = slices.Grow(f.Message, len(b.Data)+1<<10)
	if len(b.Data) > 0 {
		f.Part(1, b.Data)
	}
	f.Count(2, uint64(b.Offset))
	f.Count(3, uint64(b.Seen))
	if b.Last {
		f.Number(4, 1)
	}
	f.Count(5, uint64(b.Room))
	f.Text(6, b.Encoding)
	if b.Trailers != nil {
		f.header(7, *b.Trailers)
	}
}

func (f *form) run(r *run) {
	f.Texts(1, r.Command)
	f.Text(2, r.Dir)
	f.Text(3, r.User)
	f.Text(4, r.Agent)
	f.Text(5, r.Tier)
	f.word(6, modes(), r.Mode)
	if e := r.End; e != nil {
		f.part(7, func(f *form) {
			f.Count(1, uint64(e.ExitCode))
			f.Text(2, e.Signal)
			f.Text(3, e.Reason)
			f.Count(4, uint64(e.DurationMS))
		})
	}
}

// ProtoLimit bounds the decision about a request as a message of hook.proto, in bytes.
func ProtoLimit(r *hooks.Request) int { return MaxDecision + room(r) }

var errProto = errors.New("its answer is no decision in protobuf")

// ProtoDecision reads the answer to the question id, a Decision of hook.proto of at most
// limit bytes (ProtoLimit).
func ProtoDecision(id string, doc []byte, limit int) (hooks.Decision, error) {
	if len(doc) > limit {
		return hooks.Decision{}, LongError(limit)
	}
	var d decision
	err := protobuf.Read(doc, func(v protobuf.Value) (err error) {
		switch v.Field {
		case 1:
			d.Version, err = number(v)
		case 2:
			d.ID, err = v.Text()
		case 3:
			var n int
			if n, err = number(v); err == nil && n < len(actions()) {
				d.Decision = actions()[n] // of an unknown one the zero value, which is none
			}
		case 4:
			d.Reason, err = v.Text()
		case 5:
			d.Reply, err = replied(v)
		case 6:
			d.Via, err = v.Text()
		case 7:
			err = d.set(v)
		case 8:
			var name string
			name, err = v.Text()
			d.Remove = append(d.Remove, name)
		case 9:
			if d.Body, err = v.Bytes(); d.Body == nil {
				d.Body = []byte{} // an empty one is another than none
			}
		default:
			err = errProto
		}
		return err
	}, 7, 8)
	if err != nil {
		return hooks.Decision{}, errProto
	}
	return d.read(id)
}

// number reads an int32 that is not negative. What is none for others is none here.
func number(v protobuf.Value) (int, error) {
	n, err := v.Number()
	if n > math.MaxInt32 {
		return 0, errProto
	}
	return int(n), err
}

// set reads an entry of the fields that are set.
func (d *decision) set(v protobuf.Value) error {
	var value string
	name, err := v.Entry(func(v protobuf.Value) (err error) {
		value, err = v.Text()
		return err
	})
	if _, twice := d.Set[name]; err != nil || twice {
		return errProto
	}
	if d.Set == nil {
		d.Set = fields{}
	}
	d.Set[name] = value
	return nil
}

// replied reads a Reply.
func replied(v protobuf.Value) (*reply, error) {
	b, err := v.Bytes()
	if err != nil {
		return nil, err
	}
	r := &reply{}
	return r, protobuf.Read(b, func(v protobuf.Value) (err error) {
		switch v.Field {
		case 1:
			r.Status, err = number(v)
		case 2:
			err = r.field(v)
		case 3:
			r.Body, err = v.Bytes()
		default:
			err = errProto
		}
		return err
	}, 2)
}

// field reads an entry of a reply's header.
func (r *reply) field(v protobuf.Value) error {
	var list []string
	name, err := v.Entry(func(v protobuf.Value) error {
		values, err := v.Bytes()
		if err != nil {
			return err
		}
		return protobuf.Read(values, func(v protobuf.Value) error {
			s, err := v.Text()
			if v.Field != 1 {
				return errProto
			}
			list = append(list, s)
			return err
		}, 1)
	})
	if _, twice := r.Headers[name]; err != nil || twice {
		return errProto
	}
	if r.Headers == nil {
		r.Headers = map[string][]string{}
	}
	r.Headers[name] = list
	return nil
}
