package world

import (
	"bytes"
	"context"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Keyring is a real one, on a session bus of its own: gnome-keyring-daemon and
// dbus-daemon, as whom the commands are that it was made with.
type Keyring struct {
	t       testing.TB
	command func(argv ...string) *exec.Cmd
	Socket  string
	Address string // DBUS_SESSION_BUS_ADDRESS
}

// NewBus starts a session bus in dir, which who runs can write to, with nobody on it.
// command prepares a command. Its socket is a path, or abstract.
func NewBus(t testing.TB, dir string, abstract bool, command func(argv ...string) *exec.Cmd) *Keyring {
	t.Helper()
	Tool(t, "dbus-daemon")
	k := &Keyring{t: t, command: command, Socket: filepath.Join(dir, "bus")}
	k.Address = "unix:path=" + k.Socket
	if abstract {
		k.Address, k.Socket = "unix:abstract="+k.Socket, "@"+k.Socket
	}
	// Without directories of services: nothing is started that the test did not start.
	config := `<busconfig><type>session</type><auth>EXTERNAL</auth><listen>` + k.Address + `</listen>` +
		`<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/></policy></busconfig>`
	write := command("sh", "-c", `cat >"$0"`, filepath.Join(dir, "bus.conf"))
	write.Stdin = strings.NewReader(config)
	k.run(write)
	k.start(command("dbus-daemon", "--nofork", "--nopidfile", "--print-address=1", "--config-file="+filepath.Join(dir, "bus.conf")), "unix:")
	return k
}

// Unlock starts the keyring with its password, and waits until it is on the bus.
func (k *Keyring) Unlock(password string) {
	k.t.Helper()
	Tool(k.t, "gnome-keyring-daemon")
	Tool(k.t, "secret-tool")
	cmd := k.onBus("gnome-keyring-daemon", "--unlock", "--foreground", "--components=secrets")
	cmd.Stdin = strings.NewReader(password)
	k.begin(cmd)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	// Asked over and over by a program of the bus's own user: the bus takes no other.
	wait := k.onBus("sh", "-c", `until dbus-send --session --print-reply --dest=org.freedesktop.secrets /org/freedesktop/secrets org.freedesktop.DBus.Peer.Ping >/dev/null 2>&1; do :; done`)
	if err := Start(wait); err != nil {
		k.t.Fatal(err)
	}
	stop := context.AfterFunc(ctx, func() { wait.Process.Kill() }) //nolint:errcheck // it has ended then
	defer stop()
	if err := wait.Wait(); err != nil {
		k.t.Fatalf("gnome-keyring-daemon is not on the bus: %v", err)
	}
}

// Store puts an item into the keyring, with attributes name, value, name, value.
func (k *Keyring) Store(label, value string, attributes ...string) {
	k.t.Helper()
	cmd := k.onBus(append([]string{"secret-tool", "store", "--label=" + label}, attributes...)...)
	cmd.Stdin = strings.NewReader(value)
	k.run(cmd)
}

// Lock locks the collection that items are stored in.
func (k *Keyring) Lock() {
	k.t.Helper()
	cmd := k.onBus("dbus-send", "--session", "--print-reply", "--dest=org.freedesktop.secrets", "/org/freedesktop/secrets",
		"org.freedesktop.Secret.Service.Lock", "array:objpath:/org/freedesktop/secrets/aliases/default")
	k.run(cmd)
}

// onBus prepares a command that finds the bus.
func (k *Keyring) onBus(argv ...string) *exec.Cmd {
	cmd := k.command(argv...)
	cmd.Env = append(cmd.Env, "DBUS_SESSION_BUS_ADDRESS="+k.Address)
	return cmd
}

func (k *Keyring) run(cmd *exec.Cmd) {
	k.t.Helper()
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := Start(cmd)
	if err == nil {
		err = cmd.Wait()
	}
	if err != nil {
		k.t.Fatalf("%s: %v\n%s", cmd, err, &out)
	}
}

// begin starts a command that lasts until the test's end.
func (k *Keyring) begin(cmd *exec.Cmd) {
	k.t.Helper()
	if err := Start(cmd); err != nil {
		k.t.Fatal(err)
	}
	k.t.Cleanup(func() {
		cmd.Process.Kill() //nolint:errcheck // it may have ended
		cmd.Wait()         //nolint:errcheck // killed
	})
}

// start begins a command and waits for the first line that it writes.
func (k *Keyring) start(cmd *exec.Cmd, want string) {
	k.t.Helper()
	out, err := cmd.StdoutPipe()
	if err != nil {
		k.t.Fatal(err)
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	k.begin(cmd)
	line := make([]byte, 256)
	n, err := out.Read(line)
	if err != nil || !strings.HasPrefix(string(line[:n]), want) {
		k.t.Fatalf("%s: %v %q\n%s", cmd, err, line[:n], &stderr)
	}
}
