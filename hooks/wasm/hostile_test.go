package wasm

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/hooks/hookstest"
	"github.com/penstock/penstock/hooks/wire"
)

func load(t testing.TB, cfg Config, b []byte) *Hook {
	t.Helper()
	cfg.Name = "h"
	h, err := Load(t.Context(), cfg, b)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	return h
}

// interrupted is in the error of what has no end; nothing else waits for one.
const interrupted = "in time"

// timeout is that of what should answer with want.
func timeout(want string) time.Duration {
	if want == interrupted {
		return 50 * time.Millisecond
	}
	return 10 * time.Second
}

// refused loads what must not load.
func refused(ctx context.Context, t *testing.T, b []byte) error {
	t.Helper()
	h, err := Load(ctx, Config{Name: "h"}, b)
	if err == nil {
		h.Close()
		t.Fatal("it is taken")
	}
	return err
}

// TestModulesRefused: what is missing or too much is said when the module is loaded.
func TestModulesRefused(t *testing.T) {
	good := module{}.bytes()
	load(t, Config{}, good)
	function := func(module, f string) module2 { return module2{cat(name(module), name(f), []byte{0, 3})} }
	for what, c := range map[string]struct {
		b    []byte
		want string
	}{
		"nothing":       {nil, "it is no WebAssembly module"},
		"text":          {[]byte("(module) ;; text"), "it is no WebAssembly module"},
		"a component":   {[]byte("\x00asm\x0d\x00\x01\x00"), "or a component"},
		"cut":           {good[:len(good)-3], "a section ends too early"},
		"cut in a size": {good[:9], "a section ends too early"},
		"huge":          {make([]byte, MaxModule+1), "more than 8388608 bytes"},
		"huge code":     {module{decide: cat(make([]byte, maxCode), i64(0))}.bytes(), "bytes of code"},

		"no exports":         {module{names: []string{"-", "-", "-"}}.bytes(), "it does not export penstock_version() i32, penstock_alloc(i32) i32, penstock_decide(i32, i32) i64"},
		"no memory":          {module{memory: sec(5, 0)}.bytes(), "it does not export memory"},
		"other types":        {module{names: []string{exportAlloc, exportVersion, exportDecide}}.bytes(), "it does not export penstock_version() i32, penstock_alloc(i32) i32"},
		"a program":          {module{extra: [][]byte{{}}, names: []string{exportVersion, exportAlloc, exportDecide, "_start"}}.bytes(), "-buildmode=c-shared"},
		"odd _initialize":    {module{names: []string{exportVersion, "_initialize", exportDecide}, extra: [][]byte{{}}}.bytes(), "it does not export penstock_alloc(i32) i32"},
		"its results":        {module{names: []string{exportVersion, exportAlloc, exportDecide, "_initialize"}}.bytes(), "its _initialize has parameters or results"},
		"another version":    {module{version: i32(2)}.bytes(), "version 2 of the interface, not 1"},
		"no end of version":  {module{version: cat(spin(), i32(1))}.bytes(), interrupted},
		"trap in version":    {module{version: []byte{0}}.bytes(), "unreachable"},
		"code that is none":  {module{decide: []byte{0xff}}.bytes(), "no module that can be run"},
		"types that are not": {module{decide: i32(0)}.bytes(), "no module that can be run"},

		"start that loops":                {module{extra: [][]byte{spin()}, start: 3}.bytes(), interrupted},
		"start that traps":                {module{extra: [][]byte{{0}}, start: 3}.bytes(), "it can't be started"},
		"_initialize that loops":          {module{extra: [][]byte{spin()}, names: []string{exportVersion, exportAlloc, exportDecide, "_initialize"}}.bytes(), interrupted},
		"_initialize that grows for ever": {module{extra: [][]byte{spin(cat(i32(1), []byte{0x40, 0, 0x1a})...)}, names: []string{exportVersion, exportAlloc, exportDecide, "_initialize"}}.bytes(), interrupted},

		"a function":              {function("env", "system").bytes(), `it imports "system" of "env", which is not given`},
		"a file":                  {function(wasi, "path_open").bytes(), `it imports "path_open"`},
		"a socket":                {function(wasi, "sock_accept").bytes(), `it imports "sock_accept"`},
		"numbers of descriptors":  {function(wasi, "fd_renumber").bytes(), `it imports "fd_renumber"`},
		"a name with an escape":   {function("\x1b[2J", "f").bytes(), `\x1b[2J`},
		"another type of its own": {function(wasi, "proc_exit").bytes(), "it can't be started"},
		"somebody's memory":       {module2{cat(name("env"), name("memory"), []byte{2, 0, 1})}.other(sec(5, 0)), "it imports a memory"},
		"somebody's table":        {module2{cat(name("env"), name("table"), []byte{1, 0x70, 0, 1})}.other(nil), "it can't be started"},

		"huge table":       {module{table: sec(4, 1, []byte{0x70, 0}, leb(1<<26))}.bytes(), "its table has 67108864 elements"},
		"two tables":       {module{table: sec(4, 2, []byte{0x70, 0, 1, 0x70, 0, 1})}.bytes(), "it has 2 tables"},
		"broken table":     {module{table: sec(4, 1)}.bytes(), "ends too early"},
		"table that grows": {module{table: sec(4, 1, []byte{0x70, 0, 1}), decide: cat([]byte{0xd0, 0x70}, i32(1), []byte{0xfc, 0x0f, 0, 0x1a}, i64(0))}.bytes(), "no module that can be run"},
		"huge memory":      {module{pages: 65536}.bytes(), "no module that can be run"},
		"many types":       {module{more: sec(1, 20_000)}.bytes(), "20000 types"},
		"many variables":   {module{more: sec(10, 1, cat(leb(6), []byte{1}, leb(2<<20), []byte{0x7f}))}.bytes(), "more than 1048576 variables"},
		"data nowhere":     {module{more: sec(11, 1, []byte{0}, i32(1<<30), []byte{0x0b}, name("x"))}.bytes(), "it can't be started"},
		"vectors":          {module{decide: cat([]byte{0xfd, 0x0c}, make([]byte, 16), []byte{0x1a}, i64(0))}.bytes(), "no module that can be run"},
	} {
		t.Run(what, func(t *testing.T) {
			ctx := t.Context()
			if c.want == interrupted {
				var cancel func()
				ctx, cancel = context.WithTimeout(ctx, 300*time.Millisecond)
				defer cancel()
			}
			err := refused(ctx, t, c.b)
			if s := err.Error(); !strings.Contains(s, c.want) || plain(err) != s {
				t.Errorf("%q, want %q", s, c.want)
			}
		})
	}
}

