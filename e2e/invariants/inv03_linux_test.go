package invariants

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/penstock/penstock/e2e/invariants/host"
	"github.com/penstock/penstock/internal/world"
)

// TestInvariant03OneName: everything that says a name says the same one, and the
// address that was checked is the one that is dialled.
func TestInvariant03OneName(t *testing.T) {
	host.ForUsers(t, func(t *testing.T, c *host.Caller) {
		t.Run("mismatch", func(t *testing.T) { mismatch(t, c) })
		t.Run("rebinding", func(t *testing.T) { rebinding(t, c) })
		t.Run("certificate", func(t *testing.T) { wrongCertificate(t, c) })
	})
}

// mismatch: both names are allowed, so that only the mismatch can be what refuses.
func mismatch(t *testing.T, old *host.Caller) {
	w := world.New(t)
	c := host.NewCaller(t, w, old.Opts)
	one, two := w.HTTPS("one.example.com", text("one")), w.HTTPS("two.example.com", text("two"))
	w.Place("clear.example.com", 80)
	c.Rules = []string{"{host: one.example.com}", "{host: two.example.com}", "{host: clear.example.com}"}
	r := c.Tool(nil, "misdirect", "one.example.com", "two.example.com", "clear.example.com")
	lines := world.Lines(r.Stdout)
	if len(lines) < 8 {
		t.Fatalf("too few attempts\n%s", r)
	}
	for _, l := range lines {
		if !strings.HasSuffix(l, " 421") {
			t.Errorf("want 421: %s", l)
		}
	}
	if one.Hits()+two.Hits() != 0 {
		t.Errorf("%d and %d requests arrived", one.Hits(), two.Hits())
	}
	c.NothingLeft()
	if n := len(host.Types(c.Records(""), "violation")); n != len(lines) {
		t.Errorf("%d violations are recorded of %d\n%s", n, len(lines), r)
	}
	// The counterpart.
	if r := c.Tool(nil, "fetch", "https://one.example.com/", "https://two.example.com/"); strings.Count(r.Stdout, " 200 ") != 2 {
		t.Errorf("honest requests failed\n%s", r)
	}
}

// misdirectTool makes requests that say ONE in one place and TWO in another, and
// prints the status of each.
func misdirectTool(args []string) int {
	one, two, clear := args[0], args[1], args[2]
	try := func(what string, f func() (int, error)) {
		status, err := f()
		if err != nil {
			fmt.Println(what, "failed:", err)
			return
		}
		fmt.Println(what, status)
	}
	tlsTo := func(dial, sni string, alpn ...string) (*tls.Conn, error) {
		ctx, cancel := context.WithTimeout(context.Background(), toolTimeout)
		defer cancel()
		d := tls.Dialer{Config: &tls.Config{ServerName: sni, InsecureSkipVerify: true, NextProtos: alpn}}
		conn, err := d.DialContext(ctx, "tcp", dial+":443")
		if err != nil {
			return nil, err
		}
		return conn.(*tls.Conn), nil
	}
	h1 := func(conn io.ReadWriter, lines string) (int, error) {
		if _, err := io.WriteString(conn, lines+"\r\n"); err != nil {
			return 0, err
		}
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			return 0, err
		}
		return resp.StatusCode, nil
	}
	overTLS := func(dial, sni, lines string) func() (int, error) {
		return func() (int, error) {
			conn, err := tlsTo(dial, sni)
			if err != nil {
				return 0, err
			}
			defer conn.Close()
			return h1(conn, lines)
		}
	}
	inClear := func(lines string) func() (int, error) {
		return func() (int, error) {
			conn, err := net.DialTimeout("tcp", clear+":80", toolTimeout)
			if err != nil {
				return 0, err
			}
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(toolTimeout))
			return h1(conn, lines)
		}
	}
	try("Host differs from SNI", overTLS(one, one, "GET / HTTP/1.1\r\nHost: "+two+"\r\n"))
	try("SNI differs from the address's name", overTLS(one, two, "GET / HTTP/1.1\r\nHost: "+two+"\r\n"))
	try("SNI differs, Host is the address's", overTLS(one, two, "GET / HTTP/1.1\r\nHost: "+one+"\r\n"))
	try("absolute URL differs from Host", overTLS(one, one, "GET https://"+two+"/ HTTP/1.1\r\nHost: "+two+"\r\n"))
	try("Host has another port", overTLS(one, one, "GET / HTTP/1.1\r\nHost: "+one+":8443\r\n"))
	try("Host differs in clear", inClear("GET / HTTP/1.1\r\nHost: "+one+"\r\n"))
	try("absolute URL differs in clear", inClear("GET http://"+one+"/ HTTP/1.1\r\nHost: "+one+"\r\n"))
	try("https URL in clear", inClear("GET https://"+clear+"/ HTTP/1.1\r\nHost: "+clear+"\r\n"))
	try(":authority differs", func() (int, error) {
		conn, err := tlsTo(one, one, "h2")
		if err != nil {
			return 0, err
		}
		defer conn.Close()
		if conn.ConnectionState().NegotiatedProtocol != "h2" {
			return 0, errors.New("no HTTP/2")
		}
		//lint:ignore SA1019 the :authority of a stream is to be what we say, whatever the connection's name
		cc, err := new(http2.Transport).NewClientConn(conn)
		if err != nil {
			return 0, err
		}
		req, err := http.NewRequest("GET", "https://"+two+"/", nil)
		if err != nil {
			return 0, err
		}
		resp, err := cc.RoundTrip(req)
		if err != nil {
			return 0, err
		}
		return resp.StatusCode, nil
	})
	return 0
}

