package invariants

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/penstock/penstock/e2e/invariants/host"
	"github.com/penstock/penstock/internal/world"
)

// exits runs a shell script in a pen and returns its records.
func exits(t *testing.T, c *host.Caller, script string) []host.Record {
	t.Helper()
	old := len(c.Sessions())
	r := c.Run(nil, "/bin/bash", "-c", script)
	all := c.Sessions()
	if len(all) != old+1 {
		t.Fatalf("%d sessions are recorded\n%s", len(all)-old, r)
	}
	records := c.Records(all[old])
	if last := records[len(records)-1]; last.Text("type") != "session_end" {
		t.Fatalf("the last record is %v\n%s", last, r)
	}
	return records
}

func sums(records []host.Record) map[string]float64 {
	out := map[string]float64{}
	for k, v := range records[len(records)-1]["counts"].(map[string]any) {
		out[k] = v.(float64)
	}
	return out
}

// ended are the recorded exits with a signal, or without one.
func ended(records []host.Record, signal string) (out []host.Record) {
	for _, r := range host.Types(records, "process") {
		if r.Text("action") == "exit" && r.Text("signal") == signal {
			out = append(out, r)
		}
	}
	return out
}

// TestExits: what ended by a signal, was killed for want of memory or had made
// connections is recorded when it ends, by whatever program; the rest is counted.
func TestExits(t *testing.T) {
	o, ok := world.Users()["supervised"]
	if !ok {
		return // without root there is none
	}
	w := world.New(t)
	c := host.NewCaller(t, w, o)
	w.HTTP("good.example.com", text("good"))
	c.Rules = []string{"{host: good.example.com}"}
	bash, err := filepath.EvalSymlinks("/bin/bash")
	if err != nil {
		t.Fatal(err)
	}
	quiet := exits(t, c, "for i in 1 2 3; do /bin/true; /bin/false; done; exit 0")
	if n := sums(quiet); n["executions"] < 7 || n["exits"] < 6 || n["signals"] > 1 || len(host.Types(quiet, "process")) != 0 {
		t.Errorf("nothing of note happened, and the audit says %v", quiet)
	}

	records := exits(t, c, `
		bash -c 'ulimit -s 256; f() { f; }; f'
		sleep 1000 & until [[ $(readlink /proc/$!/exe) == *sleep* ]]; do :; done; kill -KILL $!; wait
		curl -s http://good.example.com/ ; curl -s http://good.example.com/ ; curl -s http://bad.example.com/; curl -s --max-time 0.001 http://127.0.0.1:1/
		( bash -c 'exit 7 3<>/dev/tcp/1.2.3.4/80' )`)
	n := sums(records)
	if segv := ended(records, "SIGSEGV"); len(segv) != 1 || segv[0].Text("exe") != bash || !strings.Contains(strings.Join(list(segv[0]["argv"]), " "), "f() { f; }; f") || segv[0]["exit_code"] != 0.0 {
		t.Errorf("the one that ran out of its stack is %v", segv)
	}
	if killed := ended(records, "SIGKILL"); len(killed) != 1 || !strings.Contains(killed[0].Text("exe"), "sleep") || killed[0]["oom"] != nil || killed[0]["start_ns"] == nil || killed[0]["uid"] != float64(c.UID()) {
		t.Errorf("the one that was killed is %v", killed)
	}
	if n["signals"] < 2 || n["signals"] > 3 { // bwrap's first process inside may end with the one outside
		t.Errorf("%v ended by signals", n["signals"])
	}
	seen := map[any]host.Record{}
	for _, r := range host.Types(records, "process") {
		if r.Text("action") == "seen" {
			seen[r["process"]] = r
		}
	}
	curls, others := 0, 0
	for _, r := range ended(records, "") {
		if r["connections"] != 1.0 {
			t.Errorf("%v", r)
		}
		if s := seen[r["process"]]; s == nil || s["pid"] != r["pid"] || s["start_ns"] != r["start_ns"] || s.Text("exe") != r.Text("exe") || r["argv"] != nil {
			t.Errorf("%v, and its flows' is %v", r, s)
		}
		if strings.HasSuffix(r.Text("exe"), "/curl") {
			curls++
		} else if r.Text("exe") == bash {
			others++
		}
	}
	if curls != 3 || others != 1 {
		t.Errorf("%d exits of curl and %d of bash after connections", curls, others)
	}
	said := c.Other("audit", "show", "--events").Stdout
	for _, want := range []string{"ended by SIGSEGV", "ended by SIGKILL", bash + "  exit 7"} {
		if !strings.Contains(said, want) {
			t.Errorf("penstock audit show --events does not say %q\n%s", want, said)
		}
	}
	if said := c.Other("audit", "show").Stdout; !strings.Contains(said, " by a signal: ") || !strings.Contains(said, " programs executed, ") {
		t.Errorf("penstock audit show says\n%s", said)
	}
	if r := c.Other("audit", "verify"); r.Code != 0 {
		t.Error(r)
	}

	// What is left at the end is not somebody's doing.
	left := exits(t, c, `sleep 1000 & sleep 1000 & exit 0`)
	if len(host.Types(left, "process")) != 0 {
		t.Errorf("what was left is recorded as %v", left)
	}

	// A flood of them: in two ways, and what is not recorded singly is counted.
	flood := exits(t, c, `for i in {1..600}; do (kill -ABRT $BASHPID); (kill -USR1 $BASHPID); done 2>/dev/null; exit 0`)
	n = sums(flood)
	if n["signals"] < 1200 || n["signals"] > 1201 || n["lost"] != 0 {
		t.Errorf("the sums are %v", n)
	}
	counted := map[string]float64{}
	for _, r := range host.Types(flood, "limit") {
		if r.Text("kind") == "exit-records" && r.Text("action") == "counted" {
			counted[r.Text("detail")] += r["count"].(float64)
		}
	}
	for _, s := range []string{"SIGABRT", "SIGUSR1"} {
		if single := len(ended(flood, s)); single != 32 || counted[s] != 600-32 {
			t.Errorf("%s: %d are recorded singly, %v counted", s, single, counted[s])
		}
	}
	if len(flood) > 100 {
		t.Errorf("%d records", len(flood))
	}

	c.More = "sandbox: {memory: 64MiB}"
	oom := exits(t, c, `(x=$(head -c 300M /dev/zero | tr "\0" x)); exit 0`)
	victims := ended(oom, "SIGKILL")
	if len(victims) != 1 || victims[0]["oom"] != true || victims[0].Text("exe") != bash {
		t.Errorf("the one that had no memory left is %v", victims)
	}
	if !strings.Contains(c.Other("audit", "show", "--events").Stdout, "killed for want of memory") {
		t.Error("penstock audit show --events does not say it")
	}
}

func list(v any) (out []string) {
	all, _ := v.([]any)
	for _, a := range all {
		s, _ := a.(string)
		out = append(out, s)
	}
	return out
}

// TestNoExits: without the privileged supervisor nobody tells of them, and the
// audit does not pretend.
func TestNoExits(t *testing.T) {
	for name, o := range world.Users() {
		if o.Supervised {
			continue
		}
		t.Run(name, func(t *testing.T) {
			c := host.NewCaller(t, world.New(t), o)
			records := exits(t, c, "(kill -SEGV $BASHPID); exit 0")
			if n := sums(records); len(host.Types(records, "process")) != 0 || len(n) != 9 {
				t.Errorf("%v", records)
			}
		})
	}
}
