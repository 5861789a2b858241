package e2e

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/penstock/penstock/internal/world"
)

// whoPens calls f for each kind of user with a pen that may reach an origin.
func whoPens(t *testing.T, f func(t *testing.T, p *pen)) {
	if world.Bare() {
		t.Skip("nobody to name without a pen")
	}
	for name, opts := range world.Users() {
		t.Run(name, func(t *testing.T) {
			w := world.New(t)
			w.HTTPS("good.example.com", world.Text("hello"))
			p := &pen{&world.Pen{T: t, W: w, Opts: opts, Home: w.NewHome(opts), Env: map[string]string{}}}
			p.Allow = []string{"{host: good.example.com}"}
			f(t, p)
		})
	}
}

// The audit names the program, its arguments and who started it.
func TestWhoPrograms(t *testing.T) {
	whoPens(t, func(t *testing.T, p *pen) {
		p.Read = append(p.Read, "/usr/bin")
		for name, script := range map[string]string{
			"curl":     `curl -sS https://good.example.com/curl; true`,
			"pipeline": `echo x | sh -c 'curl -sS --data-binary @- https://good.example.com/pipeline | cat'; true`,
			"node":     `node -e 'fetch("https://good.example.com/node").then(r => r.text())'; true`,
			"python3":  `/usr/bin/python3 -c 'import urllib.request as u; u.urlopen("https://good.example.com/python3").read()'; true`,
		} {
			program := name
			if name == "pipeline" {
				program = "curl"
			}
			world.Tool(t, program)
			if r := p.Sh(script); r.Code != 0 {
				t.Errorf("%s: %s", name, r)
			}
			var got []world.Attributed
			for _, a := range p.Attributed() {
				if a.Path == "/"+name {
					got = append(got, a)
				}
			}
			if len(got) != 1 || len(got[0].Who) == 0 {
				t.Errorf("%s: %+v", name, got)
				continue
			}
			who := got[0].Who[0]
			if !strings.HasPrefix(path.Base(who.Str("exe")), program) || !slices.ContainsFunc(who.Args(), func(s string) bool { return strings.Contains(s, "/"+name) }) ||
				who.Num("ino") == 0 || who.Str("dev") == "" || who.Num("start_ns") == 0 {
				t.Errorf("%s: %v", name, who)
			}
			if !slices.ContainsFunc(got[0].Who[1:], func(r world.Record) bool { return path.Base(r.Str("exe")) == "bash" && r.Args()[1] == "-c" }) {
				t.Errorf("%s: no shell has started it: %v", name, got[0].Who)
			}
		}
		r := p.W.Run(p.Home, p.Opts, world.Penstock(t), "audit", "show", "--who", "--all", "--exe", "curl")
		if r.Code != 0 || !strings.Contains(r.Stdout, "by curl -sS https://good.example.com/curl") || !strings.Contains(r.Stdout, "of /bin/bash -c ") || strings.Contains(r.Stdout, "/node") {
			t.Error(r)
		}
	})
}

// A thousand requests of a hundred processes at once, each of which executes
// itself half-way: every one is named, and none wrongly.
func TestWhoAll(t *testing.T) {
	whoPens(t, func(t *testing.T, p *pen) {
		const processes, each = 100, 10
		client := p.self()
		if r := p.Run(client, "client:swarm", "https://good.example.com", strconv.Itoa(processes), strconv.Itoa(each)); r.Code != 0 {
			t.Fatal(r)
		}
		right, wrong, missing := 0, 0, 0
		for _, a := range p.Attributed() {
			mark := strings.Split(a.Path, "/") // /MARK/N
			switch {
			case len(mark) != 3:
			case len(a.Who) == 0:
				missing++
			case slices.Contains(a.Who[0].Args(), mark[1]):
				right++
			default:
				wrong++
				t.Logf("%s: %v", a.Path, a.Who[0])
			}
		}
		if right != processes*each || wrong+missing != 0 {
			t.Errorf("%d right, %d wrong, %d missing", right, wrong, missing)
		}
	})
}

// A rule for one program lets that pass and no other.
func TestWhoRules(t *testing.T) {
	world.Tool(t, "curl")
	whoPens(t, func(t *testing.T, p *pen) {
		curl, err := exec.LookPath("curl")
		if err != nil {
			t.Fatal(err)
		}
		p.Allow = []string{fmt.Sprintf("{host: good.example.com, process: {exe: %s}}", curl)}
		r := p.Sh(`curl -sS -o /dev/null -w '%{http_code}\n' https://good.example.com/a
cp "$(command -v curl)" /tmp/curl; /tmp/curl -sS -o /dev/null -w '%{http_code}\n' https://good.example.com/b
ln -s "$(command -v curl)" /tmp/link; /tmp/link -sS -o /dev/null -w '%{http_code}\n' https://good.example.com/c
/usr/bin/python3 -c 'import urllib.request as u
try: u.urlopen("https://good.example.com/d"); print(200)
except u.HTTPError as e: print(e.code)'`)
		if want := "200\n403\n200\n403\n"; r.Stdout != want {
			t.Errorf("%s\nwant %q", r, want)
		}
	})
}

// swarmClient starts processes that make requests, all at once: URL PROCESSES EACH.
func swarmClient(args []string) error {
	n, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	var all sync.WaitGroup
	errs := make(chan error, n)
	for i := range n {
		cmd := exec.Command(os.Args[0], "client:mark", args[0], fmt.Sprintf("mark%d", i), args[2])
		cmd.Stderr = os.Stderr
		if i%2 == 1 { // through a shell, which stays
			cmd = exec.Command("/bin/sh", append([]string{"-c", `"$@"; exit $?`, "sh"}, cmd.Args...)...)
			cmd.Stderr = os.Stderr
		}
		all.Go(func() { errs <- cmd.Run() })
	}
	all.Wait()
	for range n {
		if err := <-errs; err != nil {
			return err
		}
	}
	return nil
}

// markClient makes EACH requests, each on a connection of its own, and executes
// itself under another mark for the second half of them: URL MARK EACH.
func markClient(args []string) error {
	url, mark := args[0], args[1]
	n, err := strconv.Atoi(args[2])
	if err != nil {
		return err
	}
	half := n
	if !strings.HasSuffix(mark, "again") {
		half = n / 2
	}
	tr := &http.Transport{DisableKeepAlives: true}
	for i := range half {
		resp, err := (&http.Client{Transport: tr}).Get(url + "/" + mark + "/" + strconv.Itoa(i))
		if err != nil {
			return err
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("%s: %s", mark, resp.Status)
		}
	}
	if half == n {
		return nil
	}
	return syscall.Exec(os.Args[0], []string{os.Args[0], "client:mark", url, mark + "again", strconv.Itoa(n - half)}, os.Environ())
}
