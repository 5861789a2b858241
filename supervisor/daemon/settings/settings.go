// Package settings reads the daemon's own configuration, which the administrator
// writes: quotas, the range of transient user ids, idle proxies.
//
// Its hazard is a file that says less than its author thinks: so an unknown key,
// a key twice or a value without measure is an error with file and line, and
// nothing is read from a file that somebody else than root could have written.
// It reads no other file, and nothing of a caller's. Only supervisor/daemon and
// cmd import it.
package settings

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// Path is where the settings are, unless told otherwise.
const Path = "/etc/penstock/supervise.yaml"

// Settings are the daemon's own.
type Settings struct {
	Quota   Quota
	Proxies Proxies
	// SetupTime bounds how long a pen may be built, from open to verify.
	SetupTime time.Duration
}

// Quota is what one user may have; root has none.
type Quota struct {
	Sessions    int     // at once
	Connections int     // at once, sessions included
	Rate        int     // connections per second, twice as many at once
	Memory      int64   // bytes, of all sessions together; 0: no limit
	PIDs        int64   // processes and threads of all sessions together; 0: no limit
	CPUs        float64 // of all sessions together; 0: no limit
	AuditBytes  int64   // records kept; no session begins beyond it
	// SessionAuditBytes bounds one session's records; its proxy denies
	// everything when it can't record.
	SessionAuditBytes int64
}

// Proxies are the processes that parse.
type Proxies struct {
	FirstUID int // proxy n runs as user and group FirstUID+n
	Most     int // at once
	Idle     int // started before they are needed
}

// Default is what holds without a file.
func Default() *Settings {
	return &Settings{
		Quota: Quota{
			Sessions: 64, Connections: 256, Rate: 200, PIDs: 8192,
			AuditBytes: 8 << 30, SessionAuditBytes: 1 << 30,
		},
		// Not used by systemd, nor by container managers that follow it (systemd's
		// UIDS-GIDS: 1879048192 to 2147483647 is unassigned).
		Proxies:   Proxies{FirstUID: 2_000_000_000, Most: 4096, Idle: 2},
		SetupTime: time.Minute,
	}
}

// maxFile bounds the file, in bytes.
const maxFile = 64 << 10

// Load reads the file name; one that does not exist is Default.
func Load(name string) (*Settings, error) {
	text, err := ReadTrusted(name, maxFile)
	if errors.Is(err, fs.ErrNotExist) {
		return Default(), nil
	}
	if err != nil {
		return nil, err
	}
	return Parse(name, text)
}

// Parse reads the text of a file called name.
func Parse(name string, text []byte) (*Settings, error) {
	s := Default()
	var doc yaml.Node
	dec := yaml.NewDecoder(bytes.NewReader(text))
	if err := dec.Decode(&doc); errors.Is(err, io.EOF) {
		return s, nil // only comments
	} else if err != nil {
		return nil, &Error{Text: name + ": " + strings.TrimPrefix(err.Error(), "yaml: ")}
	}
	if err := dec.Decode(&yaml.Node{}); !errors.Is(err, io.EOF) {
		return nil, &Error{Text: name + ": more than one document"}
	}
	p := &parser{name: name}
	p.group(doc.Content[0], map[string]func(*yaml.Node){
		"quota": func(n *yaml.Node) {
			p.group(n, map[string]func(*yaml.Node){
				"sessions":            p.number(&s.Quota.Sessions, 1, 100_000),
				"connections":         p.number(&s.Quota.Connections, 1, 100_000),
				"rate":                p.number(&s.Quota.Rate, 1, 1_000_000),
				"memory":              p.size(&s.Quota.Memory),
				"pids":                p.size(&s.Quota.PIDs),
				"cpus":                p.cpus(&s.Quota.CPUs),
				"audit_bytes":         p.size(&s.Quota.AuditBytes),
				"session_audit_bytes": p.size(&s.Quota.SessionAuditBytes),
			})
		},
		"proxies": func(n *yaml.Node) {
			p.group(n, map[string]func(*yaml.Node){
				"first_uid": p.number(&s.Proxies.FirstUID, 1000, math.MaxInt32-1),
				"most":      p.number(&s.Proxies.Most, 1, 1_000_000),
				"idle":      p.number(&s.Proxies.Idle, 0, 1000),
			})
		},
		"setup_time": p.duration(&s.SetupTime),
	})
	if p.err == nil && s.Proxies.FirstUID+s.Proxies.Most > math.MaxInt32 {
		p.err = &Error{Text: name + ": proxies: first_uid and most reach beyond the last user id"}
	}
	if p.err != nil {
		return nil, p.err
	}
	return s, nil
}

