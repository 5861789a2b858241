package world

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// World is one test's view of the private internet: its origins go when the
// test ends, and its ledgers start empty.
type World struct {
	t       testing.TB
	n       *network
	packets int
	queries int
}

// New returns the private internet. Without namespaces the test is skipped, or
// fails when CI=true.
func New(t testing.TB) *World {
	t.Helper()
	if rig == nil {
		Missing(t, "the private internet", "allow unprivileged user namespaces (sysctl kernel.unprivileged_userns_clone=1, kernel.apparmor_restrict_unprivileged_userns=0) or run the tests as root")
	}
	w := &World{t: t, n: rig}
	w.settle()
	w.packets, w.queries = rig.sniffer.count(), rig.dns.count()
	return w
}

// Missing skips the test for want of something, or fails it when CI=true.
func Missing(t testing.TB, what, fix string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s is missing: %s", what, fix)
	}
	t.Skipf("%s is missing: %s", what, fix)
}

// Tool returns the absolute path of a program, or ends the test as Missing does.
func Tool(t testing.TB, name string) string {
	t.Helper()
	// System directories first: a version manager's shim in the home directory
	// is not what a pen can run.
	for _, dir := range append([]string{"/usr/local/bin", "/usr/bin", "/bin", "/usr/local/sbin", "/usr/sbin", "/sbin"}, filepath.SplitList(os.Getenv("PATH"))...) {
		p := filepath.Join(dir, name)
		if st, err := os.Stat(p); err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0 {
			return p
		}
	}
	Missing(t, name, "run .ci/install")
	return ""
}

// CA returns the path of a PEM file with the world's certificate authority, as
// for a policy's `ca:`.
func (w *World) CA() string { return filepath.Join(w.n.dir, "ca.pem") }

// IPv6 says whether the rig has IPv6.
func (w *World) IPv6() bool { return w.n.ipv6 }

// Origin is something that listens in W.
type Origin struct {
	Name  string
	Addr  netip.Addr // IPv4
	Addr6 netip.Addr // invalid without IPv6
	Port  uint16
	URL   string // for HTTP and HTTPS
	hits  atomic.Int64
}

// Hits returns how many requests (HTTP) or connections (TCP) have arrived.
func (o *Origin) Hits() int { return int(o.hits.Load()) }

// HTTPS serves a name on port 443 with HTTP/1.1 and HTTP/2 and a certificate of
// the world's authority.
func (w *World) HTTPS(name string, h http.Handler) *Origin {
	w.t.Helper()
	return w.HTTPSAt(name, 443, h)
}

// HTTPSAt is HTTPS on a port of choice.
func (w *World) HTTPSAt(name string, port uint16, h http.Handler) *Origin {
	w.t.Helper()
	return w.httpsAt(name, port, h, &tls.Config{})
}

// MutualHTTPS is HTTPS for clients that have a Certificate, too.
func (w *World) MutualHTTPS(name string, h http.Handler) *Origin {
	w.t.Helper()
	pool := x509.NewCertPool()
	pool.AddCert(w.n.ca.cert)
	return w.httpsAt(name, 443, h, &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool})
}

func (w *World) httpsAt(name string, port uint16, h http.Handler, cfg *tls.Config) *Origin {
	w.t.Helper()
	o := w.place(name, port)
	cert := w.Certificate(name)
	srv := w.server(o, h)
	cfg.Certificates, cfg.NextProtos = []tls.Certificate{cert}, []string{"h2", "http/1.1"}
	srv.TLSConfig = cfg
	for _, ln := range w.listen(o) {
		go srv.ServeTLS(ln, "", "")
	}
	o.URL = "https://" + hostPort(name, port, 443)
	return o
}

// HTTP serves a name on port 80 in clear, HTTP/1.1 and HTTP/2 with prior knowledge.
func (w *World) HTTP(name string, h http.Handler) *Origin {
	w.t.Helper()
	return w.HTTPAt(name, 80, h)
}

// HTTPAt is HTTP on a port of choice.
func (w *World) HTTPAt(name string, port uint16, h http.Handler) *Origin {
	w.t.Helper()
	o := w.place(name, port)
	srv := w.server(o, h)
	srv.Protocols = new(http.Protocols)
	srv.Protocols.SetHTTP1(true)
	srv.Protocols.SetUnencryptedHTTP2(true)
	for _, ln := range w.listen(o) {
		go srv.Serve(ln)
	}
	o.URL = "http://" + hostPort(name, port, 80)
	return o
}

// TCP serves raw connections; f closes nothing, the rig does after it returns.
func (w *World) TCP(name string, port uint16, f func(net.Conn)) *Origin {
	w.t.Helper()
	o := w.place(name, port)
	for _, ln := range w.listen(o) {
		go func() {
			for {
				c, err := ln.Accept()
				if err != nil {
					return
				}
				o.hits.Add(1)
				go func() {
					defer c.Close()
					f(c)
				}()
			}
		}()
	}
	return o
}

// Listen returns a raw listener at a name of its own in W, for servers that
// want one (gRPC).
func (w *World) Listen(name string, port uint16) (net.Listener, *Origin) {
	w.t.Helper()
	o := w.place(name, port)
	return w.listen(o)[0], o
}

// Place gives a name an address in W without listening, for servers that are
// processes of their own (Start).
func (w *World) Place(name string, port uint16) *Origin {
	w.t.Helper()
	return w.place(name, port)
}

// Certificate returns a certificate of the world's authority for names.
func (w *World) Certificate(names ...string) tls.Certificate {
	w.t.Helper()
	cert, err := w.n.ca.leaf(names...)
	if err != nil {
		w.t.Fatal(err)
	}
	return cert
}

