package wasm

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/penstock/penstock/sandbox"
)

// Manifest stands beside a module, as NAME.wasm.json, and says what it is for and the
// most that it gets. The tool itself may have written it in an earlier session, so it
// takes away from what the policy grants and never adds: an empty list, or none, is
// nothing. Its JSON Schema is docs/schema/tool.schema.json.
type Manifest struct {
	Version     int          `json:"version"` // 1
	Description string       `json:"description"`
	Arguments   []Argument   `json:"arguments,omitempty"` // in their order on the command line
	Paths       []WantedPath `json:"paths,omitempty"`
	Hosts       []string     `json:"hosts,omitempty"`      // names; *.NAME is every name below it, * any
	MemoryMiB   int64        `json:"memory_mib,omitempty"` // 0: what the session has
	Timeout     string       `json:"timeout,omitempty"`    // "": until the session's end

	timeout time.Duration
}

// WantedPath is a directory that a module wants, from the session's directory if it is
// relative.
type WantedPath struct {
	Path  string `json:"path"`
	Write bool   `json:"write,omitempty"`
}

// Argument is one word of the command line.
type Argument struct {
	Name        string   `json:"name"`
	Type        string   `json:"type"` // string, integer, number, boolean
	Description string   `json:"description,omitempty"`
	Required    bool     `json:"required,omitempty"`
	Repeated    bool     `json:"repeated,omitempty"` // the last: all that follow
	Enum        []string `json:"enum,omitempty"`     // of a string
	Minimum     *float64 `json:"minimum,omitempty"`
	Maximum     *float64 `json:"maximum,omitempty"`
	MaxLength   int      `json:"max_length,omitempty"` // of a string, in bytes
}

// Bounds of manifests.
const (
	maxManifest  = 64 << 10
	maxWanted    = 64
	maxMemoryMiB = 4096 // what a module can address
)

// ManifestPath is where a module's manifest is.
func ManifestPath(module string) string { return module + ".json" }

// ReadManifest reads the manifest beside a module; nil if there is none. One that can't
// be read or understood is an error, not none.
func ReadManifest(module string) (*Manifest, error) {
	name := ManifestPath(module)
	// A named pipe would wait for somebody to write.
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		if _, lerr := os.Lstat(name); lerr == nil {
			return nil, fmt.Errorf("read the tool's manifest: %s is a link that leads nowhere", filepath.Base(name))
		}
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the tool's manifest: %w", err)
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		return nil, fmt.Errorf("read the tool's manifest: %s is no regular file", filepath.Base(name))
	}
	doc, err := io.ReadAll(io.LimitReader(f, maxManifest+1))
	if err == nil && len(doc) > maxManifest {
		err = fmt.Errorf("it has more than %d bytes", maxManifest)
	}
	if err != nil {
		return nil, fmt.Errorf("read the tool's manifest %s: %w", filepath.Base(name), err)
	}
	m, err := ParseManifest(doc)
	if err != nil {
		return nil, fmt.Errorf("%s:%w", filepath.Base(name), err)
	}
	return m, nil
}

// ParseManifest reads a manifest. Its errors begin with a line.
func ParseManifest(doc []byte) (*Manifest, error) {
	m := &Manifest{}
	d := json.NewDecoder(bytes.NewReader(doc))
	d.DisallowUnknownFields()
	err := d.Decode(m)
	at := d.InputOffset()
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		at = syntax.Offset
	case errors.As(err, &kind):
		at = kind.Offset
		err = fmt.Errorf("%s must not be a %s", kind.Field, kind.Value)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		at, err = int64(len(doc)), errors.New("it ends too early")
	case err != nil:
		// The decoder has read to the end before it says so.
		if _, quoted, ok := strings.Cut(err.Error(), "unknown field "); ok {
			at = int64(bytes.Index(doc, []byte(quoted)))
		}
	default:
		if _, more := d.Token(); more != io.EOF {
			err = errors.New("there is more after the manifest")
			break
		}
		if err = m.check(); err != nil {
			at = 0
		}
	}
	if err != nil {
		line := 1 + bytes.Count(doc[:min(max(at, 0), int64(len(doc)))], []byte("\n"))
		return nil, fmt.Errorf("%d: %s", line, strings.TrimPrefix(err.Error(), "json: "))
	}
	return m, nil
}

