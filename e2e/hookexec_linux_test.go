package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/penstock/penstock/internal/world"
)

// documented returns the program of docs/hooks.md that answers lines.
func documented(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../docs/hooks.md")
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(text), "\n## Processes\n")
	_, program, _ := strings.Cut(after, "```python\n")
	program, _, ok := strings.Cut(program, "```\n")
	if !ok {
		t.Fatal("no program in hooks.md")
	}
	return program
}

// A hook that is a process, the one of the documentation, decides about the requests of
// curl in a real pen.
func TestHookProcess(t *testing.T) {
	if world.Bare() {
		t.Skip("no hooks without a pen")
	}
	for name, o := range world.Users() {
		t.Run(name, func(t *testing.T) {
			world.Tool(t, "curl")
			w := world.New(t)
			p := &pen{&world.Pen{T: t, W: w, Opts: o, Home: w.NewHome(o), Env: map[string]string{}}}
			w.HTTPS("api.example.com", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "api has "+r.Method+r.URL.Path) }))
			p.Allow = []string{"{host: api.example.com}"}
			p.Home.Write(t, "no-deletes.py", documented(t))
			p.Hooks = []string{`{name: no-deletes, on: [request], exec: [/usr/bin/python3, ./no-deletes.py], timeout: 20s}`}
			r := p.Sh(`curl -sS https://api.example.com/a; echo; curl -sS -X DELETE https://api.example.com/b; curl -sS https://api.example.com/c; ls ~`)
			for _, want := range []string{"api has GET/a", "denied by hook no-deletes: nothing is deleted from here", "api has GET/c"} {
				if !strings.Contains(r.Stdout, want) {
					t.Errorf("no %q in %s", want, r)
				}
			}
			if strings.Contains(r.Stdout, "api has DELETE") || strings.Contains(r.Stdout, ".py") {
				t.Error(r)
			}
		})
	}
}

// hostileHook is a hook that the pen has taken over: it says what it can reach.
const hostileHook = `
import json, os, socket, subprocess, sys
def say(*words): print(*words, file=sys.stderr, flush=True)
def tries(name, f):
    try: say("can:", name, f())
    except BaseException as e: say("can't:", name)
say("interfaces:", *[l.split(":")[0].strip() for l in open("/proc/net/dev").readlines()[2:]])
say("descriptors:", *sorted(os.listdir("/proc/self/fd")))
for l in open("/proc/self/status"):
    if l.startswith(("CapEff", "CapBnd", "NoNewPrivs", "Seccomp:")): say(*l.split())
say("variables:", *sorted(os.environ))
say("processes:", *sorted(p for p in os.listdir("/proc") if p.isdigit() and int(p) > 20))
tries("read the policy", lambda: open(sys.argv[1][1:]).read())
tries("read the key", lambda: open(sys.argv[2][1:]).read())
try: open(__file__ + ".x", "w").close() # in its own memory at most
except OSError: pass
tries("write itself", lambda: open(__file__, "r+"))
tries("write /usr", lambda: open("/usr/x", "w"))
tries("connect", lambda: socket.create_connection((sys.argv[3], 443), 2))
tries("resolve", lambda: socket.getaddrinfo("api.example.com", 443))
tries("netlink route", lambda: subprocess.run(["unshare", "-Urn", "true"], check=True, stderr=subprocess.DEVNULL))
say("x" * 5000 + "\x1b[2J")
for i in range(200): say("line", i)
subprocess.Popen(["sleep", "4711"])
for line in sys.stdin:
    q = json.loads(line)
    if q["path"] == "/die": os._exit(1)
    if q["path"] == "/garbage": print("\x00\x1b[2Jnext", flush=True)
    elif q["path"] == "/other": print(json.dumps({"version": 1, "id": "no", "decision": "next"}), flush=True)
    elif q["path"] == "/flood":
        while True: print("x" * 100000, end="")
    else: print(json.dumps({"version": 1, "id": q["id"], "decision": "next"}), flush=True)
`

