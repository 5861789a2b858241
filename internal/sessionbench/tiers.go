package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
)

// guest is a module in Go, of more than 2 MB.
const guest = `package main

import "fmt"

func main() { fmt.Print("up") }
`

// tiers measures the other tiers beside a pen of the tier bwrap.
func (b *bench) tiers(n int) ([]row, error) {
	module, size, err := b.module()
	if err != nil {
		return nil, err
	}
	gvisor, wasm := b.in("gvisor"), b.in("wasm")
	rows := []row{{What: "run --sandbox gvisor -- true, beside bwrap's", Unit: "ms", Met: true}, {What: fmt.Sprintf("run --sandbox wasm, a cached guest of %.1f MB", size), Reach: "under 100 ms", Unit: "ms"}}
	var pens, kernels, modules []float64
	for i := range n + 2 { // the first two warm the caches, and compile the module
		for _, side := range []struct {
			cmd *exec.Cmd
			to  *[]float64
		}{{b.penstock("true"), &pens}, {gvisor.penstock("true"), &kernels}, {wasm.penstock(module), &modules}} {
			took, err := wall(side.cmd)
			if err != nil {
				return nil, err
			}
			if i >= 2 {
				*side.to = append(*side.to, took)
			}
		}
	}
	rows[0].Ours, rows[0].Ref = median(kernels), median(pens)
	rows[0].Ratio = rows[0].Ours / rows[0].Ref
	rows[1].Ours, rows[1].Ref = median(modules), rows[0].Ref
	rows[1].Ratio, rows[1].Met = rows[1].Ours/rows[1].Ref, rows[1].Ours < 100
	inGvisor, err := gvisor.further(n)
	if err != nil {
		return nil, err
	}
	inPen, err := b.further(n)
	if err != nil {
		return nil, err
	}
	further := []row{
		{What: "exec -- true in a running gvisor session, beside run", Ours: inGvisor, Ref: rows[0].Ours, Reach: "under 50 ms", Unit: "ms", Met: inGvisor < 50},
		{What: "exec -- true in a running bwrap session, beside run", Ours: inPen, Ref: rows[0].Ref, Unit: "ms", Met: true},
	}
	for i := range further {
		further[i].Ratio = further[i].Ours / further[i].Ref
	}
	down, err := b.down(5)
	return append(append(rows, further...), down), err
}

// further is what a second command in a running session takes, in ms.
func (b *bench) further(n int) (float64, error) {
	session := b.penstock("sh", "-c", "echo up; read x")
	in, err := session.StdinPipe()
	if err != nil {
		return 0, err
	}
	out, err := session.StdoutPipe()
	if err != nil {
		return 0, err
	}
	if err := session.Start(); err != nil {
		return 0, err
	}
	defer session.Wait() //nolint:errcheck // it ends with its input
	defer in.Close()
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		return 0, fmt.Errorf("start a session: %q: %w", line, err)
	}
	var took []float64
	for i := range n + 2 {
		cmd := exec.Command(b.self, "exec", "--", "true")
		cmd.Dir, cmd.Env, cmd.SysProcAttr = session.Dir, session.Env, b.caller
		ms, err := wall(cmd)
		if err != nil {
			return 0, err
		}
		if i >= 2 { // the first two warm the caches
			took = append(took, ms)
		}
	}
	return median(took), nil
}

// in is the same in another tier.
func (b *bench) in(tier string) *bench {
	other := *b
	other.flags = slices.Concat(b.flags, []string{"--sandbox", tier})
	return &other
}

// module builds the guest and returns its path and its size in MB.
func (b *bench) module() (path string, size float64, err error) {
	path = filepath.Join(b.work, "guest.wasm")
	source := filepath.Join(b.home, "guest.go")
	if err := os.WriteFile(source, []byte(guest), 0o644); err != nil {
		return "", 0, err
	}
	cmd := exec.Command("go", "build", "-trimpath", "-o", path, source)
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", 0, fmt.Errorf("build the guest: %w: %s", err, out)
	}
	st, err := os.Stat(path)
	if err != nil {
		return "", 0, err
	}
	return path, float64(st.Size()) / 1e6, nil
}

// bulk is how much comes down at once, in bytes.
const bulk = 200 << 20

// down is what curl gets from the host's loopback through the proxy, in MB/s, in the
// tier gvisor and in the tier bwrap in turn.
func (b *bench) down(n int) (row, error) {
	r := row{What: "HTTP through the proxy, 200 MB down in gvisor", Unit: "MB/s", Met: true}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return r, err
	}
	defer l.Close()
	zeros := make([]byte, 1<<20)
	go http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for range bulk / len(zeros) {
			if _, err := w.Write(zeros); err != nil {
				return
			}
		}
	})) //nolint:errcheck // it ends with the listener
	origin := "host.penstock.internal:" + strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
	var speeds [2][]float64
	for range n {
		for i, tier := range []string{"gvisor", "bwrap"} {
			side := b.in(tier)
			side.flags = append(side.flags, "--allow", origin)
			cmd := side.penstock("curl", "-sS", "--fail", "-o", "/dev/null", "-w", "%{speed_download} %{size_download}", "http://"+origin+"/")
			out, err := cmd.Output()
			if err != nil {
				var exit *exec.ExitError
				if errors.As(err, &exit) {
					err = fmt.Errorf("%w: %s", err, exit.Stderr)
				}
				return r, fmt.Errorf("get in tier %s: %w", tier, err)
			}
			var speed, size float64
			if _, err := fmt.Sscan(string(out), &speed, &size); err != nil || size != bulk {
				return r, fmt.Errorf("get in tier %s: %q: %w", tier, out, io.ErrUnexpectedEOF)
			}
			speeds[i] = append(speeds[i], speed/1e6)
		}
	}
	r.Ours, r.Ref = median(speeds[0]), median(speeds[1])
	r.Ratio = r.Ours / r.Ref
	return r, nil
}
