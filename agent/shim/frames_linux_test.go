package shim

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/penstock/penstock/sandbox/confine"
)

// framesRole is a shim with the line of systems without packets.
const framesRole = "role:shim-frames"

// beginFrames starts one.
func beginFrames(t *testing.T, cfg *Config) (*streamed, *exec.Cmd, *bytes.Buffer) {
	t.Helper()
	conn, pen, err := streamPair()
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	out := &bytes.Buffer{}
	cmd := exec.Command(self, framesRole)
	cmd.ExtraFiles = []*os.File{pen}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pen.Close()
	t.Cleanup(func() { conn.Close(); cmd.Process.Kill(); cmd.Wait() })
	if cfg != nil {
		cfg.Rules = confine.PenRules{Off: true}
		if err := conn.Configure(soon(t), cfg); err != nil {
			t.Fatal(err)
		}
	}
	return conn, cmd, out
}

// TestFramesHeldThenReleased: over a stream, too, the command runs when it is let, with
// its own environment, however much that is, and without the line.
func TestFramesHeldThenReleased(t *testing.T) {
	cfg := config("sh", "-c", "echo $A ${#LONG}; ls /proc/self/fd | wc -l")
	cfg.Env = append(cfg.Env, "LONG="+strings.Repeat("x", 100_000))
	conn, cmd, out := beginFrames(t, cfg)
	if _, err := conn.WaitReady(soon(t)); err != nil {
		t.Fatal(err)
	}
	if err := conn.Release(); err != nil {
		t.Fatal(err)
	}
	if err := conn.WaitExec(soon(t)); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil || out.String() != "1 100000\n4\n" { // three streams, and the list's own
		t.Errorf("%v, %q", err, out)
	}
}

// TestFramesNotFound: why a command does not run comes back.
func TestFramesNotFound(t *testing.T) {
	conn, _, _ := beginFrames(t, config("no-such-command"))
	if _, err := conn.WaitReady(soon(t)); err != nil {
		t.Fatal(err)
	}
	if err := conn.Release(); err != nil {
		t.Fatal(err)
	}
	var not *ExecError
	if err := conn.WaitExec(soon(t)); !errors.As(err, &not) || not.ExitCode() != 127 {
		t.Errorf("%v", err)
	}
}

// TestFramesGone: each side sees the other's end.
func TestFramesGone(t *testing.T) {
	conn, cmd, _ := beginFrames(t, nil)
	cmd.Process.Kill()
	if _, err := conn.WaitReady(soon(t)); !errors.Is(err, ErrNoShim) {
		t.Errorf("the shim's end is %v", err)
	}
	conn, cmd, out := beginFrames(t, config("echo", "ran"))
	if _, err := conn.WaitReady(soon(t)); err != nil {
		t.Fatal(err)
	}
	conn.Close()
	if err := cmd.Wait(); err == nil || out.Len() > 0 {
		t.Errorf("after the supervisor's end: %v, %q", err, out)
	}
}

// TestFramesHostile: what a shim says out of turn, or in too many bytes, is an error.
func TestFramesHostile(t *testing.T) {
	frame := func(text string) []byte {
		return append(binary.BigEndian.AppendUint32(nil, uint32(len(text))), text...)
	}
	for name, raw := range map[string][]byte{
		"garbage":     frame("{"),
		"no kind":     frame("{}"),
		"out of turn": frame(`{"kind":"go"}`),
		"empty":       frame(""),
		"too long":    binary.BigEndian.AppendUint32(nil, maxMessage+1),
		"cut off":     frame(`{"kind":"ready"}`)[:9],
	} {
		t.Run(name, func(t *testing.T) {
			conn, pen, err := streamPair()
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			pen.Write(raw)
			pen.Close()
			if p, err := conn.WaitReady(soon(t)); err == nil || errors.Is(err, ErrNoShim) {
				t.Errorf("%+v, %v", p, err)
			}
		})
	}
}

// TestTries: what is not refused ends the pen before the command, be it done, or not
// there.
func TestTries(t *testing.T) {
	open := filepath.Join(t.TempDir(), "open")
	if err := os.WriteFile(open, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	there := l.Addr().(*net.TCPAddr).AddrPort()
	for name, tc := range map[string]struct {
		tries Tries
		want  string
	}{
		"a file":           {Tries{Open: []string{open}}, "not refused (read)"},
		"a missing file":   {Tries{Open: []string{open + "2"}}, "no such file"},
		"a listener":       {Tries{Connect: []netip.AddrPort{there}}, "not refused: it was done"},
		"a port of nobody": {Tries{Connect: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:1")}}, "connection refused"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := config("echo", "ran")
			cfg.Tries = &tc.tries
			conn, cmd, out := beginFrames(t, cfg)
			_, err := conn.WaitReady(soon(t))
			var not *ExecError
			if !errors.As(err, &not) || not.ExitCode() != 125 || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("%v, not %q", err, tc.want)
			}
			if err := cmd.Wait(); err == nil || out.Len() > 0 {
				t.Errorf("it went on: %v, %q", err, out)
			}
		})
	}
}

// TestTriesRefused: refusals are counted, and nothing else is one.
func TestTriesRefused(t *testing.T) {
	for err, want := range map[error]bool{unix.EPERM: true, unix.EACCES: true, unix.ENOENT: false, unix.ECONNREFUSED: false, nil: false} {
		if refused(err) != want {
			t.Errorf("%v is a refusal: %v", err, !want)
		}
	}
	if os.Getuid() != 0 {
		// Root's is read whatever its mode.
		name := filepath.Join(t.TempDir(), "hidden")
		if err := os.WriteFile(name, nil, 0); err != nil {
			t.Fatal(err)
		}
		cfg := config("true")
		cfg.Tries = &Tries{Open: []string{name}}
		conn, _, _ := beginFrames(t, cfg)
		if p, err := conn.WaitReady(soon(t)); err != nil || p.Refused != 2 {
			t.Errorf("%+v, %v", p, err)
		}
	}
}

// TestTriesAreBounded: too many, or an address that would be another's, are no orders.
func TestTriesAreBounded(t *testing.T) {
	for _, tries := range []*Tries{
		{Open: make([]string, maxTries+1)},
		{Connect: []netip.AddrPort{netip.MustParseAddrPort("[::1]:80")}},
	} {
		cfg := config("true")
		cfg.Tries = tries
		if cfg.check() == nil {
			t.Errorf("%+v are orders", tries)
		}
	}
}
