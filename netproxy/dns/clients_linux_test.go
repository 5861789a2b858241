package dns_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/penstock/penstock/netproxy/dns"
	"github.com/penstock/penstock/sandbox"
	"github.com/penstock/penstock/sandbox/netns"
)

const goLookup = "role:test-lookup"

// TestMain lets the test binary be the pen's builder, and a Go program in it.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case netns.Role:
			os.Exit(netns.Main())
		case goLookup:
			r := &net.Resolver{PreferGo: true}
			addrs, err := r.LookupNetIP(context.Background(), os.Args[2], os.Args[3])
			for _, a := range addrs {
				fmt.Println(a.Unmap())
			}
			if err != nil {
				fmt.Println(err)
			}
			os.Exit(0)
		}
	}
	os.Exit(m.Run())
}

// TestRealClients asks from inside a pen, as programs do: through the C
// library, through resolvers of their own, with a name server of the pen's
// resolv.conf that is not there.
func TestRealClients(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	table, err := dns.NewTable(0)
	if err != nil {
		t.Fatal(err)
	}
	const name = "api.example.com"
	a4, err := table.Address(name, false)
	if err != nil {
		t.Fatal(err)
	}
	a6, err := table.Address(name, true)
	if err != nil {
		t.Fatal(err)
	}
	both := a4.String() + " " + a6.String()
	for _, tc := range []struct {
		name string
		argv []string
		want []string // each must be in the output
	}{
		{"getent", []string{"getent", "ahosts", name}, []string{a4.String(), a6.String()}},
		{"getent by address", []string{"getent", "hosts", a4.String()}, []string{name}},
		{"getent by IPv6 address", []string{"getent", "hosts", a6.String()}, []string{name}},
		{"getent nothing", []string{"sh", "-c", "getent ahosts a.invalid || echo none"}, []string{"none"}},
		{"getent localhost", []string{"getent", "ahostsv4", "x.localhost"}, []string{"127.0.0.1"}},
		{"go", []string{self, goLookup, "ip", name}, strings.Fields(both)},
		{"go, EDNS and search", []string{self, goLookup, "ip4", "single"}, []string{"198.1"}},
		{"go nothing", []string{self, goLookup, "ip", "a.invalid"}, []string{"no such host"}},
		{"python", []string{"python3", "-c", "import socket,sys; print(*sorted({a[4][0] for a in socket.getaddrinfo(sys.argv[1], 443)}))", name}, strings.Fields(both)},
		{"python reverse", []string{"python3", "-c", "import socket,sys; print(socket.gethostbyaddr(sys.argv[1])[0])", a4.String()}, []string{name}},
		{"curl", []string{"curl", "-sS", "http://" + name + ":8080/"}, []string{"you wanted " + name + ":8080"}},
		{"curl -6", []string{"curl", "-6", "-sS", "http://other.example:8080/"}, []string{"you wanted other.example:8080"}},
		{"wget", []string{"wget", "-qO-", "http://" + name + ":8080/"}, []string{"you wanted " + name + ":8080"}},
		{"node getaddrinfo", []string{"node", "-e", "require('dns').lookup(process.argv[1], {all: true}, (e, a) => console.log(e, a))", name}, strings.Fields(both)},
		{"node c-ares", []string{"node", "-e", "const d = require('dns'); d.resolve4(process.argv[1], (e, a) => { console.log(e, a); d.resolve6(process.argv[1], (e, a) => { console.log(e, a); d.resolveTxt(process.argv[1], (e) => console.log(e.code)) }) })", name}, append(strings.Fields(both), "ENODATA")},
	} {
		t.Run(tc.name, func(t *testing.T) {
			out := inPen(t, table, tc.argv)
			for _, want := range tc.want {
				if !strings.Contains(out, want) {
					t.Errorf("no %q in\n%s", want, out)
				}
			}
		})
	}
}

// need returns the path of a program, or skips the test; with CI=true it fails.
func need(t testing.TB, name string) string {
	t.Helper()
	p, err := exec.LookPath(name)
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("%s is missing: apt-get install bubblewrap curl wget python3 nodejs libc-bin", name)
		}
		t.Skipf("%s is missing: apt-get install bubblewrap curl wget python3 nodejs libc-bin", name)
	}
	return p
}

// inPen runs argv in a pen of its own and returns what it printed.
func inPen(t *testing.T, table *dns.Table, argv []string) string {
	t.Helper()
	bwrap := need(t, "bwrap")
	argv[0] = need(t, argv[0])
	conf := filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(conf, []byte("nameserver 192.0.2.53\nnameserver 2001:db8::53\noptions edns0 timeout:2 attempts:1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	resolv, err := filepath.EvalSymlinks("/etc/resolv.conf")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("no /etc/resolv.conf to cover:", err)
		}
		t.Skip("no /etc/resolv.conf to cover:", err)
	}
	next := &sandbox.Command{Path: bwrap, Env: os.Environ(), Argv: append([]string{bwrap, "--unshare-user", "--unshare-pid",
		"--cap-drop", "ALL", "--die-with-parent", "--dev-bind", "/", "/", "--proc", "/proc", "--ro-bind", conf, resolv, "--"}, argv...)}
	b, err := netns.Start("/proc/self/exe", next, [3]*os.File{nil, w, w}, netns.Options{})
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	s, err := b.Sockets(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()

	server := dns.NewServer(dns.Config{Table: table, NoIPv6: !s.IPv6(), Record: func(e dns.Event) {
		if (e.Server.Addr() != netip.MustParseAddr("192.0.2.53") && e.Server.Addr() != netip.MustParseAddr("2001:db8::53")) || e.Server.Port() != 53 {
			t.Errorf("asked of %v", e.Server)
		}
	}})
	defer server.Close()
	packets, err := s.DNSPacketConns()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range packets {
		go server.ServeUDP(c)
	}
	streams, err := s.DNSListeners()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range streams {
		go server.ServeTCP(l)
	}
	capture, err := s.CaptureListeners()
	if err != nil {
		t.Fatal(err)
	}
	web := &http.Server{ConnContext: func(ctx context.Context, c net.Conn) context.Context {
		dst, err := netns.OriginalDst(c.(*net.TCPConn))
		if err != nil {
			t.Error(err)
		}
		name, _ := table.Lookup(dst.Addr())
		return context.WithValue(ctx, http.ServerContextKey, fmt.Sprintf("%s:%d", name, dst.Port()))
	}, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, "you wanted", r.Context().Value(http.ServerContextKey))
	})}
	defer web.Close()
	for _, l := range capture {
		go web.Serve(l)
	}
	var out bytes.Buffer
	timeout := time.AfterFunc(60*time.Second, func() { b.Process().Kill() })
	defer timeout.Stop()
	if _, err := io.Copy(&out, r); err != nil {
		t.Fatal(err)
	}
	if state, err := b.Wait(); err != nil || !state.Success() {
		t.Fatalf("%v: %v, %v\n%s", argv, state, err, out.String())
	}
	return out.String()
}
