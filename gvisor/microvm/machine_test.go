package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/penstock/penstock/gvisor/microvm/wire"
)

// fake is a program in QEMU's place.
func fake(t *testing.T, script string) *machine {
	t.Helper()
	name := filepath.Join(t.TempDir(), "qemu")
	if err := os.WriteFile(name, []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return &machine{qemu: name, image: t.TempDir(), memory: 1 << 28, accel: "tcg", start: time.Minute}
}

// TestStarts: a machine that hangs, ends, says what is no frame or can't be started is an
// error that says why, with what it said escaped, and nothing of it is left.
func TestStarts(t *testing.T) {
	for _, tt := range []struct {
		name, script string
		start        time.Duration
		want         []string
	}{
		{"hangs", `printf 'booting \033[2Jfrom ROM\n'; exec sleep 1000`, 300 * time.Millisecond, []string{"did not start within 300ms", `booting \x1b[2Jfrom ROM`}},
		{"has no such option", `echo 'qemu: invalid option' >&2; exit 1`, time.Minute, []string{"QEMU ended", "exit status 1", "invalid option"}},
		{"is killed", `kill -9 $$`, time.Minute, []string{"QEMU ended", "killed"}},
		{"panics", `echo 'Kernel panic - not syncing: no init'; exit 0`, time.Minute, []string{"its kernel ended", "Kernel panic - not syncing: no init"}},
		{"says something else", `printf 'GET / HTTP/1.1\r\n' >&3; exec sleep 1000`, time.Minute, []string{"malformed frame"}},
		{"says another word", `printf '\003\000\000\000\000\000' >&3; exec sleep 1000`, time.Minute, []string{"malformed frame: kind 3 before"}},
	} {
		m := fake(t, tt.script)
		m.start = tt.start
		v, err := start(m)
		if err != nil {
			t.Fatal(err)
		}
		s := &session{conn: wire.NewConn(v.port)}
		_, err = s.await(m, v, nil)
		v.close()
		for _, want := range tt.want {
			if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\x1b") {
				t.Errorf("%s: %v, want %s", tt.name, err, want)
			}
		}
		select {
		case <-v.done:
		default:
			t.Errorf("%s: it runs on", tt.name)
		}
	}
	if _, err := start(&machine{qemu: "/nonexistent"}); err == nil {
		t.Error("it was started")
	}
}

// TestHostile: what a machine says after the command has been started is taken within
// bounds, and the rest is its end.
func TestHostile(t *testing.T) {
	const hello = `printf '\001\000\000\000\000\000' >&3; `
	for name, tt := range map[string]struct {
		script string
		code   int
		err    string
	}{
		"an exit code":        {`printf '\012\000\000\000\000\001\111' >&3`, 73, ""},
		"a command not found": {`printf '\004\000\000\000\000\003\177no' >&3`, 127, ""},
		"room not taken":      {`printf '\007\000\000\000\000\004\000\001\000\001' >&3`, 0, "malformed frame"},
		"a word of the host":  {`printf '\002\000\000\000\000\002{}' >&3`, 0, "malformed frame"},
		"its end":             {`exit 0`, 0, "the machine"},
	} {
		m := fake(t, hello+tt.script+"; exec sleep 1000")
		if strings.HasPrefix(tt.script, "exit") {
			m = fake(t, hello+tt.script)
		}
		m.argv = []string{"true"}
		v, err := start(m)
		if err != nil {
			t.Fatal(err)
		}
		s := &session{conn: wire.NewConn(v.port), said: make(chan event, 1)}
		c := &wire.Command{Argv: m.argv, Closed: [3]bool{true, true, true}}
		code, err := s.run(m, c, &terminal{}, v, nil)
		v.close()
		if tt.err == "" && (err != nil || code != tt.code) || tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) {
			t.Errorf("%s: %d %v", name, code, err)
		}
	}
}

// TestFlags: what is no list entry is refused.
func TestFlags(t *testing.T) {
	m, err := parse([]string{"-qemu=/q", "-image=/i", "-tmpfs=1777:0:/tmp", "-tmpfs=755:64:/a:b", "-relay=53", "--", "cmd", "-x"})
	if err != nil || len(m.tmpfs) != 2 || m.tmpfs[0] != (wire.Tmpfs{Path: "/tmp", Mode: 0o1777}) || m.tmpfs[1] != (wire.Tmpfs{Path: "/a:b", Mode: 0o755, Size: 64}) || len(m.relay) != 1 || len(m.argv) != 2 {
		t.Errorf("%+v %v", m, err)
	}
	for _, bad := range []string{"-tmpfs=/tmp", "-tmpfs=999:0:/tmp", "-tmpfs=755:x:/tmp", "-relay=70000", "-relay=x"} {
		if _, err := parse([]string{"-qemu=/q", "-image=/i", bad}); err == nil {
			t.Errorf("%s was taken", bad)
		}
	}
}