// TestHookProcessCage: a hook in the pen's hands reaches nothing, what it breaks denies,
// and it is not there any more when the session has ended.
func TestHookProcessCage(t *testing.T) {
	if world.Bare() {
		t.Skip("no hooks without a pen")
	}
	for name, o := range world.Users() {
		t.Run(name, func(t *testing.T) {
			world.Tool(t, "curl")
			w := world.New(t)
			p := &pen{&world.Pen{T: t, W: w, Opts: o, Home: w.NewHome(o), Env: map[string]string{}}}
			w.HTTPS("api.example.com", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "api has "+r.URL.Path) }))
			p.Allow = []string{"{host: api.example.com}"}
			p.Home.Write(t, "h.py", hostileHook)
			key := p.Home.Write(t, ".ssh/id", "a key")
			// Arguments that are files are shown: so these are no paths.
			p.Hooks = []string{`{name: h, on: [request], exec: [/usr/bin/python3, ./h.py, "x` + filepath.Join(p.Home.Path, "policy.yaml") + `", "x` + key + `", 192.0.2.1], timeout: 20s}`}
			p.Opts.Env = append(p.Opts.Env, "SECRET=1")
			r := p.Sh(`for x in yes die yes garbage yes other yes flood yes; do curl -sS https://api.example.com/$x; echo; done`)
			for _, want := range []string{
				"hook h: interfaces: lo\n", "hook h: descriptors: 0 1 2 3\n", "hook h: CapEff: 0000000000000000\n", "hook h: CapBnd: 0000000000000000\n", "hook h: NoNewPrivs: 1\n", "hook h: Seccomp: 2\n",
				"hook h: variables: HOME LANG PATH PWD\n", "hook h: processes:\n",
				"can't: read the policy\n", "can't: read the key\n", "can't: write itself\n", "can't: write /usr\n", "can't: connect\n", "can't: resolve\n",
				"hook h: what more it says is not shown\n",
			} {
				if !strings.Contains(r.Stderr, want) {
					t.Errorf("no %q", want)
				}
			}
			if strings.Contains(r.Stderr, "hook h: can:") || strings.ContainsRune(r.Stderr, 0x1b) || strings.Contains(r.Stderr, strings.Repeat("x", 400)) || strings.Contains(r.Stderr, "line 60\n") {
				t.Error(r)
			}
			for _, want := range []string{"its process ended", "its answer is no decision in JSON", "its answer is to another question", "its answer has more than"} {
				if !strings.Contains(r.Stdout, "hook h failed, which denies: "+want) {
					t.Errorf("no %q in %s", want, r)
				}
			}
			if strings.Count(r.Stdout, "api has /yes") != 5 || strings.Count(r.Stdout, "api has ") != 5 {
				t.Error(r)
			}
			if _, err := os.Stat(filepath.Join(p.Home.Path, "h.py.x")); err == nil {
				t.Error("it has written a file")
			}
			if found := running(t, "4711"); len(found) > 0 {
				t.Errorf("left running: %v", found)
			}
		})
	}
}

// running returns the processes whose command line has a word.
func running(t *testing.T, word string) (found []int) {
	t.Helper()
	names, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		b, err := os.ReadFile(name)
		line := strings.ReplaceAll(string(b), "\x00", " ")
		if pid, _ := strconv.Atoi(strings.Split(name, "/")[2]); err == nil && strings.Contains(" "+line, " "+word+" ") {
			found = append(found, pid)
		}
	}
	return found
}

// TestHookProcessKilled: whichever role is killed, the hook ends, and what it has
// started in a session of its own.
func TestHookProcessKilled(t *testing.T) {
	if world.Bare() {
		t.Skip("no hooks without a pen")
	}
	for name, o := range world.Users() {
		for _, role := range []string{"supervisor", "role:proxy"} {
			if o.Supervised && role == "role:proxy" {
				continue // it is the daemon's, see e2e/kill
			}
			t.Run(name+"/"+role, func(t *testing.T) {
				w := world.New(t)
				p := &pen{&world.Pen{T: t, W: w, Opts: o, Home: w.NewHome(o), Env: map[string]string{}}}
				word := strconv.Itoa(100000 + os.Getpid())
				p.Home.Write(t, "h.sh", "setsid sleep "+word+" & while read -r x; do :; done")
				p.Hooks = []string{"{name: h, on: [request], exec: [sh, ./h.sh]}"}
				cmd := w.Command(p.Home, o, world.Penstock(t), "run", "--policy", p.WritePolicy(), "--", "sh", "-c", "echo ready; sleep 1000")
				out, err := cmd.StdoutPipe()
				if err != nil {
					t.Fatal(err)
				}
				if err := world.Start(cmd); err != nil {
					t.Fatal(err)
				}
				defer cmd.Wait() //nolint:errcheck // it is killed
				if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
					t.Fatalf("%q, %v", line, err)
				}
				var pids []int
				for len(pids) == 0 {
					pids = running(t, word)
				}
				fd, err := unix.PidfdOpen(pids[0], 0)
				if err != nil {
					t.Fatal(err)
				}
				defer unix.Close(fd)
				victim := cmd.Process.Pid
				if role != "supervisor" {
					victim = 0
					for _, pid := range running(t, role) {
						if stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); err == nil && strings.Contains(string(stat), fmt.Sprintf(") S %d ", cmd.Process.Pid)) {
							victim = pid
						}
					}
				}
				if victim == 0 || unix.Kill(victim, unix.SIGKILL) != nil {
					t.Fatalf("nobody is %s", role)
				}
				if n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 20000); n != 1 {
					unix.Kill(pids[0], unix.SIGKILL)
					t.Errorf("the hook lives on: %v", err)
				}
			})
		}
	}
}

