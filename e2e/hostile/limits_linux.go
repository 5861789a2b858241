package hostile

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/penstock/penstock/internal/world"
)

// editPolicy puts the policy where the tool can see it.
func editPolicy(t *testing.T, o caller) (arrived, seen string) {
	s := small(t, o)
	const name, more = "project/policy.yaml", "    - host: \"*.late.example\"\n"
	s.w.Name("mark-of-edit.late.example", s.w.Address())
	rules, denies, _ := strings.Cut(s.policy(), "  deny:")
	s.home.Write(t, name, s.policy())
	before, _ := os.ReadFile(filepath.Join(s.home.Path, name))
	run := func() {
		s.result = s.w.Run(s.home, s.o, world.Penstock(t), "run", "--policy", "policy.yaml", "--", s.tool, "act", "sh",
			"echo changed >> policy.yaml; echo changed > p2; mv p2 policy.yaml; rm -f policy.yaml; ln -s p3 policy.yaml; mv ../project ../p; [ $PPID = 1 ] || kill -HUP 1; $T act get GET http://mark-of-edit.late.example/mark-of-edit")
		s.collect()
	}
	run()
	seen = s.result.Stdout
	if after, _ := os.ReadFile(filepath.Join(s.home.Path, name)); string(after) != string(before) {
		arrived = "the policy file was changed"
	}
	reached := func() bool {
		for _, q := range s.queries {
			if q.Name == "mark-of-edit.late.example" {
				return true
			}
		}
		return false
	}
	if reached() {
		return arrived + " the name was asked for", seen
	}
	s.home.Write(t, name, rules+more+"  deny:"+denies)
	if run(); !reached() {
		t.Errorf("control: with the rule it was not asked for either: %s", s.result)
	}
	return arrived, seen
}

// fillAudit gives the audit a small disk: what is no longer recorded must not
// leave.
func fillAudit(t *testing.T, o caller) (arrived, seen string) {
	s := small(t, o)
	disk := s.w.NewAuditDisk(s.home, "192k")
	p := s.home.Write(t, "policy.yaml", s.policy())
	argv := append([]string{world.Penstock(t), "run", "--policy", p}, disk.Flags...)
	s.result = s.w.Run(s.home, s.o, append(argv, "--", s.tool, "act", "many", "600", "http://good.example/mark-of-full-")...)
	s.collect()
	sent := 0
	for _, v := range s.net.visits() {
		v.mu.Lock()
		for _, q := range v.requests {
			if strings.Contains(q.path, "mark-of-full-") {
				sent++
			}
		}
		v.mu.Unlock()
	}
	recorded := 0
	names, _ := filepath.Glob(filepath.Join(disk.Dir, "*.jsonl"))
	for _, n := range names {
		b, _ := os.ReadFile(n)
		for l := range strings.Lines(string(b)) {
			if strings.Contains(l, `"flow_open"`) && strings.Contains(l, "mark-of-full-") && strings.Contains(l, `"verdict":"allow"`) {
				recorded++
			}
		}
	}
	if sent > recorded {
		arrived = fmt.Sprintf("%d requests arrived, %d are recorded", sent, recorded)
	}
	if sent == 0 || sent == 600 {
		t.Errorf("control: %d of 600 requests arrived: the disk was never full, or always: %s", sent, s.result)
	}
	return arrived, fmt.Sprintf("%d of 600 requests arrived, %d recorded; %s", sent, recorded, s.result.Stdout)
}

// exhaust wears the proxy out; it must still serve what is allowed, end in
// time, and keep its record small.
func exhaust(script string) func(*testing.T, caller) (string, string) {
	return func(t *testing.T, o caller) (arrived, seen string) {
		s := small(t, o)
		const mark = "mark-of-worn"
		script := strings.ReplaceAll(script+"; for i in 1 2 3 4 5; do $T act get GET http://good.example/{c}-after && break; done", "{c}", mark)
		s.in(s.tool, "act", "sh", script)
		for _, p := range s.packets {
			if p.Protocol != "tcp" && !tooLate(p) || strings.Contains(string(p.Payload), mark) {
				arrived = "packet " + p.String()
			}
		}
		if s.net.request(func(q request) bool { return strings.HasSuffix(q.path, mark+"-after") }) == "" {
			arrived += " the proxy no longer serves: " + s.result.String()
		}
		names, _ := filepath.Glob(filepath.Join(s.auditDir(), "*.jsonl"))
		if len(names) == 0 {
			t.Error("control: nothing is recorded")
		}
		for _, n := range names {
			if st, err := os.Stat(n); err == nil && st.Size() > 16<<20 {
				arrived += fmt.Sprintf(" %d bytes of audit", st.Size())
			}
		}
		return arrived, s.result.Stdout
	}
}

