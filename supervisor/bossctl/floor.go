package bossctl

import (
	"errors"
	"fmt"
)

// Files is what the floor says of a pen's files.
type Files struct {
	Hide []Place `json:"hide,omitempty"` // nothing of it may be in the pen
	// Bound is file and line of the limit on what may be writable, "" if there is
	// none. Write is all that it lets be writable, beside the work directory.
	Bound string  `json:"bound,omitempty"`
	Write []Place `json:"write,omitempty"`
}

// Place is a path as the floor has it: absolute, below "~", or relative to the
// work directory.
type Place struct {
	Path string `json:"path"`
	From string `json:"from"` // file and line
}

// Violated is a violation and its consequence.
type Violated struct {
	Kind   string `json:"kind"`
	Action Action `json:"action"`
}

// Action is what is done about a violation.
type Action string

// The actions.
const (
	ActionFreeze Action = "freeze"
	ActionKill   Action = "kill"
)

func (f *Files) check() error {
	if len(f.Hide) > MaxPlaces || len(f.Write) > MaxPlaces {
		return fmt.Errorf("%d hidden and %d writable places, more than %d", len(f.Hide), len(f.Write), MaxPlaces)
	}
	if len(f.Write) > 0 && f.Bound == "" {
		return errors.New("writable places without a bound")
	}
	if err := line("bound", f.Bound, maxText); err != nil {
		return err
	}
	for _, p := range append(append([]Place(nil), f.Hide...), f.Write...) {
		if p.Path == "" {
			return errors.New("a place without path")
		}
		if err := line("path", p.Path, maxPath); err != nil {
			return err
		}
		if err := line("from", p.From, maxText); err != nil {
			return err
		}
	}
	return nil
}

func (v *Violated) check() error {
	if v.Action != ActionFreeze && v.Action != ActionKill {
		return fmt.Errorf("action %.40q is none", string(v.Action))
	}
	return line("kind", v.Kind, maxText)
}
