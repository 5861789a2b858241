package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"os"
	"path/filepath"
	"runtime/debug"
	"runtime/pprof"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/penstock/penstock/audit"
	"github.com/penstock/penstock/hooks/cel"
	"github.com/penstock/penstock/netproxy"
	"github.com/penstock/penstock/netproxy/ca"
	"github.com/penstock/penstock/netproxy/dialguard"
	"github.com/penstock/penstock/policy"
)

// Ports, all on 127.0.0.1 of the namespace.
const (
	originTLS  = 8443
	originH1   = 8444 // no HTTP/2
	originEcho = 9000
	originBulk = 9001

	penTLS, penH1, penPass, penEcho, penBulk       = 10443, 10444, 10445, 10000, 10001
	penHook                                        = 10446 // penH1 with a hook
	squidPort, mitmPort                            = 13128, 13129
	refTLS, refH1                                  = 11443, 11444
	relayTLS, relayEcho, relayBulk                 = 12443, 12000, 12001
	originName, h1Name, passName, rawName          = "origin.test", "h1.test", "pass.test", "raw.test"
	bulkSize                                 int64 = 256 << 20
)

// world is what all processes know: one authority signs everything.
type world struct {
	cert      []byte
	authority *ca.Authority
	pool      *x509.CertPool
}

func makeWorld(dir string) (*world, error) {
	f, err := ca.LoadOrCreate(filepath.Join(dir, "ca"))
	if err != nil {
		return nil, err
	}
	f.Close()
	return openWorld(dir)
}

func openWorld(dir string) (*world, error) {
	f, err := ca.Load(filepath.Join(dir, "ca"))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	w := &world{cert: f.Certificate, pool: x509.NewCertPool()}
	w.pool.AppendCertsFromPEM(f.Certificate)
	w.authority, err = ca.New(f.Certificate, f.Key)
	return w, err
}

func (w *world) server(protocols ...string) *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: protocols,
		GetCertificate: func(h *tls.ClientHelloInfo) (*tls.Certificate, error) { return w.authority.Leaf(h.ServerName) }}
}

func runRole(role string) error {
	dir := os.Getenv("BENCH_DIR")
	debug.SetGCPercent(400)
	w, err := openWorld(dir)
	if err != nil {
		return err
	}
	if f := os.Getenv("BENCH_PROFILE"); f != "" {
		out, err := os.Create(f)
		if err != nil {
			return err
		}
		defer out.Close()
		if err := pprof.StartCPUProfile(out); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	switch role {
	case "origin":
		err = w.origin()
	case "penstock":
		err = w.penstock(dir)
	case "ref-intercept":
		err = w.refIntercept()
	case "ref-relay":
		err = refRelay()
	default:
		err = errors.New("unknown role " + role)
	}
	if err != nil {
		return err
	}
	return answer()
}

func listen(port int) (net.Listener, error) {
	return net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port))
}

// origin is what all proxies reach.
func (w *world) origin() error {
	bulk := make([]byte, 1<<20)
	var released atomic.Pointer[chan struct{}]
	gate := make(chan struct{})
	released.Store(&gate)
	h := http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/bulk":
			rw.Header().Set("Content-Length", strconv.FormatInt(bulkSize, 10))
			for n := int64(0); n < bulkSize; n += int64(len(bulk)) {
				if _, err := rw.Write(bulk); err != nil {
					return
				}
			}
		case "/up":
			n, _ := io.CopyBuffer(struct{ io.Writer }{io.Discard}, r.Body, make([]byte, 64<<10))
			fmt.Fprint(rw, n)
		case "/sse":
			rw.Header().Set("Content-Type", "text/event-stream")
			io.WriteString(rw, "data: first\n\n")
			rw.(http.Flusher).Flush()
			io.WriteString(rw, "data: last\n\n")
		case "/wait":
			rw.Header().Set("Content-Type", "text/event-stream")
			gate := *released.Load()
			io.WriteString(rw, "data: first\n\n")
			rw.(http.Flusher).Flush()
			select {
			case <-gate:
				io.WriteString(rw, "data: last\n\n")
			case <-r.Context().Done():
			}
		case "/release":
			next := make(chan struct{})
			close(*released.Swap(&next))
			fallthrough
		default:
			rw.Header().Set("Content-Type", "text/plain")
			io.WriteString(rw, smallBody)
		}
	})
	for port, protocols := range map[int][]string{originTLS: {"h2", "http/1.1"}, originH1: {"http/1.1"}} {
		l, err := listen(port)
		if err != nil {
			return err
		}
		s := &http.Server{Handler: h, TLSConfig: w.server(protocols...), ErrorLog: log.New(io.Discard, "", 0)}
		go s.ServeTLS(l, "", "")
	}
	if err := accept(originEcho, func(c *net.TCPConn) { io.Copy(c, c) }); err != nil {
		return err
	}
	return accept(originBulk, func(c *net.TCPConn) {
		for n := int64(0); n < bulkSize; n += int64(len(bulk)) {
			if _, err := c.Write(bulk); err != nil {
				return
			}
		}
	})
}

const smallBody = "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789" +
	"0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789"

func accept(port int, do func(*net.TCPConn)) error {
	l, err := listen(port)
	if err != nil {
		return err
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				do(c.(*net.TCPConn))
			}()
		}
	}()
	return nil
}

