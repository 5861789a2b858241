package tiers

import (
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/penstock/penstock/internal/world"
)

// module compiles the tool of the wasm tier into a directory that every user reads.
func module(t *testing.T) []byte {
	t.Helper()
	clang := world.Tool(t, "clang-14")
	out := filepath.Join(t.TempDir(), "tool.wasm")
	if b, err := exec.Command(clang, "--target=wasm32-wasi", "-O1", "-Wall", "-Werror", "-I../../agent/wasm/guest", "-o", out, "testdata/wasm/tool.c").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, b)
	}
	code, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return code
}

// A WebAssembly module is a session's command: for each kind of user it has the
// streams, the exit codes and the files of any other, its requests meet the same
// verdicts, and it has nothing else.
func TestWASM(t *testing.T) {
	if world.Bare() {
		t.Skip("no module runs without a pen")
	}
	code := module(t)
	for name, o := range world.Users() {
		t.Run(name, func(t *testing.T) {
			w := world.New(t)
			p := &world.Pen{T: t, W: w, Opts: o, Home: w.NewHome(o), Env: map[string]string{"COLOUR": "blue"}, Flags: []string{"--sandbox", "wasm"}}
			api := w.HTTPS("api.example.com", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				fmt.Fprintf(w, "%s %s %s with %s", r.Method, r.URL.Path, r.Header.Get("X-Of"), body)
			}))
			other := w.HTTPS("other.example.com", http.NotFoundHandler())
			p.Allow = []string{"{host: api.example.com}"}
			p.Home.Write(t, "project/tool.wasm", string(code))
			p.Home.Write(t, "project/notes", "of the project")
			p.Home.Write(t, "project/script", "#!/bin/sh\necho ran\n")
			p.Home.Write(t, "shown/file", "to be read")
			p.Home.Write(t, "secret", "of the host")
			p.Home.Own(t)
			work := filepath.Join(p.Home.Path, "project")
			p.Read = []string{filepath.Join(p.Home.Path, "shown")}
			p.Opts.Dir = work
			in := func(name string) string { return filepath.Join(p.Home.Path, name) }
			refused := func(r world.Result) bool {
				return r.Code == 0 && r.Stdout != "" && !strings.HasPrefix(r.Stdout, "has") && r.Stdout != "ok\n"
			}
			for _, tt := range []struct {
				args []string
				want string // on standard output; "refused": any error
				code int
			}{
				{[]string{"exit", "0"}, "", 0},
				{[]string{"exit", "9"}, "", 9},
				{[]string{"env", "COLOUR"}, "blue\n", 0},
				{[]string{"env", "PWD"}, work + "\n", 0},
				{[]string{"show", in("project/notes")}, "has of the project\n", 0},
				{[]string{"put", in("project/new"), "by the module"}, "ok\n", 0},
				{[]string{"rename", in("project/new"), in("project/moved")}, "ok\n", 0},
				{[]string{"mkdir", in("project/dir")}, "ok\n", 0},
				{[]string{"show", in("shown/file")}, "has to be read\n", 0},
				{[]string{"put", in("shown/file"), "x"}, "refused", 0},
				{[]string{"put", in("project/.git/hooks/post-commit"), "x"}, "refused", 0},
				{[]string{"show", "/etc/passwd"}, "refused", 0},
				{[]string{"show", "/proc/self/environ"}, "refused", 0},
				{[]string{"show", "/run/penstock/ca.pem"}, "refused", 0},
				{[]string{"show", in("secret")}, "refused", 0},
				{[]string{"show", in("project/../secret")}, "refused", 0},
				{[]string{"show", in("project/../../../../etc/passwd")}, "refused", 0},
				{[]string{"remove", in("project/moved")}, "ok\n", 0},
				{[]string{"wild"}, "-2 -2 -4 -4 -2\n", 0},
				{[]string{"trap"}, "", 134},
			} {
				r := p.Run(append([]string{"./tool.wasm"}, tt.args...)...)
				if tt.want == "refused" && !refused(r) || tt.want != "refused" && r.Stdout != tt.want || r.Code != tt.code {
					t.Errorf("%v: %s", tt.args, r)
				}
			}

			// What a link names is followed by nobody, in and out of what was granted.
			// The control: the same link is good in a pen of another tier.
			for link, to := range map[string]string{"etc": "/etc", "run": "/run/penstock", "up": "../../..", "proc": "/proc/self"} {
				if err := os.Symlink(to, in("project/"+link)); err != nil {
					t.Fatal(err)
				}
			}
			for _, path := range []string{"etc/passwd", "run/ca.pem", "up/etc/passwd", "proc/environ", "proc/root/etc/passwd"} {
				if r := p.Run("./tool.wasm", "show", in("project/"+path)); !refused(r) {
					t.Errorf("%s: %s", path, r)
				}
			}
			control := *p
			control.Flags = nil
			if r := control.Run("cat", in("project/etc/passwd")); r.Code != 0 {
				t.Errorf("the control: %s", r)
			}

			// Streams are the command's, byte by byte.
			bytes := make([]byte, 300<<10)
			rand.Read(bytes) //nolint:errcheck // it never fails
			p.Opts.Stdin = strings.NewReader(string(bytes))
			if r := p.Run("./tool.wasm", "cat"); r.Stdout != string(bytes) || r.Code != 0 {
				t.Errorf("of %d bytes %d came back, exit %d", len(bytes), len(r.Stdout), r.Code)
			}
			p.Opts.Stdin = nil

			// Requests.
			r := p.Run("./tool.wasm", "get", `{"method":"POST","url":"https://api.example.com/a","headers":{"x-of":["tea"]}}`)
			if !strings.Contains(r.Stdout, "body POST /a tea with sent\n") || !strings.Contains(r.Stdout, `head {"status":200,`) || r.Code != 0 {
				t.Error(r)
			}
			if !w.Reached(api) {
				t.Error("nothing came to the origin")
			}
			r = p.Run("./tool.wasm", "get", `{"method":"GET","url":"https://other.example.com/"}`)
			if !strings.Contains(r.Stdout, `"status":403`) && !strings.Contains(r.Stdout, "result -1") {
				t.Error(r)
			}
			if w.Reached(other) || w.Asked("other.example.com") {
				t.Error("a denied request left")
			}

			// Limits.
			p.Flags = append(p.Flags, "--policy", p.Home.Write(t, "limits.yaml", "version: 1\nsandbox: {memory: 256MiB, timeout: 3s}\n"))
			r = p.Run("./tool.wasm", "grow")
			var got int
			if n, err := fmt.Sscanf(r.Stdout, "%d MiB\n", &got); n != 1 || r.Code != 0 || got < 32 || got >= 256 {
				t.Errorf("%v: %s", err, r)
			}
			if r := p.Run("./tool.wasm", "spin"); r.Code != 143 {
				t.Errorf("a loop without end: %s", r)
			}

			// What is no module is not run.
			for command, code := range map[string]int{"./script": 126, "./none.wasm": 127, "/bin/true": 126} {
				if r := p.Run(command); r.Code != code || r.Stdout != "" {
					t.Errorf("%s: %s", command, r)
				}
			}
		})
	}
}

