package tiers

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/penstock/penstock/internal/world"
)

// execPens calls f for each kind of user with a pen of each tier that takes further
// commands. Under the privileged supervisor only gvisor does.
func execPens(t *testing.T, f func(t *testing.T, p *world.Pen)) {
	inEach(t, gvisorPens, f)
}

func inEach(t *testing.T, pens func(*testing.T, func(*testing.T, *world.Pen)), f func(t *testing.T, p *world.Pen)) {
	pens(t, func(t *testing.T, p *world.Pen) {
		t.Run("gvisor", func(t *testing.T) { q := *p; q.T = t; f(t, &q) })
		if !p.Opts.Supervised {
			t.Run("bwrap", func(t *testing.T) { q := *p; q.T, q.Flags = t, nil; f(t, &q) })
		}
	})
}

// live is a session that goes on until it is told to end.
type live struct {
	p    *world.Pen
	cmd  *exec.Cmd
	in   io.WriteCloser
	id   string
	done chan struct{}
}

// hold starts a session that waits for a line, and then ends with 3.
func hold(t *testing.T, p *world.Pen) *live {
	t.Helper()
	return holding(t, p, "sh", "-c", "echo up; read x; exit 3")
}

// holding does that with another command, which says up first.
func holding(t *testing.T, p *world.Pen, argv ...string) *live {
	t.Helper()
	args := append([]string{world.Penstock(t), "run", "--quiet", "--policy", p.WritePolicy()}, p.Flags...)
	l := &live{p: p, done: make(chan struct{})}
	l.cmd = p.W.Command(p.Home, p.Opts, append(append(args, "--"), argv...)...)
	l.cmd.Stderr = os.Stderr
	var err error
	if l.in, err = l.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := l.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := world.Start(l.cmd); err != nil {
		t.Fatal(err)
	}
	p.Ran = true
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "up\n" {
		t.Fatalf("%q, %v", line, err)
	}
	go func() { l.cmd.Wait(); close(l.done) }()
	t.Cleanup(func() { l.cmd.Process.Kill(); <-l.done })
	logs := p.W.Run(p.Home, p.Opts, world.Penstock(t), "logs", "-n", "1", "--json")
	_, id, _ := strings.Cut(logs.Stdout, `"session":"`)
	if l.id, _, _ = strings.Cut(id, `"`); l.id == "" {
		t.Fatalf("no session: %s", logs)
	}
	return l
}

// exec runs a further command in the session.
func (l *live) exec(t *testing.T, argv ...string) world.Result {
	t.Helper()
	return l.p.W.Run(l.p.Home, l.p.Opts, append([]string{world.Penstock(t), "exec"}, argv...)...)
}

// end has the session end, which it does with its own command's code.
func (l *live) end(t *testing.T) {
	t.Helper()
	io.WriteString(l.in, "\n")
	select {
	case <-l.done:
	case <-time.After(time.Minute):
		t.Fatal("the session does not end")
	}
	if code := l.cmd.ProcessState.ExitCode(); code != 3 {
		t.Errorf("the session ended with %d", code)
	}
}