// rebinding: the name's second answer is another address. Whatever is dialled,
// it is never that one, and the name is asked for once per dial.
func rebinding(t *testing.T, old *host.Caller) {
	w := world.New(t)
	c := host.NewCaller(t, w, old.Opts)
	public, private := w.Address(), w.PrivateAddress()
	ln := w.ListenAt(public, 80)
	w.ListenAt(private, 80)
	go http.Serve(ln, text("public"))
	w.NameFunc("rebind.example.com", func(asked int) []netip.Addr {
		if asked == 0 {
			return []netip.Addr{public}
		}
		return []netip.Addr{private}
	})
	c.Rules = []string{"{host: rebind.example.com}"}
	r := c.Tool(nil, "fetch", "http://rebind.example.com/1", "http://rebind.example.com/2", "http://rebind.example.com/3")
	if !strings.Contains(lineOf(r.Stdout, "http://rebind.example.com/1"), " 200 public") {
		t.Errorf("the first request failed\n%s", r)
	}
	dials := 0
	for _, p := range w.Outside() {
		if p.To.Addr() != public {
			t.Errorf("dialled %v", p)
		}
		dials++
	}
	questions := map[string]int{}
	for _, q := range w.Queries() {
		questions[q.Type]++
	}
	if questions["A"] > 3 || dials == 0 || dials > questions["A"] {
		t.Errorf("%d dials by %v questions", dials, questions)
	}
	for _, f := range host.Types(c.Records(""), "flow_close") {
		if up := f.Text("upstream"); up != "" && !strings.HasPrefix(up, public.String()+":") {
			t.Errorf("recorded upstream: %v", f)
		}
	}
}

// wrongCertificate: the origin's certificate is another name's; the request
// must not be sent.
func wrongCertificate(t *testing.T, old *host.Caller) {
	w := world.New(t)
	c := host.NewCaller(t, w, old.Opts)
	got := make(chan string, 4)
	cert := w.Certificate("attacker.example.com")
	o := w.TCP("victim.example.com", 443, func(conn net.Conn) {
		b, _ := io.ReadAll(tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{cert}}))
		got <- string(b)
	})
	c.Rules = []string{"{host: victim.example.com}"}
	r := c.Tool(nil, "fetch", "https://"+o.Name+"/")
	if !strings.Contains(r.Stdout, " 502 ") || !strings.Contains(r.Stdout, "certificate") {
		t.Errorf("want 502 with the reason\n%s", r)
	}
	if sent := <-got; sent != "" {
		t.Errorf("the origin got %q", sent)
	}
}
