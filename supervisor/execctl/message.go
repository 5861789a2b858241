package execctl

import (
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"strings"
)

// Bounds of a conversation.
const (
	// MaxMessage is more than the kernel lets execve(2) take, in bytes.
	MaxMessage = 4 << 20
	// MaxText bounds what is said in words, in bytes.
	MaxText = 1024
)

// Start says what is to be started.
type Start struct {
	Argv []string `json:"argv"` // Argv[0] is looked up in Env's PATH
	// Env is NAME=value: to the supervisor what is set over the session's own, from it
	// the whole environment.
	Env []string `json:"env,omitempty"`
	// Dir is the working directory in the pen. To the supervisor it may be "", the
	// session's own, or relative to that.
	Dir string `json:"dir,omitempty"`
	// Terminal says that the streams that are terminals are the command's own.
	Terminal bool `json:"terminal,omitempty"`
}

// Failed says why a command does not run, or that it is not known how it ended.
type Failed struct {
	Text string `json:"text"`
	Hint string `json:"hint,omitempty"` // what to do about it
	Code int    `json:"code"`           // what the caller exits with
}

func (f *Failed) Error() string { return f.Text }

// Ended says how a command ended: by its exit code, 128+n if a signal ended it.
type Ended struct {
	Code int `json:"code"`
}

// Message is one of either direction; one member is set.
type Message struct {
	Start   *Start  `json:"start,omitempty"`
	Signal  int     `json:"signal,omitempty"` // for the command
	Started bool    `json:"started,omitempty"`
	Ended   *Ended  `json:"ended,omitempty"`
	Failed  *Failed `json:"failed,omitempty"`
}

// decode reads a message and puts what it says within its bounds.
func decode(b []byte) (*Message, error) {
	var m Message
	if err := json.Unmarshal(b, &m); err != nil {
		return nil, fmt.Errorf("receive message: %w", err)
	}
	if m.Ended != nil {
		m.Ended.Code &= 0xff
	}
	if f := m.Failed; f != nil {
		f.Code &= 0xff
		if f.Code == 0 {
			f.Code = 125
		}
		f.Text, f.Hint = clip(f.Text), clip(f.Hint)
	}
	if m.Signal < 0 || m.Signal > 64 {
		return nil, fmt.Errorf("receive message: there is no signal %d", m.Signal)
	}
	return &m, nil
}

func clip(s string) string {
	if len(s) > MaxText {
		s = s[:MaxText] + "…"
	}
	return strings.ToValidUTF8(s, "?")
}

// Complete checks a caller's Start and makes the whole of it: base is the session's
// environment, dir its directory in the pen, keep says of a variable why it stays as
// it is ("": it may be set).
func (s *Start) Complete(base []string, dir string, keep func(name string) string) (*Start, error) {
	if len(s.Argv) == 0 || s.Argv[0] == "" {
		return nil, errors.New("no command to run")
	}
	for _, list := range [][]string{s.Argv, s.Env, {s.Dir}} {
		for _, a := range list {
			if strings.Contains(a, "\x00") {
				return nil, fmt.Errorf("%q has a NUL byte", clip(a))
			}
		}
	}
	out := &Start{Argv: s.Argv, Dir: dir, Terminal: s.Terminal}
	switch {
	case path.IsAbs(s.Dir):
		out.Dir = path.Clean(s.Dir)
	case s.Dir != "":
		out.Dir = path.Join(dir, s.Dir)
	}
	set := map[string]bool{}
	for _, e := range s.Env {
		name, _, ok := strings.Cut(e, "=")
		if !ok || name == "" {
			return nil, fmt.Errorf("variable %q is not NAME=VALUE", clip(e))
		}
		if why := keep(name); why != "" {
			return nil, fmt.Errorf("variable %q can't be set: %s", clip(name), why)
		}
		set[name] = true
	}
	for _, e := range base {
		if name, _, _ := strings.Cut(e, "="); !set[name] {
			out.Env = append(out.Env, e)
		}
	}
	last := map[string]int{} // of a name that is set twice the last counts
	for _, e := range s.Env {
		name, _, _ := strings.Cut(e, "=")
		if i, ok := last[name]; ok {
			out.Env[i] = e
			continue
		}
		last[name] = len(out.Env)
		out.Env = append(out.Env, e)
	}
	return out, nil
}
