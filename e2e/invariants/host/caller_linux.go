package host

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/penstock/penstock/internal/world"
)

// Caller is who runs penstock: a user with a home, a project and a policy.
type Caller struct {
	T     testing.TB
	World *world.World
	Home  *world.Home
	Opts  world.Options
	// Rules are YAML entries of egress.allow, Denied of egress.deny; More is
	// further YAML at the top level.
	Rules, Denied []string
	More          string
	// NoPolicy leaves out --policy.
	NoPolicy bool
}

// NewCaller returns a caller with a fresh home.
func NewCaller(t testing.TB, w *world.World, o world.Options) *Caller {
	t.Helper()
	return &Caller{T: t, World: w, Home: w.NewHome(o), Opts: o}
}

// UID is the caller's user id.
func (c *Caller) UID() int { return c.Home.UID() }

// ForUsers runs f as root, as an ordinary user and as one under the privileged
// supervisor, as far as the test may be all of them.
func ForUsers(t *testing.T, f func(t *testing.T, c *Caller)) {
	for name, o := range world.Users() {
		t.Run(name, func(t *testing.T) { f(t, NewCaller(t, world.New(t), o)) })
	}
}

// PolicyFile writes the caller's policy and returns its path.
func (c *Caller) PolicyFile() string {
	c.T.Helper()
	var b strings.Builder
	b.WriteString("version: 1\n" + c.More + "\negress:\n  ca: [" + Quote(c.World.CA()) + "]\n")
	for _, part := range []struct {
		key   string
		rules []string
	}{{"allow", c.Rules}, {"deny", c.Denied}} {
		if len(part.rules) > 0 {
			b.WriteString("  " + part.key + ":\n")
			for _, r := range part.rules {
				b.WriteString("    - " + r + "\n")
			}
		}
	}
	return c.Home.Write(c.T, "policy.yaml", b.String())
}

// Quote writes a YAML double-quoted scalar; JSON's is a subset of it.
func Quote(s string) string {
	b, _ := json.Marshal(s)
	return string(b)
}

// RunArgs is the command line of a session.
func (c *Caller) RunArgs(flags []string, argv ...string) []string {
	args := []string{Penstock, "run", "--read", programs}
	if !c.NoPolicy {
		args = append(args, "--policy", c.PolicyFile())
	}
	args = append(append(args, flags...), "--")
	return append(args, argv...)
}

// Run runs a command in a pen.
func (c *Caller) Run(flags []string, argv ...string) world.Result {
	c.T.Helper()
	return c.run(c.RunArgs(flags, argv...)...)
}

// Tool runs a tool in a pen.
func (c *Caller) Tool(flags []string, name string, args ...string) world.Result {
	c.T.Helper()
	return c.Run(flags, ToolCommand(name, args...)...)
}

// Other runs another command of penstock.
func (c *Caller) Other(args ...string) world.Result {
	c.T.Helper()
	return c.run(append([]string{Penstock}, args...)...)
}

// AuditDir is where the caller's sessions are recorded.
func (c *Caller) AuditDir() string {
	if c.Opts.Supervised {
		return c.Home.Supervisor().AuditDir(c.UID())
	}
	return filepath.Join(c.Home.Path, ".local/state/penstock/audit")
}

// Sessions returns the ids of the recorded sessions, oldest first.
func (c *Caller) Sessions() []string {
	c.T.Helper()
	names, err := filepath.Glob(filepath.Join(c.AuditDir(), "2*.jsonl"))
	if err != nil {
		c.T.Fatal(err)
	}
	for i, n := range names {
		names[i] = strings.TrimSuffix(filepath.Base(n), ".jsonl")
	}
	return names
}

// Record is a line of the audit.
type Record map[string]any

// Text returns a field of the record, "" if it is not a string.
func (r Record) Text(key string) string {
	s, _ := r[key].(string)
	return s
}

// Records returns what is recorded of all sessions, or of those whose file name
// has the given start.
func (c *Caller) Records(session string) []Record {
	c.T.Helper()
	return RecordsIn(c.T, c.AuditDir(), session)
}

// RecordsIn reads the session files of an audit directory. A last line without
// an end, which a killed writer leaves, is no record.
func RecordsIn(t testing.TB, dir, session string) []Record {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, session+"*.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	var out []Record
	for _, name := range names {
		if filepath.Base(name) == "ledger.jsonl" {
			continue
		}
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		b = b[:strings.LastIndexByte(string(b), '\n')+1]
		lines := bufio.NewScanner(strings.NewReader(string(b)))
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			var r Record
			if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
				t.Fatalf("%s: not JSON: %v: %s", name, err, lines.Bytes())
			}
			out = append(out, r)
		}
	}
	return out
}

// Flows returns the recorded decisions about a host, or about all with "".
func Flows(records []Record, host string) []Record {
	var out []Record
	for _, r := range records {
		if r.Text("type") == "flow_open" && (host == "" || r.Text("host") == host) {
			out = append(out, r)
		}
	}
	return out
}

// Types returns the records of one type.
func Types(records []Record, kind string) []Record {
	var out []Record
	for _, r := range records {
		if r.Text("type") == kind {
			out = append(out, r)
		}
	}
	return out
}

// NothingLeft fails unless nothing at all of the test arrived outside.
func (c *Caller) NothingLeft() {
	c.T.Helper()
	if p := c.World.Outside(); len(p) != 0 {
		c.T.Errorf("arrived outside: %v", p)
	}
	if q := c.World.Queries(); len(q) != 0 {
		c.T.Errorf("the internet's DNS was asked: %v", q)
	}
}
