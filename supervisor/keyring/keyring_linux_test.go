package keyring

import (
	"bytes"
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/penstock/penstock/internal/world"
	"github.com/penstock/penstock/policy"
)

// command prepares commands with a home of their own.
func command(home string) func(argv ...string) *exec.Cmd {
	return func(argv ...string) *exec.Cmd {
		cmd := exec.Command(argv[0], argv[1:]...)
		cmd.Env = []string{"HOME=" + home, "XDG_RUNTIME_DIR=" + home, "PATH=/usr/bin:/bin", "LANG=C.UTF-8"}
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		return cmd
	}
}

// shortDir is a directory whose name leaves room for a socket's.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "keyring-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func read(t *testing.T, socket string, uid int, item string) (string, bool, error) {
	t.Helper()
	p, err := policy.Parse("p", policy.User, []byte("version: 1\nsecrets: [{name: K, from: \"keyring:"+item+"\", hosts: [a.example], bearer: true}]\n"))
	if err != nil {
		t.Fatal(err)
	}
	whole, err := policy.New([]*policy.File{p})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	b, ok, err := Read(ctx, socket, uid, whole.Secrets()[0].KeyringItem())
	return string(b), ok, err
}

// TestRead: a real gnome-keyring-daemon on a real bus, by attributes and by label.
func TestRead(t *testing.T) {
	for name, abstract := range map[string]bool{"path": false, "abstract": true} {
		t.Run(name, func(t *testing.T) {
			dir := shortDir(t)
			k := world.NewBus(t, dir, abstract, command(dir))
			if _, _, err := read(t, k.Socket, os.Getuid(), "a=b"); err == nil || !strings.Contains(err.Error(), "nobody on the session bus is a keyring") {
				t.Errorf("without a keyring: %v", err)
			}
			k.Unlock("password")
			long := strings.Repeat("0123456789abcdef", 500)
			k.Store("One", "value-of-one", "service", "penstock", "account", "one")
			k.Store("Two, of the same service", "value of two: ä\"\\", "service", "penstock", "account", "two")
			k.Store("Twice", "first", "n", "1")
			k.Store("Twice", "second", "n", "2")
			k.Store("Long", long, "long", "yes=so")
			for item, want := range map[string]string{
				"service=penstock,account=one": "value-of-one",
				"account=two,service=penstock": `value of two: ä"\`,
				"account=one":                  "value-of-one",
				"Two, of the same service":     `value of two: ä"\`,
				"One":                          "value-of-one",
				"long=yes=so":                  long,
				"Long":                         long,
			} {
				if v, ok, err := read(t, k.Socket, os.Getuid(), item); err != nil || !ok || v != want {
					t.Errorf("%s: %.60q, %v, %v", item, v, ok, err)
				}
			}
			for _, item := range []string{"service=other", "service=penstock,account=three", "Three", "one", "On"} {
				if v, ok, err := read(t, k.Socket, os.Getuid(), item); err != nil || ok || v != "" {
					t.Errorf("%s: %q, %v, %v", item, v, ok, err)
				}
			}
			for _, item := range []string{"service=penstock", "Twice"} {
				if v, ok, err := read(t, k.Socket, os.Getuid(), item); err != errSeveral || ok || v != "" {
					t.Errorf("%s: %q, %v, %v", item, v, ok, err)
				}
			}
			k.Lock()
			for _, item := range []string{"account=one", "One", "not-there"} {
				if v, ok, err := read(t, k.Socket, os.Getuid(), item); err != errLocked || ok || v != "" {
					t.Errorf("%s, locked: %q, %v, %v", item, v, ok, err)
				}
			}
			// A bus of somebody else is none.
			if v, ok, err := read(t, k.Socket, os.Getuid()+1, "account=one"); err == nil || !strings.Contains(err.Error(), "it is of user ") || ok || v != "" {
				t.Errorf("as another: %q, %v, %v", v, ok, err)
			}
		})
	}
}

// TestReadUnseen: the value is in nothing that crosses the bus.
func TestReadUnseen(t *testing.T) {
	world.Tool(t, "dbus-monitor")
	dir := shortDir(t)
	k := world.NewBus(t, dir, false, command(dir))
	k.Unlock("password")
	k.Store("One", "value-of-one", "account", "one")
	monitor := command(dir)("dbus-monitor", "--pcap")
	monitor.Env = append(monitor.Env, "DBUS_SESSION_BUS_ADDRESS="+k.Address)
	seen := &until{want: "GetSecret", done: make(chan struct{})}
	monitor.Stdout = seen
	if err := monitor.Start(); err != nil {
		t.Fatal(err)
	}
	defer monitor.Process.Kill() //nolint:errcheck // it may have ended
	// Until the monitor is there what it does not see is asked again.
	for told := false; !told; {
		if v, _, err := read(t, k.Socket, os.Getuid(), "account=one"); err != nil || v != "value-of-one" {
			t.Fatal(v, err)
		}
		select {
		case <-seen.done:
			told = true
		default:
		}
	}
	monitor.Process.Kill() //nolint:errcheck // it may have ended
	monitor.Wait()         //nolint:errcheck // killed
	if strings.Contains(seen.all.String(), "value-of-one") {
		t.Error("the value crossed the bus in clear")
	}
}

// TestReadDeaf: what is at the socket and says nothing ends with the context.
func TestReadDeaf(t *testing.T) {
	socket := filepath.Join(shortDir(t), "bus")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	if _, ok, err := Read(ctx, socket, os.Getuid(), policy.KeyringItem{Label: "x"}); err == nil || ok {
		t.Errorf("%v, %v", ok, err)
	}
}

// until is what a command writes, and tells when something is in it for the second
// time: what came between is there by then.
type until struct {
	want string
	done chan struct{}
	once sync.Once
	all  bytes.Buffer
}

func (u *until) Write(b []byte) (int, error) {
	u.all.Write(b)
	if bytes.Count(u.all.Bytes(), []byte(u.want)) > 1 {
		u.once.Do(func() { close(u.done) })
	}
	return len(b), nil
}
