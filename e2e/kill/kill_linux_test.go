package kill

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/penstock/penstock/e2e/invariants/host"
	"github.com/penstock/penstock/internal/world"
)

const abreast = 6 // sessions at once

// moments is how often each role is killed.
func moments() int {
	if testing.Short() {
		return 10
	}
	return 50
}

// Half of the moments are spread over a session's beginning, half over its work.
const (
	beginning = 150 * time.Millisecond
	work      = 100 * time.Millisecond
)

// Supervisor is the process that penstock run itself is.
const supervisor host.Role = "supervisor"

// resolver is the internet's DNS server, see package world.
func resolver() netip.Addr { return netip.MustParseAddr("203.0.113.53") }

// campaign is what all sessions of a caller share.
type campaign struct {
	*host.Caller
	policy          string
	allowed, denied *world.Origin
	mu              sync.Mutex
	arrived         []string // paths of requests that the allowed origin got
}

func newCampaign(t *testing.T, w *world.World, o world.Options) *campaign {
	c := &campaign{Caller: host.NewCaller(t, w, o)}
	if s := c.Home.Supervisor(); s != nil {
		// More at once than people start.
		if err := os.WriteFile(s.Config, []byte("quota: {sessions: 64, connections: 512, rate: 1000}\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	c.allowed = w.HTTP("allowed.example.com", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.arrived = append(c.arrived, r.URL.Path)
	}))
	c.denied = w.HTTP("denied.example.com", http.NotFoundHandler())
	c.Rules = []string{"{host: allowed.example.com}"}
	// Written once: it must not look into projects while sessions tidy them.
	c.policy, c.NoPolicy = c.PolicyFile(), true
	if r := c.Run([]string{"--policy", c.policy}, "/bin/true"); r.Code != 0 {
		t.Fatal(r)
	}
	return c
}

// start starts a session in a project of its own.
func (c *campaign) start(id string) *host.Session {
	dir := filepath.Join(c.Home.Path, "projects", id)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		c.T.Fatal(err)
	}
	if uid := c.UID(); uid != os.Getuid() {
		if err := os.Chown(dir, uid, uid); err != nil {
			c.T.Fatal(err)
		}
	}
	args := c.RunArgs([]string{"--policy", c.policy, "--workdir", dir}, host.ToolCommand("storm", id, c.allowed.Name, c.denied.Name, c.denied.Addr.String()+":80")...)
	return c.StartCommand(c.Command(args...))
}

// random returns a generator and says how to have the same one again.
func random(t *testing.T) func(n uint64) *rand.Rand {
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("PENSTOCK_KILL_SEED"); s != "" {
		fmt.Sscan(s, &seed)
	}
	t.Logf("PENSTOCK_KILL_SEED=%d", seed)
	return func(n uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, n)) }
}

// kept are the directories where something is meant to stay.
func (c *campaign) kept() []string { return []string{c.Home.Path, c.AuditDir()} }

// TestKill: each role but the daemon, at fifty moments, as every kind of user.
func TestKill(t *testing.T) {
	roles := []host.Role{supervisor, host.Proxy, host.Janitor, host.Builder, host.Init, host.Shim}
	rng := random(t)
	users := world.Users()
	for name, o := range users {
		t.Run(name, func(t *testing.T) {
			w := world.New(t)
			c := newCampaign(t, w, o)
			before := host.Settled(t, c.kept()...)
			for i, r := range roles {
				t.Run(string(r), func(t *testing.T) {
					killAll(t, c, r, moments(), rng(uint64(i)))
					host.Clean(t, before, c.kept()...)
				})
			}
			onlyAllowedLeft(t, c)
			projectsClean(t, c)
			auditHonest(t, c)
			if r := c.Run(nil, "/bin/echo", "still works"); r.Code != 0 || r.Stdout != "still works\n" {
				t.Errorf("a session after all of them\n%s", r)
			}
		})
	}
}

// killAll runs n sessions, some at once, and kills the role in each at a moment
// of its own, spread over the window.
func killAll(t *testing.T, c *campaign, r host.Role, n int, rng *rand.Rand) {
	t.Helper()
	met := map[string]int{}
	var mu sync.Mutex
	var wait sync.WaitGroup
	slots := make(chan struct{}, abreast)
	for i := range n {
		at := moment{working: i%2 == 1}
		at.delay = beginning
		if at.working {
			at.delay = work
		}
		at.delay = time.Duration(float64(at.delay) * (float64(i) + rng.Float64()) / float64(n))
		slots <- struct{}{}
		s := c.start(fmt.Sprintf("%s-%d", r, i))
		wait.Go(func() {
			defer func() { <-slots }()
			phase := killOne(s, r, at)
			mu.Lock()
			defer mu.Unlock()
			met[phase]++
		})
	}
	wait.Wait()
	t.Logf("%s killed: %v", r, met)
	if met["missed"] > n/10 || met["at work"] < n/3 {
		t.Errorf("%s was met too rarely: %v", r, met)
	}
}

