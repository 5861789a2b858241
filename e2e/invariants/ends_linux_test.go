package invariants

import (
	"encoding/json"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/penstock/penstock/e2e/invariants/host"
	"github.com/penstock/penstock/internal/world"
)

// held starts a session that has made a request and waits, and returns its id and
// its command's process.
func held(t *testing.T, c *host.Caller) (s *host.Session, id string, command int) {
	t.Helper()
	old := map[string]bool{}
	for _, name := range c.Sessions() {
		old[name] = true
	}
	s = c.StartTool(nil, "hold")
	s.Expect("holding")
	s.Input().Write([]byte("fetch http://good.example.com/\n"))
	s.Expect("fetched all")
	for _, name := range c.Sessions() {
		if !old[name] {
			id = name
		}
	}
	if id == "" {
		t.Fatal("the session is not recorded")
	}
	return s, id, s.Role(host.Command)
}

// state is what penstock audit verify says of one session.
func state(t *testing.T, c *host.Caller, id string) string {
	t.Helper()
	r := c.Other("audit", "verify", "--json")
	var report struct {
		Sessions []struct{ File, State string }
	}
	if err := json.Unmarshal([]byte(r.Stdout), &report); err != nil {
		t.Fatalf("%v\n%s", err, r)
	}
	for _, s := range report.Sessions {
		if strings.Contains(s.File, id) {
			return s.State
		}
	}
	t.Fatalf("session %s is not in the report\n%s", id, r)
	return ""
}

// TestEnds: however a session ends, its exit code, its record and its processes
// are what they should be, and the same with a privileged supervisor as without,
// but for who writes the last record: there it is written when the client is gone
// as well.
func TestEnds(t *testing.T) {
	host.ForUsers(t, func(t *testing.T, c *host.Caller) {
		c.World.HTTP("good.example.com", text("good"))
		c.Rules = []string{"{host: good.example.com}"}
		sup := c.Home.Supervisor()
		for _, e := range []struct {
			name   string
			do     func(s *host.Session, id string)
			code   int
			state  string
			reason string // of the last record, if there is one
			only   bool   // under the privileged supervisor
		}{
			{name: "by itself", do: func(s *host.Session, _ string) { s.Wait() }, code: 0, state: "ok", reason: "exit"},
			{name: "penstock kill", do: func(_ *host.Session, id string) {
				if r := c.Other("kill", id); r.Code != 0 {
					t.Error(r)
				}
			}, code: 137, state: "ok", reason: "ended by penstock kill"},
			{name: "SIGKILL of the client", do: func(s *host.Session, _ string) { kill(t, s.PID(), syscall.SIGKILL) }, code: 137, state: endOfClient(sup), reason: "the caller is gone"},
			{name: "SIGKILL of the proxy", do: func(s *host.Session, _ string) { kill(t, s.Role(host.Proxy), syscall.SIGKILL) }, code: 125, state: endOfProxy(sup), reason: "failed: "},
			{name: "SIGKILL of the daemon", do: func(*host.Session, string) { sup.Kill(); sup.Start() }, code: 125, state: "unclosed", only: true},
			// A restart ends sessions, and closes them.
			{name: "SIGTERM of the daemon", do: func(*host.Session, string) { sup.Stop(); sup.Start() }, code: 125, state: "ok", reason: "the supervisor is stopping", only: true},
		} {
			if e.only && sup == nil {
				continue
			}
			t.Run(e.name, func(t *testing.T) {
				s, id, command := held(t, c)
				e.do(s, id)
				// Not by the end of its input, which Wait brings about.
				if !host.Soon(s.Over, host.Patience/3) {
					t.Error("the session does not end")
				}
				if code := s.Wait(); code != e.code {
					t.Errorf("exit %d, want %d\n%s", code, e.code, s.Err)
				}
				if !host.Soon(func() bool { _, alive := host.Alive(command); return !alive }, host.Patience/6) {
					t.Error("the command goes on")
				}
				// Where the client is gone it is a moment until the record is closed.
				var got string
				host.Soon(func() bool { got = state(t, c, id); return got == e.state }, 5*time.Second)
				if got != e.state {
					t.Errorf("the record is %s, want %s", got, e.state)
				}
				ends := host.Types(c.Records(id), "session_end")
				switch {
				case e.state != "ok":
					if len(ends) != 0 {
						t.Errorf("a last record: %v", ends)
					}
				case len(ends) != 1 || !strings.HasPrefix(ends[0].Text("reason"), e.reason):
					t.Errorf("last records %v, want one for %q", ends, e.reason)
				}
				if r := c.Run(nil, "/bin/echo", "still works"); r.Code != 0 || r.Stdout != "still works\n" {
					t.Errorf("the next session\n%s", r)
				}
			})
		}
	})
}

// endOfClient: without a privileged supervisor nobody is left to write the end.
func endOfClient(s *world.Supervisor) string {
	if s != nil {
		return "ok"
	}
	return "unclosed"
}

// endOfProxy: the client can write it in the proxy's place; under a privileged
// supervisor nobody but the proxy may write to the record.
func endOfProxy(s *world.Supervisor) string {
	if s != nil {
		return "unclosed"
	}
	return "ok"
}
