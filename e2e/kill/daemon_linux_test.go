package kill

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/penstock/penstock/e2e/invariants/host"
	"github.com/penstock/penstock/internal/world"
)

// TestKillDaemon: the privileged supervisor is killed at random moments of the
// sessions of its user. They end, nothing gets out, and the next supervisor finds
// and leaves a clean host; no eBPF object of the dead one outlives its sweep.
func TestKillDaemon(t *testing.T) {
	o, ok := world.Users()["supervised"]
	if !ok {
		return // without root there is none
	}
	const together = 3
	c := newCampaign(t, world.New(t), o)
	daemon := c.Home.Supervisor()
	before := host.Settled(t, c.kept()...)
	rng := random(t)(100)
	objects, seen := host.BPF{}, map[string]int{}
	for i := range moments() {
		var sessions []*host.Session
		for n := range together {
			sessions = append(sessions, c.start(fmt.Sprintf("daemon-%d-%d", i, n)))
		}
		working := func() (n int) {
			for _, s := range sessions {
				if strings.Contains(s.Out.String(), "storm") {
					n++
				}
			}
			return n
		}
		window := beginning
		if i%2 == 1 {
			host.Soon(func() bool { return working() == together || sessions[0].Over() }, host.Patience)
			window = work
		}
		<-time.After(time.Duration(float64(window) * rng.Float64())) // the stimulus
		switch n := working(); n {
		case 0:
			seen["beginning"]++
		case together:
			seen["at work"]++
		default:
			seen["between"]++
		}
		maps.Copy(objects, host.HeldBPF(daemon.PID()))
		daemon.Kill()
		for _, s := range sessions {
			// One that had not begun yet has found nobody; none can have gone on.
			if code := s.Wait(); code != 125 {
				t.Errorf("exit %d after the daemon's death\n%s", code, s.Err)
			}
		}
		if running, _ := host.Left(); len(running) != 0 && !host.Soon(func() bool { running, _ = host.Left(); return len(running) == 0 }, host.Patience/6) {
			t.Errorf("still running after the daemon's death: %v", running)
		}
		// Either the janitor is let finish, or the next supervisor comes while it is at work.
		if i%3 == 2 && !host.Soon(func() bool { return len(daemon.Groups()) == 0 }, host.Patience/6) {
			t.Errorf("control groups are left after the daemon's death: %v", daemon.Groups())
		}
		daemon.Start()
		host.Clean(t, before, c.kept()...)
		if t.Failed() {
			break
		}
	}
	t.Logf("daemon killed: %v", seen)
	if seen["at work"] < moments()/3 || seen["beginning"]+seen["between"] < moments()/6 {
		t.Errorf("the daemon was met too rarely: %v", seen)
	}
	onlyAllowedLeft(t, c)
	projectsClean(t, c)
	auditHonest(t, c)
	if r := c.Run(nil, "/bin/echo", "still works"); r.Code != 0 || r.Stdout != "still works\n" {
		t.Errorf("a session after all of them\n%s", r)
	}
	maps.Copy(objects, host.HeldBPF(daemon.PID()))
	daemon.Stop()
	if _, err := os.Lstat(daemon.Socket); err == nil {
		t.Error("the socket is still there after the supervisor's end")
	}
	var left []string
	if !host.Soon(func() bool { left = objects.Existing(t); return len(left) == 0 }, host.Patience/6) {
		slices.Sort(left)
		t.Errorf("eBPF objects are left of %d: %v", len(objects), left)
	}
	if !host.Soon(func() bool { return len(daemon.Groups()) == 0 }, host.Patience/6) {
		t.Errorf("control groups are left: %v", daemon.Groups())
	}
	if pins := daemon.Pins(); len(pins) != 0 {
		t.Errorf("pins are left: %v", pins)
	}
	t.Logf("%d eBPF objects, none left", len(objects))
}
