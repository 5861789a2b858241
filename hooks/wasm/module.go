package wasm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// Numbers of sections (WebAssembly Core Specification 2.0, 5.5).
const (
	sectionType     = 1
	sectionFunction = 3
	sectionTable    = 4
	sectionGlobal   = 6
	sectionElement  = 9
	sectionCode     = 10
	sectionData     = 11
)

var errBroken = errors.New("it is no module that can be run: a section ends too early")

// inspect refuses what the library would make too much of: it keeps many bytes for
// an instruction and for each declared thing, one for each local variable, of which
// six bytes of a module declare tens of thousands, and a table is as long as the
// module says.
func inspect(module []byte) error {
	switch {
	case len(module) > MaxModule:
		return fmt.Errorf("it has more than %d bytes", MaxModule)
	case len(module) < 8 || string(module[:4]) != "\x00asm":
		return errors.New("it is no WebAssembly module")
	case binary.LittleEndian.Uint32(module[4:]) != 1:
		return errors.New("it is of another version of WebAssembly, or a component: a core module of version 1 is needed")
	}
	for rest := module[8:]; len(rest) > 0; {
		size, body, ok := number(rest[1:])
		if !ok || size > uint64(len(body)) {
			return errBroken
		}
		if err := section(rest[0], body[:size]); err != nil {
			return err
		}
		rest = body[size:]
	}
	return nil
}

// section looks at how much there is in one section.
func section(id byte, b []byte) error {
	count, items, ok := number(b)
	least := func(what string, most uint64) error {
		switch {
		case !ok:
			return errBroken
		case count > most:
			return fmt.Errorf("it has %d %s, more than %d", count, what, most)
		}
		return nil
	}
	switch id {
	case sectionType:
		return least("types", 10_000)
	case sectionFunction:
		return least("functions", 50_000)
	case sectionGlobal:
		return least("variables", 10_000)
	case sectionElement:
		return least("lists of functions", 10_000)
	case sectionData:
		return least("pieces of data", 100_000)
	case sectionTable:
		if err := least("tables", 1); err != nil {
			return err
		}
		return table(count, items)
	case sectionCode:
		if len(b) > maxCode {
			return fmt.Errorf("it has %d bytes of code, more than %d", len(b), maxCode)
		}
		if err := least("functions", 50_000); err != nil {
			return err
		}
		return locals(count, items)
	}
	return nil
}

// table looks at the least size of a module's table.
func table(count uint64, b []byte) error {
	if count == 0 {
		return nil
	}
	if len(b) < 2 {
		return errBroken
	}
	size, _, ok := number(b[2:]) // behind its type and whether it has a limit
	switch {
	case !ok:
		return errBroken
	case size > MaxTable:
		return fmt.Errorf("its table has %d elements, more than %d", size, MaxTable)
	}
	return nil
}

// locals counts the variables of all functions.
func locals(functions uint64, b []byte) error {
	var all uint64
	for range functions {
		size, body, ok := number(b)
		if !ok || size > uint64(len(body)) {
			return errBroken
		}
		b = body[size:]
		groups, list, ok := number(body[:size])
		for ; ok && groups > 0; groups-- {
			var n uint64
			if n, list, ok = number(list); ok && len(list) > 0 {
				all, list = all+n, list[1:] // their type
			} else {
				ok = false
			}
		}
		if !ok {
			return errBroken
		}
		if all > maxLocals {
			return fmt.Errorf("its functions have more than %d variables", maxLocals)
		}
	}
	return nil
}

// number reads an unsigned LEB128 of at most 32 bits.
func number(b []byte) (n uint64, rest []byte, ok bool) {
	n, size := binary.Uvarint(b)
	return n, b[max(size, 0):], size > 0 && size <= 5 && n <= 1<<32-1
}

// fits compares a module with what is asked of it and what is given to it.
func fits(m wazero.CompiledModule) error {
	i32, i64 := api.ValueTypeI32, api.ValueTypeI64
	exports := m.ExportedFunctions()
	if len(m.ImportedMemories()) > 0 {
		return errors.New("it imports a memory: it needs one of its own, exported as memory")
	}
	if _, ok := exports["_start"]; ok {
		return errors.New("it is a program with a main, not a library: build it without (Go: -buildmode=c-shared, clang: -mexec-model=reactor, or -nostdlib -Wl,--no-entry)")
	}
	var missing []string
	if m.ExportedMemories()["memory"] == nil {
		missing = append(missing, "memory")
	}
	for _, want := range []struct {
		name            string
		params, results []api.ValueType
	}{
		{exportVersion, nil, []api.ValueType{i32}},
		{exportAlloc, []api.ValueType{i32}, []api.ValueType{i32}},
		{exportDecide, []api.ValueType{i32, i32}, []api.ValueType{i64}},
	} {
		f := exports[want.name]
		if f == nil || !slices.Equal(f.ParamTypes(), want.params) || !slices.Equal(f.ResultTypes(), want.results) {
			missing = append(missing, want.name+signature(want.params, want.results))
		}
	}
	if len(missing) > 0 {
		return errors.New("it does not export " + strings.Join(missing, ", "))
	}
	if f := exports["_initialize"]; f != nil && len(f.ParamTypes())+len(f.ResultTypes()) > 0 {
		return errors.New("its _initialize has parameters or results")
	}
	return imports(m)
}

// given are the functions of WASI that a library of a language needs to start and
// to write to nowhere. Others are not given, though they would find no file either:
// fd_renumber makes the library keep a table of any size.
var given = []string{
	"args_get", "args_sizes_get", "environ_get", "environ_sizes_get", "clock_res_get", "clock_time_get", "random_get",
	"fd_close", "fd_fdstat_get", "fd_fdstat_set_flags", "fd_prestat_dir_name", "fd_prestat_get", "fd_read", "fd_seek", "fd_write",
	"poll_oneoff", "proc_exit", "sched_yield",
}

// imports refuses a module that asks for more than is given.
func imports(m wazero.CompiledModule) error {
	for _, f := range m.ImportedFunctions() {
		from, name, _ := f.Import()
		if from == wasi && slices.Contains(given, name) {
			continue
		}
		return fmt.Errorf("it imports %q of %q, which is not given: it has the functions of %s, and no file, variable, clock or socket by them", clip(name), clip(from), wasi)
	}
	return nil
}

func clip(s string) string {
	if len(s) > 60 {
		return s[:60] + "..."
	}
	return s
}

func signature(params, results []api.ValueType) string {
	word := func(list []api.ValueType) string {
		var out []string
		for _, t := range list {
			out = append(out, api.ValueTypeName(t))
		}
		return strings.Join(out, ", ")
	}
	return "(" + word(params) + ") " + word(results)
}
