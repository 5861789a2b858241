package policy

import (
	"bytes"
	"errors"
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// AddRule returns a policy file with one more rule, in YAML on one line, at the end
// of egress.allow or egress.deny; everything else of it, comments too, stays as it
// is. A nil text is a file that does not exist yet. A file with the rule is returned
// as it is. What can't be changed so is an error that says what to write.
func AddRule(text []byte, list, rule string) ([]byte, error) {
	if text == nil {
		return []byte("version: 1\negress:\n  " + list + ":\n    - " + rule + "\n"), nil
	}
	byHand := &handError{list, rule}
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil || len(doc.Content) != 1 || doc.Content[0].Kind != yaml.MappingNode {
		return nil, byHand
	}
	if bytes.ContainsAny(text, "\t\r") {
		return nil, byHand // columns and lines would have to be told from each other
	}
	at := editor{lines: strings.SplitAfter(string(text), "\n")}
	root := doc.Content[0]
	egress := valueOf(root, "egress")
	switch rules := valueOf(egress, list); {
	case root.Style&yaml.FlowStyle != 0 || len(root.Content) == 0:
		return nil, byHand
	case egress == nil:
		at.after(len(at.lines), "egress:", "  "+list+":", "    - "+rule)
	case egress.Kind != yaml.MappingNode:
		return nil, byHand
	case egress.Style&yaml.FlowStyle != 0 && rules == nil:
		at.open(egress, '{', list+": ["+rule+"]")
	case rules == nil:
		in := strings.Repeat(" ", egress.Content[0].Column-1)
		at.after(at.last(egress), in+list+":", in+"  - "+rule)
	case rules.Kind != yaml.SequenceNode:
		return nil, byHand
	case slices.ContainsFunc(rules.Content, func(n *yaml.Node) bool { return sameNode(n, rule) }):
		return text, nil
	case rules.Style&yaml.FlowStyle != 0:
		at.open(rules, '[', rule)
	default:
		at.after(at.last(rules), strings.Repeat(" ", rules.Column-1)+"- "+rule)
	}
	out := []byte(strings.Join(at.lines, ""))
	if at.failed || !addsOnly(text, out, list, rule) {
		return nil, byHand
	}
	return out, nil
}

// handError is a file that a person has to change.
type handError struct{ list, rule string }

func (e *handError) Error() string { return "the file is written in a way that can't be changed here" }

// Hint says what to write.
func (e *handError) Hint() string {
	return "add it yourself: egress: {" + e.list + ": [" + e.rule + "]}"
}

// valueOf returns the value of a key of a mapping, nil if there is none.
func valueOf(n *yaml.Node, key string) *yaml.Node {
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

// sameNode says whether a node is what a text of YAML is.
func sameNode(n *yaml.Node, text string) bool {
	var a, b any
	return n.Decode(&a) == nil && yaml.Unmarshal([]byte(text), &b) == nil && reflect.DeepEqual(a, b)
}

// editor changes lines.
type editor struct {
	lines  []string // with their ends
	failed bool
}

// after puts lines behind line n (from 1).
func (e *editor) after(n int, lines ...string) {
	if last := len(e.lines) - 1; last >= 0 && e.lines[last] == "" {
		e.lines = e.lines[:last]
		n = min(n, last)
	}
	if n > 0 && !strings.HasSuffix(e.lines[n-1], "\n") {
		e.lines[n-1] += "\n"
	}
	for i := range lines {
		lines[i] += "\n"
	}
	e.lines = slices.Insert(e.lines, n, lines...)
}

// open puts a text behind the bracket that a flow node begins with.
func (e *editor) open(n *yaml.Node, bracket byte, s string) {
	if n.Line < 1 || n.Line > len(e.lines) {
		e.failed = true
		return
	}
	line := e.lines[n.Line-1]
	at := 0
	for range n.Column - 1 {
		_, size := utf8.DecodeRuneInString(line[at:])
		at += size
	}
	if at >= len(line) || line[at] != bracket {
		e.failed = true
		return
	}
	if len(n.Content) > 0 {
		s += ", "
	}
	e.lines[n.Line-1] = line[:at+1] + s + line[at+1:]
}

// last is the last line of a block: of those that follow its last node, all that
// are indented deeper than the block.
func (e *editor) last(block *yaml.Node) int {
	deepest := block
	for len(deepest.Content) > 0 {
		deepest = deepest.Content[len(deepest.Content)-1]
	}
	end := deepest.Line
	for i := end; i < len(e.lines); i++ {
		line := strings.TrimRight(e.lines[i], "\n ")
		in := len(line) - len(strings.TrimLeft(line, " "))
		switch {
		case line == "" || line[in] == '#':
			continue
		case in < block.Column:
			return end
		}
		end = i + 1
	}
	return end
}

// addsOnly says whether two files differ by one rule of a list and nothing else.
func addsOnly(before, after []byte, list, rule string) bool {
	read := func(b []byte) (map[string]any, []any, error) {
		var m map[string]any
		if err := yaml.Unmarshal(b, &m); err != nil {
			return nil, nil, err
		}
		egress, _ := m["egress"].(map[string]any)
		rules, _ := egress[list].([]any)
		if delete(egress, list); len(egress) == 0 {
			delete(m, "egress")
		}
		return m, rules, nil
	}
	a, old, err1 := read(before)
	b, now, err2 := read(after)
	var one any
	if errors.Join(err1, err2, yaml.Unmarshal([]byte(rule), &one)) != nil || len(now) != len(old)+1 {
		return false
	}
	i := slices.IndexFunc(now, func(x any) bool { return reflect.DeepEqual(x, one) })
	return i >= 0 && reflect.DeepEqual(a, b) && reflect.DeepEqual(append([]any{}, old...), slices.Delete(slices.Clone(now), i, i+1))
}
