package supervisor

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/penstock/penstock/hooks"
	hookexec "github.com/penstock/penstock/hooks/exec"
	"github.com/penstock/penstock/hooks/hookstest"
	"github.com/penstock/penstock/policy"
	"github.com/penstock/penstock/sandbox/bwrap"
	"github.com/penstock/penstock/sandbox/layout"
)

// cagedProgram returns what starts a program of the system in a real cage.
func cagedProgram(t testing.TB, once bool, argv ...string) hookexec.Start {
	t.Helper()
	b, err := bwrap.New("")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	path, err := exec.LookPath(argv[0])
	if err != nil {
		t.Fatal(err)
	}
	p := &hookProgram{name: "h", program: &policy.Program{Once: once}, argv: append([]string{path}, argv[1:]...), uid: os.Getuid(), gid: os.Getgid(), room: make(chan struct{}, 4)}
	p.voice = &hookVoice{say: func(line string) { t.Log(line) }}
	if p.mounts, err = layout.Cage(absolute(p.argv), false, layout.OS()); err != nil {
		t.Fatal(err)
	}
	h := &hookHost{backend: b, programs: map[string]*hookProgram{"h": p}}
	return func(ctx context.Context) (*hookexec.Process, error) { return h.launch(ctx, "h") }
}

// TestLaunch: only what the policy names is started, and after an early end not at once.
func TestLaunch(t *testing.T) {
	h := &hookHost{programs: map[string]*hookProgram{}}
	if _, err := h.launch(t.Context(), "other"); err == nil {
		t.Error("a program that nobody has named")
	}
	p := &hookProgram{program: &policy.Program{}}
	if p.wait() != 0 {
		t.Error("the first one waits")
	}
	last := p.wait()
	for i := range 20 {
		p.ended(0)
		if w := p.wait(); w < firstWait || w > longestWait || w < last {
			t.Errorf("after %d early ends: %s", i+1, w)
		} else {
			last = w
		}
	}
	if last != longestWait {
		t.Errorf("at last %s", last)
	}
	p.ended(hookLife)
	if p.wait() != 0 {
		t.Error("one that had lived waits")
	}
}

// TestHookVoice: lines are bounded, and so is how many there are.
func TestHookVoice(t *testing.T) {
	var said []string
	v := &hookVoice{say: func(s string) { said = append(said, s) }}
	l := &hookLine{to: v}
	for range 10 {
		l.Write([]byte(strings.Repeat("x", maxVoiceLine)))
	}
	l.Write([]byte("\r\nsecond\r\nthird"))
	l.end()
	if len(said) != 3 || len(said[0]) != maxVoiceLine || said[1] != "second" || said[2] != "third" {
		t.Errorf("%q", said)
	}
	l = &hookLine{to: v}
	l.Write([]byte(strings.Repeat("y\n", 1000)))
	if len(said) != maxVoiceLines+1 || said[maxVoiceLines] != "what more it says is not shown" {
		t.Errorf("%d lines, the last %q", len(said), said[len(said)-1])
	}
}

// TestReachedBy: neither in nor around what a pen can write.
func TestReachedBy(t *testing.T) {
	dir := t.TempDir()
	work, hooks := filepath.Join(dir, "work"), filepath.Join(dir, "hooks")
	for _, d := range []string{work, hooks} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(work, filepath.Join(hooks, "link")); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{work: work, work + "/a": work, hooks + "/link": work, dir: work, "/": work, hooks: "", hooks + "/a": "", "a": "", "--x=" + work: ""} {
		if got := reachedBy(name, []string{work}); got != want {
			t.Errorf("%s: %q", name, got)
		}
	}
}

const answers = `
import json, sys
for line in sys.stdin:
    print(json.dumps({"version": 1, "id": json.loads(line)["id"], "decision": "next"}), flush=True)
`

func askHook(b *testing.B, h hooks.Hook) {
	b.Helper()
	r := hookstest.Request()
	for b.Loop() {
		if d, err := h.Decide(b.Context(), r); err != nil || d.Action != hooks.Next {
			b.Fatal(d, err)
		}
	}
}

// BenchmarkHookProcess is a question to a program in its cage.
func BenchmarkHookProcess(b *testing.B) {
	script := filepath.Join(b.TempDir(), "h.py")
	if err := os.WriteFile(script, []byte(answers), 0o644); err != nil {
		b.Fatal(err)
	}
	b.Run("exec", func(b *testing.B) {
		h := hookexec.New("h", cagedProgram(b, false, "/usr/bin/python3", script))
		defer h.Close()
		askHook(b, h)
	})
	b.Run("exec_once-python", func(b *testing.B) {
		askHook(b, hookexec.NewOnce("h", cagedProgram(b, true, "/usr/bin/python3", script)))
	})
	b.Run("exec_once-sh", func(b *testing.B) {
		askHook(b, hookexec.NewOnce("h", cagedProgram(b, true, "sh", "-c", `read -r q; echo '{"version":1,"id":"1","decision":"next"}'`)))
	})
}
