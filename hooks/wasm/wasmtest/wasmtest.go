// Package wasmtest builds modules for tests with the compilers that a user would
// take: clang with wasm-ld, and Go.
//
// Its hazard is a compiler that is missing: such a test skips on a laptop and fails in
// CI. It is for tests only.
package wasmtest

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The commands of docs/hooks.md.
const (
	CommandC  = "clang --target=wasm32 -O2 -mbulk-memory -nostdlib -Wl,--no-entry -I hooks/wasm/guest -o hook.wasm hook.c"
	CommandGo = "GOOS=wasip1 GOARCH=wasm go build -buildmode=c-shared -ldflags='-s -w' -o hook.wasm ."
)

// compiler is clang of Debian 12, whose linker for WebAssembly is in the package lld-14.
const compiler = "clang-14"

// Root returns the module's folder.
func Root(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	for err == nil && dir != "/" {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		dir = filepath.Dir(dir)
	}
	t.Fatal("no go.mod above")
	return ""
}

// NeedsC skips a test where there is no compiler for C.
func NeedsC(t testing.TB) {
	t.Helper()
	for _, name := range []string{compiler, "wasm-ld-14"} {
		if _, err := exec.LookPath(name); err != nil {
			if os.Getenv("CI") == "true" {
				t.Fatal(err)
			}
			t.Skipf("%v: apt-get install clang-14 lld-14", err)
		}
	}
}

// C compiles a hook in C, which includes penstock.h, as docs/hooks.md says.
func C(t testing.TB, source string) []byte {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "hook.c"), []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
	args := strings.Fields(strings.ReplaceAll(CommandC, "hooks/wasm/guest", filepath.Join(Root(t), "hooks", "wasm", "guest")))
	return run(t, dir, exec.Command(compiler, append(args[1:], "-Wall", "-Wextra", "-Werror")...), filepath.Join(dir, "hook.wasm"))
}

// Go builds the hook in Go whose main package is in a folder.
func Go(t testing.TB, dir string) []byte {
	t.Helper()
	return build(t, dir, ".")
}

func build(t testing.TB, dir string, args ...string) []byte {
	t.Helper()
	out := filepath.Join(t.TempDir(), "hook.wasm")
	cmd := exec.Command("go", append([]string{"build", "-buildvcs=false", "-trimpath", "-buildmode=c-shared", "-ldflags=-s -w", "-o", out}, args...)...)
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0")
	return run(t, dir, cmd, out)
}

// GoSource builds a hook in Go of one file, which is taken to be in this module.
func GoSource(t testing.TB, source string) []byte {
	t.Helper()
	const dir = "hooks/wasm/testdata/overlaid"
	file := filepath.Join(t.TempDir(), "main.go")
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{filepath.Join(Root(t), dir, "main.go"): file}})
	if err == nil {
		err = errors.Join(os.WriteFile(file, []byte(source), 0o600), os.WriteFile(file+".json", overlay, 0o600))
	}
	if err != nil {
		t.Fatal(err)
	}
	return build(t, Root(t), "-overlay", file+".json", "./"+dir)
}

func run(t testing.TB, dir string, cmd *exec.Cmd, file string) []byte {
	t.Helper()
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, out)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