// module2 is a module that imports one thing.
type module2 struct{ entry []byte }

func (m module2) bytes() []byte { return module{imports: m.entry, nImports: 1, foreign: 1}.bytes() }

// of another kind than a function.
func (m module2) other(memory []byte) []byte {
	return module{imports: m.entry, nImports: 1, memory: memory}.bytes()
}

// TestHostileAnswers: whatever a module does with a question, it is no answer, and
// the next question is asked of another instance.
func TestHostileAnswers(t *testing.T) {
	const stale = `{"version":1,"id":"000000000000000000000000","decision":"next"}`
	self := cat(get(0), get(1), []byte{0x10, 2})
	for what, c := range map[string]struct {
		m    module
		want string
	}{
		"loops":                     {module{decide: cat(spin(), i64(0))}, interrupted},
		"loops in alloc":            {module{alloc: cat(spin(), i32(0))}, interrupted},
		"grows for ever":            {module{decide: cat(spin(cat(i32(1), []byte{0x40, 0, 0x1a})...), i64(0))}, interrupted},
		"fills for ever":            {module{pages: 512, decide: cat(spin(cat(i32(0), i32(1), i32(512<<16), []byte{0xfc, 0x0b, 0})...), i64(0))}, interrupted},
		"recurses":                  {module{decide: self}, "stack overflow"},
		"traps":                     {module{decide: []byte{0}}, "unreachable"},
		"divides by zero":           {module{decide: cat(i64(1), i64(0), []byte{0x7f})}, "divide by zero"},
		"reads outside":             {module{decide: cat(i32(-8), []byte{0x29, 3, 0})}, "out of bounds"},
		"no room":                   {module{alloc: i32(0)}, "no room for a question"},
		"room outside":              {module{alloc: i32(65530)}, "no room for a question"},
		"room far outside":          {module{alloc: i32(-1)}, "no room for a question"},
		"answer outside":            {module{decide: at(65530, 10)}, "outside of its memory"},
		"answer far outside":        {module{decide: at(0xffffffff, 0xffff)}, "outside of its memory"},
		"huge answer":               {module{pages: 64, decide: at(64, wire.MaxDecision+1)}, "more than"},
		"impossible answer":         {module{decide: i64(-1)}, "more than"},
		"no answer":                 {module{decide: i64(0)}, "no decision in JSON"},
		"the answer of another":     {module{data: stale, decide: answered(stale)}, "another question"},
		"an answer that is no text": {module{data: "\x00\xff\x1b", decide: at(64, 3)}, "no decision in JSON"},
	} {
		t.Run(what, func(t *testing.T) {
			h := load(t, Config{Timeout: timeout(c.want)}, c.m.bytes())
			first := h.idle[0]
			for range 2 {
				d, err := h.Decide(t.Context(), hookstest.Request())
				if err == nil || !strings.Contains(err.Error(), c.want) || d.Action != hooks.Deny || plain(err) != err.Error() {
					t.Fatalf("%+v, %v; want %q", d, err, c.want)
				}
			}
			if len(h.idle) != 0 || !first.mod.IsClosed() {
				t.Error("what failed is asked again")
			}
			if s := first.mem.Size(); s > MaxMemory {
				t.Errorf("its memory has %d bytes", s)
			}
			own := load(t, Config{Timeout: timeout(c.want), Stateful: true}, c.m.bytes())
			lost := false
			for range 2 {
				_, err := own.Decide(t.Context(), hookstest.Request())
				if err == nil {
					t.Fatal("it is believed")
				}
				lost = errors.Is(err, errLost)
			}
			if nonsense := strings.Contains(c.want, "JSON") || c.want == "another question"; lost == nonsense {
				t.Errorf("stateful: lost %t", lost)
			}
		})
	}
}

