package daemon

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/penstock/penstock/sandbox/netns"
	"github.com/penstock/penstock/supervisor/daemonctl"
)

// BenchmarkPens builds fifty pens at once, each up to where a tool could be
// started in it: its network with listeners, its control group with the programs
// and the steering, and its proxy. The figure is the wall's, to the last one.
func BenchmarkPens(b *testing.B) {
	const pens = 50
	pins := filepath.Join("/sys/fs/bpf", "penstock-bench-"+strconv.Itoa(os.Getpid()))
	s := serve(b, func(c *Config) {
		c.Settings.Proxies.Idle, c.Settings.Proxies.FirstUID = pens, 2_000_600_000
		var err error
		if c.Programs, err = mountAndLoad(pins, c.Groups); err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { c.Programs.Close() })
	})
	// The role as it is installed, without what a test binary initialises.
	self := filepath.Join(b.TempDir(), "penstock")
	build := exec.Command("go", "build", "-buildvcs=false", "-o", self, "github.com/penstock/penstock/cmd/penstock")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	var took time.Duration
	for b.Loop() {
		b.StopTimer()
		filled(b, s, pens)
		b.StartTimer()
		begin := time.Now()
		var all sync.WaitGroup
		ends := make(chan func(), pens)
		for range pens {
			all.Go(func() {
				end, err := pen(s.socket, self)
				if err != nil {
					b.Error(err)
				}
				ends <- end
			})
		}
		all.Wait()
		took += time.Since(begin)
		b.StopTimer()
		close(ends)
		for end := range ends {
			end()
		}
		b.StartTimer()
	}
	b.ReportMetric(float64(took.Milliseconds())/float64(b.N), "ms/50-pens")
}

// filled waits until the pool has n proxies.
func filled(b *testing.B, s *service, n int) {
	s.pool.nudge()
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for range 6000 {
		<-look.C
		s.pool.mu.Lock()
		idle := len(s.pool.idle)
		s.pool.mu.Unlock()
		if idle >= n {
			return
		}
	}
	b.Fatal("the pool does not fill up")
}

// pen builds one, as penstock run does. end is never nil.
func pen(socket, self string) (end func(), err error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var undo []func()
	end = func() {
		for i := len(undo) - 1; i >= 0; i-- {
			undo[i]()
		}
	}
	client, err := daemonctl.Dial(ctx, socket)
	if err != nil {
		return end, err
	}
	undo = append(undo, func() { client.Close() })
	opened, control, audit, err := client.Open(ctx, request())
	if err != nil {
		return end, err
	}
	undo = append(undo, func() { control.Close(); audit.Close() })
	null, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
	if err != nil {
		return end, err
	}
	defer null.Close()
	if opened.Steering != daemonctl.SteeringBPF {
		return end, errors.New("no eBPF here")
	}
	building, err := netns.Prepare(self, [3]*os.File{null, null, null}, netns.Options{Steered: true})
	if err != nil {
		return end, err
	}
	undo = append(undo, func() { building.Close() })
	f, err := pidfd(building.Process().Pid)
	if err != nil {
		return end, err
	}
	defer f.Close()
	if err := client.Join(ctx, f); err != nil {
		return end, err
	}
	sockets, err := building.Sockets(ctx)
	if err != nil {
		return end, err
	}
	defer sockets.Close()
	ns, err := os.Open("/proc/" + strconv.Itoa(building.Process().Pid) + "/ns/net")
	if err != nil {
		return end, err
	}
	defer ns.Close()
	return end, client.Network(ctx, sockets.Files(), ns)
}
