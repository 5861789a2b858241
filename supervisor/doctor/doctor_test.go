package doctor

import (
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"
)

type advised struct{ error }

func (advised) Hint() string { return "do this" }

func TestBadTakesTheErrorsOwnHint(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want string
	}{
		{errors.New("plain"), "the usual"},
		{fmt.Errorf("wrapped: %w", advised{errors.New("deep")}), "do this"},
	} {
		x := &examination{}
		x.bad(Warn, "g", "n", tt.err, "the usual")
		if got := x.findings[0].Fix; got != tt.want {
			t.Errorf("fix of %q is %q, want %q", tt.err, got, tt.want)
		}
	}
}

func TestFindingsAreOneSafeLine(t *testing.T) {
	for in, want := range map[string]string{
		"a\nb\tc":         "a; b; c",
		"\x1b]0;title\a":  "?]0;title?",
		"x\u202etxt.exe":  "x?txt.exe",
		"\u009b31m":       "?31m",
		"  naïve, ünlaut": "naïve, ünlaut",
	} {
		if got := oneLine(in); got != want {
			t.Errorf("oneLine(%q) = %q, want %q", in, got, want)
		}
	}
	if got := oneLine(strings.Repeat("x", 5000)); len(got) > 310 {
		t.Errorf("a long text becomes %d bytes", len(got))
	}
}

func TestFailed(t *testing.T) {
	if Failed([]Finding{{State: OK}, {State: Warn}}) {
		t.Error("a warning is a failure")
	}
	if !Failed([]Finding{{State: OK}, {State: Fail}}) {
		t.Error("a failure is none")
	}
}

func TestClientsAreComplete(t *testing.T) {
	paths := map[string]bool{}
	for _, c := range clients() {
		if c.name == "" || len(c.programs) == 0 || len(c.argv) == 0 || c.fix == "" {
			t.Errorf("probe %q is incomplete", c.name)
		}
		if paths[c.path] || !strings.HasPrefix(c.path, "/") {
			t.Errorf("probe %s: path %q can't tell it from others", c.name, c.path)
		}
		paths[c.path] = true
		all := strings.Join(append(append([]string{}, c.argv...), c.env...), " ")
		if !strings.Contains(all, "URL") {
			t.Errorf("probe %s asks for nothing", c.name)
		}
	}
}

func TestExitCode(t *testing.T) {
	if exitCode(errors.New("x")) != -1 || exitCode(nil) != -1 {
		t.Error("an error that is no exit has a code")
	}
	var e error = &exec.ExitError{}
	if exitCode(fmt.Errorf("run: %w", e)) != -1 { // no ProcessState: never started
		t.Error("a process that never started has a code")
	}
}

func TestTail(t *testing.T) {
	for in, want := range map[string]string{"": "", "\n\n": "", "a\nb\n": ": b"} {
		if got := tail([]byte(in)); got != want {
			t.Errorf("tail(%q) = %q, want %q", in, got, want)
		}
	}
}
