package who

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// prelude is what the Python tools have in common: talk says who it is over a
// connected socket, and waits for the answer.
const prelude = `
import os, sys, socket, time, array, signal, subprocess
A = ("198.18.0.7", 443)
def make(): return socket.socket()
def talk(s, what="x", pid=None):
    s.sendall(b"%d %s\n" % (pid or os.getpid(), what.encode()))
    assert s.recv(100) == b"ok\n"
def hold(): # a pair of which the child waits for the end of the other
    a, b = socket.socketpair(); return a, b
`

// python starts a pen with a Python tool, whose script ends with the prelude's
// names in reach.
func python(t *testing.T, exact bool, script string, args ...string) *pen {
	t.Helper()
	return newPen(t, func(p *Pen) { p.Exact, p.Hash = exact, true }, append([]string{need(t, "python3"), "-c", prelude + script}, args...)...)
}

func both(t *testing.T, f func(t *testing.T, exact bool)) {
	for _, exact := range []bool{false, true} {
		t.Run(fmt.Sprint("exact ", exact), func(t *testing.T) { f(t, exact) })
	}
}

// Two connections to different hosts may have the same port; the packet filter
// then changes one of them.
func TestSamePortTwice(t *testing.T) {
	both(t, func(t *testing.T, exact bool) {
		pn := python(t, exact, `
def one(host):
    s = make(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(("", 40000)); s.connect((host, 443)); return s
first = one("198.18.0.1")
a, b = hold()
if os.fork() == 0:
    a.close(); s = one("198.18.0.2"); talk(s, "second"); os._exit(0)
b.close(); a.recv(1)
third = one("198.18.0.3")
talk(first, "first"); talk(third, "third")
os.wait()
`)
		pn.run()
		pn.check(pn.wait(3))
	})
}

// A socket that parent and child have from before the connection is the parent's.
func TestFork(t *testing.T) {
	both(t, func(t *testing.T, exact bool) {
		pn := python(t, exact, `
s = make(); a, b = hold()
if os.fork() == 0:
    a.close(); b.send(b"1"); b.recv(1); os._exit(0)
b.close(); a.recv(1)
s.connect(A); talk(s)
`)
		pn.run()
		all := pn.wait(1)
		pn.check(all)
		if all[0].p != nil && all[0].p.Shared {
			t.Error("shared, and both run the same program")
		}
	})
}

// A child that runs another program and has the socket too: the parent's, and
// with Exact it is said that it may be the other's.
func TestInherited(t *testing.T) {
	both(t, func(t *testing.T, exact bool) {
		pn := python(t, exact, `
s = make(); s.set_inheritable(True)
c = subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, close_fds=False)
c.stdin.write(b"x\n"); c.stdin.flush(); c.stdout.readline() # it runs
s.connect(A); talk(s); c.kill()
`)
		pn.run()
		all := pn.wait(1)
		pn.check(all)
		if p := all[0].p; p != nil && p.Shared != exact {
			t.Errorf("shared %v", p.Shared)
		}
	})
}

// A socket made by one process, passed to another and connected there, is that
// one's as soon as the first has let go of it.
func TestPassedOn(t *testing.T) {
	both(t, func(t *testing.T, exact bool) {
		pn := python(t, exact, `
a, b = socket.socketpair()
if os.fork() == 0:
    a.close()
    _, fds, _, _ = socket.recv_fds(b, 1, 1)
    b.send(b"k"); b.recv(1)
    s = socket.socket(fileno=fds[0]); s.connect(A); talk(s, "receiver"); os._exit(0)
b.close()
s = make(); socket.send_fds(a, [b"x"], [s.fileno()]); a.recv(1); s.close(); a.send(b"g")
assert os.wait()[1] == 0
`)
		pn.run()
		pn.check(pn.wait(1))
	})
}

