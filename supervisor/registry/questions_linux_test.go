package registry

import (
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/penstock/penstock/policy/ask"
)

// asks lists a session with one question; what it is answered comes out.
func asks(t *testing.T, id string) (Status, chan ask.Answer) {
	t.Helper()
	now := time.Now()
	q := ask.Question{ID: 1, Protocol: "https", Host: "a.example", Port: 443, Method: "GET", Path: "/", Size: -1, By: "default: ask",
		Rule: "{host: a.example, protocol: https}", DenyRule: "{host: a.example}", Asked: now, Until: now.Add(time.Minute)}
	answers := make(chan ask.Answer, 8)
	s := Status{Session: id, PID: os.Getpid(), UID: os.Getuid(), Started: now}
	e, err := Register(s, Control{
		Live:      func(s *Status) { s.Questions = 1 },
		Questions: func() []ask.Question { return []ask.Question{q} },
		Answer:    func(a *ask.Answer) error { answers <- *a; return nil },
		Exec:      func(int) (func(*net.UnixConn), error) { return func(c *net.UnixConn) { c.Close() }, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return s, answers
}

func TestQuestionsAndAnswer(t *testing.T) {
	s, answers := asks(t, named("ask"))
	list, err := Questions()
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, a := range list {
		found = found || a.Session.Session == s.Session && len(a.Questions) == 1 && a.Questions[0].Host == "a.example"
	}
	if !found {
		t.Errorf("%+v", list)
	}
	// Who answers is the kernel's word.
	if err := Answer(s.Session, &ask.Answer{ID: 1, Allow: true, Scope: ask.Once, By: "somebody else"}); err != nil {
		t.Fatal(err)
	}
	if a := <-answers; !strings.Contains(a.By, "uid ") || strings.Contains(a.By, "somebody") {
		t.Errorf("%+v", a)
	}
	other := register(t, named("deaf"), func() {})
	if err := Answer(other.Session, &ask.Answer{ID: 1, Allow: true, Scope: ask.Once}); err == nil {
		t.Error("a session that asks nobody is answered")
	}
}

// TestAnswerFromElsewhere: whoever runs in other namespaces than the session, as
// all of a pen does, can't answer, nor start a command, not even over a socket that he
// was given.
func TestAnswerFromElsewhere(t *testing.T) {
	if who := os.Getenv("PENSTOCK_TEST_ANSWER"); who != "" {
		// In a user namespace of its own, but still in the host's network.
		c, err := net.Dial("unix", who)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		b, _ := json.Marshal(request{Op: "answer", Answer: &ask.Answer{ID: 1, Allow: true, Scope: ask.Session}})
		c.Write(append(b, '\n'))
		line, err := readLine(c, maxAnswer)
		if err != nil || !strings.Contains(string(line), "an answer is not taken") && !strings.Contains(string(line), "another user") {
			t.Errorf("%s, %v", line, err)
		}
		d, err := net.Dial("unix", who)
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		d.Write([]byte(`{"op":"exec"}` + "\n"))
		line, err = readLine(d, maxAnswer)
		if err != nil || !strings.Contains(string(line), "a command is not taken from another container or pen") && !strings.Contains(string(line), "another user") {
			t.Errorf("%s, %v", line, err)
		}
		return
	}
	if _, err := exec.LookPath("unshare"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	s, answers := asks(t, named("else"))
	cmd := exec.Command("unshare", "-Ur", os.Args[0], "-test.run=^TestAnswerFromElsewhere$", "-test.v")
	cmd.Env = append(os.Environ(), "PENSTOCK_TEST_ANSWER="+prefix(s.UID)+s.Session)
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS") {
		t.Errorf("%v\n%s", err, out)
	}
	select {
	case a := <-answers:
		t.Errorf("it was answered: %+v", a)
	default:
	}
}
