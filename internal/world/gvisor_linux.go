package world

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

var gvisorBinary struct {
	once sync.Once
	err  error
}

// Gvisor puts the program of the tier gvisor beside the penstock binary: the one
// that is beside PENSTOCK_BIN, else one that is built.
func Gvisor(t testing.TB) {
	t.Helper()
	const name = "penstock-gvisor"
	beside := filepath.Join(filepath.Dir(Penstock(t)), name)
	b := &gvisorBinary
	b.once.Do(func() {
		if p := os.Getenv("PENSTOCK_BIN"); p != "" {
			from := filepath.Join(filepath.Dir(p), name)
			if _, err := os.Stat(from); err != nil {
				Missing(t, name, "run make gvisor")
			}
			if from != beside {
				b.err = copyProgram(beside, from)
			}
			return
		}
		out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/penstock/penstock").Output()
		if err != nil {
			b.err = fmt.Errorf("find the module: %w", err)
			return
		}
		_, b.err = buildGo(filepath.Dir(beside), name, ".", "-C", filepath.Join(strings.TrimSpace(string(out)), "gvisor"))
	})
	if b.err != nil {
		t.Fatal(b.err)
	}
}
