package doctor

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/penstock/penstock/sandbox"
	"github.com/penstock/penstock/sandbox/none"
)

// Tier is what a session of one tier had on this machine.
type Tier struct {
	Name string `json:"name"`
	// Capabilities are those of a session that ran, as its first record has them.
	Capabilities []sandbox.Capability `json:"capabilities,omitempty"`
	Error        string               `json:"error,omitempty"` // why none ran, one line
	Fix          string               `json:"fix,omitempty"`
}

// Trial is of a tier in which no session runs yet: whether what it will be made of works
// here.
type Trial interface {
	Name() string
	// Try returns what worked, or why it does not.
	Try(context.Context) (string, error)
}

// Tiers runs a session of each tier and returns what was enforced in it. Of a trial
// it returns an error in any case, as nothing was.
func Tiers(ctx context.Context, o Options) ([]Tier, error) {
	dir, err := os.MkdirTemp("", "penstock-doctor-")
	if err != nil {
		return nil, fmt.Errorf("make the doctor's directory: %w", err)
	}
	defer os.RemoveAll(dir)
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return nil, fmt.Errorf("make the doctor's directory: %w", err)
	}
	w := &ward{x: &examination{Options: o, ctx: ctx}, dir: dir}
	if err := os.Mkdir(filepath.Join(dir, "work"), 0o700); err != nil {
		return nil, fmt.Errorf("make the doctor's work directory: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "work", "module.wasm"), nothing(), 0o600); err != nil {
		return nil, fmt.Errorf("write the doctor's module: %w", err)
	}
	var out []Tier
	for _, b := range o.Backends {
		t := Tier{Name: b.Name()}
		if t.Capabilities, err = w.tier(b); err != nil {
			t.Error, t.Fix = oneLine(err.Error()), oneLine(hint(err))
		}
		out = append(out, t)
	}
	for _, trial := range o.Trials {
		said, err := trial.Try(ctx)
		if err == nil {
			err = fmt.Errorf("no session runs in it yet, though this works here: %s", said)
		}
		out = append(out, Tier{Name: trial.Name(), Error: oneLine(err.Error()), Fix: oneLine(hint(err))})
	}
	return out, nil
}

// nothing is a WebAssembly module whose _start does nothing.
func nothing() []byte {
	return []byte("\x00asm\x01\x00\x00\x00" +
		"\x01\x04\x01\x60\x00\x00" + // types: () -> ()
		"\x03\x02\x01\x00" + // functions
		"\x07\x0a\x01\x06_start\x00\x00" + // exports
		"\x0a\x04\x01\x02\x00\x0b") // code
}

// tier runs a session of a tier and reads its first record.
func (w *ward) tier(b sandbox.Backend) ([]sandbox.Capability, error) {
	if _, err := b.Probe(w.x.ctx); err != nil {
		return nil, err
	}
	dir := filepath.Join(w.dir, "audit-"+b.Name())
	command := "true"
	args := []string{"run", "--quiet", "--no-profile", "--rootless", "--sandbox", b.Name(), "--audit-dir", dir}
	switch {
	case b.Name() == none.Name:
		args = append(args, "--no-sandbox-i-know")
	case !b.Any():
		command = "./module.wasm"
	}
	args = append(args, "--", command)
	if out, err := w.start(penTime, args, w.x.Host.Environ); err != nil {
		return nil, fmt.Errorf("run %s in a pen: %w%s", command, err, tail(out))
	}
	sessions, err := filepath.Glob(filepath.Join(dir, "[0-9]*.jsonl"))
	if err != nil || len(sessions) != 1 {
		return nil, errors.New("its session left no audit")
	}
	f, err := os.Open(sessions[0])
	if err != nil {
		return nil, fmt.Errorf("read the session's audit: %w", err)
	}
	defer f.Close()
	line, err := bufio.NewReader(f).ReadBytes('\n')
	var start struct{ Capabilities []sandbox.Capability }
	if err == nil {
		err = json.Unmarshal(line, &start)
	}
	if err != nil {
		return nil, fmt.Errorf("read the session's audit: %w", err)
	}
	return start.Capabilities, nil
}
