package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/penstock/penstock/internal/world"
)

// The other ways in: proxy variables, SOCKS, literal addresses, pass-through,
// the host's own loopback.

func TestProxyVariables(t *testing.T) {
	world.Tool(t, "curl")
	p, evil := web(t)
	if world.Bare() {
		t.Skip("there is no proxy without a pen")
	}
	p.W.HTTP("plain.example.com", world.Text("plain"))
	p.Allow = append(p.Allow, "{host: plain.example.com}")
	p.Proxy = true
	r := p.Sh(`set -u
curl -sS -v -x "$https_proxy" https://good.example.com/ 2>&1 | grep -E 'hello|CONNECT'
curl -sS -x "$http_proxy" http://plain.example.com/; echo
curl -sS -o /dev/null -w 'evil %{http_connect} %{http_code}\n' https://evil.example.com/; true`)
	world.WantOutput(t, r, 0, "hello from good.example.com", "plain")
	if !strings.Contains(r.Stdout, "403") {
		t.Errorf("no 403: %s", r)
	}
	p.WantAllowed("good.example.com")
	p.WantAllowed("plain.example.com")
	p.WantDenied(evil)
}

func TestSOCKS(t *testing.T) {
	world.Tool(t, "curl")
	p, evil := web(t)
	if world.Bare() {
		t.Skip("there is no proxy without a pen")
	}
	p.Proxy = true
	r := p.Sh(`curl -sS -x "socks5h://${http_proxy#http://}" https://good.example.com/
curl -sS -x "socks5h://${http_proxy#http://}" -o /dev/null -w 'evil %{http_code}\n' https://evil.example.com/ || echo "evil refused $?"`)
	world.WantOutput(t, r, 0, "hello from good.example.com", "evil ")
	if strings.Contains(r.Stdout, "evil 200") {
		t.Error(r)
	}
	p.WantAllowed("good.example.com")
	p.WantDenied(evil)
}

// A connection to a literal address is judged as that address.
func TestLiteralAddress(t *testing.T) {
	world.Tool(t, "curl")
	w := world.New(t)
	good, evil := w.HTTP("by-address.example.com", world.Text("by address")), w.HTTP("other.example.com", world.Text("stolen"))
	p := newPen(t, w)
	if world.Bare() {
		t.Skip("nothing to compare without a pen")
	}
	p.Allow = []string{fmt.Sprintf("{cidr: %s/32, ports: [80]}", good.Addr)}
	r := p.Sh(fmt.Sprintf("curl -sS http://%s/; curl -sS -o /dev/null -w ' %%{http_code}\n' http://%s/", good.Addr, evil.Addr))
	world.WantOutput(t, r, 0, "by address", "403")
	if good.Hits() != 1 || evil.Hits() != 0 || w.Reached(evil) {
		t.Errorf("hits %d and %d, outside %v", good.Hits(), evil.Hits(), w.Outside())
	}
	if q := w.Queries(); len(q) != 0 {
		t.Errorf("lookups: %v", q)
	}
}

func TestIPv6(t *testing.T) {
	world.Tool(t, "curl")
	p, evil := web(t)
	if world.Bare() {
		t.Skip("nothing to compare without a pen")
	}
	if !p.W.IPv6() {
		world.Missing(t, "IPv6", "boot without ipv6.disable=1")
	}
	good6 := p.W.HTTP("six.example.com", world.Text("over six"))
	p.W.Name("six.example.com", good6.Addr6)
	p.Allow = append(p.Allow, "{host: six.example.com}")
	r := p.Sh(fmt.Sprintf("curl -sS http://six.example.com/; curl -sS -g -m 10 'https://[%s]/' -k -o /dev/null -w ' %%{http_code}\n'; true", evil.Addr6))
	world.WantOutput(t, r, 0, "over six")
	p.WantAllowed("six.example.com")
	if p.W.Reached(evil) {
		t.Errorf("outside: %v", p.W.Outside())
	}
}

