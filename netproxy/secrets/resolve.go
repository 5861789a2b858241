package secrets

import (
	"errors"
	"fmt"
	"strings"

	"github.com/penstock/penstock/policy"
)

// Source is where real values come from: the environment and the files of the
// user who starts the session. The supervisor provides it; nothing in here is
// called in the proxy role.
type Source struct {
	Lookup func(name string) (string, bool)
	Read   func(path string) ([]byte, error)
	// Credential reads a systemd credential; false: there is none of that name.
	Credential func(name string) (value []byte, ok bool, err error)
	// Keyring reads an item of the user's keyring; false: there is none.
	Keyring func(item policy.KeyringItem) (value []byte, ok bool, err error)
	// Run returns what a command writes to its standard output.
	Run func(argv []string) ([]byte, error)
	// Seed makes placeholders stable, see Placeholder; nil: new ones each time.
	Seed []byte
}

// Resolve makes the Set of a policy's secrets. missing names those whose
// variable is not set: they are left out, and the user should be told. A file
// that can't be read is an error.
func Resolve(declared []policy.Secret, from Source) (set *Set, missing []string, err error) {
	var list []Secret
declarations:
	for _, d := range declared {
		c := Secret{Name: d.Name, Hosts: d.Hosts, Header: d.Header, Prefix: d.Prefix, Basic: d.Basic, User: d.User, Query: d.Query, JSON: d.JSON, WebSocket: d.WebSocket, Late: d.Fetched()}
		if d.AWS != nil {
			c.AWS = &AWS{d.AWS.Services, d.AWS.Regions}
		}
		for name, o := range d.Origins() {
			v, err := from.value(o)
			if err != nil {
				return nil, nil, fmt.Errorf("use secret %q (%s): %w", d.Name, d.From.Ref(), err)
			}
			if v == "" && d.Optional(name) {
				continue
			}
			if v == "" {
				missing = append(missing, d.Name)
				continue declarations
			}
			if part, ok := strings.CutPrefix(name, PartName(d.Name, "")); !ok {
				c.Value = NewValue(v)
			} else if c.Parts == nil {
				c.Parts = map[string]Value{part: NewValue(v)}
			} else {
				c.Parts[part] = NewValue(v)
			}
		}
		if from.Seed != nil {
			c.Placeholder = Placeholder(from.Seed, c.Name, c.Value)
		}
		list = append(list, c)
	}
	set, err = New(list)
	return set, missing, err
}

// Value reads what an origin has now; the empty value is none.
func (from *Source) Value(o *policy.Origin) (Value, error) {
	v, err := from.value(o)
	if err == nil && v == "" && o.Keyring != "" {
		err = errors.New("the keyring has no such item, or its value is empty")
	}
	return NewValue(v), err
}

// Key reads what is no value of a pen's, but signs what is asked of others; nothing is
// none.
func (from *Source) Key(o *policy.Origin) ([]byte, error) {
	v, err := from.value(o)
	return []byte(v), err
}

// value reads a value; "" is none.
func (from *Source) value(d *policy.Origin) (string, error) {
	if d.Env != "" {
		v, _ := from.Lookup(d.Env)
		return v, nil
	}
	raw, err := from.bytes(d)
	if err != nil {
		return "", err
	}
	// Editors, echo and most commands end with a line break.
	v := strings.TrimRight(string(raw), "\r\n")
	clear(raw)
	return v, nil
}

// bytes reads a value that is not in a variable.
func (from *Source) bytes(d *policy.Origin) ([]byte, error) {
	switch {
	case d.File != "":
		return from.Read(d.File)
	case d.Credential != "":
		raw, _, err := from.Credential(d.Credential)
		return raw, err
	case d.Keyring != "":
		raw, _, err := from.Keyring(d.KeyringItem())
		return raw, err
	case len(d.Command) > 0:
		raw, err := from.Run(d.Command)
		if err == nil && len(strings.TrimRight(string(raw), "\r\n")) == 0 {
			err = errors.New("the command wrote nothing")
		}
		return raw, err
	}
	return nil, errors.New("it has no source")
}
