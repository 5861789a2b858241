//go:build !race

// The race detector multiplies what a process needs, and these tests are about that.

package netproxy

import (
	"context"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/penstock/penstock/audit"
	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/hooks/chain"
	"github.com/penstock/penstock/netproxy/ca"
)

// zeros is as many of them.
type zeros int64

func (z *zeros) Read(p []byte) (int, error) {
	if *z == 0 {
		return 0, io.EOF
	}
	n := min(int64(len(p)), int64(*z))
	clear(p[:n])
	*z -= zeros(n)
	return int(n), nil
}

// bodyCount is a hook that counts what it sees.
type bodyCount struct{ n atomic.Int64 }

func (h *bodyCount) Decide(_ context.Context, r *hooks.Request) (hooks.Decision, error) {
	h.n.Add(int64(len(r.Body.Data) - r.Body.Seen))
	return hooks.Decision{Action: hooks.Next}, nil
}

// peak returns the most memory that the process had at once, in bytes.
func peak(t *testing.T) int64 {
	t.Helper()
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, s, _ := strings.Cut(string(b), "VmHWM:")
	n, err := strconv.ParseInt(strings.Fields(s)[0], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n << 10
}

// TestBodyHookMemory: a gibibyte each way passes a hook, and the process, with the
// origin in it, grows by less than 64 MiB. It is one of its own: the collector lets
// garbage grow with what is alive, which here is what other tests have left.
func TestBodyHookMemory(t *testing.T) {
	curl := need(t, "curl")
	const own = "PENSTOCK_TEST_MEMORY"
	if os.Getenv(own) == "" {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestBodyHookMemory$", "-test.v", fmt.Sprintf("-test.short=%t", testing.Short()))
		cmd.Env = append(os.Environ(), own+"=1")
		out, err := cmd.CombinedOutput()
		if err != nil || strings.Count(string(out), "it grew by") != 2 {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	size := int64(1 << 30)
	if testing.Short() {
		size = 64 << 20
	}
	h := &bodyCount{}
	pn := newPen(t, someRules, hookAt(h.Decide, hooks.PointRequestBody, hooks.PointResponseBody), func(c *Config) {
		c.Hooks[0].Inspect, c.Hooks[0].Timeout = hooks.Inspect{Stream: true, Overlap: 100}, chain.MaxTimeout
	})
	pn.origin("api.test:443", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		if err != nil || r.Method == "PUT" && n != size {
			t.Errorf("%d bytes arrived: %v", n, err)
		}
		if r.Method == "GET" {
			z := zeros(size)
			io.Copy(w, &z) //nolint:errcheck // curl sees it
		}
	}))
	file := filepath.Join(t.TempDir(), "ca.pem")
	cert := pn.p.cfg.Leaves.(*ca.Authority).Certificate()
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	for version, args := range map[string][]string{"--http1.1": {"-T", "-"}, "--http2": {}} {
		debug.FreeOSMemory()
		if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil { // proc(5): resets the peak
			t.Fatal(err)
		}
		before := peak(t)
		cmd := exec.CommandContext(t.Context(), curl, append([]string{"-sS", "-x", "http://" + pn.explicit, "--cacert", file, "-o", "/dev/null", "-w", "%{http_code} %{size_download}", version, "https://api.test/"}, args...)...)
		z := zeros(size)
		cmd.Stdin, cmd.Env = &z, []string{}
		want := fmt.Sprintf("200 %d", size)
		if len(args) > 0 {
			want = "200 0"
		}
		if out, err := cmd.CombinedOutput(); err != nil || string(out) != want {
			t.Errorf("%s %v: %q %v", version, args, out, err)
		}
		if grown := peak(t) - before; grown > 64<<20 {
			t.Errorf("%s %v: it grew by %d MiB", version, args, grown>>20)
		} else {
			t.Logf("%s %v: it grew by %d MiB", version, args, grown>>20)
		}
	}
	closed := map[uint64]bool{}
	wait(t, pn.records, func(cl *audit.FlowClose) bool { closed[cl.Flow] = true; return len(closed) == 2 })
	if n := h.n.Load(); n != 2*size {
		t.Errorf("the hook saw %d bytes", n)
	}
}
