package netproxy_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"

	"github.com/penstock/penstock/audit"
	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/netproxy"
	"github.com/penstock/penstock/netproxy/ca"
	"github.com/penstock/penstock/policy"
)

// printer records to standard output; *audit.Writer is the real one.
type printer struct{}

func (printer) Append(e audit.Event) error {
	if o, ok := e.(*audit.FlowOpen); ok {
		fmt.Println(o.Verdict, o.Method, o.Target, o.Path)
	}
	return nil
}

func (p printer) Note(audit.Event) {}

// nowhere dials nothing; *dialguard.Guard is the real dialler.
type nowhere struct{}

func (nowhere) Dial(context.Context, hooks.Target, *policy.Dial) (net.Conn, error) {
	return nil, fmt.Errorf("connect: no route")
}

func (nowhere) Delegate(t hooks.Target, _ *policy.Dial) (hooks.Target, error) { return t, nil }

func Example() {
	files, err := ca.Ephemeral()
	if err != nil {
		panic(err)
	}
	defer files.Close()
	authority, err := ca.New(files.Certificate, files.Key)
	if err != nil {
		panic(err)
	}
	file, err := policy.Parse("policy.yaml", policy.User, []byte("version: 1\negress: {allow: [{host: api.example.com, ports: [80]}]}"))
	if err != nil {
		panic(err)
	}
	rules, err := policy.New([]*policy.File{file})
	if err != nil {
		panic(err)
	}
	proxy, err := netproxy.New(netproxy.Config{
		Session: "example", Policy: rules, Record: printer{}, Dialer: nowhere{}, Leaves: authority,
		OriginalDst: func(*net.TCPConn) (netip.AddrPort, error) { return netip.AddrPort{}, nil },
	})
	if err != nil {
		panic(err)
	}
	defer proxy.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	go proxy.ServeExplicit(l)

	tr := &http.Transport{Proxy: http.ProxyURL(&url.URL{Scheme: "http", Host: l.Addr().String()})}
	defer tr.CloseIdleConnections()
	for _, u := range []string{"http://api.example.com/a/../b", "http://other.example.com/"} {
		resp, err := (&http.Client{Transport: tr}).Get(u)
		if err != nil {
			panic(err)
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		fmt.Println(resp.Status, resp.Header.Get(netproxy.VerdictHeader))
	}
	// Output:
	// allow GET api.example.com:80 /b
	// 502 Bad Gateway error
	// deny GET other.example.com:80 /
	// 403 Forbidden deny
}
