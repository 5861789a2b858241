package invariants

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/penstock/penstock/e2e/invariants/host"
)

// TestInvariant10CleanHost: after a session, however it ended, the host is what
// it was. (Package kill repeats the SIGKILLs at random moments.)
func TestInvariant10CleanHost(t *testing.T) {
	host.ForUsers(t, func(t *testing.T, c *host.Caller) {
		c.World.HTTP("good.example.com", text("good"))
		c.Rules = []string{"{host: good.example.com}"}
		fetch := host.ToolCommand("fetch", "http://good.example.com/", "http://evil.example.com/")
		if r := c.Run(nil, fetch...); r.Code != 0 { // authority, bundle, directories
			t.Fatal(r)
		}
		// What is meant to stay: records, and the state of sessions that is told apart
		// by name.
		kept := c.AuditDir()
		before := host.Settled(t, kept)
		state := names(t, c.Home.Path)

		t.Run("at once after its end", func(t *testing.T) {
			for _, argv := range [][]string{fetch, {"/bin/sh", "-c", "(setsid sleep 1000 &) ; exit 3"}, {"/bin/sh", "-c", "kill -9 $$"}, {"/nonexistent"}} {
				c.Run(nil, argv...)
				if running, _ := host.Left(); len(running) != 0 {
					t.Errorf("%q: still running when the session had ended: %v", argv, running)
				}
				if diff := host.Diff(before.AtOnce(), host.Take(t, kept).AtOnce()); diff != "" {
					t.Errorf("%q: not as it was before:\n%s", argv, diff)
				}
			}
		})
		t.Run("not begun", func(t *testing.T) {
			for _, flags := range [][]string{{"--sandbox", "gvisor"}, {"--publish", "192.0.2.250:80"}, {"--policy", "/nonexistent"}, {"--dry-run"}} {
				c.Run(flags, "/bin/true")
				host.Clean(t, before, kept)
			}
		})
		for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT} {
			s := c.StartTool(nil, "hold")
			s.Expect("holding")
			kill(t, s.PID(), sig)
			s.Wait()
			host.Clean(t, before, kept)
		}
		for _, r := range []host.Role{"supervisor", host.Proxy, host.Janitor, host.Outer, host.Init, host.Command} {
			t.Run("SIGKILL of "+string(r), func(t *testing.T) {
				s := c.StartTool([]string{"--publish", "0:3000"}, "hold")
				s.Expect("holding")
				pid := s.PID()
				if r != "supervisor" {
					pid = s.Role(r)
				}
				id := number(t, s.Role(host.Command))
				if !strings.Contains(strings.Join(host.Take(t, kept), "\n"), fmt.Sprintf("namespace %d\n", id)) {
					t.Error("the pen's network namespace is not seen: the search finds nothing")
				}
				kill(t, pid, syscall.SIGKILL)
				if r == host.Janitor {
					fmt.Fprintln(s.Input(), "fetch http://good.example.com/")
					s.Expect("fetched all")
				}
				s.Wait()
				host.Clean(t, before, kept)
			})
		}
		if now := names(t, c.Home.Path); now != state {
			t.Errorf("in the home before:\n%s\nand after:\n%s", state, now)
		}
		if len(host.Take(t, kept)) < 10 {
			t.Error("the snapshot is empty")
		}
		if r := c.Other("audit", "verify"); strings.Contains(r.Stdout, "tampered with\n") && !strings.Contains(r.Stdout, " 0 tampered with") {
			t.Error(r)
		}
	})
}

// number makes the pen's network namespace one that this namespace counts, so
// that its end can be seen, whoever else may hold it.
func number(t *testing.T, pid int) int {
	t.Helper()
	fd, err := unix.Open(fmt.Sprintf("/proc/%d/ns/net", pid), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	const id = 4711
	if err := netlink.SetNetNsIdByFd(fd, id); err != nil {
		t.Fatal(err)
	}
	return id
}

// names lists a home's files but records.
func names(t *testing.T, home string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(home, func(p string, d os.DirEntry, err error) error {
		if err == nil && !strings.Contains(p, "/penstock/audit/") {
			fmt.Fprintln(&b, strings.TrimPrefix(p, home))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}
