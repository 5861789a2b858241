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
	if bare() {
		t.Skip("there is no proxy without a pen")
	}
	p.w.HTTP("plain.example.com", text("plain"))
	p.allow = append(p.allow, "{host: plain.example.com}")
	p.proxy = true
	r := p.sh(`set -u
curl -sS -v -x "$https_proxy" https://good.example.com/ 2>&1 | grep -E 'hello|CONNECT'
curl -sS -x "$http_proxy" http://plain.example.com/; echo
curl -sS -o /dev/null -w 'evil %{http_connect} %{http_code}\n' https://evil.example.com/; true`)
	wantOutput(t, r, 0, "hello from good.example.com", "plain")
	if !strings.Contains(r.Stdout, "403") {
		t.Errorf("no 403: %s", r)
	}
	p.wantAllowed("good.example.com")
	p.wantAllowed("plain.example.com")
	p.wantDenied(evil)
}

func TestSOCKS(t *testing.T) {
	world.Tool(t, "curl")
	p, evil := web(t)
	if bare() {
		t.Skip("there is no proxy without a pen")
	}
	p.proxy = true
	r := p.sh(`curl -sS -x "socks5h://${http_proxy#http://}" https://good.example.com/
curl -sS -x "socks5h://${http_proxy#http://}" -o /dev/null -w 'evil %{http_code}\n' https://evil.example.com/ || echo "evil refused $?"`)
	wantOutput(t, r, 0, "hello from good.example.com", "evil ")
	if strings.Contains(r.Stdout, "evil 200") {
		t.Error(r)
	}
	p.wantAllowed("good.example.com")
	p.wantDenied(evil)
}

// A connection to a literal address is judged as that address.
func TestLiteralAddress(t *testing.T) {
	world.Tool(t, "curl")
	w := world.New(t)
	good, evil := w.HTTP("by-address.example.com", text("by address")), w.HTTP("other.example.com", text("stolen"))
	p := newPen(t, w)
	if bare() {
		t.Skip("nothing to compare without a pen")
	}
	p.allow = []string{fmt.Sprintf("{cidr: %s/32, ports: [80]}", good.Addr)}
	r := p.sh(fmt.Sprintf("curl -sS http://%s/; curl -sS -o /dev/null -w ' %%{http_code}\n' http://%s/", good.Addr, evil.Addr))
	wantOutput(t, r, 0, "by address", "403")
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
	if bare() {
		t.Skip("nothing to compare without a pen")
	}
	if !p.w.IPv6() {
		world.Missing(t, "IPv6", "boot without ipv6.disable=1")
	}
	good6 := p.w.HTTP("six.example.com", text("over six"))
	p.w.Name("six.example.com", good6.Addr6)
	p.allow = append(p.allow, "{host: six.example.com}")
	r := p.sh(fmt.Sprintf("curl -sS http://six.example.com/; curl -sS -g -m 10 'https://[%s]/' -k -o /dev/null -w ' %%{http_code}\n'; true", evil.Addr6))
	wantOutput(t, r, 0, "over six")
	p.wantAllowed("six.example.com")
	if p.w.Reached(evil) {
		t.Errorf("outside: %v", p.w.Outside())
	}
}

// With inspect: false the client meets the origin's own certificate.
func TestPassThrough(t *testing.T) {
	world.Tool(t, "curl")
	p, evil := web(t)
	p.allow = []string{"{host: good.example.com, inspect: false}"}
	ca := p.home.Write(t, "project/world.pem", readFile(t, p.w.CA()))
	r := p.sh("curl -sS --cacert " + ca + " https://good.example.com/; curl -sS -k -o /dev/null -w 'evil %{http_code}\n' https://evil.example.com/; true")
	wantOutput(t, r, 0, "hello from good.example.com")
	p.wantAllowed("good.example.com")
	p.wantDenied(evil)
	if !bare() {
		if f := p.flows("good.example.com"); len(f) != 1 || f[0].str("protocol") != "tls" {
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
	p.allow = []string{"{host: smtp.example.com, ports: [2525], protocol: tcp}"}
	script := `exec 3<>/dev/tcp/%s/2525 && read -r -t 20 line <&3 && echo "$line" && echo EHLO >&3 && read -r -t 20 line <&3 && echo "$line"`
	wantOutput(t, p.sh(fmt.Sprintf(script, "smtp.example.com")), 0, "220 greetings", "250 you said EHLO")
	p.wantAllowed("smtp.example.com")
	wantFailure(t, p.sh(fmt.Sprintf(script, "evil-smtp.example.com")))
	p.wantDenied(evil)
}

// What a pen may not send at all is refused at once and never arrives.
func TestDatagrams(t *testing.T) {
	python := world.Tool(t, "python3")
	w := world.New(t)
	p := newPen(t, w)
	if bare() {
		t.Skip("nothing to compare without a pen")
	}
	p.allow = []string{"{host: good.example.com}"}
	p.home.Write(t, "project/udp.py", `
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
	r := p.run(python, "udp.py")
	if r.Code != 0 || strings.Count(r.Stdout, "refused") != 2 || strings.Contains(r.Stdout, "timeout") {
		t.Error(r)
	}
	if out := w.Outside(); len(out) != 0 {
		t.Errorf("outside: %v", out)
	}
	drops := 0
	for _, rec := range p.audit() {
		if rec.str("type") == "drop" {
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
	if bare() {
		t.Skip("there is no such name without a pen")
	}
	url := w.HostHTTP(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { io.WriteString(rw, "on the host") }))
	port := url[strings.LastIndexByte(url, ':')+1:]
	script := "curl -sS -m 20 -w ' %{http_code}\n' http://host.penstock.internal:" + port + "/; curl -sS -m 20 -o /dev/null " + url + "/ && echo reached; true"
	p.allow = []string{"{host: host.penstock.internal, ports: [" + port + "]}"}
	r := p.sh(script)
	wantOutput(t, r, 0, "on the host 200")
	if strings.Contains(r.Stdout, "reached") {
		t.Errorf("the pen's 127.0.0.1 is the host's: %s", r)
	}
	p.allow = []string{"{host: \"*.internal\", ports: [" + port + "]}"}
	if r := p.sh(script); strings.Contains(r.Stdout, "on the host") {
		t.Errorf("a wildcard reaches the host's loopback: %s", r)
	}
}