// TestHookOnce is a process for each question.
func TestHookOnce(t *testing.T) {
	if world.Bare() {
		t.Skip("no hooks without a pen")
	}
	world.Tool(t, "curl")
	p := newPen(t, world.New(t))
	p.W.HTTPS("api.example.com", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "api has "+r.URL.Path) }))
	p.Allow = []string{"{host: api.example.com}"}
	p.Home.Write(t, "once.sh", `read -r question
case $question in
*'"path":"/code"'*) code=3 ;;
*'"path":"/slow"'*) sleep 4712 ;;
*'"path":"/nothing"'*) exit 0 ;;
esac
echo '{"version":1,"id":"1","decision":"next"}'
exit $code
`)
	p.Hooks = []string{`{name: o, on: [request], exec_once: [sh, ./once.sh], timeout: 4s}`}
	r := p.Sh(`for x in yes code slow nothing yes; do curl -sS https://api.example.com/$x; echo; done`)
	for _, want := range []string{"hook o failed, which denies: its process ended with code 3", "hook o failed, which denies: it did not answer in time", "hook o failed, which denies: its answer is no decision"} {
		if !strings.Contains(r.Stdout, want) {
			t.Errorf("no %q in %s", want, r)
		}
	}
	if strings.Count(r.Stdout, "api has /yes") != 2 || strings.Count(r.Stdout, "api has ") != 2 || len(running(t, "4712")) > 0 {
		t.Error(r)
	}
}

// TestHookProgramWhere: what a pen could change is not executed, and nothing starts.
func TestHookProgramWhere(t *testing.T) {
	if world.Bare() {
		t.Skip("no hooks without a pen")
	}
	p := newPen(t, world.New(t))
	p.Home.Write(t, "project/h.py", documented(t))
	p.Home.Write(t, "beside/h.py", documented(t))
	if err := os.Symlink(filepath.Join(p.Home.Project, "h.py"), filepath.Join(p.Home.Path, "link.py")); err != nil {
		t.Fatal(err)
	}
	for exec, want := range map[string]string{
		`[/usr/bin/python3, ./project/h.py]`:     "where a tool in a pen can change it",
		`[./project/h.py]`:                       "", // not executable, or in the project: either is an error
		`[/usr/bin/python3, ./link.py]`:          "where a tool in a pen can change it",
		`[/usr/bin/python3, ~/]`:                 "where a tool in a pen can change it",
		`[/usr/bin/python3, /]`:                  "", // either
		`[no-such-program]`:                      "executable file not found",
		`[/usr/bin/python3, /proc/self/environ]`: "more than a program's own files",
	} {
		p.Hooks = []string{"{name: h, on: [request], exec: " + exec + "}"}
		if r := p.Sh("echo started"); r.Code != 125 || strings.Contains(r.Stdout, "started") || !strings.Contains(r.Stderr, "use the program of hook h") || !strings.Contains(r.Stderr, want) {
			t.Errorf("%s: %s", exec, r)
		}
	}
	// What loosens is said, and recorded.
	p.Hooks = []string{"{name: h, on: [request], exec: [/usr/bin/python3, ./beside/h.py], network: true}"}
	if r := p.Sh("true"); r.Code != 0 || !strings.Contains(r.Stderr, "hook h has the host's network") {
		t.Error(r)
	}
	for _, rec := range p.Audit() {
		if rec.Str("type") == "session_start" {
			if list, _ := rec["warnings"].([]any); len(list) != 1 || !strings.Contains(list[0].(string), "hook h has the host's network") {
				t.Errorf("the session's record: %v", rec)
			}
		}
	}
}
