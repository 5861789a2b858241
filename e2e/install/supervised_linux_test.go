package install

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"sort"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/penstock/penstock/internal/world"
)

const (
	socket = "/run/penstock/supervise.sock"
	// patience bounds each wait for something that takes milliseconds.
	patience = 30 * time.Second
)

// floor is what the administrator writes: one host is nobody's, and nobody's
// rules go beyond these.
const floor = `version: 1
egress:
  deny:
    - host: denied.example
limits:
  egress: [allowed.example, denied.example]
  modes: [enforce]
  hide: [~/notes/vault]
`

// booted is the way of starting the supervisor in which systemd does it, as the
// package's installation left it; in confined it has what the unit leaves it.
const (
	booted    = "by systemd"
	confined  = "as the unit confines it"
	traceFile = "/tmp/trace"
)

// TestTwoUsers installs the package, starts the supervisor in each way that needs
// no systemd, and lets two users work at once.
func TestTwoUsers(t *testing.T) {
	needRoot(t)
	world.Tool(t, "curl")
	world.Tool(t, "systemctl")
	activate := []string{world.Tool(t, "systemd-socket-activate"), "--seqpacket", "--listen=" + socket}
	for name, argv := range map[string][]string{
		"plain command":     {"penstock", "supervise"},
		"socket activation": append(slices.Clip(activate), "/usr/bin/penstock", "supervise"),
		booted:              nil,
		confined:            append(slices.Clip(activate), "/tmp/confine", "/usr/lib/systemd/system/penstock.service", traceFile, "/usr/bin/penstock", "supervise"),
	} {
		t.Run(name, func(t *testing.T) {
			w := world.New(t)
			var m *machine
			if name == booted {
				keepLimits(t)
				m = newMachine(t, "systemd")
				m.await("/run/systemd/private")
			} else {
				m = newMachine(t)
			}
			for _, user := range []string{"alice", "bob", "carol"} {
				m.addUser(user)
			}
			before := m.files()
			m.install(version)
			m.write("/etc/penstock/policy.yaml", floor, 0o644)
			for _, user := range []string{"alice", "bob"} {
				m.must("root", "usermod", "-aG", "penstock", user)
			}
			if name == confined {
				world.Tool(t, "strace")
				m.put("testdata/confine", "/tmp/confine", 0o755)
			}
			stop := m.stopUnits
			if name != booted {
				stop = m.startDaemon(argv).stop
			}
			testSessions(t, w, m)
			testStranger(t, m)
			testDoctor(t, m)
			stop()
			if name == confined {
				testSystemCalls(t, m)
			}
			if left := m.users(); len(left) > 0 {
				t.Errorf("processes are left: %v", left)
			}
			m.must("root", "gpasswd", "--delete", "alice", "penstock")
			m.must("root", "gpasswd", "--delete", "bob", "penstock")
			m.must("root", "dpkg", "--purge", "penstock")
			m.nothingLeft(before)
		})
	}
}

// running is a command in the machine that goes on while the test does.
type running struct {
	m     *machine
	name  string
	cmd   *exec.Cmd
	stdin io.WriteCloser
	lines chan string // of its stdout
	err   bytes.Buffer
	done  chan error
}

// start starts a command; it is killed when the test ends.
func (m *machine) start(user string, argv ...string) *running {
	m.t.Helper()
	r := &running{m: m, name: user + ": " + strings.Join(argv, " "), cmd: m.command(user, argv...), lines: make(chan string, 1000), done: make(chan error, 1)}
	var err error
	if r.stdin, err = r.cmd.StdinPipe(); err != nil {
		m.t.Fatal(err)
	}
	stdout, err := r.cmd.StdoutPipe()
	if err != nil {
		m.t.Fatal(err)
	}
	r.cmd.Stderr = &r.err
	if err := world.Start(r.cmd); err != nil {
		m.t.Fatalf("start %s: %v", r.name, err)
	}
	go func() {
		s := bufio.NewScanner(stdout)
		for s.Scan() {
			r.lines <- s.Text()
		}
		close(r.lines)
		r.done <- r.cmd.Wait()
	}()
	m.t.Cleanup(func() { syscall.Kill(-r.cmd.Process.Pid, syscall.SIGKILL) })
	return r
}

// line waits for the next line of output.
func (r *running) line() string {
	r.m.t.Helper()
	select {
	case line, ok := <-r.lines:
		if !ok {
			r.m.t.Fatalf("%s has ended: %v\n%s", r.name, <-r.done, r.err.String())
		}
		return line
	case <-time.After(patience):
		r.m.t.Fatalf("%s says nothing\n%s", r.name, r.err.String())
	}
	return ""
}

// end waits for the command's end and returns its exit code.
func (r *running) end() int {
	r.m.t.Helper()
	r.stdin.Close()
	select {
	case <-r.done:
		return r.cmd.ProcessState.ExitCode()
	case <-time.After(patience):
		r.m.t.Fatalf("%s does not end\n%s", r.name, r.err.String())
	}
	return -1
}

