package kill

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/penstock/penstock/e2e/invariants/host"
	"github.com/penstock/penstock/internal/world"
)

// TestKillAllAtOnce: with every process of a session killed at once nobody is
// left to remove its placeholders, sometimes not even the privileged supervisor.
// Nothing else stays, nothing gets out, and the next session in that project
// removes them.
func TestKillAllAtOnce(t *testing.T) {
	const n = 12
	for name, o := range world.Users() {
		t.Run(name, func(t *testing.T) {
			c := newCampaign(t, world.New(t), o)
			before := host.Settled(t, c.kept()...)
			for i := range n {
				id := fmt.Sprintf("all-%d", i)
				s := c.start(id)
				if i%2 == 1 {
					s.Expect("first round over")
				} else {
					<-time.After(beginning * time.Duration(i) / n) // the stimulus
				}
				// The proxy of a supervised session is the daemon's child.
				proxy := 0
				if o.Supervised {
					proxy = host.Find(s.PID(), host.Proxy)
				}
				all := frozen(s.PID())
				if proxy != 0 {
					all = append(all, proxy)
				}
				for _, pid := range all {
					syscall.Kill(pid, syscall.SIGKILL)
				}
				if sup := c.Home.Supervisor(); sup != nil && i%3 == 2 {
					sup.Kill() // and its successor finds what is left of all of them
					s.Wait()
					sup.Start()
				}
				s.Wait()
				host.Clean(t, before, c.kept()...)
				dir := filepath.Join(c.Home.Path, "projects", id)
				if r := c.Run([]string{"--policy", c.policy, "--workdir", dir}, "/bin/true"); r.Code != 0 {
					t.Errorf("the next session\n%s", r)
				}
				if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
					t.Errorf("left after the next session: %v, %v", left, err)
				}
			}
			onlyAllowedLeft(t, c)
			auditHonest(t, c)
		})
	}
}

// frozen stops a process and all below it, and returns them: one that is stopped
// forks no other, which the list would lack and which would then live on.
func frozen(root int) []int {
	stopped := []int{root}
	syscall.Kill(root, syscall.SIGSTOP)
	for more := true; more; {
		more = false
		for _, p := range host.Descendants(root) {
			if !slices.Contains(stopped, p.PID) {
				syscall.Kill(p.PID, syscall.SIGSTOP)
				stopped, more = append(stopped, p.PID), true
			}
		}
	}
	return stopped
}