// A further command has what the session's own has, and nothing more; what becomes of
// it is its own, and in the session's audit.
func TestExec(t *testing.T) {
	execPens(t, func(t *testing.T, p *world.Pen) {
		p.W.HTTPS("api.example.com", world.Text("hello\n"))
		p.W.HTTPS("denied.example.com", http.NotFoundHandler())
		p.Allow = []string{"{host: api.example.com}"}
		p.Secrets = []string{"{name: API_KEY, from: \"env:KEY_OF_TEST\", hosts: [api.example.com], header: x-api-key}"}
		p.Opts.Env = append(p.Opts.Env, "KEY_OF_TEST=the-real-value-of-the-key")
		p.Home.Write(t, ".ssh/id_ed25519", "PRIVATE\n")
		p.Home.Write(t, "project/sub/text", "echo text $1 ${PWD##*/}\n")
		p.Home.Own(t)
		if err := os.Chmod(filepath.Join(p.Opts.Dir, "sub/text"), 0o755); err != nil {
			t.Fatal(err)
		}
		s := hold(t, p)
		look := `echo $COLOUR $PWD $API_KEY; id -u; umask; hostname; ls /proc/self/fd | wc -l; awk '/^(Cap...|NoNewPrivs):/ {print $1, $2}' /proc/self/status; ls -a ~ /run/penstock /guest`
		first, again := p.Sh(look), s.exec(t, s.id, "--", "/bin/bash", "-c", look)
		// Each session has a placeholder of its own.
		mask := func(s string) string {
			lines := strings.SplitN(s, "\n", 2)
			words := strings.Fields(lines[0])
			if len(words) != 3 || words[2] == "the-real-value-of-the-key" || len(lines) != 2 {
				t.Errorf("%q", lines[0])
				return s
			}
			return strings.Join(words[:2], " ") + "\n" + lines[1]
		}
		if mask(first.Stdout) != mask(again.Stdout) || first.Code != again.Code {
			t.Errorf("the first command sees\n%s\nthe further one\n%s", first, again)
		}
		for _, tt := range []struct {
			flags, argv  []string
			code         int
			out, err, in string
		}{
			{argv: []string{"sh", "-c", "exit 7"}, code: 7},
			{argv: []string{"sh", "-c", "kill -KILL $$"}, code: 137},
			{argv: []string{"no-such-program"}, code: 127, err: `execute "no-such-program": `},
			{argv: []string{"/etc/passwd"}, code: 126, err: `execute "/etc/passwd": permission denied`},
			{argv: []string{"sub/text", "a"}, out: "text a project\n"},
			{flags: []string{"--workdir", "sub"}, argv: []string{"./text", "b"}, out: "text b sub\n"},
			{flags: []string{"--workdir", "nowhere"}, argv: []string{"true"}, code: 125, err: "no such file or directory"},
			{flags: []string{"--env", "COLOUR=red", "--env", "NEW=a b"}, argv: []string{"sh", "-c", `echo $COLOUR "$NEW"`}, out: "red a b\n"},
			{flags: []string{"--env", "API_KEY=x"}, argv: []string{"true"}, code: 125, err: `variable "API_KEY" can't be set: it is a secret of the policy`},
			{flags: []string{"--env", "PENSTOCK_APPROVALS=x"}, argv: []string{"true"}, code: 125, err: "it is Penstock's own"},
			{argv: []string{"sh", "-c", "cat; echo err >&2; exit 1"}, in: "in\x00\xff", out: "in\x00\xff", err: "err\n", code: 1},
			{argv: []string{"cat", filepath.Join(p.Home.Path, ".ssh/id_ed25519")}, code: 1, err: "No such file"},
			{argv: []string{"curl", "-sS", "https://api.example.com/"}, out: "hello\n"},
			{argv: []string{"curl", "-sS", "--fail", "https://denied.example.com/"}, code: 22, err: "403"},
		} {
			o := p.Opts
			o.Stdin = strings.NewReader(tt.in)
			args := append(append([]string{world.Penstock(t), "exec"}, tt.flags...), s.id, "--")
			r := p.W.Run(p.Home, o, append(args, tt.argv...)...)
			if r.Code != tt.code || r.Stdout != tt.out || !strings.Contains(r.Stderr, tt.err) || tt.err == "" && r.Stderr != "" {
				t.Errorf("%q %q: %s", tt.flags, tt.argv, r)
			}
		}
		s.end(t)
		if r := s.exec(t, s.id, "--", "true"); r.Code != 125 || !strings.Contains(r.Stderr, "no running session") {
			t.Error(r)
		}
		wantExecRecords(t, p, s.id)
	})
}

