package firecracker

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// answers is a client of a server that reads a request's head and body, and says text.
func answers(t *testing.T, text string) (*Client, <-chan string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "api")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	asked := make(chan string, 1)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		b := make([]byte, 4<<10)
		n, _ := conn.Read(b)
		asked <- string(b[:n])
		conn.Write([]byte(text)) //nolint:errcheck // it may have had enough
	}()
	c, err := New(path)
	if err != nil {
		t.Fatal(err)
	}
	return c, asked
}

// TestRequests: what is sent, to the byte.
func TestRequests(t *testing.T) {
	for name, tt := range map[string]struct {
		call func(*Client) error
		want string
	}{
		"machine": {
			func(c *Client) error { return c.Machine(t.Context(), Machine{VCPUs: 2, Memory: 256}) },
			`PUT /machine-config HTTP/1.1|{"vcpu_count":2,"mem_size_mib":256}`,
		},
		"boot": {
			func(c *Client) error { return c.Boot(t.Context(), Boot{"/k", "/i", "a b"}) },
			`PUT /boot-source HTTP/1.1|{"kernel_image_path":"/k","initrd_path":"/i","boot_args":"a b"}`,
		},
		"vsock": {
			func(c *Client) error { return c.Vsock(t.Context(), Vsock{3, "/v"}) },
			`PUT /vsock HTTP/1.1|{"guest_cid":3,"uds_path":"/v"}`,
		},
		"start": {
			func(c *Client) error { return c.Start(t.Context()) },
			`PUT /actions HTTP/1.1|{"action_type":"InstanceStart"}`,
		},
	} {
		c, asked := answers(t, "HTTP/1.1 204 No Content\r\nServer: x\r\n\r\n")
		if err := tt.call(c); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		line, body, _ := strings.Cut(tt.want, "|")
		want := line + "\r\nHost: localhost\r\nAccept: application/json\r\nContent-Type: application/json\r\nContent-Length: " + strconv.Itoa(len(body)) + "\r\n\r\n" + body
		if got := <-asked; got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

// TestAnswers: what is no answer is an error, and a refusal is one that names the call,
// the status and what was said, on one line.
func TestAnswers(t *testing.T) {
	long := strings.Repeat("x", maxAnswer)
	for name, tt := range map[string]struct{ text, want string }{
		"a refusal":             {"HTTP/1.1 400 Bad\r\nContent-Length: 32\r\n\r\n{\"fault_message\" : \"no\\n\\u001b\"}", `PUT /actions: status 400: "no\n\x1b"`},
		"in other words":        {"HTTP/1.1 500 \r\nContent-Length: 5\r\n\r\noops\n", `status 500: "oops\n"`},
		"without any":           {"HTTP/1.1 400 \r\nContent-Length: 2\r\n\r\n{}", "PUT /actions: status 400"},
		"a long one":            {"HTTP/1.1 400 \r\nContent-Length: 9000\r\n\r\n" + long, `xxx"…`},
		"success of GET":        {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", "status 200"},
		"nothing":               {"", "malformed answer: it ends too early"},
		"half a head":           {"HTTP/1.1 204 No Content\r\nServer: x", "it ends too early"},
		"half a body":           {"HTTP/1.1 400 \r\nContent-Length: 5\r\n\r\nab", "it ends too early"},
		"another protocol":      {"SSH-2.0-x\r\n\r\n", `malformed answer: "SSH-2.0-x"`},
		"another version":       {"HTTP/2 204\r\n\r\n", "malformed answer"},
		"a status below":        {"HTTP/1.1 100 Continue\r\n\r\n", "malformed answer"},
		"no status":             {"HTTP/1.1 +20 x\r\n\r\n", "malformed answer"},
		"no length":             {"HTTP/1.1 400 \r\n\r\n{}", "does not tell its length"},
		"two lengths":           {"HTTP/1.1 400 \r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}", "does not tell its length"},
		"in parts":              {"HTTP/1.1 400 \r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n{}", "does not tell its length"},
		"a negative length":     {"HTTP/1.1 400 \r\nContent-Length: -1\r\n\r\n", `a length of "-1"`},
		"a length beyond":       {"HTTP/1.1 400 \r\nContent-Length: 99999\r\n\r\n", "more than 65536 bytes"},
		"a field that is none":  {"HTTP/1.1 400 \r\n\x1b[2J\r\n\r\n", `\\x1b[2J`},
		"an endless status":     {"HTTP/1.1 400 " + long, "more than 65536 bytes"},
		"an endless field":      {"HTTP/1.1 400 \r\nX: " + long, "more than 65536 bytes"},
		"fields without an end": {"HTTP/1.1 400 \r\n" + strings.Repeat("X: y\r\n", maxAnswer/6+1), "more than 65536 bytes"},
	} {
		c, _ := answers(t, tt.text)
		err := c.Start(t.Context())
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.ContainsAny(err.Error(), "\x1b\n") || len(err.Error()) > 2000 {
			t.Errorf("%s: %v, want %s", name, err, tt.want)
		}
	}
	if _, err := New("/" + strings.Repeat("x", maxPath)); err == nil {
		t.Error("too long a path was taken")
	}
}

// TestEnds: a call ends with its context.
func TestEnds(t *testing.T) {
	why := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	c, _ := answers(t, "")
	for _, err := range []error{
		c.Start(ctx),
		func() error { _, err := c.Ready(ctx); return err }(),
		func() error { _, err := Connect(ctx, c.path+"2", 1); return err }(),
	} {
		if !errors.Is(err, why) {
			t.Errorf("%v", err)
		}
	}
}

// TestGreeting: of the vsock device's answer not a byte more is taken than its line.
func TestGreeting(t *testing.T) {
	for text, want := range map[string]string{
		"OK 1073741824\nrest": "", "OK 0\n": "",
		"OK \n": "malformed", "OK -1\n": "malformed", "OK 4294967296\n": "malformed", "ok 1\n": "malformed", "OK 1\r\n": "malformed",
		"OK 1": "malformed", "\x1b[2J\n": `\x1b[2J`, "OK 00000000000000000001\n": "malformed",
	} {
		near, far := net.Pipe()
		rest := make(chan string, 1)
		go func() {
			b := make([]byte, 64)
			n, _ := far.Read(b)
			if got := string(b[:n]); got != "CONNECT 52\n" {
				t.Errorf("asked %q", got)
			}
			far.Write([]byte(text)) //nolint:errcheck // it may have had enough
			far.Close()
		}()
		go func() { rest <- "" }()
		there, err := greet(t.Context(), near, 52)
		if there != (want == "") || (err == nil) != (want == "") || err != nil && (!strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\x1b")) {
			t.Errorf("%q: %v %v", text, there, err)
		}
		if _, after, _ := strings.Cut(text, "\n"); there && after != "" {
			b := make([]byte, 64)
			if n, _ := near.Read(b); string(b[:n]) != after {
				t.Errorf("%q: then %q", text, b[:n])
			}
		}
		near.Close()
		<-rest
	}
}

// TestJail: the jailer's command line and what is where, by values; what it would take for
// something else is refused.
func TestJail(t *testing.T) {
	j := &Jail{Jailer: "/usr/bin/jailer", Firecracker: "/opt/firecracker-v1", Base: "/run/x", ID: "a-1", UID: 7, GID: 8}
	if err := j.Check(); err != nil {
		t.Fatal(err)
	}
	want := "/usr/bin/jailer --id a-1 --exec-file /opt/firecracker-v1 --uid 7 --gid 8 --chroot-base-dir /run/x -- --api-sock /api.sock"
	if got := strings.Join(j.Command(), " "); got != want {
		t.Errorf("%s", got)
	}
	root := "/run/x/firecracker-v1/a-1/root"
	if p := (Place{root + "/api.sock", "/kernel", "/initrd", "/vsock.sock", root + "/vsock.sock"}); j.Place() != p {
		t.Errorf("%+v", j.Place())
	}
	for name, change := range map[string]func(*Jail){
		"no id":             func(j *Jail) { j.ID = "" },
		"a path for an id":  func(j *Jail) { j.ID = "../x" },
		"a line in an id":   func(j *Jail) { j.ID = "a\n" },
		"an option":         func(j *Jail) { j.ID = "a=b" },
		"too long an id":    func(j *Jail) { j.ID = strings.Repeat("a", 65) },
		"another program":   func(j *Jail) { j.Firecracker = "/usr/bin/qemu" },
		"a relative path":   func(j *Jail) { j.Firecracker = "firecracker" },
		"a way out":         func(j *Jail) { j.Base = "/run/x/.." },
		"no jailer":         func(j *Jail) { j.Jailer = "" },
		"root":              func(j *Jail) { j.UID = 0 },
		"root's group":      func(j *Jail) { j.GID = 0 },
		"nobody at all":     func(j *Jail) { j.UID = -1 },
		"too long a socket": func(j *Jail) { j.Base = "/" + strings.Repeat("x", 80) },
	} {
		bad := *j
		change(&bad)
		if err := bad.Check(); err == nil {
			t.Errorf("%s was taken", name)
		} else if err := bad.Make("/dev/null", "/dev/null"); err == nil {
			t.Errorf("%s was made", name)
		}
	}
}

// TestGround: where no device is one, or no program, there is no jail.
func TestGround(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root mounts")
	}
	mounted := func(flags uintptr) string {
		t.Helper()
		dir := t.TempDir()
		if err := unix.Mount("jail", dir, "tmpfs", flags, "size=64k"); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := unix.Unmount(dir, 0); err != nil {
				t.Error(err)
			}
		})
		return dir
	}
	devices, programs, good := mounted(unix.MS_NODEV), mounted(unix.MS_NOEXEC), mounted(unix.MS_NOSUID)
	if got, err := Ground(devices, programs, "/nonexistent", good); got != good || err != nil {
		t.Errorf("%q %v", got, err)
	}
	if got, err := Ground(devices, "/nonexistent"); err == nil || !strings.Contains(err.Error(), "none of "+devices+", /nonexistent is") {
		t.Errorf("%q %v", got, err)
	}
}

