//go:build linux

package world

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
)

func TestMain(m *testing.M) { os.Exit(Main(m)) }

func TestOriginsAreReachedByNameFromH(t *testing.T) {
	w := New(t)
	o := w.HTTPS("shop.example.com", http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(rw, "%s %s", r.Proto, r.Host)
	}))
	curl := Tool(t, "curl")
	for name, opts := range Users() {
		t.Run(name, func(t *testing.T) {
			for _, version := range []string{"-4", "-6"} {
				if version == "-6" && !w.IPv6() {
					continue
				}
				r := w.Run(nil, opts, curl, version, "-sS", "--cacert", w.CA(), o.URL)
				if r.Code != 0 || r.Stdout != "HTTP/2 shop.example.com" && r.Stdout != "HTTP/2.0 shop.example.com" {
					t.Errorf("curl %s: %s", version, r)
				}
			}
		})
	}
	if !w.Asked("shop.example.com") || !w.Reached(o) || o.Hits() < 2 {
		t.Errorf("ledger: queries %v, packets %v, hits %d", w.Queries(), w.Outside(), o.Hits())
	}
}

func TestLedgerSeesWhatNobodyAnswers(t *testing.T) {
	w := New(t)
	if got := w.Outside(); len(got) != 0 {
		t.Fatalf("ledger not empty at the start: %v", got)
	}
	script := `exec 3<>/dev/tcp/8.8.8.8/4444; echo gone >/dev/udp/9.9.9.9/5555; echo meta >/dev/udp/169.254.169.254/80; true`
	if r := w.Run(nil, Options{User: true}, Tool(t, "bash"), "-c", script); r.Code != 0 {
		t.Fatal(r)
	}
	seen := fmt.Sprint(w.Outside())
	for _, want := range []string{"tcp 192.0.2.2:", "-> 8.8.8.8:4444", "-> 9.9.9.9:5555", "-> 169.254.169.254:80"} {
		if !strings.Contains(seen, want) {
			t.Errorf("no %q in %s", want, seen)
		}
	}
	if len(w.Queries()) != 0 {
		t.Errorf("queries: %v", w.Queries())
	}
}

func TestCommandsHaveNoCapability(t *testing.T) {
	w := New(t)
	for name, opts := range Users() {
		t.Run(name, func(t *testing.T) {
			r := w.Run(nil, opts, "/bin/sh", "-c", "grep CapEff /proc/self/status; id -u; unshare -Ur true 2>/dev/null || echo none")
			if name == "user" && !strings.Contains(r.Stdout, "0000000000000000") {
				t.Error(r)
			}
			if name == "user" && strings.Contains(r.Stdout, "\n0\n") {
				t.Error(r)
			}
		})
	}
}

func TestHostLoopbackIsNotOutside(t *testing.T) {
	w := New(t)
	srv := w.HostHTTP(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { io.WriteString(rw, "inner") }))
	r := w.Run(nil, Options{}, Tool(t, "curl"), "-sS", srv)
	if r.Stdout != "inner" {
		t.Fatal(r)
	}
	if got := w.Outside(); len(got) != 0 {
		t.Errorf("outside: %v", got)
	}
}

func TestMissingNamesAreNotFound(t *testing.T) {
	w := New(t)
	r := w.Run(nil, Options{}, Tool(t, "curl"), "-sS", "http://nowhere.example.com/")
	if r.Code != 6 || !w.Asked("nowhere.example.com") {
		t.Errorf("%s\n%v", r, w.Queries())
	}
}