// wantExecRecords looks at the audit of what TestExec has run.
func wantExecRecords(t *testing.T, p *world.Pen, session string) {
	t.Helper()
	started, ended, hosts := map[int]string{}, map[string]string{}, ""
	for _, e := range p.Exported() {
		if e.Str("session") != session {
			continue
		}
		switch n := e.Num("exec"); e.Str("type") {
		case "exec":
			if e.Str("action") == "start" {
				started[n] = strings.Join(e.Args(), " ")
			} else {
				ended[started[n]] = fmt.Sprint(e.Str("action"), e.Num("exit_code"))
			}
		case "flow_open":
			hosts += e.Str("host") + " " + e.Str("verdict") + " " + e.Str("exe") + "\n"
		case "session_end":
			if e.Num("exit_code") != 3 || len(started) != len(ended) {
				t.Errorf("%v, of %d further commands that started %d ended", e, len(started), len(ended))
			}
		}
		if strings.Contains(fmt.Sprint(e), "the-real-value") {
			t.Errorf("a secret is in the audit: %v", e)
		}
	}
	for argv, want := range map[string]string{
		"sh -c exit 7": "end7", "sh -c kill -KILL $$": "end137", "no-such-program": "failed0", "curl -sS https://api.example.com/": "end0",
	} {
		if ended[argv] != want {
			t.Errorf("%s: %q in %q", argv, ended[argv], ended)
		}
	}
	if hosts != "api.example.com allow /usr/bin/curl\ndenied.example.com deny /usr/bin/curl\n" {
		t.Errorf("flows: %q", hosts)
	}
	logs := p.W.Run(p.Home, p.Opts, world.Penstock(t), "logs", session)
	for _, want := range []string{"exec      #3  start  sh -c 'kill -KILL $$'\n", "exec      #3  end  exit 137  ", "exec      #4  failed  execute \"no-such-program\": "} {
		if !strings.Contains(logs.Stdout, want) {
			t.Errorf("no %q in %s", want, logs)
		}
	}
}

// Bytes come and go as they are, by pipes and by files, also those of what it leaves
// behind.
func TestExecBytes(t *testing.T) {
	execPens(t, func(t *testing.T, p *world.Pen) {
		s := hold(t, p)
		data := make([]byte, 3<<20)
		rand.Read(data)
		p.Home.Write(t, "project/data", string(data))
		o := p.Opts
		o.Stdin = bytes.NewReader(data)
		if r := p.W.Run(p.Home, o, world.Penstock(t), "exec", s.id, "cat"); r.Stdout != string(data) || r.Code != 0 {
			t.Errorf("by pipes: %d bytes, exit %d, %s", len(r.Stdout), r.Code, r.Stderr)
		}
		r := p.W.Run(p.Home, p.Opts, "sh", "-c", `"$1" exec "$2" cat <data >copy && cmp data copy && "$1" exec "$2" sh -c 'echo a; echo b >&2; echo c' >both 2>&1 && cat both`, "sh", world.Penstock(t), s.id)
		if r.Stdout != "a\nb\nc\n" || r.Code != 0 {
			t.Errorf("by files: %s", r)
		}
		// Who writes for ever and stays behind does not keep the command from ending.
		r = p.W.Run(p.Home, p.Opts, "sh", "-c", `"$1" exec "$2" sh -c 'yes & echo $! >writer; exit 5' >many; echo $?; "$1" exec "$2" sh -c 'kill $(cat writer)'; test -s many; rm many`, "sh", world.Penstock(t), s.id)
		if r.Stdout != "5\n" || r.Code != 0 {
			t.Errorf("with a writer left behind: %s", r)
		}
		// What stays behind has its pipe, and can go on to write.
		cmd := p.W.Command(p.Home, p.Opts, world.Penstock(t), "exec", s.id, "sh", "-c", "exec 3<&0; (read x <&3; echo heard $x) & exit 5")
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer out.Close()
		cmd.Stdout = w
		if err := world.Start(cmd); err != nil {
			t.Fatal(err)
		}
		w.Close()
		state, err := cmd.Process.Wait()
		if err != nil || state.ExitCode() != 5 {
			t.Errorf("%v, %v", state, err)
		}
		io.WriteString(in, "later\n")
		if rest, err := io.ReadAll(out); string(rest) != "heard later\n" || err != nil {
			t.Errorf("%q, %v", rest, err)
		}
		s.end(t)
	})
}