// stop ends the daemon as a service manager does.
func (r *running) stop() {
	r.m.t.Helper()
	// nsenter's child, which is in the machine's pid namespace: by its name there.
	r.m.must("root", "pkill", "-TERM", "-x", "penstock")
	if code := r.end(); code != 0 {
		r.m.t.Errorf("the supervisor ended with %d:\n%s", code, r.err.String())
	}
	// The kernel's own are called *.debug.
	if out, _ := r.m.run("root", "find", "/sys/fs/bpf", "-mindepth", "1", "!", "-name", "*.debug"); out != "" {
		r.m.t.Errorf("left of eBPF:\n%s", out)
	}
}

// await waits until a file is there, or what should make it has ended.
func (m *machine) await(path string, makers ...*running) {
	m.t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !m.exists(path); <-tick.C {
		for _, r := range makers {
			select {
			case err := <-r.done:
				m.t.Fatalf("%s has ended: %v\n%s", r.name, err, r.err.String())
			default:
			}
		}
		if time.Now().After(deadline) {
			m.t.Fatalf("%s is not there after %s", path, patience)
		}
	}
}

// startDaemon starts the supervisor and waits until it listens.
func (m *machine) startDaemon(argv []string) *running {
	m.t.Helper()
	r := m.start("root", argv...)
	m.await(socket, r)
	if filepath.Base(argv[0]) == "systemd-socket-activate" {
		// What penstock.socket says, and systemd-socket-activate can't be told.
		m.must("root", "chgrp", "penstock", socket)
		m.must("root", "chmod", "0660", socket)
	}
	if got := strings.TrimSpace(m.must("root", "stat", "--format=%a %U:%G", socket)); got != "660 root:penstock" {
		m.t.Errorf("the socket is %s", got)
	}
	return r
}

// users are the processes in the machine of others than its own root.
func (m *machine) users() (found []string) {
	m.t.Helper()
	for line := range strings.Lines(m.must("root", "ps", "-eo", "uid=,args=")) {
		if f := strings.Fields(line); len(f) > 0 && f[0] != "0" {
			found = append(found, strings.TrimSpace(line))
		}
	}
	return found
}

// identifier of a session.
var identifier = regexp.MustCompile(`\b[0-9]{8}-[0-9]{6}-[a-z0-9]{5}\b`)

// sessions are those that penstock ps shows to a user.
func (m *machine) sessions(user string, flags ...string) []string {
	m.t.Helper()
	found := identifier.FindAllString(m.must(user, append([]string{"penstock", "ps"}, flags...)...), -1)
	sort.Strings(found)
	return found
}

// command of a session: what it is told on stdin it does, and says so.
const obedient = `echo up; while read -r word url; do
case $word in get) curl -s -o /dev/null -w '%{http_code}\n' --max-time 20 "$url";; esac
done`

// testSessions lets two users run at once and try what they may not.
func testSessions(t *testing.T, w *world.World, m *machine) {
	say := http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { io.WriteString(rw, "hello\n") })
	allowed, denied, other := w.HTTP("allowed.example", say), w.HTTP("denied.example", say), w.HTTP("other.example", say)

	held := map[string]*running{}
	id := map[string]string{}
	for _, user := range []string{"alice", "bob"} {
		held[user] = m.start(user, "penstock", "run", "--supervised", "--quiet", "--allow", "allowed.example", "--allow", "denied.example", "--", "sh", "-c", obedient)
	}
	for user, r := range held {
		if line := r.line(); line != "up" {
			t.Fatalf("%s: the command said %q", user, line)
		}
		list := m.sessions(user)
		if len(list) != 1 {
			t.Fatalf("%s sees sessions %v, and has one", user, list)
		}
		id[user] = list[0]
	}
	if id["alice"] == id["bob"] {
		t.Fatalf("both see session %s", id["bob"])
	}
	if all := m.sessions("root", "--all"); len(all) != 2 {
		t.Errorf("root sees sessions %v of %v", all, id)
	}

	get := func(user, url string) string {
		fmt.Fprintf(held[user].stdin, "get %s\n", url)
		return held[user].line()
	}
	for user := range held {
		if code := get(user, allowed.URL); code != "200" {
			t.Errorf("%s: what is allowed answers %s", user, code)
		}
		if code := get(user, denied.URL); code != "403" {
			t.Errorf("%s: what the floor denies answers %s", user, code)
		}
	}
	if allowed.Hits() != 2 {
		t.Errorf("%d of 2 allowed requests arrived", allowed.Hits())
	}

	if out, code := m.outcome("alice", "penstock", "ps", "--all"); code == 0 {
		t.Errorf("alice asks for everybody's sessions: %s", out)
	}

	// Neither can end the other's session, nor learn that there is one.
	real, err := m.outcome("alice", "penstock", "kill", id["bob"])
	none, err2 := m.outcome("alice", "penstock", "kill", "20200101-000000-aaaaa")
	if err == 0 || err2 == 0 || strings.ReplaceAll(real, id["bob"], "ID") != strings.ReplaceAll(none, "20200101-000000-aaaaa", "ID") {
		t.Errorf("kill of another's session: exit %d %s; of one that does not exist: exit %d %s", err, real, err2, none)
	}
	if code := get("bob", allowed.URL); code != "200" {
		t.Errorf("bob's session after alice tried to end it: %s", code)
	}
	// Nor read its records.
	for _, argv := range [][]string{
		{"ls", "/var/lib/penstock"}, {"sh", "-c", "cat /var/lib/penstock/audit/*/*"}, {"penstock", "audit", "show", id["bob"]},
	} {
		if out, code := m.outcome("alice", argv...); code == 0 {
			t.Errorf("alice: %v: %s", argv, out)
		}
	}
	if out := m.must("alice", "penstock", "audit", "ls"); strings.Contains(out, id["bob"]) || !strings.Contains(out, id["alice"]) {
		t.Errorf("alice's audit ls:\n%s", out)
	}
	// Her own are hers to read, and have both verdicts.
	if out := m.must("alice", "penstock", "audit", "show", id["alice"]); !strings.Contains(out, "allowed.example") || !strings.Contains(out, "denied.example") {
		t.Errorf("alice's audit:\n%s", out)
	}

	testFloor(t, m, denied, other)

	m.must("alice", "penstock", "kill", id["alice"])
	held["alice"].end()
	if code := held["bob"].end(); code != 0 {
		t.Errorf("bob's command ended with %d:\n%s", code, held["bob"].err.String())
	}
	if left := m.sessions("root", "--all"); len(left) != 0 {
		t.Errorf("sessions after their ends: %v", left)
	}
	if out := m.must("bob", "penstock", "audit", "verify"); !strings.Contains(out, id["bob"]) {
		t.Errorf("bob's audit verify:\n%s", out)
	}
}

