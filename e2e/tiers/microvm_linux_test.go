package tiers

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/penstock/penstock/internal/world"
)

// microvmPens calls f for each kind of user with a pen of the tier.
func microvmPens(t *testing.T, f func(t *testing.T, p *world.Pen)) {
	if world.Bare() {
		t.Skip("no tier without a pen")
	}
	for name, o := range world.Users() {
		t.Run(name, func(t *testing.T) {
			w := world.New(t)
			p := &world.Pen{T: t, W: w, Opts: o, Home: w.NewHome(o), Env: map[string]string{"COLOUR": "blue"}, Flags: []string{"--sandbox", "microvm"}}
			p.Opts.Env = append(p.Opts.Env, world.Microvm(t, p.Home)...)
			p.Opts.Dir = filepath.Join(p.Home.Path, "project")
			p.Home.Write(t, "project/notes", "of the project\n")
			p.Home.Own(t)
			f(t, p)
			if r := w.Run(p.Home, p.Opts, world.Penstock(t), "audit", "verify"); r.Code != 0 {
				t.Errorf("audit verify: %s", r)
			}
		})
	}
}

// A command in a machine of its own ends, reads and writes as any other.
func TestMicrovmCommand(t *testing.T) {
	microvmPens(t, func(t *testing.T, p *world.Pen) {
		p.Home.Write(t, "project/text", "echo text $1\n")
		p.Home.Own(t)
		if err := os.Chmod(filepath.Join(p.Opts.Dir, "text"), 0o755); err != nil {
			t.Fatal(err)
		}
		uid := os.Getuid()
		if p.Opts.User && uid == 0 {
			uid = world.UserID
		}
		// As much as can be of it in one machine: each costs its start.
		r := p.Sh(`echo $COLOUR $PWD; id -u; stat -c %u notes; umask; cat notes; hostname
grep -c QEMU /proc/cpuinfo; awk '/^(CapPrm|CapBnd|NoNewPrivs|Seccomp)\t?:/ {print $1, $2}' /proc/self/status; test -t 0 || echo no terminal
ps -e -o comm= | grep -c qemu; ls /guest /run/penstock/microvm 2>/dev/null
for s in $(seq 1 64); do kill -$s 1 2>/dev/null; done; sh -c 'kill -HUP $$'; echo $?; exit 97`)
		want := fmt.Sprintf("blue %s\n%d\n%d\n0022\nof the project\npen\n1\nCapPrm: 0000000000000000\nCapBnd: 0000000000000000\nNoNewPrivs: 1\nSeccomp: 2\nno terminal\n0\n129\n", p.Opts.Dir, uid, uid)
		if r.Stdout != want || r.Code != 97 {
			t.Errorf("want %q: %s", want, r)
		}
		for _, tt := range []struct {
			argv []string
			want string
			code int
		}{
			{[]string{"./text", "a"}, "text a\n", 0},
			{[]string{"sh", "-c", "kill -KILL $$"}, "", 137},
			{[]string{"no-such-command"}, "", 127},
			{[]string{"./notes"}, "", 126},
		} {
			if r := p.Run(tt.argv...); r.Stdout != tt.want || r.Code != tt.code || tt.code > 100 && tt.code < 128 && !strings.Contains(r.Stderr, "penstock: "+tt.argv[0]+": ") {
				t.Errorf("%v: %s", tt.argv, r)
			}
		}
	})
}

// What goes through the streams comes out as it was, and their ends are passed on.
func TestMicrovmStreams(t *testing.T) {
	microvmPens(t, func(t *testing.T, p *world.Pen) {
		in := make([]byte, 10<<20)
		rand.Read(in) //nolint:errcheck // it never fails
		p.Opts.Stdin = bytes.NewReader(in)
		if r := p.Run("sh", "-c", "tee /dev/stderr"); r.Stdout != string(in) || !strings.Contains(r.Stderr, string(in)) || r.Code != 0 {
			t.Errorf("of %d bytes %d came back, exit %d", len(in), len(r.Stdout), r.Code)
		}
		p.Opts.Stdin = nil
		// A reader that goes is the end of the writer, and TERM to penstock is TERM to
		// the command, which may have something to say.
		script := `"$@" sh -c 'yes; echo $? >&2' 2>../why | head -1
mkfifo ../wait; "$@" bash -c 'trap "echo caught; exit 9" TERM; echo ready; while :; do read -t 0.05 _ <> <(:); done' >../said & pid=$!
until grep -q ready ../said; do read -t 0.05 _ <> ../wait; done
kill -TERM $pid; wait $pid; echo $?; cat ../said; grep -c 'Broken pipe\|^141$' ../why`
		r := p.W.Run(p.Home, p.Opts, "bash", "-c", script, "sh", world.Penstock(t), "run", "--quiet", "--policy", p.WritePolicy(), "--sandbox", "microvm", "--")
		if !strings.HasPrefix(r.Stdout, "y\n9\nready\ncaught\n") || strings.HasSuffix(r.Stdout, "\n0\n") {
			t.Error(r)
		}
	})
}

// A terminal is one: its size, what is typed, and its keys.
func TestMicrovmTerminal(t *testing.T) {
	microvmPens(t, func(t *testing.T, p *world.Pen) { terminal(t, p, "microvm") })
}