// A further command ends with its session, and with penstock exec.
func TestExecEnds(t *testing.T) {
	execPens(t, func(t *testing.T, p *world.Pen) {
		s := hold(t, p)
		begin := func() (*exec.Cmd, *bufio.Reader, *bytes.Buffer) {
			cmd := p.W.Command(p.Home, p.Opts, world.Penstock(t), "exec", s.id, "--", "sh", "-c", "trap 'echo term; exit 4' TERM; echo up; while :; do sleep 0.1; done")
			var errs bytes.Buffer
			cmd.Stderr = &errs
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := world.Start(cmd); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { cmd.Process.Kill() })
			r := bufio.NewReader(out)
			if line, err := r.ReadString('\n'); line != "up\n" {
				t.Fatalf("%q, %v: %s", line, err, &errs)
			}
			return cmd, r, &errs
		}
		// A signal is the command's to handle.
		cmd, out, _ := begin()
		cmd.Process.Signal(unix.SIGTERM)
		rest, _ := io.ReadAll(out)
		if cmd.Wait(); string(rest) != "term\n" || cmd.ProcessState.ExitCode() != 4 {
			t.Errorf("%q, %v", rest, cmd.ProcessState)
		}
		// The pipe is the command's own: that it ends says that the command has.
		cmd, out, _ = begin()
		cmd.Process.Kill()
		if rest, err := io.ReadAll(out); err != nil || len(rest) > 0 {
			t.Errorf("%q, %v", rest, err)
		}
		cmd.Wait()
		// Stopped, nothing is begun.
		if r := p.W.Run(p.Home, p.Opts, world.Penstock(t), "freeze", s.id); r.Code != 0 {
			t.Fatal(r)
		}
		if r := s.exec(t, s.id, "true"); r.Code != 125 || !strings.Contains(r.Stderr, "the session is frozen: penstock resume") {
			t.Error(r)
		}
		if r := p.W.Run(p.Home, p.Opts, world.Penstock(t), "resume", s.id); r.Code != 0 {
			t.Fatal(r)
		}
		cmd, out, errs := begin()
		s.end(t)
		if rest, err := io.ReadAll(out); err != nil || len(rest) > 0 {
			t.Errorf("%q, %v", rest, err)
		}
		if cmd.Wait(); cmd.ProcessState.ExitCode() != 137 || errs.String() != "" && errs.String() != "penstock: the session has ended, and the command with it\n" {
			t.Errorf("%v: %s", cmd.ProcessState, errs)
		}
		for _, e := range p.Exported() {
			if e.Str("type") == "exec" && e.Num("exec") == 3 && e.Str("action") != "start" && e.Num("exit_code") != 137 && e.Str("reason") != "the session has ended, and the command with it" {
				t.Errorf("%v", e)
			}
		}
	})
}

// With the session's supervisor all that it has started ends, however that ended.
func TestExecSupervisorKilled(t *testing.T) {
	inEach(t, guestPens, func(t *testing.T, p *world.Pen) {
		s := hold(t, p)
		cmd := p.W.Command(p.Home, p.Opts, world.Penstock(t), "exec", s.id, "--", "sh", "-c", "echo up; while :; do sleep 0.1; done")
		var errs bytes.Buffer
		cmd.Stderr = &errs
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := world.Start(cmd); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { cmd.Process.Kill() })
		lines := bufio.NewReader(out)
		if line, err := lines.ReadString('\n'); line != "up\n" {
			t.Fatalf("%q, %v", line, err)
		}
		s.cmd.Process.Kill()
		// The pipe is the command's own: that it ends says that the command has.
		if rest, err := io.ReadAll(lines); err != nil || len(rest) > 0 {
			t.Errorf("%q, %v", rest, err)
		}
		if cmd.Wait(); cmd.ProcessState.ExitCode() != 137 || !strings.HasSuffix(errs.String(), "and the command with it\n") {
			t.Errorf("%v: %s", cmd.ProcessState, &errs)
		}
	})
}

