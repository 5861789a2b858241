package hookstest

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Documented starts the service in Python that docs/hooks.md below root shows, with the
// code that the command there generates, and returns where it listens.
func Documented(t *testing.T, root string) (address string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "docs", "hooks.md"))
	if err != nil {
		t.Fatal(err)
	}
	// Another python3 that comes first in PATH has not the packages of the distribution.
	const debian = "/usr/bin/python3"
	const command, listens = "protoc -I docs/schema --python_out=. penstock/hook/v1/hook.proto", `server.add_insecure_port("127.0.0.1:9192")`
	_, after, _ := strings.Cut(string(text), "\n## Services in Penstock's own protocol\n")
	_, program, _ := strings.Cut(after, "```python\n")
	program, _, ok := strings.Cut(program, "```\n")
	if !ok || !strings.Contains(after, "\n"+command+"\n") || !strings.Contains(program, listens) {
		t.Fatalf("no program in hooks.md, no %s or no %s", command, listens)
	}
	for _, need := range [][]string{{"protoc", "--version"}, {debian, "-c", "import grpc, google.protobuf"}} {
		if out, err := exec.Command(need[0], need[1:]...).CombinedOutput(); err != nil {
			if os.Getenv("CI") == "true" {
				t.Fatalf("%v: %s", err, out)
			}
			t.Skip("protobuf-compiler, python3-grpcio or python3-protobuf is missing: run .ci/install")
		}
	}
	dir := t.TempDir()
	generate := exec.Command("protoc", strings.Fields(command)[1:]...)
	generate.Args[2], generate.Args[3] = filepath.Join(root, "docs", "schema"), "--python_out="+dir
	if out, err := generate.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	// Any port, which it says.
	program = strings.Replace(program, listens, `print(server.add_insecure_port("127.0.0.1:0"), flush=True)`, 1)
	cmd := exec.Command(debian, "-c", program)
	cmd.Dir, cmd.Stderr = dir, os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() }) //nolint:errcheck // it is killed
	port, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return "127.0.0.1:" + strings.TrimSpace(port)
}