// The same process after execve is another value, and the socket of a program
// that executes another is that one's from then on.
func TestExec(t *testing.T) {
	both(t, func(t *testing.T, exact bool) {
		pn := python(t, exact, `
n = int(sys.argv[1])
s = make(); s.connect(A); talk(s, "run%d" % n)
if n < 4: os.execv(sys.executable, [sys.executable, "-c", `+"open('/proc/self/cmdline').read().split('\\0')[2]"+`, str(n+1)])
`, "1")
		pn.run()
		all := pn.wait(4)
		pn.check(all)
		for i, s := range all {
			if s.p == nil || s.p.Args[len(s.p.Args)-1] != fmt.Sprint(i+1) || s.p.PID != all[0].p.PID || i > 0 && s.p == all[i-1].p {
				t.Errorf("%q: %+v", s.line, s.p)
			}
		}
	})
}

// Who ends at once is named rightly or not at all.
func TestGoneAtOnce(t *testing.T) {
	both(t, func(t *testing.T, exact bool) {
		pn := python(t, exact, `
for i in range(60):
    if os.fork() == 0:
        s = make(); s.connect(A); s.send(b"%d gone\n" % os.getpid()); os._exit(0)
    if i % 2: os.wait()
try:
    while os.wait(): pass
except ChildProcessError: pass
s = make(); s.connect(A); talk(s)
`)
		pn.run()
		known := 0
		for _, s := range pn.wait(61) {
			if s.p != nil {
				known++
				if s.number != 0 && s.number != s.claim {
					t.Errorf("%q: process %d", s.line, s.number)
				}
			}
		}
		t.Logf("%d of 61 known", known)
	})
}

// A process's name, arguments and path are what it likes; what is decided by is not.
func TestLies(t *testing.T) {
	self, _ := os.Executable()
	evil := filepath.Join(t.TempDir(), "git\x1b[31m) S 1 (\n")
	b, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(evil, b, 0o755); err != nil {
		t.Fatal(err)
	}
	pn := newPen(t, func(p *Pen) { p.Hash = true }, "/bin/sh", "-c", `"$1" role:test-tool dial 198.18.0.7:443 1`, "sh", evil)
	pn.run()
	all := pn.wait(1)
	pn.check(all)
	if p := all[0].p; p == nil || p.Exe.Path != evil || p.Exe.SHA256 != hashOf(t, self) || p.Parent == nil || p.Parent.Args[0] != "/bin/sh" {
		t.Errorf("%+v", p)
	}

	pn = python(t, false, `
import ctypes
libc = ctypes.CDLL(None)
libc.prctl(15, b") Z 1 (\x1b]0;", 0, 0, 0)
s = make(); s.connect(A); talk(s)
`)
	pn.run()
	all = pn.wait(1)
	pn.check(all)
	if p := all[0].p; p != nil && (time.Duration(p.Start) > sinceBoot(t) || time.Duration(p.Start) < sinceBoot(t)-time.Minute) {
		t.Errorf("started %s after the machine", time.Duration(p.Start))
	}

	// A binary that is replaced while it runs: the file that runs counts.
	gone := filepath.Join(t.TempDir(), "tool")
	if err := os.WriteFile(gone, b, 0o755); err != nil {
		t.Fatal(err)
	}
	pn = newPen(t, func(p *Pen) { p.Hash = true }, gone, toolRole, "dial", "198.18.0.7:443", "2")
	pn.say = func(s seen) string {
		os.Remove(gone)
		os.WriteFile(gone, []byte("another"), 0o755)
		return "ok"
	}
	pn.run()
	for _, s := range pn.wait(2) {
		if s.p == nil || s.p.Exe.SHA256 != hashOf(t, self) {
			t.Errorf("%q: %+v", s.line, s.p)
		}
	}
}

// A process that nobody else may look into is not known, and no other instead.
func TestHidden(t *testing.T) {
	pn := python(t, false, `
import ctypes
ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)
s = make(); s.connect(A); talk(s)
`)
	pn.run()
	s := pn.wait(1)[0]
	if s.p == nil && !errors.Is(s.err, ErrGone) || s.p != nil && s.number != s.claim {
		t.Errorf("%+v", s)
	}
	if os.Getuid() == 0 && s.p == nil {
		t.Error("root can't read it")
	}
}