// What stops the session stops what was started beside its own command.
func TestExecFrozen(t *testing.T) {
	execPens(t, func(t *testing.T, p *world.Pen) {
		s := hold(t, p)
		cmd := p.W.Command(p.Home, p.Opts, world.Penstock(t), "exec", s.id, "--", "sh", "-c", "echo up; read x; echo got $x; exit 4")
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer out.Close()
		cmd.Stdout = w
		if err := world.Start(cmd); err != nil {
			t.Fatal(err)
		}
		w.Close()
		t.Cleanup(func() { cmd.Process.Kill() })
		lines := bufio.NewReader(out)
		if line, err := lines.ReadString('\n'); line != "up\n" {
			t.Fatalf("%q, %v", line, err)
		}
		for _, verb := range []string{"freeze", "resume"} {
			if r := p.W.Run(p.Home, p.Opts, world.Penstock(t), verb, s.id); r.Code != 0 {
				t.Fatal(r)
			}
			if verb == "freeze" {
				io.WriteString(in, "later\n")
				out.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
				if line, err := lines.ReadString('\n'); !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("frozen it says %q, %v", line, err)
				}
				out.SetReadDeadline(time.Time{})
			}
		}
		if line, err := lines.ReadString('\n'); line != "got later\n" {
			t.Errorf("%q, %v", line, err)
		}
		if cmd.Wait(); cmd.ProcessState.ExitCode() != 4 {
			t.Error(cmd.ProcessState)
		}
		s.end(t)
	})
}

// On a terminal it is on one: its size, what is typed, its keys, job control.
func TestExecTerminal(t *testing.T) {
	execPens(t, func(t *testing.T, p *world.Pen) {
		s := hold(t, p)
		r := onTerminal(t, p, `
until(b"33 101\r\n")
os.write(fd, b"typed\n")
until(b"got typed\r\n")
until(b"ready\r\n")
os.write(fd, b"\x03")
until(b"interrupted\r\n")
fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", 44, 77, 0, 0))
until(b"44 77\r\n")
os.write(fd, b"\x1c")
`, world.Penstock(t), "exec", s.id, "--", "sh", "-c",
			`stty size; read x; echo got $x; trap "stty size" WINCH; trap "echo interrupted" INT; trap "exit 4" QUIT; echo ready; while :; do sleep 0.05; done`)
		if r.Stdout != "4\n" {
			t.Error(r)
		}
		s.end(t)
	})
}

// Nobody but its own user starts something in a session, and not in any session.
func TestExecRefused(t *testing.T) {
	gvisorPens(t, func(t *testing.T, p *world.Pen) {
		if os.Getuid() == 0 && p.Opts.User {
			s := hold(t, p)
			for _, o := range []world.Options{{Dir: "/"}, {User: true, Other: true, Dir: "/"}} {
				want := "only its own user can run a command in a session"
				if o.Other {
					want = "no running session"
				}
				if r := p.W.Run(p.W.NewHome(o), o, world.Penstock(t), "exec", s.id, "true"); r.Code != 125 || !strings.Contains(r.Stderr, want) {
					t.Errorf("%+v: %s", o, r)
				}
			}
			s.end(t)
		}
		p.Flags = []string{"--sandbox", "none", "--no-sandbox-i-know"}
		if p.Opts.Supervised {
			p.Flags = nil
		}
		s := hold(t, p)
		if r := s.exec(t, s.id, "true"); r.Code != 125 || !strings.Contains(r.Stderr, "takes no further command: only sessions of the tier") {
			t.Error(r)
		}
		s.end(t)
	})
}

// A hook that decides which commands sessions may start decides it of each.
func TestExecHook(t *testing.T) {
	execPens(t, func(t *testing.T, p *world.Pen) {
		p.Hooks = []string{`{name: no-git, on: [session_start], cel: 'run.program == "git" ? "deny: not with git" : "next"'}`}
		s := hold(t, p)
		if r := s.exec(t, s.id, "git", "status"); r.Code != 125 || r.Stdout != "" || !strings.Contains(r.Stderr, "the command may not start: ") || !strings.Contains(r.Stderr, "not with git") || !strings.Contains(r.Stderr, "policy.yaml") {
			t.Error(r)
		}
		if r := s.exec(t, s.id, "echo", "git"); r.Code != 0 || r.Stdout != "git\n" {
			t.Error(r)
		}
		s.end(t)
		logs := p.W.Run(p.Home, p.Opts, world.Penstock(t), "logs", s.id)
		if !strings.Contains(logs.Stdout, "exec      #1  failed  the command may not start: ") {
			t.Error(logs)
		}
	})
}

