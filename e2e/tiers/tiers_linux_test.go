package tiers

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/penstock/penstock/internal/world"
)

// A tier that is asked for and can't run is an error of one line, with a line of what to
// do, and nothing is run, on the host or in another tier.
func TestTiersThatCannotRun(t *testing.T) {
	gvisorPens(t, func(t *testing.T, p *world.Pen) {
		penstock := world.Penstock(t)
		good := filepath.Join(filepath.Dir(penstock), "penstock-gvisor")
		ran := filepath.Join(p.Home.Path, "project", "ran")
		program := filepath.Join(p.Home.Path, "bin", "penstock-gvisor")
		script := "#!/bin/sh\necho ran\ntouch " + ran + "\n"
		p.Home.Write(t, "bin/penstock", world.ReadFile(t, penstock))
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		put := func(content string, mode os.FileMode) func() {
			return func() { must(os.WriteFile(program, []byte(content), mode)); must(os.Chmod(program, mode)) }
		}
		gvisor := []string{"--sandbox", "gvisor", "--", "touch", ran}
		machine := filepath.Join(filepath.Dir(program), "penstock-microvm")
		microvm := []string{"--sandbox", "microvm", "--", "touch", ran}
		policy := func(name, text string) []string {
			return []string{"--policy", p.Home.Write(t, name, "version: 1\n"+text+"\n"), "--", "touch", ran}
		}
		wasm := func(name, content string) []string {
			p.Home.Write(t, "project/"+name, content)
			must(os.Chmod(filepath.Join(p.Opts.Dir, name), 0o755))
			return []string{"--sandbox", "wasm", "--", "./" + name}
		}
		must(unix.Mkfifo(filepath.Join(p.Opts.Dir, "pipe.wasm"), 0o666))
		must(os.Mkdir(filepath.Join(p.Opts.Dir, "dir.wasm"), 0o755))
		whole := world.ReadFile(t, good)
		for _, tt := range []struct {
			name    string
			program func() // makes penstock-gvisor
			args    []string
			cause   string
			code    int
		}{
			{"no program", nil, gvisor, "tier gvisor: penstock-gvisor is not in " + filepath.Dir(program), 125},
			{"no program, by a policy", nil, policy("tier.yaml", "sandbox: {tier: gvisor}"), "tier gvisor: penstock-gvisor is not in ", 125},
			{"no program, at least", nil, policy("least.yaml", "limits: {tier: gvisor}"), "tier gvisor: penstock-gvisor is not in ", 125},
			{"a link to nothing", func() { must(os.Symlink("/nonexistent", program)) }, gvisor, "tier gvisor: penstock-gvisor is not in ", 125},
			{"not executable", put(whole, 0o644), gvisor, "tier gvisor: " + program + " can't be executed: permission denied", 125},
			{"a script", put(script, 0o755), gvisor, "tier gvisor: " + program + " is not penstock-gvisor: ", 125},
			{"an empty file", put("", 0o755), gvisor, "tier gvisor: " + program + " is not penstock-gvisor: ", 125},
			{"another program", put(world.ReadFile(t, "/bin/true"), 0o755), gvisor, "tier gvisor: " + program + " is not penstock-gvisor: ", 125},
			{"penstock itself", put(world.ReadFile(t, penstock), 0o755), gvisor, "tier gvisor: " + program + " is not penstock-gvisor: it is built from ", 125},
			{"half of it", put(whole[:len(whole)/2], 0o755), gvisor, "tier gvisor: " + program + " is not penstock-gvisor: ", 125},
			{"a directory", func() { must(os.Mkdir(program, 0o755)) }, gvisor, "tier gvisor: " + program + " is no regular file", 125},
			{"a pipe", func() { must(unix.Mkfifo(program, 0o777)) }, gvisor, "tier gvisor: " + program + " is no regular file", 125},

			{"no machine", func() { must(os.RemoveAll(machine)) }, microvm, "tier microvm: penstock-microvm is not in " + filepath.Dir(program), 125},
			{"a script for a machine", func() { must(os.WriteFile(machine, []byte(script), 0o755)) }, microvm, "tier microvm: " + machine + " is not penstock-microvm: ", 125},
			{"another tier's program for a machine", func() { must(os.WriteFile(machine, []byte(whole), 0o755)) }, microvm, "tier microvm: " + machine + " is not penstock-microvm: it is built from ", 125},

			{"firecracker", nil, []string{"--sandbox", "firecracker", "--", "touch", ran}, `sandbox tier "firecracker" is not available`, 125},
			{"darwin", nil, []string{"--sandbox", "darwin", "--", "touch", ran}, `sandbox tier "darwin" is not available`, 125},
			{"no tier", nil, []string{"--sandbox", "jail", "--", "touch", ran}, `--sandbox jail: tier "jail" is unknown`, 125},
			{"firecracker, by a policy", nil, policy("vm.yaml", "sandbox: {tier: firecracker}"), `sandbox tier "firecracker" is not available`, 125},

			{"no module", nil, []string{"--sandbox", "wasm", "--", "./none.wasm"}, "./none.wasm: no such module", 127},
			{"a program as module", nil, []string{"--sandbox", "wasm", "--", "/usr/bin/touch", ran}, "/usr/bin/touch: it is not a WebAssembly module", 126},
			{"a script as module", nil, wasm("script", script), "./script: it is not a WebAssembly module", 126},
			{"an empty module", nil, wasm("empty.wasm", ""), "./empty.wasm: it is not a WebAssembly module", 126},
			{"a module cut off", nil, wasm("cut.wasm", "\x00asm\x01\x00\x00\x00\x01"), "./cut.wasm: it is not a module that can be run: ", 126},
			{"a component", nil, wasm("component.wasm", "\x00asm\x0d\x00\x01\x00"), "./component.wasm: it is not a module that can be run: ", 126},
			{"a directory as module", nil, []string{"--sandbox", "wasm", "--", "./dir.wasm"}, "./dir.wasm: it is no regular file", 126},
			{"a pipe as module", nil, []string{"--sandbox", "wasm", "--", "./pipe.wasm"}, "./pipe.wasm: it is no regular file", 126},
		} {
			must(os.RemoveAll(program))
			if tt.program != nil {
				tt.program()
				p.Home.Own(t)
			}
			must(os.Chmod(filepath.Join(p.Home.Path, "bin/penstock"), 0o755))
			argv := append([]string{filepath.Join(p.Home.Path, "bin/penstock"), "run", "--quiet"}, tt.args...)
			r := p.W.Run(p.Home, p.Opts, argv...)
			lines := world.Lines(r.Stderr)
			if r.Code != tt.code || r.Stdout != "" || len(lines) != 2 || !strings.HasPrefix(lines[0], "penstock: "+tt.cause) || !strings.Contains(r.Stderr, "\n  hint: ") {
				t.Errorf("%s: %s", tt.name, r)
			}
			if _, err := os.Lstat(ran); err == nil {
				t.Fatalf("%s: it was run: %s", tt.name, r)
			}
		}
		// The control: what would have been run, by the program that is right.
		must(os.RemoveAll(program))
		put(whole, 0o755)()
		p.Home.Own(t)
		r := p.W.Run(p.Home, p.Opts, append([]string{filepath.Join(p.Home.Path, "bin/penstock"), "run", "--quiet"}, gvisor...)...)
		if _, err := os.Lstat(ran); err != nil || r.Code != 0 {
			t.Errorf("the control: %v %s", err, r)
		}
	})
}
