package wasm

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/experimental"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
	"github.com/tetratelabs/wazero/sys"

	"github.com/penstock/penstock/sandbox"
	"github.com/penstock/penstock/sandbox/confine"
	"github.com/penstock/penstock/sandbox/wasm"
)

// Exit codes of what is not the module's own end.
const (
	exitBroken        = 125
	exitNotExecutable = 126
	exitNotFound      = 127
	exitTime          = 124 // as of timeout(1)
	exitTrap          = 134 // as of a program that aborts
	exitQuit          = 131
)

// maxModule bounds a module, in bytes.
const maxModule = 64 << 20

// pageSize of WebAssembly, in bytes.
const pageSize = 64 << 10

// Main is the role's main: the configuration in JSON, then the command. It returns
// the exit code.
func Main(args []string) int {
	// The runtime would print its own state.
	quit := make(chan os.Signal, 1)
	signal.Notify(quit, syscall.SIGQUIT)
	go func() { <-quit; os.Exit(exitQuit) }()

	var cfg wasm.Config
	if len(args) < 2 || json.Unmarshal([]byte(args[0]), &cfg) != nil {
		return say(exitBroken, "penstock: no configuration: this command is started by penstock itself")
	}
	code, err := run(context.Background(), &cfg, args[1:])
	if err != nil {
		text := fmt.Sprintf("penstock: %s: %v", args[1], err)
		var fault *fault
		if errors.As(err, &fault) {
			text += "\n  hint: " + fault.hint
		}
		return say(code, text)
	}
	return code
}

// fault is why a file can't be run as a module, and what to do about it.
type fault struct{ why, hint string }

func (f *fault) Error() string { return f.why }

// build is what to do about a file that is no module.
const build = "name a module that is built for WASI (clang --target=wasm32-wasi, GOOS=wasip1), or use --sandbox bwrap"

func say(code int, what string) int {
	fmt.Fprintln(os.Stderr, what)
	return code
}

// run returns the module's exit code, or another with an error.
func run(ctx context.Context, cfg *wasm.Config, argv []string) (int, error) {
	code, digest, err := read(cfg.Module)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return exitNotFound, &fault{"no such module", "name it by its path, from the directory that the session starts in"}
	case err != nil:
		return exitNotExecutable, err
	}
	web, err := newWeb(cfg)
	if err != nil {
		return exitBroken, err
	}
	memory := forModule(cfg.Memory)
	if web.manifest, err = wasm.ReadManifest(cfg.Module); err != nil {
		return exitNotExecutable, &fault{err.Error(), "put the manifest right, see penstock tool show --help, or remove it"}
	}
	if m := web.manifest; m != nil {
		if err := m.Check(argv[1:]); err != nil {
			return exitBroken, &fault{err.Error(), "penstock tool show " + argv[0] + " says what each is"}
		}
		memory = m.Memory(memory)
	}
	rt, module, err := compile(ctx, cfg, code, digest, pages(memory))
	if err != nil {
		return exitNotExecutable, err
	}
	if err := confine.Guest(rules(cfg.Grants)); err != nil {
		return exitBroken, err
	}
	if web.manifest != nil {
		if err := narrow(cfg, web.manifest, argv[0]); err != nil {
			return exitBroken, err
		}
	}
	if _, err := wasi_snapshot_preview1.Instantiate(ctx, rt); err != nil {
		return exitBroken, err
	}
	if err := web.export(ctx, rt); err != nil {
		return exitBroken, err
	}
	ctx = experimental.WithMemoryAllocator(ctx, experimental.MemoryAllocatorFunc(reserve))
	if web.manifest != nil {
		if err := endAfter(web.manifest.Limit(), argv[0]); err != nil {
			return exitBroken, err
		}
	}
	_, err = rt.InstantiateModule(ctx, module, world(cfg, argv))
	var exit *sys.ExitError
	switch {
	case err == nil:
		return 0, nil
	case errors.As(err, &exit):
		return int(exit.ExitCode() & 0xff), nil
	}
	return exitTrap, fmt.Errorf("it trapped: %s", firstLine(err))
}