// A tool that watches for what is put into its pen can't look into it, trace it or write
// to it; that it kills it all is all that comes of it. What cannot be traced is a matter
// of Landlock, which these pens have.
func TestExecHostile(t *testing.T) {
	gvisorPens(t, func(t *testing.T, p *world.Pen) {
		if p.Opts.Supervised {
			t.Skip("such a session takes none")
		}
		p.Flags = nil
		python := world.Tool(t, "python3")
		p.Home.Write(t, "project/watch.py", `
import ctypes, os, select, signal, sys
libc = ctypes.CDLL(None, use_errno=True)
me, seen, got = os.getpid(), set(), []
def attempt(pid, what, f):
    try:
        if f() == b"": return # of one that has ended there is nothing
    except (OSError, ValueError): return
    got.append("%s of %d" % (what, pid))
def look(pid, name): return lambda: open("/proc/%d/%s" % (pid, name), "rb").read(1)
def trace(pid):
    if libc.ptrace(16, pid, None, None) != 0: raise OSError("refused")
    os.waitpid(pid, 0)
def read(pid):
    buf = ctypes.create_string_buffer(8)
    class iovec(ctypes.Structure): _fields_ = [("base", ctypes.c_void_p), ("len", ctypes.c_size_t)]
    here, there = iovec(ctypes.cast(buf, ctypes.c_void_p), 8), iovec(0x400000, 8)
    if libc.process_vm_readv(pid, ctypes.byref(here), 1, ctypes.byref(there), 1, 0) < 0:
        raise OSError("refused")
old = set(os.listdir("/proc"))
print("up", flush=True)
kill = sys.argv[1] == "kill"
while not select.select([0], [], [], 0)[0]:
    for name in set(os.listdir("/proc")) - old:
        if not name.isdigit(): continue
        pid = int(name)
        seen.add(pid)
        if kill:
            try: os.kill(pid, signal.SIGKILL)
            except OSError: pass
            continue
        for what in "environ", "mem", "maps", "stack", "syscall", "auxv", "io":
            attempt(pid, what, look(pid, what))
        for what in "exe", "cwd", "root", "fd/0", "fd/4", "ns/mnt":
            attempt(pid, what, lambda: os.readlink("/proc/%d/%s" % (pid, what)))
        attempt(pid, "writing", lambda: open("/proc/%d/mem" % pid, "r+b", buffering=0).write(b"x"))
        attempt(pid, "ptrace", lambda: trace(pid))
        attempt(pid, "memory", lambda: read(pid))
open("report", "w").write("%d seen %s" % (len(seen) > 0, got[:20]))
sys.exit(3)
`)
		for _, how := range []string{"look", "kill"} {
			s := holding(t, p, python, "watch.py", how)
			for i := range 20 {
				r := s.exec(t, s.id, "sh", "-c", "read x </dev/null; echo there")
				if how == "look" && (r.Stdout != "there\n" || r.Code != 0) {
					t.Errorf("%d: %s", i, r)
				}
				if how == "kill" && r.Code != 125 && r.Code != 137 && (r.Code != 0 || r.Stdout != "there\n") {
					t.Errorf("%d: %s", i, r)
				}
			}
			s.end(t)
			report, err := os.ReadFile(filepath.Join(p.Opts.Dir, "report"))
			if err != nil || string(report) != "1 seen []" {
				t.Errorf("%s: %q, %v", how, report, err)
			}
		}
		for _, e := range p.Exported() {
			if e.Str("type") == "violation" {
				t.Errorf("%v", e)
			}
		}
	})
}
