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

// companions are the programs of tiers, each made at most once.
var companions sync.Map // by name: *companion

type companion struct {
	once sync.Once
	err  error
}

// Gvisor puts the program of the tier gvisor beside the penstock binary: the one
// that is beside PENSTOCK_BIN, else one that is built.
func Gvisor(t testing.TB) { beside(t, "penstock-gvisor", ".") }

// Microvm does the same for the tier microvm, and misses what else a machine is made of.
// It returns what to set in the environment of a penstock: images are made once for all
// homes of a user.
func Microvm(t testing.TB, h *Home) []string {
	t.Helper()
	beside(t, "penstock-microvm", "./microvm")
	Tool(t, "qemu-system-x86_64")
	if list, _ := filepath.Glob("/boot/vmlinuz-*"); len(list) == 0 {
		Missing(t, "a kernel", "run .ci/install")
	}
	// Beside the binary only root may write.
	base := rigDir()
	if os.Getuid() != 0 {
		cache, err := os.UserCacheDir()
		if err != nil {
			t.Fatal(err)
		}
		base = cache
	}
	dir := filepath.Join(base, fmt.Sprintf("penstock-machine-%d", h.uid))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(dir, h.uid, h.uid); err != nil && os.Getuid() == 0 {
		t.Fatal(err)
	}
	return []string{"XDG_CACHE_HOME=" + dir}
}

func beside(t testing.TB, name, pkg string) {
	t.Helper()
	beside := filepath.Join(filepath.Dir(Penstock(t)), name)
	made, _ := companions.LoadOrStore(name, &companion{})
	b, _ := made.(*companion)
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
		_, b.err = buildGo(filepath.Dir(beside), name, pkg, "-C", filepath.Join(strings.TrimSpace(string(out)), "gvisor"))
	})
	if b.err != nil {
		t.Fatal(b.err)
	}
}
