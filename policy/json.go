package policy

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
)

// wireRule is a rule as it travels: what was written, to be checked again.
type wireRule struct {
	From      Source       `json:"from"`
	Deny      bool         `json:"deny,omitempty"`
	Ask       bool         `json:"ask,omitempty"`
	Host      string       `json:"host,omitempty"`
	CIDR      string       `json:"cidr,omitempty"`
	Protocol  []string     `json:"protocol,omitempty"`
	Ports     []string     `json:"ports,omitempty"`
	Methods   []string     `json:"methods,omitempty"`
	Paths     []string     `json:"paths,omitempty"`
	Addresses []string     `json:"addresses,omitempty"`
	Process   *wireProcess `json:"process,omitempty"`
	Pin       *Pin         `json:"pin,omitempty"`
	Budget    *Budget      `json:"budget,omitempty"`
	Capture   *Capture     `json:"capture,omitempty"`
	Via       string       `json:"via,omitempty"`
	When      *wireWhen    `json:"when,omitempty"`
	Git       *Git         `json:"git,omitempty"`
	GRPC      *GRPC        `json:"grpc,omitempty"`
	JSONRPC   *JSONRPC     `json:"jsonrpc,omitempty"`
	GraphQL   *GraphQL     `json:"graphql,omitempty"`
	Registry  *Registry    `json:"registry,omitempty"`
}

// wireWhen is the when: of a rule as it travels.
type wireWhen struct {
	Text   string `json:"text"`
	Line   int    `json:"line"` // of the rule's file
	Column int    `json:"column"`
}

// condition checks what travelled. It stands in the file of what it belongs to.
func (w *wireWhen) condition(in Source) (*condition, error) {
	msg, _ := badWhen("the expression", w.Text)
	switch {
	case msg != "":
		return nil, errors.New("read policy: " + msg)
	case w.Line < 0 || w.Column < 0 || w.Line > MaxFileSize || w.Column > MaxFileSize:
		return nil, errors.New("read policy: the expression is in no line of a file")
	}
	in.Line, in.Column = w.Line, w.Column
	return &condition{text: w.Text, at: in}, nil
}

// MarshalJSON writes the rule as it was written in its file.
func (r *Rule) MarshalJSON() ([]byte, error) {
	w := wireRule{From: r.Source, Deny: r.Deny, Ask: r.Ask, Methods: r.methods, Process: r.process.wire(), Pin: r.pin, Budget: r.budget, Capture: r.capture, Via: r.via, Git: r.git, GRPC: r.grpc, JSONRPC: r.jsonrpc, GraphQL: r.graphql, Registry: r.registry}
	if r.cidr.IsValid() {
		w.CIDR = r.cidr.String()
	} else {
		w.Host = r.host.String()
	}
	if r.when != nil {
		w.When = &wireWhen{r.when.text, r.when.at.Line, r.when.at.Column}
	}
	for _, word := range protocolWords() {
		if r.protocol&protocolOf(word) != 0 {
			w.Protocol = append(w.Protocol, word)
		}
	}
	for _, p := range r.ports {
		s := utoa(p.from)
		if p.to != p.from {
			s += "-" + utoa(p.to)
		}
		w.Ports = append(w.Ports, s)
	}
	for _, p := range r.paths {
		w.Paths = append(w.Paths, p.text)
	}
	for _, a := range r.address {
		w.Addresses = append(w.Addresses, a.String())
	}
	return json.Marshal(&w)
}

// UnmarshalJSON reads what MarshalJSON wrote and checks it like a file.
func (r *Rule) UnmarshalJSON(b []byte) error {
	var w wireRule
	if err := strictJSON(b, &w); err != nil {
		return err
	}
	if w.Deny && w.Ask {
		return errors.New("read rule: it denies and asks")
	}
	*r = Rule{Source: w.From, Deny: w.Deny, Ask: w.Ask, methods: w.Methods, pin: w.Pin, budget: w.Budget, capture: w.Capture, git: w.Git, grpc: w.GRPC, jsonrpc: w.JSONRPC, graphql: w.GraphQL, registry: w.Registry}
	var err error
	if w.Host != "" {
		if r.host, err = parseHostPattern(w.Host); err != nil {
			return err
		}
	}
	if w.CIDR != "" {
		var e *patternError
		if r.cidr, e = parseCIDR(w.CIDR); e != nil {
			return e
		}
	}
	for _, s := range w.Protocol {
		bit := protocolOf(s)
		if bit == 0 {
			return fmt.Errorf("read rule: protocol %s is unknown", quote(s))
		}
		r.protocol |= bit
	}
	for _, s := range w.Ports {
		p, ok := parsePorts(s)
		if !ok {
			return fmt.Errorf("read rule: %s is not a port", quote(s))
		}
		r.ports = append(r.ports, p)
	}
	for _, m := range w.Methods {
		if !validMethod(m) {
			return fmt.Errorf("read rule: %s is not a method", quote(m))
		}
	}
	for _, s := range w.Paths {
		p, e := parsePathPattern(s)
		if e != nil {
			return e
		}
		r.paths = append(r.paths, p)
	}
	for _, s := range w.Addresses {
		a, e := parseCIDR(s)
		if e != nil {
			return e
		}
		r.address = append(r.address, a)
	}
	if r.process, err = w.Process.pattern(); err != nil {
		return err
	}
	if w.When != nil {
		if r.when, err = w.When.condition(w.From); err != nil {
			return err
		}
	}
	if r.via = w.Via; r.via != "" && r.via != Direct && !validUpstream(r.via) {
		return fmt.Errorf("read rule: %s is not the name of an upstream", quote(r.via))
	}
	var errs ErrorList
	if !finishRule(r, nil, func(string) Source { return r.Source }, &errs) {
		return errs.err()
	}
	return nil
}

// MarshalJSON writes the whole effective policy with the source of every value,
// to hand it to another process. It holds no secret's value.
func (p *Policy) MarshalJSON() ([]byte, error) { return json.Marshal(&p.d) }

// UnmarshalJSON reads what MarshalJSON wrote and compiles it. An error leaves
// the policy denying everything.
func (p *Policy) UnmarshalJSON(b []byte) error {
	*p = Policy{}
	var d data
	if err := strictJSON(b, &d); err != nil {
		return fmt.Errorf("read policy: %w", err)
	}
	for _, r := range d.Rules {
		if r == nil {
			return errors.New("read policy: a rule is null")
		}
	}
	for _, h := range d.Hosts {
		if _, msg, _ := hostEntry(h.Name, h.Addr.String()); msg != "" || h.Addr.Zone() != "" {
			return errors.New("read policy: " + msg)
		}
	}
	n, err := compile(d)
	if err != nil {
		return err
	}
	*p = *n
	return nil
}

// strictJSON decodes exactly one value without unknown keys.
func strictJSON(b []byte, to any) error {
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(to); err != nil {
		return err
	}
	if dec.More() {
		return errors.New("there is more after the value")
	}
	return nil
}

// Hash returns the SHA-256 of the effective policy in hexadecimal. Equal hashes
// mean equal verdicts and settings from the same places.
func (p *Policy) Hash() string {
	d := p.d
	d.Home, d.WorkDir = "", ""
	b, err := json.Marshal(&d)
	if err != nil {
		return "" // not possible: all of it are plain values
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
