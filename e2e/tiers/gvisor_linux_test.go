package tiers

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/penstock/penstock/internal/world"
)

// gvisorPens calls f for each kind of user with a pen of the tier, and looks whether its
// sessions have come to an end.
func gvisorPens(t *testing.T, f func(t *testing.T, p *world.Pen)) {
	guestPens(t, func(t *testing.T, p *world.Pen) {
		f(t, p)
		if r := p.W.Run(p.Home, p.Opts, world.Penstock(t), "audit", "verify"); r.Code != 0 {
			t.Errorf("audit verify: %s", r)
		}
	})
}

// guestPens calls f for each kind of user with a pen of the tier.
func guestPens(t *testing.T, f func(t *testing.T, p *world.Pen)) {
	if world.Bare() {
		t.Skip("no tier without a pen")
	}
	world.Gvisor(t)
	for name, o := range world.Users() {
		t.Run(name, func(t *testing.T) {
			w := world.New(t)
			p := &world.Pen{T: t, W: w, Opts: o, Home: w.NewHome(o), Env: map[string]string{"COLOUR": "blue"}, Flags: []string{"--sandbox", "gvisor"}}
			p.Opts.Dir = filepath.Join(p.Home.Path, "project")
			p.Home.Write(t, "project/notes", "of the project\n")
			p.Home.Own(t)
			f(t, p)
		})
	}
}