// tooMany wants more of something than the policy gives.
func tooMany(setting, act, what string, most int) func(*testing.T, caller) (string, string) {
	return func(t *testing.T, o caller) (arrived, seen string) {
		s := small(t, o)
		had := func(out string) int {
			_, rest, _ := strings.Cut(out, what+" ")
			word, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
			word, _, _ = strings.Cut(word, "\n")
			n, err := strconv.Atoi(word)
			if err != nil {
				return -1
			}
			return n
		}
		s.limit = setting
		s.in(s.tool, "act", act, "600")
		if s.result.Code == 125 && strings.Contains(s.result.Stderr, "can't be enforced here") {
			return "", "no pen: the limit can't be enforced here" // an error, not a weaker pen
		}
		if s.tier == "gvisor" && s.result.Code == 125 && strings.Contains(s.result.Stderr, "gVisor's kernel ended") && strings.Contains(s.result.Stderr, "the limit of "+what+" was reached") {
			return "", "the session's end" // its own threads count, too: docs/tiers.md
		}
		n := had(s.result.Stdout)
		if n > most {
			arrived = fmt.Sprintf("%d %s", n, what)
		}
		if n < 0 {
			t.Errorf("the tool did not say: %s", s.result)
		}
		if r := s.w.Run(s.home, s.o, s.tool, "act", act, "600"); had(r.Stdout) <= most {
			t.Errorf("control: no more without a pen: %s", r)
		}
		return arrived, s.result.Stdout
	}
}

// namedCommand has escapes where ps and the summary show them.
func namedCommand(t *testing.T, o caller) (arrived, seen string) {
	s := small(t, o)
	p := s.home.Write(t, "policy.yaml", s.policy())
	cmd := s.w.Command(s.home, s.o, world.Penstock(t), "run", "--policy", p, "--", "/bin/sh", "-c", "# \x1b]0;owned-name\x07\x1b[2J\u202e\r{\"x\":1}\nexec ./tool act getwait go-on http://good.example/mark-of-name")
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := world.Start(cmd); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(s.o.Timeout)
	tick := time.NewTicker(30 * time.Millisecond)
	defer tick.Stop()
	for !strings.Contains(s.show, "owned-name") && time.Now().Before(deadline) {
		s.show = s.w.Run(s.home, s.o, world.Penstock(t), "ps").Stdout
		<-tick.C
	}
	s.show += s.w.Run(s.home, s.o, world.Penstock(t), "ps", "--json").Stdout
	s.home.Write(t, "project/go-on", "")
	cmd.Wait()
	for _, args := range [][]string{{"audit", "ls"}, {"audit", "show"}, {"audit", "export", "--format", "jsonl"}, {"audit", "export", "--format", "csv"}} {
		s.show += s.w.Run(s.home, s.o, append([]string{world.Penstock(t)}, args...)...).Stdout
	}
	if !strings.Contains(s.show, "owned-name") {
		t.Error("control: our output does not show the command")
	}
	s.show += out.String()
	m := aimOf(&attempt{}, 0, false)
	return byEscape(s, m), "shown escaped"
}

// otherPen listens in one pen and connects from another of the same user.
func otherPen(t *testing.T, o caller) (arrived, seen string) {
	s := small(t, o)
	p := s.home.Write(t, "policy.yaml", s.policy())
	const listener = `
import socket, os, threading
def serve(s):
    while True:
        c, _ = s.accept()
        open("arrived", "ab").write(c.recv(100))
for kind, addr in ((socket.AF_INET, ("0.0.0.0", 7777)), (socket.AF_UNIX, "\0mark-of-pen"), (socket.AF_UNIX, "{memory}/pen.sock")):
    s = socket.socket(kind); s.bind(addr); s.listen(5)
    threading.Thread(target=serve, args=(s,), daemon=True).start()
open("ready", "w").close()
while not os.path.exists("done"): pass
`
	python := world.Tool(t, "python3")
	s.home.Write(t, "project/listen.py", strings.ReplaceAll(listener, "{memory}", s.memory()))
	cmd := s.w.Command(s.home, s.o, world.Penstock(t), "run", "-q", "--policy", p, "--", python, "listen.py")
	if err := world.Start(cmd); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	deadline := time.Now().Add(s.o.Timeout)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := os.Stat(filepath.Join(s.home.Project, "ready")); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("control: the first pen does not listen")
		}
		<-tick.C
	}
	s.result = s.w.Run(s.home, s.o, world.Penstock(t), "run", "-q", "--policy", p, "--", s.tool, "act", "sh", `$T act say tcp 127.0.0.1:7777 x; $T act say tcp 192.0.0.8:7777 x; $T act say unix @mark-of-pen x; $T act say unix `+s.memory()+`/pen.sock x; kill -9 $(pgrep -f listen.py)`)
	if !s.alive(cmd.Process.Pid) {
		arrived = "the other pen was killed"
	}
	if b, _ := os.ReadFile(filepath.Join(s.home.Project, "arrived")); len(b) > 0 {
		arrived = "one pen reached another's socket"
	}
	s.home.Write(t, "project/done", "")
	cmd.Wait()
	return arrived, s.result.Stdout
}
