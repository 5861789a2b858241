package tiers

import (
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/penstock/penstock/internal/world"
)

// What gVisor tells of the command is in the audit as gVisor's word: who made each
// connection, what was executed, which hidden and protected paths were opened, and how
// processes ended. Nothing is decided by it.
func TestGvisorTold(t *testing.T) {
	gvisorPens(t, func(t *testing.T, p *world.Pen) {
		p.W.HTTPS("api.example.com", world.Text("hello\n"))
		p.W.HTTPS("denied.example.com", http.NotFoundHandler())
		p.Allow = []string{"{host: api.example.com}"}
		p.Secrets = []string{"{name: API_KEY, from: \"env:KEY_OF_TEST\", hosts: [api.example.com], header: x-api-key}"}
		p.Opts.Env = append(p.Opts.Env, "KEY_OF_TEST=the-real-value-of-the-key")
		p.Home.Write(t, ".ssh/id_ed25519", "PRIVATE\n")
		if err := os.MkdirAll(filepath.Join(p.Opts.Dir, ".git"), 0o755); err != nil {
			t.Fatal(err)
		}
		p.Home.Write(t, "project/.git/config", "[core]\n")
		p.Home.Own(t)
		r := p.Sh(`cat ~/.ssh/id_ed25519; cat ~/.ssh/id_ed25519; cd ~; cat .aws/credentials; cd - >/dev/null
cat .git/config >/dev/null; echo x >>.git/config
curl -sS https://api.example.com/a
curl -sS -o /dev/null https://denied.example.com/ -H "x-api-key: $API_KEY"
sh -c 'kill -KILL $$'
true`)
		if r.Code != 0 || !strings.Contains(r.Stdout, "hello") || strings.Contains(r.Stdout, "PRIVATE") {
			t.Fatalf("%s", r)
		}
		said := map[int]world.Record{}
		var accesses, killed, executed []string
		for _, e := range p.Exported() {
			switch e.Str("type") {
			case "process":
				if e.Str("said_by") != "gvisor" && e.Str("action") != "exit" {
					t.Errorf("a process that gVisor has not told of: %v", e)
				}
				switch e.Str("action") {
				case "seen":
					said[e.Num("process")] = e
				case "exec":
					executed = append(executed, filepath.Base(e.Str("exe")))
				case "exit":
					if e.Str("signal") != "" && e.Str("said_by") != "" {
						killed = append(killed, filepath.Base(e.Str("exe"))+" "+e.Str("signal"))
					}
				}
				if strings.Contains(strings.Join(e.Args(), " "), "the-real-value") {
					t.Errorf("a secret is in the audit: %v", e)
				}
			case "access":
				how := "r"
				if e["write"] == true {
					how = "w"
				}
				name, _ := filepath.Rel(p.Home.Path, e.Str("path"))
				accesses = append(accesses, how+" "+name+" "+e.Str("error"))
				if who := said[e.Num("process")]; who == nil || e.Str("said_by") != "gvisor" {
					t.Errorf("nobody opened it: %v", e)
				}
			case "loss":
				t.Errorf("%v", e)
			}
		}
		// Each cat is a process of its own.
		for _, want := range []string{"r .ssh/id_ed25519 ENOENT", "r .ssh/id_ed25519 ENOENT", "r .aws/credentials ENOENT", "w project/.git/config EROFS"} {
			i := slices.Index(accesses, want)
			if i < 0 {
				t.Errorf("no record of %s in %q", want, accesses)
				continue
			}
			accesses = slices.Delete(accesses, i, i+1)
		}
		if len(accesses) != 0 {
			t.Errorf("records of %q", accesses)
		}
		if len(killed) != 1 || !strings.HasSuffix(killed[0], "SIGKILL") {
			t.Errorf("killed: %q", killed)
		}
		for _, want := range []string{"cat", "curl", "bash"} {
			if !slices.Contains(executed, want) {
				t.Errorf("no record that %s was executed: %q", want, executed)
			}
		}
		flows := 0
		for _, f := range p.Exported() {
			if host := f.Str("host"); f.Str("type") == "flow_open" {
				flows++
				who := said[f.Num("process")]
				if f.Str("exe") != "/usr/bin/curl" || f.Str("said_by") != "gvisor" || who == nil || !slices.Contains(who.Args(), "https://"+host+f.Str("path")) || who.Num("pid") != f.Num("pid") {
					t.Errorf("%s was asked by %v: %v", host, who, f)
					continue
				}
				if parent := said[who.Num("parent")]; parent == nil || parent.Args()[0] != "/bin/bash" || parent.Num("pid") != 1 {
					t.Errorf("whose parent is %v", parent)
				}
			}
		}
		if flows != 2 {
			t.Errorf("%d flows", flows)
		}
		shown := p.W.Run(p.Home, p.Opts, world.Penstock(t), "audit", "show", "--who")
		if !strings.Contains(shown.Stdout, "by curl -sS https://api.example.com/a  /usr/bin/curl pid ") || !strings.Contains(shown.Stdout, "as gvisor in the pen says") {
			t.Errorf("%s", shown)
		}
	})
}

// A command that does what is told without end is told of by numbers.
func TestGvisorToldFlood(t *testing.T) {
	gvisorPens(t, func(t *testing.T, p *world.Pen) {
		r := p.Run("python3", "-c", `
import os
for i in range(3000):
    try: os.open(os.path.expanduser("~/.ssh/%d" % i), os.O_RDONLY)
    except FileNotFoundError: pass
for i in range(1500):
    if os.posix_spawn("/bin/true", ["true"], {}) == 0: pass
    os.wait()
print("done")`)
		world.WantOutput(t, r, 0, "done")
		count, more := map[string]int{}, map[string]int{}
		for _, e := range p.Exported() {
			count[e.Str("type")+" "+e.Str("action")]++
			if e.Str("type") == "limit" {
				more[e.Str("kind")] += e.Num("count")
			}
		}
		if n := count["access "]; n < 100 || n > 520 || n+more["access-records"] < 2000 {
			t.Errorf("%d records of files and %d more", n, more["access-records"])
		}
		if n := count["process exec"]; n < 100 || n > 1024 || n+more["exec-records"] < 1000 {
			t.Errorf("%d records of executions and %d more", n, more["exec-records"])
		}
	})
}
