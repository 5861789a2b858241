package wasm

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/penstock/penstock/sandbox"
)

// Name is the tier's name in flags and policies.
const Name = "wasm"

// Role is os.Args[1] of the interpreter's process; its configuration, a Config in
// JSON, and the command follow.
const Role = "role:wasm"

// CachePath is where the pen sees the directory of what was compiled of its module.
const CachePath = "/run/penstock/wasm"

// maxModule bounds a module, in bytes.
const maxModule = 64 << 20

// Config is what the interpreter is told.
type Config struct {
	Grants []sandbox.Grant `json:"grants"`           // all that the module sees of the file system
	Memory int64           `json:"memory,omitempty"` // bytes; 0 means DefaultMemory
	Proxy  string          `json:"proxy"`            // URL of the pen's proxy port
	Roots  string          `json:"roots"`            // file of the certificates that requests trust
	// Cache says that CachePath is there, and is of the module with this digest.
	Cache  string `json:"cache,omitempty"`
	Module string `json:"module"` // path in the pen
}

// DefaultMemory bounds a module without sandbox.memory, in bytes.
const DefaultMemory = 1 << 30

// Backend is the tier. It is safe for concurrent use.
type Backend struct {
	pen          sandbox.Backend
	proxy, roots string
}

var _ sandbox.Backend = (*Backend)(nil)

// New returns the tier whose interpreter runs in pens of another one. proxy is the
// URL of a pen's proxy port, roots the file of certificates in it.
func New(pen sandbox.Backend, proxy, roots string) *Backend {
	return &Backend{pen: pen, proxy: proxy, roots: roots}
}

// Name returns "wasm".
func (b *Backend) Name() string { return Name }

// Any returns false: it runs WebAssembly modules.
func (b *Backend) Any() bool { return false }

// Probe tries the pen around the interpreter.
func (b *Backend) Probe(ctx context.Context) ([]sandbox.Capability, error) {
	caps, err := b.pen.Probe(ctx)
	if err != nil {
		return caps, fmt.Errorf("tier wasm: %w", err)
	}
	if !landlock() {
		return nil, &noLandlock{}
	}
	out := own()
	for _, c := range caps {
		if c.Control != "kernel" {
			out = append(out, c)
		}
	}
	return out, nil
}

// Capabilities are those of the pen around, and the interpreter's.
func (b *Backend) Capabilities(landlock int) []sandbox.Capability {
	out := own()
	for _, c := range b.pen.Capabilities(landlock) {
		if c.Control != "kernel" {
			out = append(out, c)
		}
	}
	return out
}

func own() []sandbox.Capability {
	return []sandbox.Capability{
		{Control: "kernel", State: sandbox.Partial, By: "WebAssembly (wazero)", Detail: "the module makes no system call, its interpreter does"},
		{Control: "module-files", State: sandbox.Enforced, By: "preopened directories, Landlock"},
		{Control: "module-network", State: sandbox.Enforced, By: "no sockets; requests by the interpreter, through the proxy"},
	}
}

type noLandlock struct{}

func (*noLandlock) Error() string {
	return "tier wasm: this kernel has no Landlock to hold a module's paths"
}

func (*noLandlock) Hint() string {
	return "use Linux 5.19 or newer with lsm=…,landlock on its command line"
}

// Command plans the pen around the interpreter.
func (b *Backend) Command(s *sandbox.Spec, shim, alive *os.File) (*sandbox.Command, error) {
	return b.pen.Command(s, shim, alive)
}

// Prepare makes the interpreter the command, with what it needs.
func (b *Backend) Prepare(s *sandbox.Spec) error {
	if err := b.pen.Prepare(s); err != nil {
		return err
	}
	if !landlock() {
		return &noLandlock{}
	}
	cfg := Config{Grants: s.Grants, Memory: s.Limits.Memory, Proxy: b.proxy, Roots: b.roots, Module: s.Argv[0]}
	if !filepath.IsAbs(cfg.Module) {
		cfg.Module = filepath.Join(s.Dir, cfg.Module)
	}
	if s.Cache != "" {
		mount, digest, err := cache(s.Cache, cfg.Module)
		if err != nil {
			return err
		}
		if cfg.Cache = digest; digest != "" {
			s.Mounts = append(s.Mounts, mount)
		}
	}
	doc, err := json.Marshal(&cfg)
	if err != nil {
		return fmt.Errorf("describe the module's world: %w", err)
	}
	s.Argv = append([]string{sandbox.ShimPath, Role, string(doc)}, s.Argv...)
	return nil
}

// cache makes the directory of a module. What the host calls by the module's name
// need not be what the pen does: the interpreter compares the digest.
func cache(base, module string) (m sandbox.Mount, digest string, err error) {
	// A named pipe would wait for somebody to write.
	f, err := os.OpenFile(module, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return m, "", nil // the interpreter will say so
	}
	if err != nil {
		return m, "", fmt.Errorf("read module: %w", err)
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() || st.Size() > maxModule {
		return m, "", err
	}
	h := sha256.New()
	if _, err := io.Copy(h, io.LimitReader(f, maxModule+1)); err != nil {
		return m, "", fmt.Errorf("read module: %w", err)
	}
	digest = hex.EncodeToString(h.Sum(nil))
	all := filepath.Join(base, "wasm")
	dir := filepath.Join(all, digest)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return m, "", fmt.Errorf("make the cache of compiled modules: %w", err)
	}
	done, err := compiled(dir)
	if err != nil {
		return m, "", fmt.Errorf("read the cache of compiled modules: %w", err)
	}
	if !done {
		prune(all, filepath.Base(dir))
	}
	return sandbox.Mount{Source: dir, Target: CachePath, Write: !done}, digest, nil
}

// compiled says whether a module's directory has more than what a session that was
// killed left half-written.
func compiled(dir string) (done bool, err error) {
	err = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		done = done || err == nil && e.Type().IsRegular() && filepath.Ext(path) != ".tmp"
		return err
	})
	return done, err
}

// maxCached bounds how many modules stay compiled.
const maxCached = 32

// prune removes the modules that were compiled first, as far as there are too many.
func prune(all, keep string) {
	entries, err := os.ReadDir(all)
	if err != nil || len(entries) <= maxCached {
		return
	}
	oldest, at := "", int64(0)
	for _, e := range entries {
		st, err := e.Info()
		if err == nil && e.Name() != keep && (oldest == "" || st.ModTime().UnixNano() < at) {
			oldest, at = e.Name(), st.ModTime().UnixNano()
		}
	}
	if oldest != "" {
		os.RemoveAll(filepath.Join(all, oldest)) //nolint:errcheck // the next one tries again
	}
}
