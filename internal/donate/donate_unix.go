//go:build unix

package donate

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sort"

	"golang.org/x/sys/unix"
)

// first is the descriptor of the configuration in the child; the donated files follow it.
const first = 3

// maxConfig bounds the configuration document, in bytes.
const maxConfig = 64 << 20

type envelope struct {
	Names  []string        `json:"names"`
	Config json.RawMessage `json:"config"`
}

// Files returns what to put into exec.Cmd.ExtraFiles so that the child's
// Receive yields config and files. The caller closes the first element (the
// configuration) after the child has started; it keeps owning files.
func Files(config any, files map[string]*os.File) ([]*os.File, error) {
	raw, err := json.Marshal(config)
	if err != nil {
		return nil, fmt.Errorf("encode role configuration: %w", err)
	}
	env := envelope{Config: raw}
	for name := range files {
		env.Names = append(env.Names, name)
	}
	sort.Strings(env.Names)
	doc, err := json.Marshal(env)
	if err != nil {
		return nil, fmt.Errorf("encode role configuration: %w", err)
	}
	if len(doc) > maxConfig {
		return nil, fmt.Errorf("role configuration has %d bytes, more than %d", len(doc), maxConfig)
	}
	f, err := Fixed(doc)
	if err != nil {
		return nil, err
	}
	out := []*os.File{f}
	for _, name := range env.Names {
		if files[name] == nil {
			f.Close()
			return nil, fmt.Errorf("donate %q: no file", name)
		}
		out = append(out, files[name])
	}
	return out, nil
}

// Receive reads the configuration into config and returns the donated files by
// name, all of them close-on-exec. It is called once, first, by a role.
func Receive(config any) (map[string]*os.File, error) {
	unix.CloseOnExec(first)
	f := os.NewFile(first, "penstock-config")
	if f == nil {
		return nil, errors.New("no role configuration: this command is started by penstock itself")
	}
	defer f.Close()
	doc, err := io.ReadAll(io.LimitReader(f, maxConfig+1))
	if err != nil {
		return nil, fmt.Errorf("read role configuration: %w", err)
	}
	var env envelope
	if err := json.Unmarshal(doc, &env); err != nil {
		return nil, fmt.Errorf("read role configuration: %w", err)
	}
	files := make(map[string]*os.File, len(env.Names))
	for i, name := range env.Names {
		fd := first + 1 + i
		unix.CloseOnExec(fd)
		files[name] = os.NewFile(uintptr(fd), name)
	}
	if err := json.Unmarshal(env.Config, config); err != nil {
		return nil, fmt.Errorf("read role configuration: %w", err)
	}
	return files, nil
}
