package secrets

import (
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
	// Seed makes placeholders stable, see Placeholder; nil: new ones each time.
	Seed []byte
}

// Resolve makes the Set of a policy's secrets. missing names those whose
// variable is not set: they are left out, and the user should be told. A file
// that can't be read is an error.
func Resolve(declared []policy.Secret, from Source) (set *Set, missing []string, err error) {
	var list []Secret
	for _, d := range declared {
		v, err := from.value(d.Env, d.File)
		if err != nil {
			return nil, nil, fmt.Errorf("use secret %q (%s): %w", d.Name, d.From.Ref(), err)
		}
		if v == "" {
			missing = append(missing, d.Name)
			continue
		}
		c := Secret{Name: d.Name, Hosts: d.Hosts, Header: d.Header, Prefix: d.Prefix, Value: NewValue(v)}
		if from.Seed != nil {
			c.Placeholder = Placeholder(from.Seed, c.Name, c.Value)
		}
		list = append(list, c)
	}
	set, err = New(list)
	return set, missing, err
}

// value reads a variable or a file; "" is none.
func (s *Source) value(env, file string) (string, error) {
	if file == "" {
		v, _ := s.Lookup(env)
		return v, nil
	}
	raw, err := s.Read(file)
	if err != nil {
		return "", err
	}
	// Editors and echo end a file with a line break.
	v := strings.TrimRight(string(raw), "\r\n")
	clear(raw)
	return v, nil
}
