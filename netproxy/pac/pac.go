package pac

import (
	"net/netip"
	"time"
)

// Program is a file that was read. It is immutable and safe for concurrent use.
type Program struct{ body *body }

// Env is what an evaluation sees beside the URL.
type Env struct {
	Now     time.Time
	Address netip.Addr // what myIpAddress says; 127.0.0.1 if it is none
	// Resolve returns the address of a name that has a fixed one; nil: none has.
	Resolve func(name string) netip.Addr
}

func (e *Env) address() netip.Addr {
	if e.Address.IsValid() {
		return e.Address
	}
	return netip.AddrFrom4([4]byte{127, 0, 0, 1})
}

// Parse reads a file. Errors are of type *Error.
func Parse(src []byte) (prog *Program, err error) {
	if len(src) > MaxFile {
		return nil, &Error{What: "it is larger than 1 MiB"}
	}
	defer func() {
		switch e := recover().(type) {
		case nil:
		case *Error:
			prog, err = nil, e
		default:
			panic(e)
		}
	}()
	p := &parser{lex: lexer{src: string(src), line: 1}, body: &body{}}
	p.advance()
	for p.tok.kind != tEnd {
		p.body.list = append(p.body.list, p.statement())
	}
	return &Program{p.body}, nil
}

// Find calls the file's FindProxyForURL, or FindProxyForURLEx if it has only that,
// and returns its text; see Result. Errors are of type *Error.
func (p *Program) Find(url, host string, env Env) (result string, err error) {
	m := &machine{steps: maxSteps, bytes: maxBytes, env: &env}
	m.global = &scope{vars: map[string]*value{}}
	defer func() {
		switch e := recover().(type) {
		case nil:
			return
		case *Error:
			err = e
		case overrun:
			err = &Error{m.line, e.what}
		case thrown:
			err = &Error{m.line, "it failed: " + said(e.v)}
		default:
			panic(e)
		}
		result = ""
	}()
	for _, of := range []map[string]value{globals(m), functions(m)} {
		for name, v := range of {
			*m.global.declare(m, name) = v
		}
	}
	f := &frame{m: m, scope: m.global}
	p.body.enter(f)
	p.body.run(f)
	for _, name := range []string{"FindProxyForURL", "FindProxyForURLEx"} {
		fn := m.global.find(name)
		if fn == nil {
			continue
		}
		s, ok := m.invoke(*fn, nil, []value{url, host}).(string)
		if !ok {
			return "", &Error{m.line, name + " returns no text"}
		}
		if len(s) > maxResult {
			return "", &Error{m.line, name + " returns too long a text"}
		}
		return s, nil
	}
	return "", &Error{What: noFunction}
}

const noFunction = "it has no function FindProxyForURL"

// Check says whether the file has the function that is asked. What that does for a
// host is not looked at: it may fail for one that nobody has.
func (p *Program) Check() error {
	_, err := p.Find("https://pac.invalid/", "pac.invalid", Env{Now: time.Now()})
	if e, ok := err.(*Error); ok && e.What == noFunction {
		return e
	}
	return nil
}

// said is what was thrown, if that is short plain text.
func said(v value) string {
	if o, ok := v.(*object); ok {
		v = o.props["message"]
	}
	s, ok := v.(string)
	if !ok {
		return "something was thrown"
	}
	b := []byte(s[:min(len(s), 120)])
	for i, c := range b {
		if c < ' ' || c > '~' {
			b[i] = '?'
		}
	}
	return string(b)
}