// check holds what the schema says.
func (m *Manifest) check() (err error) {
	switch {
	case m.Version != 1:
		return fmt.Errorf("version is %d: this Penstock knows 1", m.Version)
	case len(m.Paths) > maxWanted || len(m.Hosts) > maxWanted || len(m.Arguments) > maxWanted:
		return fmt.Errorf("a list has more than %d entries", maxWanted)
	case m.MemoryMiB < 0 || m.MemoryMiB > maxMemoryMiB:
		return fmt.Errorf("memory_mib is %d: give 1 to %d", m.MemoryMiB, maxMemoryMiB)
	}
	if m.Timeout != "" {
		if m.timeout, err = time.ParseDuration(m.Timeout); err != nil || m.timeout < time.Millisecond {
			return fmt.Errorf("timeout is %q: give a time such as 500ms, 30s or 5m", m.Timeout)
		}
	}
	for i, p := range m.Paths {
		if p.Path == "" || strings.Contains(p.Path, "\x00") {
			return fmt.Errorf("paths[%d].path is %q: give a directory, such as . or data", i, p.Path)
		}
	}
	host := regexp.MustCompile(`^(\*|(\*\.)?[a-z0-9_]([a-z0-9_.-]*[a-z0-9])?|[0-9a-f:.]+)$`)
	for i, h := range m.Hosts {
		if !host.MatchString(h) {
			return fmt.Errorf("hosts[%d] is %q: give a name in lower case without scheme and port, *.NAME for all below it, or an address", i, h)
		}
	}
	name := regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]{0,63}$`)
	seen, optional := map[string]bool{}, false
	for i := range m.Arguments {
		a := &m.Arguments[i]
		numeric := a.Type == "integer" || a.Type == "number"
		where := fmt.Sprintf("arguments[%d]", i)
		switch {
		case !name.MatchString(a.Name) || seen[a.Name]:
			return fmt.Errorf("%s.name is %q: give a name of its own, of letters, digits, _ and -", where, a.Name)
		case !numeric && a.Type != "string" && a.Type != "boolean":
			return fmt.Errorf("%s.type is %q: give string, integer, number or boolean", where, a.Type)
		case a.Required && optional:
			return fmt.Errorf("%s is required and comes after one that is not: its place would be unknown", where)
		case a.Repeated && i != len(m.Arguments)-1:
			return fmt.Errorf("%s is repeated and not the last", where)
		case (a.Minimum != nil || a.Maximum != nil) && !numeric, a.Minimum != nil && a.Maximum != nil && *a.Minimum > *a.Maximum:
			return fmt.Errorf("%s: minimum and maximum are for integer and number, and in this order", where)
		case (len(a.Enum) > 0 || a.MaxLength != 0) && a.Type != "string" || a.MaxLength < 0:
			return fmt.Errorf("%s: enum and max_length are for string", where)
		}
		seen[a.Name], optional = true, optional || !a.Required
	}
	return nil
}

// Check says whether the words after the module's name are what it takes.
func (m *Manifest) Check(words []string) error {
	for i, w := range words {
		n := min(i, len(m.Arguments)-1)
		if n < 0 || n < i && !m.Arguments[n].Repeated {
			return fmt.Errorf("argument %d is one too many: it takes %s", i+1, m.Usage())
		}
		if why := m.Arguments[n].refuse(w); why != "" {
			return fmt.Errorf("argument %d (%s) is %q: %s", i+1, m.Arguments[n].Name, clip(w), why)
		}
	}
	for i := len(words); i < len(m.Arguments); i++ {
		if m.Arguments[i].Required {
			return fmt.Errorf("argument %d (%s) is missing: it takes %s", i+1, m.Arguments[i].Name, m.Usage())
		}
	}
	return nil
}

func clip(s string) string { return s[:min(len(s), 80)] }

// refuse says why a word is none of an argument's values, or "".
func (a *Argument) refuse(w string) string {
	switch a.Type {
	case "boolean":
		if w != "true" && w != "false" {
			return "give true or false"
		}
	case "string":
		if a.MaxLength > 0 && len(w) > a.MaxLength {
			return fmt.Sprintf("it has %d bytes, give at most %d", len(w), a.MaxLength)
		}
		for _, e := range a.Enum {
			if e == w {
				return ""
			}
		}
		if len(a.Enum) > 0 {
			return "give one of " + strings.Join(a.Enum, ", ")
		}
	default:
		form := `^-?(0|[1-9][0-9]*)$`
		if a.Type == "number" {
			form = `^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$`
		}
		v, err := strconv.ParseFloat(w, 64)
		if !regexp.MustCompile(form).MatchString(w) || err != nil {
			return map[string]string{"integer": "give an integer", "number": "give a number"}[a.Type]
		}
		if a.Minimum != nil && v < *a.Minimum {
			return fmt.Sprintf("give at least %v", *a.Minimum)
		}
		if a.Maximum != nil && v > *a.Maximum {
			return fmt.Sprintf("give at most %v", *a.Maximum)
		}
	}
	return ""
}

// Usage is what it takes, in one line.
func (m *Manifest) Usage() string {
	if len(m.Arguments) == 0 {
		return "no arguments"
	}
	var words []string
	for _, a := range m.Arguments {
		w := strings.ToUpper(a.Name)
		if a.Repeated {
			w += "..."
		}
		if !a.Required {
			w = "[" + w + "]"
		}
		words = append(words, w)
	}
	return strings.Join(words, " ")
}

// InputSchema is a JSON Schema of the arguments by name, as the Model Context Protocol
// has it of a tool.
func (m *Manifest) InputSchema() map[string]any {
	properties, required := map[string]any{}, []string{}
	for _, a := range m.Arguments {
		p := map[string]any{"type": a.Type}
		set := func(key string, v any, is bool) {
			if is {
				p[key] = v
			}
		}
		set("enum", a.Enum, len(a.Enum) > 0)
		set("minimum", a.Minimum, a.Minimum != nil)
		set("maximum", a.Maximum, a.Maximum != nil)
		set("maxLength", a.MaxLength, a.MaxLength > 0)
		if a.Repeated {
			p = map[string]any{"type": "array", "items": p}
			set("minItems", 1, a.Required)
		}
		set("description", a.Description, a.Description != "")
		properties[a.Name] = p
		if a.Required {
			required = append(required, a.Name)
		}
	}
	return map[string]any{"type": "object", "properties": properties, "required": required, "additionalProperties": false}
}

// Limit is how long it may run, 0 for as long as the session.
func (m *Manifest) Limit() time.Duration { return m.timeout }

// Memory is the least of a limit and its own, in bytes.
func (m *Manifest) Memory(limit int64) int64 {
	if m.MemoryMiB > 0 {
		limit = min(limit, m.MemoryMiB<<20)
	}
	return limit
}

// Host says whether it may ask a host, as far as it goes by the manifest.
func (m *Manifest) Host(name string) bool {
	name = strings.TrimSuffix(strings.ToLower(name), ".")
	for _, h := range m.Hosts {
		if h == "*" || h == name || strings.HasPrefix(h, "*.") && strings.HasSuffix(name, h[1:]) && len(name) >= len(h) {
			return true
		}
	}
	return false
}

// Narrow is what of grants it wants; missing is what it wants beside. Paths are
// compared as they are written: whoever uses them must still be held to grants, since
// a path may lead over a link (agent/wasm is, by two Landlock domains).
func (m *Manifest) Narrow(grants []sandbox.Grant, dir string) (out []sandbox.Grant, missing []WantedPath) {
	for _, w := range m.Paths {
		p := filepath.Clean(w.Path)
		if !filepath.IsAbs(p) {
			p = filepath.Join(dir, p)
		}
		wrote := false
		before := len(out)
		for _, g := range grants {
			n := sandbox.Grant{Path: p, Write: w.Write && g.Write}
			switch {
			case within(p, g.Path):
			case within(g.Path, p):
				n.Path = g.Path
			default:
				continue
			}
			wrote = wrote || n.Write
			out = append(out, n)
		}
		if len(out) == before || w.Write && !wrote {
			missing = append(missing, WantedPath{p, w.Write})
		}
	}
	return out, missing
}

// within says whether p is dir or below it.
func within(p, dir string) bool {
	return p == dir || dir == "/" || strings.HasPrefix(p, dir+"/")
}
