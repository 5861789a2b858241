package cel

import (
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/penstock/penstock/hooks"
)

// object is a thing that an expression can look at.
type object struct {
	name   string
	fields map[string]func() value
}

// fieldNames lists what it has.
func (o *object) fieldNames() []string {
	out := make([]string, 0, len(o.fields))
	for name := range o.fields {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// field returns one of its fields.
func (o *object) field(name string, pos int) (value, bool) {
	get, ok := o.fields[name]
	if !ok {
		return value{}, false
	}
	v := get()
	if v.pos = pos; v.has == nil {
		v.has = func(*run) (bool, error) { return true, nil }
	}
	return v, true
}

// objectAt returns what has a name at each of the points, nil if there is nothing.
func objectAt(name string, on []hooks.Point) *object {
	switch name {
	case "request":
		if slices.ContainsFunc(on, hooks.Point.Sessional) {
			return nil
		}
		return requestObject(!slices.ContainsFunc(on, func(p hooks.Point) bool { return !p.Web() }), !slices.ContainsFunc(on, hooks.Point.Named))
	case "response":
		if !slices.ContainsFunc(on, func(p hooks.Point) bool { return !p.Answered() }) {
			return responseObject()
		}
	case "body":
		if !slices.ContainsFunc(on, func(p hooks.Point) bool { return !p.Bodied() }) {
			return bodyObject()
		}
	case "run":
		if !slices.ContainsFunc(on, func(p hooks.Point) bool { return !p.Sessional() }) {
			return runObject(!slices.Contains(on, hooks.PointSessionStart))
		}
	case "lookup":
		if !slices.ContainsFunc(on, func(p hooks.Point) bool { return !p.Named() }) {
			return lookupObject()
		}
	case "tool":
		if !slices.ContainsFunc(on, func(p hooks.Point) bool { return !p.Called() }) {
			return toolObject()
		}
	case "message":
		if !slices.ContainsFunc(on, func(p hooks.Point) bool { return !p.Spoken() }) {
			return messageObject()
		}
	}
	return nil
}

// objectNames lists what an expression can look at.
func objectNames(on []hooks.Point) []string {
	return slices.DeleteFunc([]string{"request", "response", "body", "message", "run", "lookup", "tool"}, func(s string) bool { return objectAt(s, on) == nil })
}

func text(get func(*hooks.Request) string) func() value {
	return func() value { return value{typ: tString, s: func(x *run) (string, error) { return get(x.r), nil }} }
}

// requestObject has what all points have, with flow what a connection has and, with
// web, what a request has.
func requestObject(web, flow bool) *object {
	o := &object{"request", map[string]func() value{
		"host": text(func(r *hooks.Request) string { return r.Target.Name() }),
	}}
	if flow {
		o.fields["protocol"] = text(func(r *hooks.Request) string { return r.Protocol.String() })
		o.fields["port"] = integer(func(r *hooks.Request) int64 { return int64(r.Target.Port) })
	}
	if web {
		o.fields["method"] = text(func(r *hooks.Request) string { return r.Method })
		o.fields["path"] = text(func(r *hooks.Request) string { return r.Path })
		o.fields["query"] = text(func(r *hooks.Request) string { return r.Query })
		o.fields["headers"] = fields("request.headers", func(r *hooks.Request) http.Header { return r.Header })
		o.fields["size"] = length("request", func(r *hooks.Request) int64 { return r.Size })
	}
	return o
}

// responseObject is there only where each request has a Response.
func responseObject() *object {
	return &object{"response", map[string]func() value{
		"status":  integer(func(r *hooks.Request) int64 { return int64(r.Response.Status) }),
		"headers": fields("response.headers", func(r *hooks.Request) http.Header { return r.Response.Header }),
		"size":    length("response", func(r *hooks.Request) int64 { return r.Response.Size }),
	}}
}

// bodyObject is there only where each request has a Body.
func bodyObject() *object {
	return &object{"body", map[string]func() value{
		"text":     func() value { return value{typ: tString, s: func(x *run) (string, error) { return x.body(), nil }} },
		"size":     integer(func(r *hooks.Request) int64 { return int64(len(r.Body.Data)) }),
		"offset":   integer(func(r *hooks.Request) int64 { return r.Body.Offset }),
		"last":     func() value { return value{typ: tBool, b: func(x *run) (bool, error) { return x.r.Body.Last, nil }} },
		"encoding": text(func(r *hooks.Request) string { return r.Body.Encoding }),
		"trailers": fields("body.trailers", func(r *hooks.Request) http.Header { return r.Body.Trailer }),
	}}
}

// messageObject is there only where each request has a Message.
func messageObject() *object {
	return &object{"message", map[string]func() value{
		"direction": text(func(r *hooks.Request) string { return r.Message.Direction() }),
		"type":      text(func(r *hooks.Request) string { return r.Message.Type() }),
	}}
}

// lookupObject is there only where each request has a Lookup.
func lookupObject() *object {
	return &object{"lookup", map[string]func() value{
		"type": text(func(r *hooks.Request) string { return r.Lookup.Type }),
		"rule": text(func(r *hooks.Request) string { return r.Lookup.Rule }),
	}}
}

// toolObject is there only where each request has a Tool.
func toolObject() *object {
	return &object{"tool", map[string]func() value{
		"name":      text(func(r *hooks.Request) string { return r.Tool.Name }),
		"arguments": text(func(r *hooks.Request) string { return string(r.Tool.Arguments) }),
	}}
}

// runObject is there only where each request has a Run; with ended each has its End.
func runObject(ended bool) *object {
	o := &object{"run", map[string]func() value{
		"command": text(func(r *hooks.Request) string { return strings.Join(r.Run.Command, " ") }),
		"program": text(func(r *hooks.Request) string { return strings.Join(r.Run.Command[:min(1, len(r.Run.Command))], "") }),
		"dir":     text(func(r *hooks.Request) string { return r.Run.Dir }),
		"user":    text(func(r *hooks.Request) string { return r.Run.User }),
		"agent":   text(func(r *hooks.Request) string { return r.Run.Agent }),
		"tier":    text(func(r *hooks.Request) string { return r.Run.Tier }),
		"mode":    text(func(r *hooks.Request) string { return r.Run.Mode }),
	}}
	if ended {
		o.fields["exit_code"] = integer(func(r *hooks.Request) int64 { return int64(r.Run.End.ExitCode) })
	}
	return o
}

// body is the body's part as a text, which may be no UTF-8.
func (x *run) body() string {
	if x.text == "" {
		x.text = string(x.r.Body.Data)
	}
	return x.text
}

func integer(get func(*hooks.Request) int64) func() value {
	return func() value { return value{typ: tInt, i: func(x *run) (int64, error) { return get(x.r), nil }} }
}

// fields is a header.
func fields(of string, get func(*hooks.Request) http.Header) func() value {
	return func() value { return value{typ: tHeaders, of: of, header: get} }
}

// length is that of a body. One that is not declared is no number: -1 would pass
// for a small one.
func length(of string, get func(*hooks.Request) int64) func() value {
	unknown := errors.New(of + ".size is not known: the body's length is not declared")
	return func() value {
		return value{typ: tInt, i: func(x *run) (int64, error) {
			n := get(x.r)
			if n < 0 {
				return 0, unknown
			}
			return n, nil
		}, has: func(x *run) (bool, error) { return get(x.r) >= 0, nil }}
	}
}

// pointsOf names the points at which something is there.
func pointsOf(name string) []string {
	return slices.DeleteFunc(hooks.PointNames(), func(s string) bool {
		p, _ := hooks.PointNamed(s)
		return objectAt(name, []hooks.Point{p}) == nil
	})
}

// unknownName says what may stand in a name's place.
func unknownName(name string, on []hooks.Point) string {
	var with []string
	for _, o := range objectNames(on) {
		if _, ok := objectAt(o, on).fields[name]; ok {
			with = append(with, "write "+o+"."+name)
		}
	}
	switch {
	case len(with) > 0:
		return strings.Join(with, ", or ")
	case len(pointsOf(name)) > 0:
		return "it is there for hooks that are asked at no other points than: " + strings.Join(pointsOf(name), ", ")
	}
	return `an expression is about ` + strings.Join(objectNames(on), ", ") + `, for example request.host == "a.example"`
}
