package main

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/penstock/penstock/sandbox"
	"github.com/penstock/penstock/sandbox/enter"
	"github.com/penstock/penstock/sandbox/netns"
	"github.com/penstock/penstock/supervisor/janitor"
)

// The small roles end before the packages that they don't need are initialised:
// an import too many, in them or in what they use, would show here.
func TestRolesAreSmall(t *testing.T) {
	big := []string{"github.com/elazarl/goproxy", "github.com/tetratelabs/wazero/internal/engine/wazevo", "modernc.org/sqlite/lib", "net/http"}
	program := filepath.Join(realBinary(t), "penstock")
	initialised := func(args ...string) string {
		cmd := exec.Command(program, args...)
		cmd.Env = []string{"GODEBUG=inittrace=1"}
		out, _ := cmd.CombinedOutput() // a role that is started by hand fails
		return string(out)
	}
	for _, args := range [][]string{{netns.Role}, {netns.ConnectorRole}, {sandbox.ShimRole}, {janitor.Role}, {janitor.GroupsRole}, {enter.Role}} {
		out := initialised(args...)
		if !strings.Contains(out, "init os @") {
			t.Errorf("%s: no trace:\n%s", args, out)
		}
		for _, p := range big {
			if strings.Contains(out, "init "+p+" @") {
				t.Errorf("%s initialises %s", args, p)
			}
		}
		if strings.Contains(out, "unknown role") {
			t.Errorf("%s came as far as main", args)
		}
	}
	out := initialised("version")
	// It would make a BPF map in every process, and open descriptors that roles
	// think are theirs.
	if strings.Contains(out, "init github.com/cilium/ebpf/rlimit @") {
		t.Error("penstock initialises github.com/cilium/ebpf/rlimit")
	}
	for _, p := range big {
		if !strings.Contains(out, "init "+p+" @") {
			t.Errorf("penstock version does not initialise %s either: this test proves nothing", p)
		}
	}
}