// A command on gVisor's kernel ends, reads and writes as any other.
func TestGvisorCommand(t *testing.T) {
	gvisorPens(t, func(t *testing.T, p *world.Pen) {
		p.Home.Write(t, "project/script", "#!/bin/sh\necho script $1\n")
		p.Home.Write(t, "project/text", "echo text $1\n")
		p.Home.Own(t)
		for _, name := range []string{"script", "text"} {
			if err := os.Chmod(filepath.Join(p.Opts.Dir, name), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		for _, tt := range []struct {
			argv []string
			want string
			code int
		}{
			{[]string{"true"}, "", 0},
			{[]string{"/bin/false"}, "", 1},
			{[]string{"sh", "-c", "exit 97"}, "", 97},
			{[]string{"sh", "-c", "kill -TERM $$"}, "", 143},
			{[]string{"sh", "-c", "kill -KILL $$"}, "", 137},
			{[]string{"sh", "-c", "echo $COLOUR $PWD"}, "blue " + p.Opts.Dir + "\n", 0},
			{[]string{"./script", "a"}, "script a\n", 0},
			{[]string{"./text", "a"}, "text a\n", 0},
			{[]string{"uname", "-r"}, "4.19.0-gvisor\n", 0}, // its kernel is not the host's
			{[]string{"cat", "notes"}, "of the project\n", 0},
			{[]string{"no-such-command"}, "", 127},
			{[]string{"./missing"}, "", 127},
			{[]string{"./notes"}, "", 126},
			{[]string{"/"}, "", 126},
		} {
			if r := p.Run(tt.argv...); r.Stdout != tt.want || r.Code != tt.code || tt.code > 100 && tt.code < 128 && !strings.Contains(r.Stderr, "penstock: ") {
				t.Errorf("%v: %s", tt.argv, r)
			}
		}
		// Whose files are they: as in any pen, the caller's.
		r := p.Run("stat", "-c", "%u %g", "notes")
		if want := fmt.Sprintf("%d %d\n", world.UserID, world.UserID); r.Stdout != want && p.Opts.User {
			t.Errorf("want %q: %s", want, r)
		}

		// 10 MB through pipes and through files, and other bytes to the other stream.
		in := make([]byte, 10<<20)
		rand.Read(in) //nolint:errcheck // it never fails

		for what, stdin := range map[string]io.Reader{"pipe": bytes.NewReader(in), "file": file(t, in)} {
			p.Opts.Stdin = stdin
			if r := p.Run("sh", "-c", "tee /dev/stderr"); r.Stdout != string(in) || !strings.Contains(r.Stderr, string(in)) || r.Code != 0 {
				t.Errorf("%s: of %d bytes %d came back, exit %d", what, len(in), len(r.Stdout), r.Code)
			}
		}
		p.Opts.Stdin = nil
		// A regular file that two streams share is appended to, and nothing is lost.
		sh := world.Options{User: p.Opts.User, Supervised: p.Opts.Supervised, Dir: p.Opts.Dir}
		script := fmt.Sprintf(`cd %[1]s && { echo before; "$@" 2>&1; echo after; } >../out 2>../err; cat ../out`, p.Opts.Dir)
		args := []string{"sh", "-c", script, "sh", world.Penstock(t), "run", "--quiet", "--policy", p.WritePolicy(), "--sandbox", "gvisor", "--", "sh", "-c", "for i in 1 2 3; do echo out $i; echo err $i >&2; done; head -c 3000000 /dev/zero | sha256sum"}
		zeros := fmt.Sprintf("%x  -\n", sha256.Sum256(make([]byte, 3000000)))
		if r := p.W.Run(p.Home, sh, args...); !strings.HasPrefix(r.Stdout, "before\n") || !strings.HasSuffix(r.Stdout, zeros+"after\n") || strings.Count(r.Stdout, "out ") != 3 || strings.Count(r.Stdout, "err ") != 3 {
			t.Error(r)
		}
		// What the command does not read is left for whoever reads on.
		if r := p.W.Run(p.Home, sh, "sh", "-c", `printf 'one\ntwo\n' | { "$@"; cat; }`, "sh", world.Penstock(t), "run", "--quiet", "--policy", p.WritePolicy(), "--sandbox", "gvisor", "--", "true"); r.Stdout != "one\ntwo\n" {
			t.Error(r)
		}

	})
}

// file returns an open file with content.
func file(t *testing.T, content []byte) *os.File {
	t.Helper()
	name := filepath.Join(t.TempDir(), "in")
	if err := os.WriteFile(name, content, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// What is done to files in the work directory is as if it had been done in a pen of
// the tier bwrap, and what is refused there is refused here.
func TestGvisorFiles(t *testing.T) {
	gvisorPens(t, func(t *testing.T, p *world.Pen) {
		p.Home.Write(t, "secret", "of the host")
		p.Home.Write(t, ".ssh/id", "of the host")
		p.Home.Write(t, "shown/file", "to be read\n")
		p.Home.Write(t, "project/.git/config", "[core]\n")
		p.Home.Write(t, "project/old/a", "a")
		p.Home.Write(t, "project/gone", "gone")
		p.Home.Own(t)
		p.Read = []string{filepath.Join(p.Home.Path, "shown")}
		sock, err := net.Listen("unix", filepath.Join(p.Opts.Dir, "socket"))
		if err != nil {
			t.Fatal(err)
		}
		defer sock.Close()
		if err := os.Chmod(filepath.Join(p.Opts.Dir, "socket"), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Mkfifo(filepath.Join(p.Opts.Dir, "fifo"), 0o666); err != nil {
			t.Fatal(err)
		}
		script := `home=$1
set -e
echo more >>notes; mkdir -p d/e; echo new >d/e/f; mv old moved; rm gone; chmod 750 d; chmod 640 notes
ln -s d/e link; ln notes hard; echo through >link/g; truncate -s 5 d/e/f; mkdir x; rmdir x
mv d/e/g renamed; printf x | dd of=notes bs=1 seek=3 conv=notrunc 2>/dev/null
umask 077; echo private >own
cat "$home/shown/file"
set +e
refused() { name=$1; shift; if "$@" >/dev/null 2>&1; then echo "$name was not refused"; fi; }
echo in the pen >$home/beside
refused "a shown file" sh -c ": >$home/shown/file"
refused "the system" touch /usr/x
refused "the root" touch /x
refused "a secret" cat "$home/secret"
refused "a key" cat "$home/.ssh/id"
refused "a secret by .." cat ../secret
refused "git's configuration" sh -c "echo x >>.git/config"
refused "a hook of git's" sh -c "echo x >.git/hooks/post-commit"
refused "a set-user-id bit" chmod u+s own
refused "a set-group-id directory" chmod g+s d
refused "a shown file's mode" chmod 600 "$home/shown/file"
refused "a shown directory's mode" chmod 700 "$home/shown"
refused "a shown directory's times" touch -d 2001-02-03 "$home/shown"
refused "a device" mknod node b 1 1
refused "a mount" mount -t tmpfs none d
refused "the host's memory" cat /proc/kcore
ln -s "$home/secret" out; refused "a link to a secret" cat out
ln -s /proc/self/root/../../../etc/shadow shadow; test -z "$(cat shadow 2>/dev/null)" || echo "shadow was read"; rm out shadow
exit 0
`
		p.Home.Write(t, "project/script", script)
		p.Home.Own(t)
		saved := filepath.Join(t.TempDir(), "saved")
		if out, err := os.ReadFile(filepath.Join(p.Opts.Dir, "notes")); err != nil || len(out) == 0 {
			t.Fatal(err)
		}
		copyTree(t, p.Opts.Dir, saved)
		var trees []string
		for _, tier := range []string{"bwrap", "gvisor"} {
			p.Flags = []string{"--sandbox", tier}
			r := p.Run("sh", "script", p.Home.Path)
			if r.Stdout != "to be read\n" || r.Code != 0 {
				t.Errorf("%s: %s", tier, r)
			}
			trees = append(trees, tree(t, p.Opts.Dir, time.Time{}))
			if tier == "bwrap" {
				copyTree(t, saved, p.Opts.Dir)
			}
		}
		if _, err := os.Stat(filepath.Join(p.Home.Path, "beside")); err == nil {
			t.Error("a file came to be beside the work directory")
		}
		if strings.Contains(trees[1], "\n\"own\" u") {
			t.Error("a file has a set-user-id bit")
		}
		if trees[0] != trees[1] {
			t.Errorf("in bwrap:\n%s\nin gvisor:\n%s", trees[0], trees[1])
		}
		// What listens on the host is not reached by the file system; a named pipe is in
		// a pen of the tier bwrap.
		for tier, want := range map[string]string{"bwrap": "opened", "gvisor": "refused"} {
			p.Flags = []string{"--sandbox", tier}
			r := p.Run("python3", "-c", `
import os, socket
for name, f in {"socket": lambda: socket.socket(socket.AF_UNIX).connect("socket"), "fifo": lambda: os.open("fifo", os.O_RDWR)}.items():
    try: f(); print(name, "opened")
    except OSError as e: print(name, "refused")
print(os.path.exists("/guest"), os.path.exists("/run/penstock/gvisor"))
`)
			if r.Stdout != "socket refused\nfifo "+want+"\nFalse False\n" {
				t.Errorf("%s: %s", tier, r)
			}
		}
	})
}

// copyTree makes to what from is, sockets and pipes left out.
func copyTree(t *testing.T, from, to string) {
	t.Helper()
	r, err := exec.Command("sh", "-c", `mkdir -p "$2" && cd "$2" && find . -mindepth 1 -maxdepth 1 ! -name socket ! -name fifo -exec rm -rf {} + && cd "$1" && tar c --exclude=./socket --exclude=./fifo . | tar xp -C "$2"`, "sh", from, to).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, r)
	}
}

// tree is what a directory holds: names, kinds, modes, owners, contents, holes,
// attributes, and the times that are before begun.
func tree(t *testing.T, dir string, begun time.Time) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil && !errors.Is(err, fs.ErrPermission) {
			return err
		}
		st, err := e.Info()
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		sys := st.Sys().(*syscall.Stat_t)
		fmt.Fprintf(&b, "%q %v %d:%d", name, st.Mode(), sys.Uid, sys.Gid)
		if st.ModTime().Before(begun) {
			fmt.Fprintf(&b, " at %d", st.ModTime().UnixNano())
		}
		switch {
		case st.Mode().IsRegular():
			content, err := os.ReadFile(path)
			if err != nil && !errors.Is(err, fs.ErrPermission) {
				return err
			}
			fmt.Fprintf(&b, " links %d", sys.Nlink)
			if blocks := sys.Blocks * 512; blocks < sys.Size-4096 || blocks > sys.Size+65536 {
				fmt.Fprintf(&b, " blocks %d", sys.Blocks)
			}
			if len(content) < 1000 {
				fmt.Fprintf(&b, " %q", content)
			} else {
				fmt.Fprintf(&b, " %d bytes %x", len(content), sha256.Sum256(content))
			}
		case st.Mode()&fs.ModeSymlink != 0:
			to, _ := os.Readlink(path)
			fmt.Fprintf(&b, " to %s", to)
		case st.Mode()&fs.ModeDevice != 0:
			fmt.Fprintf(&b, " of %x", sys.Rdev)
		}
		list := make([]byte, 4096)
		n, _ := unix.Llistxattr(path, list)
		for _, a := range strings.FieldsFunc(string(list[:max(n, 0)]), func(r rune) bool { return r == 0 }) {
			value := make([]byte, 4096)
			n, _ := unix.Lgetxattr(path, a, value)
			fmt.Fprintf(&b, " %s=%q", a, value[:max(n, 0)])
		}
		b.WriteByte('\n')
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// Whatever the command does, nothing leaves but by the proxy, and that decides as ever.
func TestGvisorNetwork(t *testing.T) {
	gvisorPens(t, func(t *testing.T, p *world.Pen) {
		api := p.W.HTTPS("api.example.com", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			fmt.Fprintf(w, "%s %d %x\n", r.URL.Path, len(body), sha256.Sum256(body))
		}))
		denied := p.W.HTTPS("denied.example.com", http.NotFoundHandler())
		p.Allow = []string{"{host: api.example.com}"}
		zeros := fmt.Sprintf("%x", sha256.Sum256(make([]byte, 3000000)))
		for _, proxy := range []bool{false, true} {
			p.Proxy = proxy
			r := p.Sh(`curl -sS https://api.example.com/a; head -c 3000000 /dev/zero | curl -sS --data-binary @- https://api.example.com/b
curl -sS -o out -w '%{http_code}\n' https://denied.example.com/ 2>/dev/null; grep -o denied.example.com out | head -1; rm -f out`)
			want := fmt.Sprintf("/a 0 %x\n/b 3000000 %s\n", sha256.Sum256(nil), zeros)
			if !strings.HasPrefix(r.Stdout, want) || !strings.Contains(r.Stdout, "denied") && !strings.Contains(r.Stdout, "000") {
				t.Errorf("proxy variables %v: %s", proxy, r)
			}
		}
		if !p.W.Reached(api) {
			t.Error("nothing came to the origin")
		}
		r := p.Run("python3", "-c", fmt.Sprintf(`
import socket
def attempt(name, f):
    try: print(name, f())
    except OSError as e: print(name, "refused")
def tcp(address, port):
    s = socket.create_connection((address, port), 10); s.sendall(b"GET / HTTP/1.1\r\nHost: denied.example.com\r\n\r\n")
    return b" 200 " in s.recv(100)
def udp(port):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(1); s.connect((%[1]q, port))
    s.send(b"x"); return s.recv(10)
attempt("tcp", lambda: tcp(%[1]q, 443))
attempt("tcp80", lambda: tcp(%[1]q, 80))
attempt("udp", lambda: udp(53))
attempt("udp4433", lambda: udp(4433))
attempt("raw", lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP))
attempt("packet", lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0))
attempt("vsock", lambda: socket.socket(40, socket.SOCK_STREAM))
attempt("interfaces", lambda: [n for _, n in socket.if_nameindex()])
a = socket.socket(); a.bind(("127.0.0.1", 0)); a.listen(); c = socket.create_connection(a.getsockname()); b, _ = a.accept(); b.send(b"own")
print("own", c.recv(3))
`, denied.Addr.String()))
		lines := strings.Split(r.Stdout, "\n")
		for _, line := range lines {
			name, result, _ := strings.Cut(line, " ")
			switch name {
			case "tcp", "tcp80":
				if result != "False" && result != "refused" {
					t.Errorf("%s: %s", line, r)
				}
			case "interfaces":
				if result != "['lo']" {
					t.Errorf("%s: %s", line, r)
				}
			case "own":
				if result != "b'own'" {
					t.Errorf("%s: %s", line, r)
				}
			case "":
			default:
				if result != "refused" {
					t.Errorf("%s: %s", line, r)
				}
			}
		}
		if len(lines) != 10 || r.Code != 0 {
			t.Error(r)
		}
		if p.W.Reached(denied) || p.W.Asked("denied.example.com") {
			t.Error("a denied request left")
		}
		// Whose the flows are is known by the word of the pen alone.
		for _, a := range p.Attributed() {
			if a.Path == "/a" && len(a.Who) > 0 && (a.Who[0].Str("exe") != "/usr/bin/curl" || a.Who[0].Str("said_by") != "gvisor") {
				t.Errorf("%+v", a.Who[0])
			}
		}
		// So a rule that asks for a program is an error, before anything runs.
		p.Allow = []string{"{host: api.example.com, process: {exe: /usr/bin/curl}}"}
		if r := p.Run("echo", "ran"); r.Code != 125 || r.Stdout != "" || !strings.Contains(r.Stderr, "policy.yaml:") || !strings.Contains(r.Stderr, "which tier gvisor can't tell") || !strings.Contains(r.Stderr, "hint: ") {
			t.Error(r)
		}
	})
}

// A terminal is one: its size, what is typed, and its keys.
func TestGvisorTerminal(t *testing.T) {
	gvisorPens(t, func(t *testing.T, p *world.Pen) { terminal(t, p, "gvisor") })
}

// terminal runs a session of a tier on a terminal.
func terminal(t *testing.T, p *world.Pen, tier string) {
	t.Helper()
	r := onTerminal(t, p, `
for text, keys in (b"33 101\r\n", b"typed\n"), (b"got typed\r\n", b""), (b"ready\r\n", b"\x03"):
    until(text)
    os.write(fd, keys)
`, world.Penstock(t), "run", "--quiet", "--policy", p.WritePolicy(), "--sandbox", tier, "--", "sh", "-c",
		`stty size; read x; echo got $x; trap "exit 4" INT; echo ready; while :; do sleep 0.05; done`)
	if r.Stdout != "4\n" {
		t.Error(r)
	}
}

// onTerminal runs a program on a terminal of 33 lines, of which script is who sits at it:
// until waits for what is shown, os.write(fd) types. Its output is the exit code.
func onTerminal(t *testing.T, p *world.Pen, script string, argv ...string) world.Result {
	t.Helper()
	return p.W.Run(p.Home, p.Opts, append([]string{world.Tool(t, "python3"), "-c", `
import fcntl, os, pty, struct, sys, termios
pid, fd = pty.fork()
if pid == 0:
    fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 101, 0, 0))
    os.execv(sys.argv[1], sys.argv[1:])
out = b""
def until(text):
    global out
    while text not in out:
        out += os.read(fd, 4096)
        print("waits for", text, "has", out, file=sys.stderr, flush=True) # if it hangs
    out = out[out.index(text) + len(text):]
` + script + `
try:
    while os.read(fd, 4096): pass
except OSError: pass
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
`}, argv...)...)
}

// A limit of memory holds the command, or there is no session.
func TestGvisorMemory(t *testing.T) {
	gvisorPens(t, func(t *testing.T, p *world.Pen) {
		p.Flags = append(p.Flags, "--policy", p.Home.Write(t, "limits.yaml", "version: 1\nsandbox: {memory: 300MiB}\n"))
		p.Home.Own(t)
		r := p.Run("python3", "-c", "x = bytearray(100 << 20); print('some', flush=True); y = bytearray(1 << 30); print('all')")
		if strings.Contains(r.Stdout, "all") || r.Code == 0 {
			t.Errorf("1.1 GiB were had: %s", r)
		}
		if r.Code == 125 && r.Stdout == "" && (!strings.Contains(r.Stderr, "limits.yaml:2") || !strings.Contains(r.Stderr, "hint: ")) {
			t.Error(r)
		}
	})
}

// git works in it, and signals get to the command.
func TestGvisorWork(t *testing.T) {
	gvisorPens(t, func(t *testing.T, p *world.Pen) {
		p.Home.Write(t, "project/.gitkeep", "")
		p.Home.Own(t)
		if r := p.W.Run(p.Home, p.Opts, "git", "init", "-q", "."); r.Code != 0 {
			t.Fatal(r)
		}
		p.Env["GIT_AUTHOR_NAME"], p.Env["GIT_AUTHOR_EMAIL"] = "a", "a@example.com"
		p.Env["GIT_COMMITTER_NAME"], p.Env["GIT_COMMITTER_EMAIL"] = "a", "a@example.com"
		if r := p.Sh("git add notes && git commit -qm first && git log --format=%s && git status --porcelain -uno && git fsck"); r.Stdout != "first\n" || r.Code != 0 {
			t.Error(r)
		}
		if r := p.W.Run(p.Home, p.Opts, "sh", "-c", "git fsck && git log --format=%s && git show HEAD:notes"); r.Stdout != "first\nof the project\n" {
			t.Error(r)
		}
		// TERM to penstock is TERM to the command, which may have something to say.
		script := `"$@" >../said & pid=$!
until grep -q ready ../said; do read -t 0.05 _ <> ../wait; done
kill -TERM $pid; wait $pid; echo $?; cat ../said`
		p.Opts.Timeout = 0
		r := p.W.Run(p.Home, p.Opts, "bash", "-c", "mkfifo ../wait; "+script, "sh", world.Penstock(t), "run", "--quiet", "--policy", p.WritePolicy(), "--sandbox", "gvisor", "--",
			"bash", "-c", "trap 'echo caught; exit 9' TERM; echo ready; while :; do read -t 0.05 _ <> <(:); done")
		if r.Stdout != "9\nready\ncaught\n" {
			t.Error(r)
		}

		// Its kernel and its gofer have a filter of their own over the pen's, and no
		// privilege: read from outside.
		script = `"$@" >../said2 & pid=$!
until grep -q ready ../said2; do read -t 0.05 _ <> ../wait; done
for role in run sentry gofer; do
	for p in /proc/[0-9]*; do
		case $(tr '\0' ' ' <$p/cmdline 2>/dev/null) in "penstock-gvisor $role "*"$PWD "*|"penstock-gvisor $role /guest "*|"/run/penstock/gvisor $role "*"$PWD "*)
			echo $role $(awk '/^(CapPrm|CapBnd|NoNewPrivs|Seccomp_filters):/ {print $2}' $p/status);;
		esac
	done
done | sort -u
kill -TERM $pid; wait $pid; echo $?`
		r = p.W.Run(p.Home, p.Opts, "bash", "-c", script, "sh", world.Penstock(t), "run", "--quiet", "--policy", p.WritePolicy(), "--sandbox", "gvisor", "--", "sh", "-c", "echo ready; exec sleep 1000")
		var filters [3]int
		none := "0000000000000000 0000000000000000 1 %d\n"
		n, err := fmt.Sscanf(r.Stdout, "gofer "+none+"run "+none+"sentry "+none, &filters[0], &filters[1], &filters[2])
		if n != 3 || filters[0] != filters[1]+1 || filters[2] != filters[1]+1 || !strings.HasSuffix(r.Stdout, "\n143\n") {
			t.Errorf("%v: %s", err, r)
		}
	})
}