// firstLine leaves out the stack of the module.
func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return strings.TrimSuffix(line, " (recovered by wazero)")
}

// read returns a module and its digest.
func read(path string) (code []byte, digest string, err error) {
	// A named pipe would wait for somebody to write.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrPermission) {
		return nil, "", &fault{"permission denied", "make it readable for the user of the session"}
	}
	if err != nil {
		return nil, "", err
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		return nil, "", &fault{"it is no regular file", build}
	}
	code, err = io.ReadAll(io.LimitReader(f, maxModule+1))
	if err == nil && len(code) > maxModule {
		err = &fault{fmt.Sprintf("it has more than %d bytes", maxModule), "leave out names and debugging information: wasm-strip, or -ldflags=-s"}
	}
	if err == nil && !strings.HasPrefix(string(code), "\x00asm") {
		err = &fault{"it is not a WebAssembly module, and the tier wasm runs nothing else", build}
	}
	sum := sha256.Sum256(code)
	return code, hex.EncodeToString(sum[:]), err
}

// compile makes the module native code, or takes what was made of it before.
func compile(ctx context.Context, cfg *wasm.Config, code []byte, digest string, pages uint32) (wazero.Runtime, wazero.CompiledModule, error) {
	config := wazero.NewRuntimeConfig().WithMemoryLimitPages(pages)
	if cfg.Cache == digest {
		// One that can't be read or written is done without.
		if cache, err := wazero.NewCompilationCacheWithDir(wasm.CachePath); err == nil {
			rt := wazero.NewRuntimeWithConfig(ctx, config.WithCompilationCache(cache))
			if module, err := rt.CompileModule(ctx, code); err == nil {
				return rt, module, nil
			}
			rt.Close(ctx) //nolint:errcheck // nothing ran in it
		}
	}
	rt := wazero.NewRuntimeWithConfig(ctx, config)
	module, err := rt.CompileModule(ctx, code)
	if err != nil {
		err = &fault{"it is not a module that can be run: " + firstLine(err), build}
	}
	return rt, module, err
}

// ownMemory is what this process needs beside the module's, in bytes.
const ownMemory = 128 << 20

// forModule is how much memory a module may have in a pen with a limit, 0 for none.
func forModule(limit int64) int64 {
	if limit > 0 {
		return max(limit-ownMemory, limit/4)
	}
	return wasm.DefaultMemory
}

func pages(memory int64) uint32 { return uint32(min(max(memory/pageSize, 1), 1<<16)) }

// rules are the paths that the process keeps.
func rules(grants []sandbox.Grant) (out []confine.PathRule) {
	for _, g := range grants {
		r := confine.PathRule{Path: g.Path, Optional: true}
		if g.Write {
			r.Access = confine.Write
		}
		out = append(out, r)
	}
	return out
}

// world is all that the module gets. Its paths are the pen's.
func world(cfg *wasm.Config, argv []string) wazero.ModuleConfig {
	files := wazero.NewFSConfig()
	for _, g := range cfg.Grants {
		if st, err := os.Stat(g.Path); err != nil || !st.IsDir() {
			continue // WASI has directories only
		}
		if g.Write {
			files = withDirectory(files, g.Path)
		} else {
			files = files.WithReadOnlyDirMount(g.Path, g.Path)
		}
	}
	config := wazero.NewModuleConfig().WithName("").WithArgs(argv...).WithFSConfig(files).
		WithStdin(os.Stdin).WithStdout(os.Stdout).WithStderr(os.Stderr).
		WithSysWalltime().WithSysNanotime().WithSysNanosleep().WithRandSource(rand.Reader)
	for _, v := range os.Environ() {
		if name, value, ok := strings.Cut(v, "="); ok && name != "" {
			config = config.WithEnv(name, value)
		}
	}
	return config
}
