package world

import (
	"encoding/json"
	"strings"
)

// Attributed is a flow of the audit with the process that it names, and that
// one's parents.
type Attributed struct {
	Path, Host string
	Who        []Record // empty: nobody
}

// Exported are the audit's records as penstock audit export gives them, from wherever
// they are kept.
func (p *Pen) Exported() (out []Record) {
	p.T.Helper()
	r := p.W.Run(p.Home, p.Opts, Penstock(p.T), "audit", "export", "--all")
	if r.Code != 0 {
		p.T.Fatal(r)
	}
	for line := range strings.Lines(r.Stdout) {
		var v Record
		if err := json.Unmarshal([]byte(line), &v); err != nil {
			p.T.Fatalf("%v: %s", err, line)
		}
		out = append(out, v)
	}
	return out
}

// Attributed are the flows of the audit.
func (p *Pen) Attributed() []Attributed {
	p.T.Helper()
	type key struct {
		session string
		number  int
	}
	processes := map[key]Record{}
	var out []Attributed
	for _, v := range p.Exported() {
		switch v.Str("type") {
		case "process":
			if n := v.Num("process"); n != 0 {
				processes[key{v.Str("session"), n}] = v
			}
		case "flow_open":
			a := Attributed{Path: v.Str("path"), Host: v.Str("host")}
			for n := v.Num("process"); n != 0 && len(a.Who) < 100; {
				up := processes[key{v.Str("session"), n}]
				if up == nil {
					p.T.Fatalf("process %d has no record before %v", n, v)
				}
				a.Who = append(a.Who, up)
				n = up.Num("parent")
			}
			if len(a.Who) > 0 && a.Who[0].Num("pid") != v.Num("pid") {
				p.T.Errorf("%v by %v", v, a.Who[0])
			}
			out = append(out, a)
		}
	}
	return out
}
