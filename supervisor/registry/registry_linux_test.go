package registry

import (
	"errors"
	"net"
	"os"
	"testing"
	"time"
)

func register(t *testing.T, id string, kill func()) Status {
	t.Helper()
	s := Status{Session: id, PID: os.Getpid(), UID: os.Getuid(), Started: time.Now(), Command: []string{"true"}}
	e, err := Register(s, kill)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return s
}

func TestListAndKill(t *testing.T) {
	killed := make(chan string, 2)
	register(t, "t1-aaaa", func() { killed <- "t1" })
	register(t, "t2-bbbb", func() { killed <- "t2" })
	list, err := List()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]bool{}
	for _, s := range list {
		got[s.Session] = true
	}
	if !got["t1-aaaa"] || !got["t2-bbbb"] {
		t.Fatalf("list = %v", list)
	}
	if _, err := Kill("t"); err == nil {
		t.Error("a prefix of two sessions killed one")
	}
	if _, err := Kill("t2"); err != nil {
		t.Fatal(err)
	}
	if k := <-killed; k != "t2" {
		t.Errorf("killed %s", k)
	}
	var none *NoSessionError
	if _, err := Kill("nope"); !errors.As(err, &none) {
		t.Errorf("kill of nothing: %v", err)
	}
}

func TestGarbageIsAnswered(t *testing.T) {
	s := register(t, "g1", func() { t.Error("garbage killed the session") })
	for _, in := range []string{"\n", "{}\n", "kill\n", `{"op":"kill"`, "\x00\xff\n"} {
		c, err := net.Dial("unix", prefix(s.UID)+s.Session)
		if err != nil {
			t.Fatal(err)
		}
		c.Write([]byte(in))
		c.(*net.UnixConn).CloseWrite()
		c.SetDeadline(time.Now().Add(5 * time.Second))
		line, err := readLine(c)
		if err != nil || string(line[:9]) != `{"error":` {
			t.Errorf("%q answered with %q, %v", in, line, err)
		}
		c.Close()
	}
}

func TestClosedSessionIsNotListed(t *testing.T) {
	e, err := Register(Status{Session: "c1", UID: os.Getuid()}, func() {})
	if err != nil {
		t.Fatal(err)
	}
	e.Close()
	e.Close()
	list, _ := List()
	for _, s := range list {
		if s.Session == "c1" {
			t.Error("closed session is listed")
		}
	}
}