// outcome is run with the output on one line.
func (m *machine) outcome(user string, argv ...string) (string, int) {
	m.t.Helper()
	out, code := m.run(user, argv...)
	return strings.Join(strings.Fields(out), " "), code
}

// testFloor: no user gets around the administrator's policy, neither by asking
// for more nor by a penstock of their own that does not read it.
func testFloor(t *testing.T, m *machine, denied, other *world.Origin) {
	for _, user := range []string{"alice", "bob"} {
		out, code := m.run(user, "penstock", "run", "--supervised", "--quiet", "--allow", "other.example", "--", "true")
		if code != 125 || !strings.Contains(out, "/etc/penstock/policy.yaml:") {
			t.Errorf("%s: a rule beyond the floor's limits: exit %d\n%s", user, code, out)
		}
		if out, code := m.run(user, "penstock", "run", "--supervised", "--quiet", "--mode", "audit", "--", "true"); code != 125 {
			t.Errorf("%s: a mode beyond the floor's limits: exit %d\n%s", user, code, out)
		}
		b, err := os.ReadFile(m.path("/usr/bin/penstock"))
		if err != nil {
			t.Fatal(err)
		}
		const file = "/etc/penstock/policy.yaml"
		if !bytes.Contains(b, []byte(file)) {
			t.Fatalf("the program does not have %s in it", file)
		}
		own := "/home/" + user + "/penstock"
		m.write(own, string(bytes.ReplaceAll(b, []byte(file), []byte("/etc/penstock/nothing.yml"))), 0o755)
		if out, _ := m.run(user, own, "policy", "show"); strings.Contains(out, "denied.example") {
			t.Fatalf("the changed program reads the administrator's policy:\n%s", out)
		}
		for _, o := range []*world.Origin{denied, other} {
			before := o.Hits()
			out, code := m.run(user, own, "run", "--supervised", "--quiet", "--allow", o.Name, "--", "curl", "-s", "-f", "--max-time", "20", o.URL)
			if code == 0 || o.Hits() != before {
				t.Errorf("%s: %s with a changed penstock: exit %d, %d requests arrived\n%s", user, o.Name, code, o.Hits()-before, out)
			}
		}
		// What is hidden is in a home, which the unit hides from the daemon.
		notes := "/home/" + user + "/notes"
		m.must(user, "mkdir", "-p", notes+"/vault", notes+"/more")
		m.write(notes+"/vault/key", "s", 0o644)
		m.write(notes+"/more/note", "s", 0o644)
		if out, code := m.run(user, own, "run", "--supervised", "--quiet", "--read", notes, "--", "true"); code != 125 || !strings.Contains(out, file+":8 hides ") {
			t.Errorf("%s: what is hidden, with a changed penstock: exit %d\n%s", user, code, out)
		}
		if out, code := m.run(user, own, "run", "--supervised", "--quiet", "--read", notes+"/more", "--", "true"); code != 0 {
			t.Errorf("%s: what is beside it, with a changed penstock: exit %d\n%s", user, code, out)
		}
	}
}

// testStranger: who is not in the group is told so, and has pens without the
// supervisor.
func testStranger(t *testing.T, m *machine) {
	out, code := m.run("carol", "penstock", "run", "--supervised", "--", "true")
	if code != 125 || !strings.Contains(out, "usermod -aG penstock") {
		t.Errorf("carol under the supervisor: exit %d\n%s", code, out)
	}
	if out, code := m.run("carol", "penstock", "run", "--", "true"); code != 0 {
		t.Errorf("carol without it: exit %d\n%s", code, out)
	}
}