// counts is a module that answers a question with its own bytes, the first time; from
// the second on it loops. So it is no answer either way, but one can see how often
// the same instance was asked.
func counts() []byte {
	// if (n++) for (;;);
	return module{global: true, decide: cat([]byte{0x23, 0, 0x04, 0x40}, spin(), []byte{0x0b}, i32(1), []byte{0x24, 0}, i64(0))}.bytes()
}

// TestMemoryOfModules: an ordinary module that failed begins anew, one whose memory
// decides is not asked again, and who hangs up makes none of them forget.
func TestMemoryOfModules(t *testing.T) {
	ask := func(h *Hook) string {
		_, err := h.Decide(t.Context(), hookstest.Request())
		return err.Error()
	}
	const nonsense, looped = "its answer is no decision in JSON", "it did not answer in time and was interrupted"
	h := load(t, Config{Timeout: time.Second}, counts())
	for range 3 {
		if got := ask(h); got != nonsense {
			t.Errorf("ordinary: %s", got)
		}
	}
	h = load(t, Config{Timeout: time.Second, Stateful: true}, counts())
	for i, want := range []string{nonsense, looped, errLost.Error(), errLost.Error()} {
		if got := ask(h); got != want {
			t.Errorf("stateful, question %d: %s, want %s", i, got, want)
		}
	}
	if cap(h.room) != 1 {
		t.Errorf("%d instances remember, each its part", cap(h.room))
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	h = load(t, Config{Stateful: true}, module{}.bytes())
	for range 20 {
		h.Decide(gone, hookstest.Request()) //nolint:errcheck // either there was room at once or there was not
	}
	if got := ask(h); got != nonsense {
		t.Errorf("after clients that hang up: %s", got)
	}
}

// TestInstancesBounded: many questions at once have few instances, and who waits too
// long for one is told.
func TestInstancesBounded(t *testing.T) {
	h := load(t, Config{Timeout: 200 * time.Millisecond}, module{decide: cat(spin(), i64(0))}.bytes())
	if n := cap(h.room); n < 1 || n > MaxInstances {
		t.Errorf("there may be %d instances", n)
	}
	var wg sync.WaitGroup
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	var mu sync.Mutex
	waited := 0
	for range 4 * MaxInstances {
		wg.Go(func() {
			if _, err := h.Decide(ctx, hookstest.Request()); errors.Is(err, context.DeadlineExceeded) {
				mu.Lock()
				waited++
				mu.Unlock()
			} else if err == nil {
				t.Error("it answers")
			}
		})
	}
	wg.Wait()
	if waited < 3*MaxInstances {
		t.Errorf("only %d had to wait", waited)
	}
	h.Close()
	h.Close()
	if _, err := h.Decide(t.Context(), hookstest.Request()); err == nil {
		t.Error("it answers when it is closed")
	}
}

// FuzzLoad: any bytes are refused or a module that gives no answer to a question
// that it can't have read.
func FuzzLoad(f *testing.F) {
	f.Add(module{}.bytes())
	f.Add(counts())
	f.Add(module{table: sec(4, 1, []byte{0x70, 0, 1}), extra: [][]byte{{}}, start: 3, data: "{}", global: true}.bytes())
	f.Add(module2{cat(name(wasi), name("sched_yield"), []byte{0, 0})}.bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		h, err := Load(ctx, Config{Name: "h", Timeout: 20 * time.Millisecond}, b)
		if err != nil {
			if plain(err) != err.Error() {
				t.Errorf("the error is %q", err)
			}
			return
		}
		defer h.Close()
		if d, err := h.Decide(t.Context(), hookstest.Request()); err == nil && d.Action != hooks.Deny {
			t.Errorf("%+v", d)
		}
	})
}
