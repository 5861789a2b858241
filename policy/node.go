package policy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// Bounds of a policy file. Ten thousand rules fit well.
const (
	MaxFileSize = 4 << 20 // bytes
	maxDepth    = 16      // nested lists and mappings; the language needs 5
)

// parser walks the nodes of one file and collects everything that is wrong.
type parser struct {
	file string
	lay  Layer
	errs ErrorList
}

func (p *parser) at(n *yaml.Node) Source {
	return Source{File: p.file, Line: n.Line, Column: n.Column, Layer: p.lay}
}

func (p *parser) fail(n *yaml.Node, hint, format string, args ...any) {
	p.errs.add(p.at(n), hint, format, args...)
}

func (p *parser) failFile(line int, hint, format string, args ...any) {
	p.errs.add(Source{File: p.file, Line: line, Column: 1}, hint, format, args...)
}

// document decodes src into its root mapping, or reports why not.
func (p *parser) document(src []byte) (root *yaml.Node) {
	// The YAML library turns its own errors into values; anything else that a
	// hostile file makes it panic with must not take the process down.
	defer func() {
		if r := recover(); r != nil {
			p.failFile(1, "write it anew, more simply", "this is not YAML that can be read")
			root = nil
		}
	}()
	if len(src) > MaxFileSize {
		p.failFile(1, "", "the file has %d bytes, more than %d", len(src), MaxFileSize)
		return nil
	}
	if !p.checkText(src) {
		return nil
	}
	dec := yaml.NewDecoder(bytes.NewReader(src))
	var doc yaml.Node
	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF):
		p.failFile(1, "begin with: version: 1", "the file is empty")
		return nil
	case err != nil:
		p.syntax(err)
		return nil
	}
	var more yaml.Node
	if err := dec.Decode(&more); err == nil {
		p.fail(&more, "remove the --- and what follows", "the file has a second document")
	} else if !errors.Is(err, io.EOF) {
		p.syntax(err)
	}
	if len(doc.Content) != 1 {
		p.failFile(1, "begin with: version: 1", "the file is empty")
		return nil
	}
	root = doc.Content[0]
	if root.Kind == yaml.ScalarNode && root.Tag == "!!null" {
		p.failFile(1, "begin with: version: 1", "the file is empty")
		return nil
	}
	p.checkNode(root, 0)
	if len(p.errs.Errors) > 0 {
		return nil
	}
	return root
}

