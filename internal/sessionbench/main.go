// Command sessionbench measures what a pen costs to have: the start of one, a
// hundred at once, and the memory of fifty, each beside bare bubblewrap in the
// same run, and the other tiers beside the tier bwrap.
//
// Its hazard is a flattering figure: both sides are run in turn, the medians
// are compared, and a session that fails fails the benchmark. Nothing imports
// it; `make bench` runs it.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

func main() {
	penstock := flag.String("penstock", "bin/penstock", "penstock `binary` to measure")
	runs := flag.Int("runs", 31, "starts of each command")
	sessions := flag.Int("sessions", 100, "sessions at once")
	resident := flag.Int("resident", 50, "sessions at once for the memory figure")
	idle := flag.Int("idle", 200, "supervised sessions at once for their memory figure")
	asJSON := flag.Bool("json", false, "print JSON")
	flag.Parse()
	if err := measure(*penstock, *runs, *sessions, *resident, *idle, *asJSON, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "sessionbench:", err)
		os.Exit(1)
	}
}

// row is one line of the table.
type row struct {
	What  string  `json:"what"`
	Ours  float64 `json:"ours"`
	Ref   float64 `json:"reference,omitempty"`
	Ratio float64 `json:"ratio,omitempty"`
	Reach string  `json:"reach"`
	Unit  string  `json:"unit"`
	Met   bool    `json:"met"`
}

