package wasm

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
	"github.com/tetratelabs/wazero/sys"

	"github.com/penstock/penstock/hooks/wire"
)

// instance is one run of a module, with a memory of its own. It answers one
// question at a time.
type instance struct {
	mod           api.Module
	mem           api.Memory
	alloc, decide api.Function
	stack         [2]uint64
}

// The functions of a module.
const (
	exportVersion = "penstock_version"
	exportAlloc   = "penstock_alloc"
	exportDecide  = "penstock_decide"
	wasi          = wasi_snapshot_preview1.ModuleName
)

// features are those of WebAssembly 2.0 but vectors, and references: without these
// a table can't grow.
const features = api.CoreFeaturesV2 &^ (api.CoreFeatureReferenceTypes | api.CoreFeatureSIMD)

// load compiles a module and starts its first instance.
func (h *Hook) load(ctx context.Context, module []byte) error {
	if err := inspect(module); err != nil {
		return err
	}
	h.rt = wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigInterpreter().WithCoreFeatures(features).
		WithMemoryLimitPages(MaxMemory>>16).WithCloseOnContextDone(true).WithDebugInfoEnabled(false))
	ok := false
	defer func() {
		if !ok {
			h.rt.Close(context.Background()) //nolint:errcheck // there is another error to tell
		}
	}()
	var err error
	if h.compiled, err = h.rt.CompileModule(ctx, module); err != nil {
		return fmt.Errorf("it is no module that can be run: %s", plain(err))
	}
	if err := fits(h.compiled); err != nil {
		return err
	}
	if _, err := wasi_snapshot_preview1.Instantiate(ctx, h.rt); err != nil {
		return err
	}
	in, err := h.start(ctx)
	if err != nil {
		return err
	}
	h.idle, ok = append(h.idle, in), true
	return nil
}

// start begins an instance. Its surroundings are those that wazero gives to whom
// nothing is given: no file, argument or variable; output goes nowhere, a clock
// counts how often it is read, and random bytes are the same each time.
func (h *Hook) start(ctx context.Context) (*instance, error) {
	mod, err := h.rt.InstantiateModule(ctx, h.compiled, wazero.NewModuleConfig().WithName("").WithStartFunctions("_initialize"))
	if err != nil {
		return nil, failed("it can't be started", err)
	}
	in := &instance{mod: mod, mem: mod.ExportedMemory("memory"), alloc: mod.ExportedFunction(exportAlloc), decide: mod.ExportedFunction(exportDecide)}
	v, err := in.call(ctx, mod.ExportedFunction(exportVersion))
	if err == nil && uint32(v) != Version {
		err = fmt.Errorf("it is made for version %d of the interface, not %d", uint32(v), Version)
	}
	if err != nil {
		mod.Close(context.Background()) //nolint:errcheck // there is another error to tell
		return nil, err
	}
	return in, nil
}

// ask returns the answer to a question, of at most limit bytes: memory of the
// instance, until it is asked again.
func (in *instance) ask(ctx context.Context, question []byte, limit int) ([]byte, error) {
	p, err := in.call(ctx, in.alloc, uint64(len(question)))
	if err != nil {
		return nil, err
	}
	if at := uint32(p); at == 0 || !in.mem.Write(at, question) {
		return nil, fmt.Errorf("it has no room for a question of %d bytes", len(question))
	}
	out, err := in.call(ctx, in.decide, uint64(uint32(p)), uint64(len(question)))
	if err != nil {
		return nil, err
	}
	at, size := uint32(out>>32), uint32(out)
	if int64(size) > int64(limit) {
		return nil, wire.LongError(limit)
	}
	answer, ok := in.mem.Read(at, size)
	if !ok {
		return nil, errors.New("its answer is outside of its memory")
	}
	return answer, nil
}

// call calls a function with up to two parameters and one result.
func (in *instance) call(ctx context.Context, f api.Function, params ...uint64) (uint64, error) {
	copy(in.stack[:], params)
	if err := f.CallWithStack(ctx, in.stack[:]); err != nil {
		return 0, failed("it failed", err)
	}
	return in.stack[0], nil
}

// failed says in one line why a module came to its end.
func failed(what string, err error) error {
	var exit *sys.ExitError
	switch {
	case !errors.As(err, &exit):
		return fmt.Errorf("%s: %s", what, plain(err))
	case exit.ExitCode() == sys.ExitCodeDeadlineExceeded || exit.ExitCode() == sys.ExitCodeContextCanceled:
		return errors.New("it did not answer in time and was interrupted")
	default:
		return fmt.Errorf("%s: it exited with code %d", what, exit.ExitCode())
	}
}

// plain is the first line of an error of the library, in which there may be bytes
// of the module.
func plain(err error) string {
	s, _, _ := strings.Cut(err.Error(), "\n")
	if len(s) > 300 {
		s = s[:300] + "..."
	}
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r > 0x7e {
			return '?'
		}
		return r
	}, s)
}