// checkText refuses bytes with which a file could say something else than its
// reviewer sees.
func (p *parser) checkText(src []byte) bool {
	line := 1
	for i := 0; i < len(src); {
		r, n := utf8.DecodeRune(src[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			p.failFile(line, "save it as UTF-8", "the file is not UTF-8")
			return false
		case r == '\n':
			line++
		case r < 0x20 && r != '\t' && r != '\r', r == 0x7f, 0x80 <= r && r < 0xa0:
			p.failFile(line, "remove it", "the file has the control character %U", r)
			return false
		case r == 0x61c, 0x200b <= r && r <= 0x200f, 0x202a <= r && r <= 0x202e,
			0x2060 <= r && r <= 0x206f, r == 0xfeff && i > 0:
			p.failFile(line, "remove it: what the file says must be what its reader sees", "the file has the invisible character %U", r)
			return false
		}
		i += n
	}
	return true
}

// syntax reports an error of the YAML library with its line.
func (p *parser) syntax(err error) {
	msg := strings.TrimPrefix(err.Error(), "yaml: ")
	line := 1
	if m := regexp.MustCompile(`^line (\d+): `).FindStringSubmatch(msg); m != nil {
		line, _ = strconv.Atoi(m[1])
		msg = msg[len(m[0]):]
	}
	hint := ""
	switch {
	case strings.Contains(msg, "unknown anchor"), strings.Contains(msg, "did not find expected alphabetic or numeric"):
		// "host: *.example.com" is an alias to YAML.
		hint = `text that begins with * needs quotes: "*.example.com"`
	case strings.Contains(msg, "character that cannot start any token"), strings.Contains(msg, "tab character"):
		hint = "indent with spaces, and quote values that begin with * or @"
	case strings.Contains(msg, "did not find expected"):
		hint = "look at the indentation and at quotes around values with : or *"
	case strings.Contains(msg, "mapping values are not allowed"):
		hint = "quote values that contain a colon and a space"
	}
	p.failFile(line, hint, "this is not YAML: %s", printable(msg))
}

// checkNode refuses what the language has no use for and an attacker has.
func (p *parser) checkNode(n *yaml.Node, depth int) {
	if depth > maxDepth {
		p.fail(n, "", "lists and mappings are nested more than %d deep", maxDepth)
		return
	}
	switch {
	case n.Kind == yaml.AliasNode:
		// "*.example.com" without quotes is an alias to YAML.
		p.fail(n, `write the value itself; text that begins with * needs quotes: "*`+printable(n.Value)+`"`,
			"aliases are not allowed in a policy")
		return
	case n.Anchor != "":
		p.fail(n, "remove &"+printable(n.Anchor), "anchors are not allowed in a policy")
		return
	case n.Style&yaml.TaggedStyle != 0:
		p.fail(n, "remove the tag", "tags are not allowed in a policy")
		return
	case n.Tag == "!!merge":
		p.fail(n, "write the keys themselves", "merge keys are not allowed in a policy")
		return
	}
	for _, c := range n.Content {
		p.checkNode(c, depth+1)
	}
}

// field is a key of a mapping and what reads its value. A nil read marks a key
// of the language that this version does not have.
type field struct {
	name string
	read func(*yaml.Node)
}

// fields reads a mapping strictly and returns where each known key stands.
func (p *parser) fields(n *yaml.Node, what string, known []field) map[string]*yaml.Node {
	if n.Kind != yaml.MappingNode {
		p.fail(n, "write it as keys and values", "%s must be a mapping, not %s", what, kind(n))
		return nil
	}
	seen := make(map[string]*yaml.Node, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		if k.Kind != yaml.ScalarNode {
			p.fail(k, "", "a key must be a word, not %s", kind(k))
			continue
		}
		if first, ok := seen[k.Value]; ok {
			p.fail(k, "remove one of them", "key %s is here twice, first at line %d", quote(k.Value), first.Line)
			continue
		}
		seen[k.Value] = k
		f := find(known, k.Value)
		switch {
		case f == nil:
			p.fail(k, hintWords(k.Value, names(known)), "unknown key %s in %s", quote(k.Value), what)
		case f.read == nil:
			p.fail(k, "remove it, or use a newer penstock", "%s in %s is not supported by this version of penstock", quote(k.Value), what)
		default:
			f.read(v)
		}
	}
	return seen
}

func find(known []field, name string) *field {
	for i := range known {
		if known[i].name == name {
			return &known[i]
		}
	}
	return nil
}

func names(known []field) []string {
	var out []string
	for _, f := range known {
		if f.read != nil {
			out = append(out, f.name)
		}
	}
	return out
}

// list calls read for each entry of a sequence.
func (p *parser) list(n *yaml.Node, what string, read func(*yaml.Node)) bool {
	if n.Kind != yaml.SequenceNode {
		hint := "write it as a list: [...]"
		if n.Kind == yaml.ScalarNode && n.Tag == "!!null" {
			hint = "write [] for an empty list, or remove the key"
		} else if n.Kind == yaml.ScalarNode {
			hint = "write it as a list: [" + quote(n.Value) + "]"
		}
		p.fail(n, hint, "%s must be a list, not %s", what, kind(n))
		return false
	}
	for _, c := range n.Content {
		read(c)
	}
	return true
}

// text reads a scalar that is text: YAML's numbers, booleans and nulls are not.
func (p *parser) text(n *yaml.Node, what string) (string, bool) {
	if n.Kind != yaml.ScalarNode || n.Tag != "!!str" {
		hint := ""
		if n.Kind == yaml.ScalarNode && n.Value != "" {
			hint = "put it in quotes: " + quote(n.Value)
		}
		p.fail(n, hint, "%s must be text, not %s", what, kind(n))
		return "", false
	}
	return n.Value, true
}

// texts reads a list of text without empty lists and duplicates.
func (p *parser) texts(n *yaml.Node, what string, each func(*yaml.Node, string)) {
	seen := map[string]int{}
	p.list(n, what, func(c *yaml.Node) {
		s, ok := p.text(c, "an entry of "+what)
		if !ok {
			return
		}
		if line, ok := seen[s]; ok {
			p.fail(c, "remove one of them", "%s is in %s twice, first at line %d", quote(s), what, line)
			return
		}
		seen[s] = c.Line
		each(c, s)
	})
}

func (p *parser) boolean(n *yaml.Node, what string) (v, ok bool) {
	if n.Kind == yaml.ScalarNode && n.Tag == "!!bool" {
		switch n.Value {
		case "true":
			return true, true
		case "false":
			return false, true
		}
	}
	p.fail(n, "write true or false", "%s must be true or false, not %s", what, kind(n))
	return false, false
}

// enum reads one of the words.
func (p *parser) enum(n *yaml.Node, what string, words []string) (string, bool) {
	s, ok := p.text(n, what)
	if !ok {
		return "", false
	}
	for _, w := range words {
		if s == w {
			return s, true
		}
	}
	p.fail(n, hintWords(s, words), "%s can't be %s", what, quote(s))
	return "", false
}

// count reads a positive decimal.
func (p *parser) count(n *yaml.Node, what string, most int64) (int64, bool) {
	v, err := strconv.ParseInt(n.Value, 10, 64)
	if n.Kind != yaml.ScalarNode || n.Tag != "!!int" || err != nil || v < 1 || v > most || n.Value[0] == '+' {
		p.fail(n, "", "%s must be a whole number from 1 to %d, not %s", what, most, kind(n))
		return 0, false
	}
	return v, true
}

func (p *parser) number(n *yaml.Node, what string) (float64, bool) {
	v, err := strconv.ParseFloat(n.Value, 64)
	if n.Kind != yaml.ScalarNode || n.Tag != "!!int" && n.Tag != "!!float" || err != nil || !(v >= 0.01 && v <= 4096) {
		p.fail(n, "for example 1.5", "%s must be a number from 0.01 to 4096, not %s", what, kind(n))
		return 0, false
	}
	return v, true
}

func (p *parser) duration(n *yaml.Node, what string) (time.Duration, bool) {
	if n.Kind == yaml.ScalarNode {
		if d, err := time.ParseDuration(n.Value); err == nil && d > 0 {
			return d, true
		}
	}
	p.fail(n, "for example 90s, 30m, 2h", "%s must be a duration, not %s", what, kind(n))
	return 0, false
}

// size reads bytes with a unit.
func (p *parser) size(n *yaml.Node, what string) (int64, bool) {
	if n.Kind == yaml.ScalarNode {
		if v, err := parseSize(n.Value); err == nil {
			return v, true
		}
	}
	p.fail(n, "for example 512MiB, 4GiB", "%s must be a size in bytes with a unit, not %s", what, kind(n))
	return 0, false
}

var errSize = errors.New("this is not a size")

func parseSize(s string) (int64, error) {
	i := strings.IndexFunc(s, func(r rune) bool { return (r < '0' || r > '9') && r != '.' })
	if i < 0 {
		return 0, errSize
	}
	v, err := strconv.ParseFloat(s[:i], 64)
	if err != nil {
		return 0, fmt.Errorf("%w: %s", errSize, quote(s))
	}
	unit := 0.0
	switch strings.TrimSpace(s[i:]) {
	case "B":
		unit = 1
	case "KiB":
		unit = 1 << 10
	case "MiB":
		unit = 1 << 20
	case "GiB":
		unit = 1 << 30
	case "TiB":
		unit = 1 << 40
	case "kB", "KB":
		unit = 1e3
	case "MB":
		unit = 1e6
	case "GB":
		unit = 1e9
	case "TB":
		unit = 1e12
	}
	if v *= unit; v < 1 || v > math.MaxInt64/2 {
		return 0, errSize
	}
	return int64(v), nil
}

// kind says what a node is, for an error.
func kind(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	case yaml.ScalarNode:
		switch n.Tag {
		case "!!null":
			return "nothing"
		case "!!bool", "!!int", "!!float":
			return strings.TrimPrefix(n.Tag, "!!") + " " + quote(n.Value)
		}
		return quote(n.Value)
	}
	return "this"
}