// What clients do with the network, and what becomes of it, is as in the tier bwrap: what
// they print, and what the audit has. All else is refused.
func TestMicrovmNetwork(t *testing.T) {
	microvmPens(t, func(t *testing.T, p *world.Pen) {
		api := p.W.HTTPS("api.example.com", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			fmt.Fprintf(w, "%s %d %x\n", r.URL.Path, len(body), sha256.Sum256(body))
		}))
		denied := p.W.HTTPS("denied.example.com", http.NotFoundHandler())
		p.Allow = []string{"{host: api.example.com}"}
		script := fmt.Sprintf(`curl -sS https://api.example.com/curl
head -c 3000000 /dev/zero | curl -sS --data-binary @- https://api.example.com/large
https_proxy=http://127.0.0.1:808 curl -sS https://api.example.com/proxy
wget -qO- https://api.example.com/wget
git ls-remote https://api.example.com/git 2>/dev/null; echo $?
curl -sS -o /dev/null -w '%%{http_code}\n' https://denied.example.com/
python3 - <<'P'
import socket, urllib.request
print(urllib.request.urlopen("https://api.example.com/python").read())
def attempt(name, f):
    try: print(name, f())
    except OSError as e: print(name, "refused")
def tcp(address, port):
    s = socket.create_connection((address, port), 10); s.sendall(b"GET / HTTP/1.1\r\nHost: denied.example.com\r\n\r\n")
    return b" 200 " in s.recv(100)
def udp(port):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(5); s.connect((%[1]q, port))
    s.send(b"x"); return s.recv(10)
attempt("tcp", lambda: tcp(%[1]q, 443))
attempt("udp4433", lambda: udp(4433))
attempt("raw", lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP))
attempt("packet", lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0))
attempt("vsock", lambda: socket.socket(40, socket.SOCK_STREAM))
attempt("closed", lambda: socket.create_connection(("127.0.0.1", 9)))
a = socket.socket(); a.bind(("127.0.0.1", 0)); a.listen(); c = socket.create_connection(a.getsockname()); b, _ = a.accept(); b.send(b"own")
print("own", c.recv(3))
P
`, denied.Addr.String())
		var said, recorded []string
		before := 0
		for _, tier := range []string{"bwrap", "microvm"} {
			p.Flags = []string{"--sandbox", tier}
			r := p.Sh(script)
			if r.Code != 0 {
				t.Errorf("%s: %s", tier, r)
			}
			said = append(said, r.Stdout)
			var flows []string
			records := p.Exported()
			for _, rec := range records[before:] {
				if rec.Str("type") == "flow_open" {
					flows = append(flows, strings.Join([]string{rec.Str("host"), fmt.Sprint(rec.Num("port")), rec.Str("protocol"), rec.Str("method"), rec.Str("path"), rec.Str("verdict"), rec.Str("reason")}, " "))
				}
			}
			before = len(records)
			recorded = append(recorded, strings.Join(flows, "\n"))
		}
		if said[0] != said[1] || strings.Count(said[0], "\n") < 12 {
			t.Errorf("in bwrap:\n%s\nin microvm:\n%s", said[0], said[1])
		}
		if recorded[0] != recorded[1] || recorded[0] == "" {
			t.Errorf("recorded in bwrap:\n%s\nin microvm:\n%s", recorded[0], recorded[1])
		}
		if !p.W.Reached(api) || p.W.Reached(denied) || p.W.Asked("denied.example.com") {
			t.Error("an allowed request did not leave, or a denied one did")
		}
	})
}

// A limit of memory is the machine's, and too small a one is an error before there is any.
func TestMicrovmMemory(t *testing.T) {
	microvmPens(t, func(t *testing.T, p *world.Pen) {
		limit := func(size string) {
			p.Flags = []string{"--sandbox", "microvm", "--policy", p.Home.Write(t, "limits.yaml", "version: 1\nsandbox: {memory: "+size+"}\n")}
			p.Home.Own(t)
		}
		limit("300MiB")
		if r := p.Run("echo", "ran"); r.Code != 125 || r.Stdout != "" || !strings.Contains(r.Stderr, "300 MiB of memory is too little") || !strings.Contains(r.Stderr, "hint: ") {
			t.Error(r)
		}
		limit("768MiB")
		r := p.Run("python3", "-c", "x = bytearray(100 << 20); print('some', flush=True); y = bytearray(1 << 30); print('all')")
		if r.Stdout != "some\n" || r.Code == 0 || r.Code == 125 {
			t.Errorf("1.1 GiB were had, or not 100 MiB: %s", r)
		}
	})
}

// A machine that is killed is the end of the session, and it says so; nothing of it is left.
func TestMicrovmKilled(t *testing.T) {
	microvmPens(t, func(t *testing.T, p *world.Pen) {
		script := `"$@" >../said 2>../why & pid=$!
mkfifo ../wait; until grep -q ready ../said; do read -t 0.05 _ <> ../wait; done
holder=$(grep -lsz -e "^-dir=$PWD$" /proc/[0-9]*/cmdline | cut -d/ -f3 | while read -r p; do grep -qz penstock/microvm /proc/$p/cmdline && tr '\0' '\n' </proc/$p/cmdline | head -1 | grep -q '^/run/penstock/microvm' && echo $p; done | tail -1)
qemu=$(for p in /proc/[0-9]*; do [ "$(awk '/^PPid/ {print $2}' $p/status 2>/dev/null)" = "$holder" ] && echo ${p#/proc/}; done)
kill -KILL $qemu; wait $pid; echo $?; cat ../why; test -e /proc/$qemu && echo left`
		r := p.W.Run(p.Home, p.Opts, "bash", "-c", script, "sh", world.Penstock(t), "run", "--quiet", "--policy", p.WritePolicy(), "--sandbox", "microvm", "--", "sh", "-c", "echo ready; exec sleep 1000")
		if !strings.HasPrefix(r.Stdout, "125\npenstock: tier microvm: the machine ended: QEMU ended") || strings.Contains(r.Stdout, "left") {
			t.Error(r)
		}
	})
}