// TestMakeJail: copies that anybody may read; what is there already is not taken for it.
func TestMakeJail(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "kernel")
	if err := os.WriteFile(file, []byte("k"), 0o600); err != nil {
		t.Fatal(err)
	}
	j := &Jail{Jailer: "/j", Firecracker: "/firecracker", Base: filepath.Join(dir, "b"), ID: "a", UID: 7, GID: 8}
	if err := j.Make(file, file); err != nil {
		t.Fatal(err)
	}
	var found []string
	err := filepath.WalkDir(j.Base, func(path string, d os.DirEntry, err error) error {
		if st, err := d.Info(); err == nil {
			found = append(found, strings.TrimPrefix(path, j.Base)+" "+st.Mode().String())
		}
		return err
	})
	want := []string{
		" drwx------", "/firecracker drwx------", "/firecracker/a drwx------", "/firecracker/a/root drwx------",
		"/firecracker/a/root/initrd -r--r--r--", "/firecracker/a/root/kernel -r--r--r--",
	}
	if err != nil || !reflect.DeepEqual(found, want) {
		t.Errorf("%v %q", err, found)
	}
	if err := j.Make(file, file); !errors.Is(err, os.ErrExist) {
		t.Errorf("twice: %v", err)
	}
	j.ID = "b"
	if err := j.Make(file+"2", file); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no kernel: %v", err)
	}
}

// FuzzRead: whatever Firecracker answers is a status with a bounded body, or an error on
// one line.
func FuzzRead(f *testing.F) {
	f.Add([]byte("HTTP/1.1 200 OK\r\nServer: Firecracker API\r\nContent-Length: 2\r\n\r\n{}"))
	f.Add([]byte("HTTP/1.1 204 \r\n\r\n"))
	f.Add([]byte("HTTP/1.1 400 \r\nContent-Length: 70000\r\n\r\n{"))
	f.Fuzz(func(t *testing.T, b []byte) {
		status, body, err := read(bytes.NewReader(b))
		if err != nil {
			if strings.ContainsAny(err.Error(), "\n\r\x1b") {
				t.Errorf("%q", err)
			}
			return
		}
		if status < 200 || status > 999 || len(body) > maxAnswer || !bytes.Contains(b, body) {
			t.Errorf("%d %q of %q", status, body, b)
		}
	})
}