// refRelay is the fastest that Go's library can copy between two connections.
func refRelay() error {
	for port, to := range map[int]int{relayTLS: originTLS, relayEcho: originEcho, relayBulk: originBulk} {
		err := accept(port, func(c *net.TCPConn) {
			up, err := net.Dial("tcp", "127.0.0.1:"+strconv.Itoa(to))
			if err != nil {
				return
			}
			defer up.Close()
			done := make(chan struct{})
			go func() {
				io.Copy(up, c)
				up.(*net.TCPConn).CloseWrite()
				close(done)
			}()
			io.Copy(c, up)
			c.CloseWrite()
			<-done
		})
		if err != nil {
			return err
		}
	}
	return nil
}

type pool struct{ sync.Pool }

func (p *pool) Get() []byte  { return *p.Pool.Get().(*[]byte) }
func (p *pool) Put(b []byte) { p.Pool.Put(&b) }

// refIntercept is the plainest proxy of net/http with TLS on both sides.
func (w *world) refIntercept() error {
	for port, to := range map[int]struct {
		port      int
		name      string
		protocols []string
	}{refTLS: {originTLS, originName, []string{"h2", "http/1.1"}}, refH1: {originH1, h1Name, []string{"http/1.1"}}} {
		tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: w.pool, ServerName: to.name}, ForceAttemptHTTP2: len(to.protocols) == 2,
			MaxIdleConnsPerHost: 256, DisableCompression: true,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				var d net.Dialer
				return d.DialContext(ctx, "tcp", "127.0.0.1:"+strconv.Itoa(to.port))
			}}
		rp := &httputil.ReverseProxy{
			Transport: tr,
			Rewrite: func(r *httputil.ProxyRequest) {
				r.Out.URL.Scheme, r.Out.URL.Host = "https", to.name
			},
			BufferPool: &pool{sync.Pool{New: func() any { b := make([]byte, 64<<10); return &b }}},
		}
		l, err := listen(port)
		if err != nil {
			return err
		}
		s := &http.Server{Handler: rp, TLSConfig: w.server(to.protocols...), ErrorLog: log.New(io.Discard, "", 0)}
		go s.ServeTLS(l, "", "")
	}
	return nil
}

type names map[netip.Addr]string

func (n names) Lookup(a netip.Addr) (string, bool) { s, ok := n[a]; return s, ok }

const benchPolicy = `version: 1
egress:
  allow:
    - {host: origin.test, ports: [8443], addresses: [127.0.0.0/8]}
    - {host: h1.test, ports: [8444], addresses: [127.0.0.0/8]}
    - {host: pass.test, ports: [8443], inspect: false, addresses: [127.0.0.0/8]}
    - {host: raw.test, ports: [9000, 9001], protocol: tcp, addresses: [127.0.0.0/8]}
  hosts: {origin.test: 127.0.0.1, h1.test: 127.0.0.1, pass.test: 127.0.0.1, raw.test: 127.0.0.1}
`

// benchHook is asked about every request, and looks at several parts of it.
const benchHook = `hooks:
  - name: small-uploads
    on: [request]
    cel: 'request.method in ["POST", "PUT"] && request.size > 1000000 || request.path.startsWith("/private/") ? "deny: no" : "next"'
`

// penstock is the proxy as it serves a pen: real policy, audit and dial guard.
func (w *world) penstock(dir string) error {
	f, err := os.OpenFile(filepath.Join(dir, "audit.jsonl"), os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	writer, err := audit.NewWriter(f, "bench")
	if err != nil {
		return err
	}
	addr := func(n byte) netip.Addr { return netip.AddrFrom4([4]byte{198, 18, 0, n}) }
	ports := map[uint16]netip.AddrPort{
		penTLS: netip.AddrPortFrom(addr(1), originTLS), penH1: netip.AddrPortFrom(addr(2), originH1),
		penPass: netip.AddrPortFrom(addr(3), originTLS),
		penEcho: netip.AddrPortFrom(addr(4), originEcho), penBulk: netip.AddrPortFrom(addr(4), originBulk),
	}
	for more, ports := range map[string]map[uint16]netip.AddrPort{"": ports, benchHook: {penHook: ports[penH1]}} {
		if err := w.serve(benchPolicy+more, ports, writer); err != nil {
			return err
		}
	}
	return nil
}

// serve starts a proxy under a policy. ports are what connections to each mean.
func (w *world) serve(text string, ports map[uint16]netip.AddrPort, writer *audit.Writer) error {
	file, err := policy.Parse("bench.yaml", policy.CommandLine, []byte(text))
	if err != nil {
		return err
	}
	pol, err := policy.New([]*policy.File{file})
	if err == nil {
		pol, err = pol.CompileConditions(cel.Language{})
	}
	if err != nil {
		return err
	}
	addr := func(n byte) netip.Addr { return netip.AddrFrom4([4]byte{198, 18, 0, n}) }
	p, err := netproxy.New(netproxy.Config{
		Session: "bench", Policy: pol, Record: writer, Leaves: w.authority,
		Dialer: &dialguard.Guard{Hosts: pol.Host}, Limits: netproxy.Limits{Connections: 20_000},
		Names: names{addr(1): originName, addr(2): h1Name, addr(3): passName, addr(4): rawName},
		Roots: func() (*x509.CertPool, error) { return w.pool, nil },
		OriginalDst: func(c *net.TCPConn) (netip.AddrPort, error) {
			return ports[c.LocalAddr().(*net.TCPAddr).AddrPort().Port()], nil
		},
	})
	if err != nil {
		return err
	}
	for port := range ports {
		l, err := listen(int(port))
		if err != nil {
			return err
		}
		go p.ServeCaptured(l)
	}
	return nil
}