// Error is what is wrong with a file, in one line.
type Error struct {
	Text string
	hint string
}

func (e *Error) Error() string { return e.Text }

// Hint is what to do about it.
func (e *Error) Hint() string {
	if e.hint != "" {
		return e.hint
	}
	return "man penstock-supervise lists the settings; without the file the defaults hold"
}

// parser keeps the first error.
type parser struct {
	name string
	err  error
}

func (p *parser) fail(n *yaml.Node, format string, args ...any) {
	if p.err == nil {
		p.err = &Error{Text: fmt.Sprintf("%s:%d: %s", p.name, n.Line, fmt.Sprintf(format, args...))}
	}
}

// group calls what belongs to each key of a mapping.
func (p *parser) group(n *yaml.Node, keys map[string]func(*yaml.Node)) {
	if n.Kind == yaml.ScalarNode && n.Tag == "!!null" {
		return // a key without anything below it
	}
	if n.Kind != yaml.MappingNode {
		p.fail(n, "not a mapping")
		return
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		f := keys[key.Value]
		switch {
		case key.Kind != yaml.ScalarNode || f == nil:
			p.fail(key, "unknown key %.40q", key.Value)
			return
		case seen[key.Value]:
			p.fail(key, "%s twice", key.Value)
			return
		}
		seen[key.Value] = true
		f(value)
	}
}

func (p *parser) number(to *int, least, most int) func(*yaml.Node) {
	return func(n *yaml.Node) {
		v, err := strconv.Atoi(n.Value)
		if n.Kind != yaml.ScalarNode || err != nil || v < least || v > most {
			p.fail(n, "%.40q is no number from %d to %d", n.Value, least, most)
			return
		}
		*to = v
	}
}

// size reads 512, 64K, 2M, 8G or 1T, and none for no limit.
func (p *parser) size(to *int64) func(*yaml.Node) {
	return func(n *yaml.Node) {
		if n.Kind == yaml.ScalarNode && n.Value == "none" {
			*to = 0
			return
		}
		digits, shift := n.Value, 0
		if i := strings.IndexAny(digits, "KMGT"); i >= 0 && i == len(digits)-1 {
			shift = 10 * (1 + strings.IndexByte("KMGT", digits[i]))
			digits = digits[:i]
		}
		v, err := strconv.ParseInt(digits, 10, 64)
		if n.Kind != yaml.ScalarNode || err != nil || v <= 0 || v > math.MaxInt64>>shift {
			p.fail(n, "%.40q is no size: write 512, 64K, 2M, 8G, 1T or none", n.Value)
			return
		}
		*to = v << shift
	}
}

func (p *parser) cpus(to *float64) func(*yaml.Node) {
	return func(n *yaml.Node) {
		if n.Kind == yaml.ScalarNode && n.Value == "none" {
			*to = 0
			return
		}
		v, err := strconv.ParseFloat(n.Value, 64)
		if n.Kind != yaml.ScalarNode || err != nil || !(v > 0 && v < 1<<20) {
			p.fail(n, "%.40q is no number of processors", n.Value)
			return
		}
		*to = v
	}
}

func (p *parser) duration(to *time.Duration) func(*yaml.Node) {
	return func(n *yaml.Node) {
		v, err := time.ParseDuration(n.Value)
		if n.Kind != yaml.ScalarNode || err != nil || v < time.Second || v > time.Hour {
			p.fail(n, "%.40q is no time from 1s to 1h", n.Value)
			return
		}
		*to = v
	}
}

// ReadTrusted reads a file that only root can have written, of at most size
// bytes.
func ReadTrusted(name string, size int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	fi, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case !fi.Mode().IsRegular():
		return nil, &Error{Text: name + ": not a regular file"}
	case !trusted(fi):
		return nil, &Error{Text: name + ": belongs to another user than root, or others may write to it", hint: "chown root:root " + name + " && chmod 644 " + name}
	case fi.Size() > size:
		return nil, &Error{Text: fmt.Sprintf("%s: more than %d bytes", name, size)}
	}
	return io.ReadAll(io.LimitReader(f, size))
}