// With inspect: false the client meets the origin's own certificate.
func TestPassThrough(t *testing.T) {
	world.Tool(t, "curl")
	p, evil := web(t)
	p.Allow = []string{"{host: good.example.com, inspect: false}"}
	ca := p.Home.Write(t, "project/world.pem", world.ReadFile(t, p.W.CA()))
	r := p.Sh("curl -sS --cacert " + ca + " https://good.example.com/; curl -sS -k -o /dev/null -w 'evil %{http_code}\n' https://evil.example.com/; true")
	world.WantOutput(t, r, 0, "hello from good.example.com")
	p.WantAllowed("good.example.com")
	p.WantDenied(evil)
	if !world.Bare() {
		if f := p.Flows("good.example.com"); len(f) != 1 || f[0].Str("protocol") != "tls" {
			t.Errorf("audit: %v", f)
		}
	}
}

// A protocol in which the server speaks first, by a raw TCP rule.
func TestServerSpeaksFirst(t *testing.T) {
	w := world.New(t)
	serve := func(c net.Conn) {
		io.WriteString(c, "220 greetings\r\n")
		line, err := bufio.NewReader(c).ReadString('\n')
		if err == nil {
			io.WriteString(c, "250 you said "+line)
		}
	}
	w.TCP("smtp.example.com", 2525, serve)
	evil := w.TCP("evil-smtp.example.com", 2525, serve)
	p := newPen(t, w)
	p.Allow = []string{"{host: smtp.example.com, ports: [2525], protocol: tcp}"}
	script := `exec 3<>/dev/tcp/%s/2525 && read -r -t 20 line <&3 && echo "$line" && echo EHLO >&3 && read -r -t 20 line <&3 && echo "$line"`
	world.WantOutput(t, p.Sh(fmt.Sprintf(script, "smtp.example.com")), 0, "220 greetings", "250 you said EHLO")
	p.WantAllowed("smtp.example.com")
	world.WantFailure(t, p.Sh(fmt.Sprintf(script, "evil-smtp.example.com")))
	p.WantDenied(evil)
}

// What a pen may not send at all is refused at once and never arrives.
func TestDatagrams(t *testing.T) {
	python := world.Tool(t, "python3")
	w := world.New(t)
	p := newPen(t, w)
	if world.Bare() {
		t.Skip("nothing to compare without a pen")
	}
	p.Allow = []string{"{host: good.example.com}"}
	p.Home.Write(t, "project/udp.py", `
import socket, errno
for family, addr in ((socket.AF_INET, "198.51.100.7"), (socket.AF_INET6, "2001:db8:77::7")):
    try:
        s = socket.socket(family, socket.SOCK_DGRAM)
        s.settimeout(5)
        s.connect((addr, 443))
        s.send(b"quic?")
        s.recv(10)
        print("answered")
    except OSError as e:
        print("refused", errno.errorcode.get(e.errno, "timeout"))
`)
	r := p.Run(python, "udp.py")
	if r.Code != 0 || strings.Count(r.Stdout, "refused") != 2 || strings.Contains(r.Stdout, "timeout") {
		t.Error(r)
	}
	if out := w.Outside(); len(out) != 0 {
		t.Errorf("outside: %v", out)
	}
	drops := 0
	for _, rec := range p.Audit() {
		if rec.Str("type") == "drop" {
			drops++
		}
	}
	if drops == 0 {
		t.Error("no drop in the audit")
	}
}

// host.penstock.internal is the host's loopback, by a rule that names it.
func TestHostLoopback(t *testing.T) {
	world.Tool(t, "curl")
	w := world.New(t)
	p := newPen(t, w)
	if world.Bare() {
		t.Skip("there is no such name without a pen")
	}
	url := w.HostHTTP(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { io.WriteString(rw, "on the host") }))
	port := url[strings.LastIndexByte(url, ':')+1:]
	script := "curl -sS -m 20 -w ' %{http_code}\n' http://host.penstock.internal:" + port + "/; curl -sS -m 20 -o /dev/null " + url + "/ && echo reached; true"
	p.Allow = []string{"{host: host.penstock.internal, ports: [" + port + "]}"}
	r := p.Sh(script)
	world.WantOutput(t, r, 0, "on the host 200")
	if strings.Contains(r.Stdout, "reached") {
		t.Errorf("the pen's 127.0.0.1 is the host's: %s", r)
	}
	p.Allow = []string{"{host: \"*.internal\", ports: [" + port + "]}"}
	if r := p.Sh(script); strings.Contains(r.Stdout, "on the host") {
		t.Errorf("a wildcard reaches the host's loopback: %s", r)
	}
}