// moment is when to kill: after a delay from the start, or from the command's
// first sign of life.
type moment struct {
	working bool
	delay   time.Duration
}

// killOne kills the role of a session after the delay, or as soon as it is there,
// and returns when the session is over. It says what the session was doing.
func killOne(s *host.Session, r host.Role, at moment) string {
	working := func() bool { return strings.Contains(s.Out.String(), "storm") }
	if at.working {
		host.Soon(func() bool { return working() || s.Over() }, host.Patience)
	}
	<-time.After(at.delay) // the stimulus, not a wait for anything
	pid := 0
	find := func() bool {
		switch r {
		case supervisor:
			pid = s.PID()
		case host.Shim: // the command, once the shim has become it
			if pid = host.Find(s.PID(), host.Shim); pid == 0 {
				pid = host.Find(s.PID(), host.Command)
			}
		default:
			pid = host.Find(s.PID(), r)
		}
		if pid == 0 {
			return s.Over()
		}
		return true
	}
	phase := "missed"
	if host.Soon(find, host.Patience) && pid != 0 && !s.Over() {
		phase = "beginning"
		if working() {
			phase = "at work"
		}
		if syscall.Kill(pid, syscall.SIGKILL) != nil {
			phase = "missed"
		}
	}
	// Some ends are the session's own business; the janitor's death is none.
	if r == host.Janitor || phase == "missed" {
		host.Soon(func() bool { return strings.Contains(s.Out.String(), "first round over") || s.Over() }, host.Patience)
		syscall.Kill(s.PID(), syscall.SIGTERM)
	}
	s.Wait()
	return phase
}

// onlyAllowedLeft fails if anything arrived outside but connections to the
// allowed origin, questions for its name, and requests that stand in the audit.
func onlyAllowedLeft(t *testing.T, c *campaign) {
	t.Helper()
	for _, p := range c.World.Outside() {
		if p.Protocol == "icmp" && p.To.Addr() == resolver() {
			continue // the host's kernel, to an answer for a proxy that is no more
		}
		if a := p.To.Addr(); p.Protocol != "tcp" || p.To.Port() != 80 || a != c.allowed.Addr && a != c.allowed.Addr6 {
			t.Errorf("arrived outside: %s", p)
		}
	}
	for _, q := range c.World.Queries() {
		if q.Name != c.allowed.Name {
			t.Errorf("DNS was asked for %s", q.Name)
		}
	}
	recorded, all := map[string]bool{}, c.Records("")
	// Each process is described once, however many flows it has.
	seen := map[string]int{}
	for _, p := range host.Types(all, "process") {
		seen[p.Text("session")]++
	}
	for session, n := range seen {
		if n > 40 {
			t.Errorf("session %s has %d records of processes", session, n)
		}
	}
	for _, f := range host.Flows(all, c.allowed.Name) {
		if f.Text("verdict") == "allow" {
			recorded[f.Text("path")] = true
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.arrived {
		if !recorded[p] {
			t.Errorf("%s arrived and is not recorded", p)
		}
	}
	if len(c.arrived) == 0 {
		t.Error("nothing arrived at all: the sessions did nothing")
	}
	t.Logf("%d requests arrived, each recorded", len(c.arrived))
}

// projectsClean fails if a session has left anything in its project.
func projectsClean(t *testing.T, c *campaign) {
	t.Helper()
	var left []string
	dirs, _ := os.ReadDir(filepath.Join(c.Home.Path, "projects"))
	for _, d := range dirs {
		entries, err := os.ReadDir(filepath.Join(c.Home.Path, "projects", d.Name()))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			left = append(left, filepath.Join(d.Name(), e.Name()))
		}
	}
	if len(left) != 0 {
		t.Errorf("left in the projects: %v", left)
	}
}

// auditHonest fails unless every session's file is whole or has an end that was
// not recorded; nothing in it may be changed, forged or out of order.
func auditHonest(t *testing.T, c *campaign) {
	t.Helper()
	r := c.Other("audit", "verify", "--json")
	var report struct {
		Ledger   result
		Sessions []result
	}
	if err := json.Unmarshal([]byte(r.Stdout), &report); err != nil {
		t.Fatalf("%v\n%s", err, r)
	}
	states := map[string]int{}
	for _, s := range append(report.Sessions, report.Ledger) {
		states[s.State]++
		if s.State != "ok" && s.State != "unclosed" || len(s.Problems) != 0 {
			t.Errorf("%s is %s: %s", s.File, s.State, s.Problems)
		}
	}
	t.Logf("audit: %v", states)
	if len(report.Sessions) < 10 {
		t.Errorf("only %d sessions are recorded", len(report.Sessions))
	}
}

type result struct {
	File, State string
	Problems    json.RawMessage
}
