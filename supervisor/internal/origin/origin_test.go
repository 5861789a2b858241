package origin

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"
)

// client reaches an origin by name without resolving: every dial goes to its port.
func client(t *testing.T, o *Origin) *http.Client {
	t.Helper()
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(o.CA) {
		t.Fatal("the origin's authority is not a certificate")
	}
	transport := &http.Transport{
		TLSClientConfig:   &tls.Config{RootCAs: roots},
		ForceAttemptHTTP2: true,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, network, fmt.Sprintf("127.0.0.1:%d", o.HTTPS))
		},
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 10 * time.Second}
}

func TestOriginRemembersWhatArrives(t *testing.T) {
	o, err := Start("a." + Domain)
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	c := client(t, o)

	req, err := http.NewRequest(http.MethodGet, "https://a."+Domain+"/x", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer t")
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK || len(body) == 0 || resp.ProtoMajor != 2 {
		t.Errorf("answer %s %d %q", resp.Proto, resp.StatusCode, body)
	}
	got := o.Arrivals()
	if len(got) != 1 || got[0].String() != "GET https://a.demo.example/x" || got[0].Token != "Bearer t" {
		t.Errorf("arrived: %+v", got)
	}
	if left := o.Arrivals(); len(left) != 0 {
		t.Errorf("arrivals are given twice: %v", left)
	}
	if _, err := c.Get("https://other.example/"); err == nil {
		t.Error("the origin's certificate is good for a name that was not asked for")
	}
}

func TestOriginEchoesTCP(t *testing.T) {
	o, err := Start()
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", o.TCP))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	fmt.Fprintln(conn, "hello")
	if line, err := bufio.NewReader(conn).ReadString('\n'); err != nil || line != "hello\n" {
		t.Errorf("echo: %q, %v", line, err)
	}
	if got := o.Arrivals(); len(got) != 1 || got[0].Protocol != "tcp" {
		t.Errorf("arrived: %v", got)
	}
}

func TestCloseTwice(t *testing.T) {
	o, err := Start()
	if err != nil {
		t.Fatal(err)
	}
	if err := o.Close(); err != nil {
		t.Error(err)
	}
	if err := o.Close(); err != nil {
		t.Error(err)
	}
}
