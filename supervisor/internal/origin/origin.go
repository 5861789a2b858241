// Package origin is a small internet on the host's loopback: an HTTPS and an
// HTTP server with a certificate authority of their own, a TCP echo and a UDP
// socket, all of which write down what arrives.
//
// Its hazard is serving more than a test needs to a machine's other users: it
// listens on 127.0.0.1 only, answers with constants and lives as long as the
// command that started it. Only demo and doctor import it.
package origin

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"path"
	"sync"
	"time"
)

// Domain is where the names of an origin live; RFC 6761 keeps it from existing.
const Domain = "demo.example"

// maxArrivals bounds what is remembered.
const maxArrivals = 1000

// Arrival is one thing that reached the origin.
type Arrival struct {
	Protocol string // https, http, tcp, udp
	Host     string // as the request named it
	Method   string
	Path     string
	Token    string // the Authorization header, for showing where a secret arrived
	Agent    string
}

// String returns one line for a person.
func (a Arrival) String() string {
	if a.Method == "" {
		return a.Protocol
	}
	return fmt.Sprintf("%s %s://%s%s", a.Method, a.Protocol, a.Host, a.Path)
}

// Origin is a running origin. Its methods may be called concurrently.
type Origin struct {
	HTTPS, HTTP, TCP, UDP uint16 // ports on 127.0.0.1
	CA                    []byte // PEM certificate of the authority behind HTTPS

	mu       sync.Mutex
	arrivals []Arrival
	closers  []io.Closer
}

// Start makes an origin that answers for the given names, and listens.
func Start(names ...string) (*Origin, error) {
	o := &Origin{}
	cert, ca, err := certificates(names)
	if err != nil {
		return nil, err
	}
	o.CA = ca
	if err := o.listen(cert); err != nil {
		o.Close()
		return nil, err
	}
	return o, nil
}

func (o *Origin) listen(cert tls.Certificate) error {
	open := func(port *uint16) (net.Listener, error) {
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("listen on the loopback: %w", err)
		}
		o.closers = append(o.closers, l)
		*port = uint16(l.Addr().(*net.TCPAddr).Port)
		return l, nil
	}
	secure, err := open(&o.HTTPS)
	if err != nil {
		return err
	}
	plain, err := open(&o.HTTP)
	if err != nil {
		return err
	}
	echo, err := open(&o.TCP)
	if err != nil {
		return err
	}
	udp, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return fmt.Errorf("listen on the loopback: %w", err)
	}
	o.closers = append(o.closers, udp)
	o.UDP = uint16(udp.LocalAddr().(*net.UDPAddr).Port)

	// A server each: one that serves in clear first does not set up HTTP/2.
	for _, l := range []net.Listener{secure, plain} {
		server := &http.Server{
			Handler:           o,
			ReadHeaderTimeout: 10 * time.Second,
			ErrorLog:          log.New(io.Discard, "", 0), // refused handshakes are some of the tests
		}
		o.closers = append(o.closers, server)
		if l == plain {
			go server.Serve(l)
			continue
		}
		server.TLSConfig = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
		go server.ServeTLS(l, "", "")
	}
	go o.echo(echo)
	go o.listenUDP(udp)
	return nil
}

// Close ends the origin. It may be called twice.
func (o *Origin) Close() error {
	var errs []error
	for _, c := range o.closers {
		if err := c.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	o.closers = nil
	return errors.Join(errs...)
}

// Arrivals returns what has arrived since the last call.
func (o *Origin) Arrivals() []Arrival {
	o.mu.Lock()
	defer o.mu.Unlock()
	out := o.arrivals
	o.arrivals = nil
	return out
}

func (o *Origin) arrived(a Arrival) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.arrivals) < maxArrivals {
		o.arrivals = append(o.arrivals, a)
	}
}

// ServeHTTP answers what the clients of demo and doctor ask for.
func (o *Origin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a := Arrival{Protocol: "http", Host: r.Host, Method: r.Method, Path: r.URL.Path, Token: r.Header.Get("Authorization"), Agent: r.UserAgent()}
	if r.TLS != nil {
		a.Protocol = "https"
	}
	o.arrived(a)
	io.Copy(io.Discard, io.LimitReader(r.Body, 1<<20))
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	switch r.URL.Path {
	case "/probe.git/info/refs": // git's oldest protocol: a file
		fmt.Fprint(w, "0123456789abcdef0123456789abcdef01234567\trefs/heads/main\n")
	case "/probe.git/HEAD":
		fmt.Fprint(w, "ref: refs/heads/main\n")
	case "/example.com/probe/@v/list": // the Go module proxy's
		fmt.Fprint(w, "v1.0.0\n")
	case "/example.com/probe/@v/v1.0.0.mod", "/example.com/probe/@latest", "/example.com/probe/@v/v1.0.0.info":
		if path.Ext(r.URL.Path) == ".mod" {
			fmt.Fprint(w, "module example.com/probe\n")
		} else {
			fmt.Fprint(w, `{"Version": "v1.0.0", "Time": "2026-01-01T00:00:00Z"}`)
		}
	default:
		fmt.Fprint(w, "hello from the origin\n")
	}
}

// echo answers each line with itself.
func (o *Origin) echo(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			c.SetDeadline(time.Now().Add(time.Minute))
			lines := bufio.NewScanner(io.LimitReader(c, 1<<20))
			for first := true; lines.Scan(); first = false {
				if first {
					o.arrived(Arrival{Protocol: "tcp"})
				}
				fmt.Fprintf(c, "%s\n", lines.Bytes())
			}
		}()
	}
}

func (o *Origin) listenUDP(c *net.UDPConn) {
	buf := make([]byte, 2048)
	for {
		if _, _, err := c.ReadFromUDP(buf); err != nil {
			return
		}
		o.arrived(Arrival{Protocol: "udp"})
	}
}

// certificates makes an authority, which is forgotten at once, and a leaf for names.
func certificates(names []string) (tls.Certificate, []byte, error) {
	fail := func(err error) (tls.Certificate, []byte, error) {
		return tls.Certificate{}, nil, fmt.Errorf("make certificates: %w", err)
	}
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fail(err)
	}
	now := time.Now()
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Penstock demo origin"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, &caKey.PublicKey, caKey)
	if err != nil {
		return fail(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fail(err)
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: Domain}, DNSNames: names,
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf, ca, &key.PublicKey, caKey)
	if err != nil {
		return fail(err)
	}
	return tls.Certificate{Certificate: [][]byte{der, caDER}, PrivateKey: key},
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: caDER}), nil
}