// Descriptors and processes without end: a bounded look, then nobody.
func TestTooMuch(t *testing.T) {
	both(t, func(t *testing.T, exact bool) {
		pn := python(t, exact, `
import resource
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
s = make()
n = min(hard, 60000) - 50
for i in range(n): os.dup(0)
print(n)
s.connect(A); talk(s)
`)
		out := pn.run()
		s := pn.wait(1)[0]
		t.Logf("%s descriptors: %v in %s", strings.TrimSpace(out), s.err, s.took)
		if s.p != nil && s.number != s.claim || s.p == nil && !errors.Is(s.err, ErrBusy) || s.took > 20*time.Second {
			t.Errorf("%+v", s)
		}
	})
}

// What isn't the pen's is not found, whatever is asked.
func TestForeign(t *testing.T) {
	self, _ := os.Executable()
	pn := newPen(t, nil, self, toolRole, "dial", "198.18.0.7:443", "1")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if p, err := pn.Lookup(context.Background(), addrPort(c.LocalAddr()), addrPort(c.RemoteAddr())); p != nil || !errors.Is(err, ErrNoSocket) {
		t.Errorf("%+v, %v", p, err)
	}
	pn.Resolver.mu.Lock()
	p, err := pn.openProcess(os.Getpid())
	pn.Resolver.mu.Unlock()
	if !errors.Is(err, errForeign) {
		t.Errorf("%+v, %v", p, err)
	}
	pn.run()
	pn.check(pn.wait(1))
}

// What is read of a process that has ended fails, whoever has its number now.
func TestEndedProcess(t *testing.T) {
	pn := newPen(t, nil, "/bin/cat")
	pn.Resolver.namespace, _ = os.Readlink("/proc/self/ns/pid")
	cmd := exec.Command("/bin/cat")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p, err := pn.known(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pn.describe(p, 0); err != nil {
		t.Fatal(err)
	}
	in.Close()
	cmd.Wait()
	if w, err := pn.describe(p, 0); err == nil || p.alive() {
		t.Errorf("%+v", w)
	}
	if has, err := pn.holdsAny(p, "socket:[1]"); has || err == nil {
		t.Error("descriptors of a process that has ended")
	}
}

// Sockets that were made in other ways.
func TestKinds(t *testing.T) {
	for name, make := range map[string]string{
		"bound to lo":  `s = make(); s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo")`,
		"mapped":       `s = socket.socket(socket.AF_INET6); A = ("::ffff:198.18.0.7", 443)`,
		"not blocking": `s = make(); s.setblocking(False); s.connect_ex(A); s.setblocking(True); import select; select.select([], [s], [])`,
		"multipath":    `s = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262)`,
		"descriptor 0": `s = make(); os.dup2(s.fileno(), 0); s.close(); s = socket.socket(fileno=0)`,
		"fast open":    `s = make(); s.sendto(b"%d tfo\n" % os.getpid(), 0x20000000, A); assert s.recv(10) == b"ok\n"; sys.exit(0)`,
	} {
		t.Run(name, func(t *testing.T) {
			pn := python(t, false, make+`
try: s.connect(A)
except OSError as e:
    if e.errno not in (106,): raise
talk(s)
`)
			pn.run()
			pn.check(pn.wait(1))
		})
	}
}

// A thread of a process is not a process.
func TestThreads(t *testing.T) {
	both(t, func(t *testing.T, exact bool) {
		pn := python(t, exact, `
import threading
def one(i):
    s = make(); s.connect(A); talk(s, "thread %d" % i)
all = [threading.Thread(target=one, args=(i,)) for i in range(20)]
for x in all: x.start()
for x in all: x.join()
`)
		pn.run()
		all := pn.wait(20)
		pn.check(all)
		if slices.ContainsFunc(all, func(s seen) bool { return s.p != all[0].p }) {
			t.Error("the threads of a process are several")
		}
	})
}

func sinceBoot(t *testing.T) time.Duration {
	t.Helper()
	f, err := os.Open("/proc/uptime")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, _ := io.ReadAll(f)
	var s float64
	fmt.Sscan(string(b), &s)
	return time.Duration(s * float64(time.Second))
}