// The examples of docs/tiers.md are built as it says, and do what it says.
func TestWASMExamples(t *testing.T) {
	if world.Bare() {
		t.Skip("no module runs without a pen")
	}
	if os.Getuid() != 0 {
		t.Skip("the go command of an ordinary user has no modules here: root's run has this test")
	}
	doc, err := os.ReadFile("../../docs/tiers.md")
	if err != nil {
		t.Fatal(err)
	}
	example := func(language string) string {
		_, rest, ok := strings.Cut(string(doc), "```"+language+"\n")
		code, _, end := strings.Cut(rest, "\n```\n")
		if !ok || !end {
			t.Fatalf("no example in %s", language)
		}
		return code + "\n"
	}
	dir := t.TempDir()
	build := func(env []string, argv ...string) {
		t.Helper()
		cmd := exec.Command(world.Tool(t, argv[0]), argv[1:]...)
		cmd.Env = append(os.Environ(), env...)
		if b, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, b)
		}
	}
	for name, text := range map[string]string{"tool.c": example("c"), "tool.go": example("go")} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	build(nil, "clang-14", "--target=wasm32-wasi", "-I", "../../agent/wasm/guest", "-o", filepath.Join(dir, "c.wasm"), filepath.Join(dir, "tool.c"))
	build([]string{"GOOS=wasip1", "GOARCH=wasm"}, "go", "build", "-o", filepath.Join(dir, "go.wasm"), filepath.Join(dir, "tool.go"))
	w := world.New(t)
	p := world.NewPen(t, w)
	w.HTTPS("api.example.com", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "models at "+r.URL.Path) }))
	p.Allow, p.Flags = []string{"{host: api.example.com}"}, []string{"--sandbox", "wasm"}
	for _, name := range []string{"c.wasm", "go.wasm"} {
		code, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		p.Home.Write(t, "project/"+name, string(code))
		p.Home.Write(t, "project/"+name+".json", example("json"))
		p.Home.Write(t, "project/data/x", "")
		p.Home.Write(t, "project/out/x", "")
		p.Home.Own(t)
		p.Opts.Dir = filepath.Join(p.Home.Path, "project")
		// What the first session compiled serves the second.
		for range 2 {
			if r := p.Run("./"+name, "7"); r.Stdout != "models at /v1/models" || r.Code != 0 {
				t.Errorf("%s: %s", name, r)
			}
		}
		if r := p.Run("./"+name, "seven"); r.Code != 125 || r.Stdout != "" || !strings.Contains(r.Stderr, `argument 1 (count) is "seven": give an integer`) {
			t.Errorf("%s: %s", name, r)
		}
	}
	cached, err := filepath.Glob(filepath.Join(p.Home.Path, ".cache/penstock/wasm/*/*/*"))
	if err != nil || len(cached) != 2 {
		t.Errorf("%d modules are kept: %v %v", len(cached), cached, err)
	}
}