var bwrapArgs = []string{"--unshare-all", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--die-with-parent"}

func measure(penstock string, runs, sessions, resident, idle int, asJSON bool, w io.Writer) error {
	self, err := filepath.Abs(penstock)
	if err != nil {
		return err
	}
	home, err := os.MkdirTemp("", "sessionbench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(home)
	work := filepath.Join(home, "work")
	if err := os.Mkdir(work, 0o755); err != nil {
		return err
	}
	b := &bench{self: self, home: home, work: work, flags: []string{"--rootless"}}
	var rows []row
	ours, ref, err := b.starts(runs)
	if err != nil {
		return err
	}
	rows = append(rows, row{"run -- true, warm, median wall", ours, ref, ours / ref, "at most 4.5 times bwrap", "ms", ours/ref <= 4.5})
	ours, ref, err = b.crowd(sessions)
	if err != nil {
		return err
	}
	rows = append(rows, row{fmt.Sprintf("%d sessions at once, last one up", sessions), ours, ref, ours / ref, "at most 5 times bwrap, none fails", "ms", ours/ref <= 5})
	if os.Geteuid() == 0 {
		pss, err := b.memory(resident)
		if err != nil {
			return err
		}
		rows = append(rows, row{fmt.Sprintf("PSS of all our processes per session, %d at once", resident), pss, 0, 0, "at most 12 MB", "MB", pss <= 12})
	} else {
		fmt.Fprintln(os.Stderr, "sessionbench: memory and the privileged supervisor are not measured: that needs root")
	}
	more, err := b.tiers(runs)
	if err != nil {
		return err
	}
	rows = append(rows, more...)
	if os.Geteuid() == 0 {
		more, err := b.supervised(runs, idle)
		if err != nil {
			return err
		}
		rows = append(rows, more...)
	}
	if asJSON {
		return json.NewEncoder(w).Encode(rows)
	}
	for _, r := range rows {
		met := "met"
		if !r.Met {
			met = "MISSED"
		}
		fmt.Fprintf(w, "%-52s %8.1f %s", r.What, r.Ours, r.Unit)
		if r.Ref > 0 {
			fmt.Fprintf(w, "  reference %8.1f %s  ratio %5.2f", r.Ref, r.Unit, r.Ratio)
		}
		if r.Reach == "" {
			fmt.Fprintln(w)
			continue
		}
		fmt.Fprintf(w, "  (%s: %s)\n", r.Reach, met)
	}
	return nil
}

type bench struct {
	self, home, work string
	flags            []string // of penstock run
	caller           *syscall.SysProcAttr
}

func (b *bench) penstock(command ...string) *exec.Cmd {
	cmd := exec.Command(b.self, slices.Concat([]string{"run", "--quiet"}, b.flags, []string{"--"}, command)...)
	cmd.Dir, cmd.SysProcAttr = b.work, b.caller
	cmd.Env = []string{"HOME=" + b.home, "PATH=" + os.Getenv("PATH"), "USER=" + os.Getenv("USER")}
	return cmd
}

func (b *bench) bwrap(command ...string) *exec.Cmd {
	cmd := exec.Command("bwrap", append(slices.Clone(bwrapArgs), command...)...)
	cmd.Dir = b.work
	return cmd
}

// starts times single runs of true, in turn, and returns the medians in ms.
func (b *bench) starts(n int) (ours, ref float64, err error) {
	var a, r []float64
	for i := range n + 2 {
		x, err := wall(b.penstock("true"))
		if err != nil {
			return 0, 0, err
		}
		y, err := wall(b.bwrap("true"))
		if err != nil {
			return 0, 0, err
		}
		if i >= 2 { // the first two warm the caches
			a, r = append(a, x), append(r, y)
		}
	}
	return median(a), median(r), nil
}

func wall(cmd *exec.Cmd) (float64, error) {
	var stderr strings.Builder
	cmd.Stderr = &stderr
	start := time.Now()
	if err := cmd.Run(); err != nil {
		return 0, fmt.Errorf("%s: %w: %s", filepath.Base(cmd.Path), err, stderr.String())
	}
	return float64(time.Since(start).Microseconds()) / 1000, nil
}

func median(v []float64) float64 {
	slices.Sort(v)
	return v[len(v)/2]
}

// crowd starts n sessions at once and returns when the last one's command ran.
func (b *bench) crowd(n int) (ours, ref float64, err error) {
	command := []string{"sh", "-c", "echo up; exec sleep 5"}
	ref, err = lastUp(n, func() *exec.Cmd { return b.bwrap(command...) }, nil)
	if err != nil {
		return 0, 0, err
	}
	ours, err = lastUp(n, func() *exec.Cmd { return b.penstock(command...) }, nil)
	return ours, ref, err
}

// lastUp starts n commands, calls up when all of them have printed a line, and
// waits for their end; any failure is an error.
func lastUp(n int, command func() *exec.Cmd, up func([]*exec.Cmd) error) (float64, error) {
	cmds := make([]*exec.Cmd, n)
	lines := make(chan error, n)
	var ends sync.WaitGroup
	errs := make(chan error, n)
	start := time.Now()
	for i := range cmds {
		cmd := command()
		var stderr strings.Builder
		cmd.Stderr = &stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			return 0, err
		}
		if err := cmd.Start(); err != nil {
			return 0, err
		}
		cmds[i] = cmd
		ends.Go(func() {
			r := bufio.NewReader(out)
			_, err := r.ReadString('\n')
			lines <- err
			io.Copy(io.Discard, r)
			if err := cmd.Wait(); err != nil {
				errs <- fmt.Errorf("session failed: %w: %s", err, stderr.String())
			}
		})
	}
	var first error
	for range cmds {
		if err := <-lines; err != nil && first == nil {
			first = fmt.Errorf("session never came up: %w", err)
		}
	}
	took := float64(time.Since(start).Microseconds()) / 1000
	if first == nil && up != nil {
		first = up(cmds)
	}
	ends.Wait()
	close(errs)
	for err := range errs {
		return 0, err
	}
	return took, first
}

// memory returns the PSS of all penstock processes per session in MB.
func (b *bench) memory(n int) (float64, error) {
	var total float64
	_, err := lastUp(n, func() *exec.Cmd { return b.penstock("sh", "-c", "echo up; exec sleep 5") }, func(cmds []*exec.Cmd) error {
		roots := map[int]bool{}
		for _, c := range cmds {
			roots[c.Process.Pid] = true
		}
		kb, err := pssOf(roots)
		total = kb / 1024
		return err
	})
	return total / float64(n), err
}

// pssOf sums the proportional set size, in kB, of the processes and all their
// descendants but the sleeping command itself.
func pssOf(roots map[int]bool) (float64, error) {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return 0, err
	}
	parent := map[int]int{}
	name := map[int]string{}
	for _, d := range dirs {
		pid, _ := strconv.Atoi(filepath.Base(d))
		stat, err := os.ReadFile(d + "/stat")
		if err != nil {
			continue
		}
		_, rest, _ := strings.Cut(string(stat), ") ")
		if f := strings.Fields(rest); len(f) > 1 {
			parent[pid], _ = strconv.Atoi(f[1])
		}
		comm, _ := os.ReadFile(d + "/comm")
		name[pid] = strings.TrimSpace(string(comm))
	}
	var sum float64
	for pid := range parent {
		ours := false
		for p := pid; p > 1; p = parent[p] {
			if roots[p] {
				ours = true
				break
			}
		}
		if !ours || name[pid] == "sleep" {
			continue
		}
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
		if err != nil {
			return 0, fmt.Errorf("memory of %s: %w", name[pid], err)
		}
		for line := range strings.SplitSeq(string(b), "\n") {
			if f := strings.Fields(line); len(f) >= 2 && f[0] == "Pss:" {
				kb, _ := strconv.ParseFloat(f[1], 64)
				sum += kb
			}
		}
	}
	return sum, nil
}
