package netproxy

import (
	"encoding/base64"
	"io"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// TestLogin: where the proxy port asks for a login it serves who has it, and nothing of
// who has not is served, judged or recorded.
func TestLogin(t *testing.T) {
	var told atomic.Int64
	pn := newPen(t, someRules, func(c *Config) {
		c.Login = Login{"penstock", "s3cret"}
		c.Notice = func(string) { told.Add(1) }
	})
	pn.origin("web.test:80", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header["Proxy-Authorization"] != nil {
			t.Errorf("the login went out: %v", r.Header)
		}
		hello(w, r)
	}))
	basic := func(s string) string {
		return "Proxy-Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(s)) + "\r\n"
	}
	request := func(more string) string {
		return "GET http://web.test/ HTTP/1.1\r\nHost: web.test\r\n" + more + "\r\n"
	}
	const name = "\x05\x01\x00\x03\x08web.test\x00\x50"
	get := "GET / HTTP/1.1\r\nHost: web.test\r\nConnection: close\r\n\r\n"
	try := func(in string) string {
		conn, err := net.Dial("tcp", pn.explicit)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(30 * time.Second))
		io.WriteString(conn, in)
		b, _ := io.ReadAll(conn)
		return string(b)
	}
	for label, in := range map[string]string{
		"nothing":             request(""),
		"another password":    request(basic("penstock:s3creT")),
		"a part of it":        request(basic("penstock:s3cre")),
		"another user":        request(basic("penstocj:s3cret")),
		"no password":         request(basic("penstock")),
		"no base64":           request("Proxy-Authorization: Basic !\r\n"),
		"another scheme":      request("Proxy-Authorization: Bearer s3cret\r\n"),
		"for the origin":      request(strings.TrimPrefix(basic("penstock:s3cret"), "Proxy-")),
		"CONNECT":             "CONNECT web.test:80 HTTP/1.1\r\nHost: web.test:80\r\n\r\n" + get,
		"malformed":           "GET http://web.test/ HTTP/1.1\r\nHost: other.test\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
		"malformed, but with": request(basic("penstock:s3cret") + "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n"),
		"SOCKS without":       "\x05\x01\x00" + name + get,
		"SOCKS, another":      "\x05\x01\x02\x01\x08penstock\x06s3creT" + name + get,
		"SOCKS, none":         "\x05\x01\x02\x01\x00\x00" + name + get,
		"SOCKS, cut":          "\x05\x01\x02\x05\x08penstock\x06s3cret" + name + get,
		"SOCKS4":              "\x04\x01\x00\x50\x7f\x00\x00\x01\x00",
		"noise":               "\x00\x01\x02\x03",
	} {
		got := try(in)
		if strings.Contains(got, "GET web.test") || in[0] >= 'A' && !strings.HasPrefix(got, "HTTP/1.1 407 ") {
			t.Errorf("%s: %q", label, got)
		}
		if in[0] >= 'A' && !strings.Contains(got, "\r\nProxy-Authenticate: Basic realm=\"penstock\"\r\n") {
			t.Errorf("%s: %q", label, got)
		}
	}
	if n := len(pn.records.all()); n != 0 || len(pn.dialed()) != 0 || told.Load() != 1 {
		t.Errorf("%d records, dialled %v, told %d times: %s", n, pn.dialed(), told.Load(), pn.records.dump())
	}
	// Who has it is served, also in a tunnel, which does not ask again.
	for label, in := range map[string]string{
		"request": request(basic("penstock:s3cret") + "Connection: close\r\n"),
		"scheme":  request(strings.Replace(basic("penstock:s3cret"), "Basic", "bAsIc", 1) + "Connection: close\r\n"),
		"CONNECT": "CONNECT web.test:80 HTTP/1.1\r\nHost: web.test:80\r\n" + basic("penstock:s3cret") + "\r\n" + get,
		"SOCKS":   "\x05\x02\x00\x02\x01\x08penstock\x06s3cret" + name + get,
	} {
		if got := try(in); !strings.Contains(got, "HTTP/1.1 GET web.test /") {
			t.Errorf("%s: %q", label, got)
		}
	}
	// One login is one request's: the next on the same connection needs it, too.
	if got := try(request(basic("penstock:s3cret")) + request("")); !strings.Contains(got, "HTTP/1.1 GET web.test /") || !strings.Contains(got, "HTTP/1.1 407 ") {
		t.Errorf("%q", got)
	}
	// A malformed request of who has shown it is recorded as ever.
	before := len(pn.records.all())
	try(request(basic("penstock:s3cret")) + "GET http://web.test/ HTTP/1.1\r\nHost: other.test\r\n" + basic("penstock:s3cret") + "\r\n")
	if after := pn.records.all()[before:]; !strings.Contains(pn.records.dump(), "target-mismatch") {
		t.Errorf("%v", after)
	}
	curl := need(t, "curl")
	for _, proxy := range []string{"http://penstock:s3cret@" + pn.explicit, "socks5h://penstock:s3cret@" + pn.explicit} {
		out, err := exec.CommandContext(t.Context(), curl, "-sS", "-x", proxy, "--max-time", "30", "http://web.test/").CombinedOutput()
		if err != nil || !strings.Contains(string(out), "GET web.test /") {
			t.Errorf("curl -x %s: %v %q", proxy, err, out)
		}
	}
}