// Name makes DNS answer a name with addresses (and no other).
func (w *World) Name(name string, addrs ...netip.Addr) {
	w.NameFunc(name, func(int) []netip.Addr { return addrs })
}

// NameFunc makes DNS answer by a function of how often the type was asked
// before, as a rebinding attacker's server does.
func (w *World) NameFunc(name string, f func(asked int) []netip.Addr) {
	w.n.dns.set(name, f)
	w.t.Cleanup(func() { w.n.dns.set(name, nil) })
}

// Address returns a fresh public-looking IPv4 address that W holds.
func (w *World) Address() netip.Addr {
	w.t.Helper()
	w.n.mu.Lock()
	i := w.n.nextPub
	w.n.nextPub++
	w.n.mu.Unlock()
	base := public4
	if i >= 254-60 {
		base, i = extra4, i-(254-60)+1
		i = (i-1)%254 + 1
	} else {
		i += 60 // beyond the resolver
	}
	b := base.Addr().As4()
	b[3] = byte(i)
	return w.hold(netip.AddrFrom4(b))
}

// PrivateAddress returns a fresh address of 10.66.0.0/24 that W holds.
func (w *World) PrivateAddress() netip.Addr {
	w.t.Helper()
	w.n.mu.Lock()
	i := w.n.nextPri
	w.n.nextPri++
	w.n.mu.Unlock()
	b := private4.Addr().As4()
	b[3] = byte((i-1)%254 + 1)
	return w.hold(netip.AddrFrom4(b))
}

// Metadata returns the cloud metadata address, held by W: whoever gets there
// meets a listener if the test makes one with ListenAt.
func (w *World) Metadata() netip.Addr {
	w.t.Helper()
	return w.hold(metadata)
}

// ListenAt listens at an address that W holds.
func (w *World) ListenAt(addr netip.Addr, port uint16) net.Listener {
	w.t.Helper()
	var ln net.Listener
	err := w.n.outside(func() (err error) {
		ln, err = net.Listen("tcp", netip.AddrPortFrom(addr, port).String())
		return err
	})
	if err != nil {
		w.t.Fatalf("listen in W at %s port %d: %v", addr, port, err)
	}
	w.t.Cleanup(func() { ln.Close() })
	return ln
}

// HostHTTP serves on H's loopback, as a service on the developer's own machine
// does, and returns its URL.
func (w *World) HostHTTP(h http.Handler) string {
	w.t.Helper()
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	srv := &http.Server{Handler: h, ErrorLog: log.New(logWriter{}, "", 0)}
	go srv.Serve(ln)
	w.t.Cleanup(func() { srv.Close() })
	return "http://" + ln.Addr().String()
}

// Start starts a program in W. It is killed when the test ends.
func (w *World) Start(cmd *exec.Cmd) {
	w.t.Helper()
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	if err := w.n.outside(func() error { return startWithoutCaps(cmd) }); err != nil {
		w.t.Fatalf("start %s in W: %v", cmd.Path, err)
	}
	w.t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		done := make(chan struct{})
		go func() { cmd.Wait(); close(done) }()
		select {
		case <-done:
		case <-time.After(3 * time.Second):
			cmd.Process.Kill()
			<-done
		}
	})
}

// Dial connects from W's side to an address of W, to see whether a server is up.
func (w *World) Dial(addr netip.Addr, port uint16) (net.Conn, error) {
	var c net.Conn
	err := w.n.outside(func() (err error) {
		// Not by net.Dial: a second attempt's goroutine would run on a thread in H.
		c, err = dialHere(addr, port)
		return err
	})
	return c, err
}

// WaitFor returns when something listens at the origin.
func (w *World) WaitFor(o *Origin, patience time.Duration) {
	w.t.Helper()
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		c, err := w.Dial(o.Addr, o.Port)
		if err == nil {
			c.Close()
			return
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("nothing listens at %s (%s) after %s: %v", o.Name, o.Addr, patience, err)
		}
		<-tick.C
	}
}

func (w *World) hold(a netip.Addr) netip.Addr {
	w.t.Helper()
	if err := w.n.hold(a); err != nil {
		w.t.Fatalf("world: hold %s: %v", a, err)
	}
	return a
}

func (w *World) place(name string, port uint16) *Origin {
	w.t.Helper()
	o := &Origin{Name: name, Port: port, Addr: w.Address()}
	addrs := []netip.Addr{o.Addr}
	if w.n.ipv6 {
		b := public6.Addr().As16()
		v4 := o.Addr.As4()
		b[14], b[15] = v4[2], v4[3]
		o.Addr6 = w.hold(netip.AddrFrom16(b))
		addrs = append(addrs, o.Addr6)
	}
	w.Name(name, addrs...)
	return o
}

func (w *World) listen(o *Origin) []net.Listener {
	w.t.Helper()
	out := []net.Listener{w.ListenAt(o.Addr, o.Port)}
	if o.Addr6.IsValid() {
		out = append(out, w.ListenAt(o.Addr6, o.Port))
	}
	return out
}

func (w *World) server(o *Origin, h http.Handler) *http.Server {
	srv := &http.Server{
		Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			o.hits.Add(1)
			h.ServeHTTP(rw, r)
		}),
		ErrorLog: log.New(logWriter{}, "", 0),
	}
	w.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer cancel()
		if srv.Shutdown(ctx) != nil {
			srv.Close()
		}
	})
	return srv
}

// logWriter drops what servers say about clients that went away.
type logWriter struct{}

func (logWriter) Write(p []byte) (int, error) { return len(p), nil }

func hostPort(name string, port, usual uint16) string {
	if port == usual {
		return name
	}
	return fmt.Sprintf("%s:%s", name, strconv.Itoa(int(port)))
}
