package upstream

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/penstock/penstock/hooks"
)

// ntlmRest is for how long nobody logs in by NTLM after a login was refused: a
// tool that tries again and again would have its user's account locked.
const ntlmRest = time.Minute

var errNTLMRest = errors.New("it did not accept the credentials, and is not given them again for a minute")

// ntlm begins a login on a connection ([MS-NTHT]) with a request that has no body:
// the method and the target are those of the request that is to follow on the same
// connection, with the value of Proxy-Authorization that is returned.
func (u *Upstream) ntlm(c net.Conn, i int, method, uri, host string) (string, error) {
	u.mu.Lock()
	rests := time.Now().Before(u.ntlmUntil)
	u.mu.Unlock()
	if rests {
		return "", errNTLMRest
	}
	first := ntlmNegotiate()
	// Proxy-Connection is for proxies that speak HTTP/1.0.
	head := method + " " + uri + " HTTP/1.1\r\nHost: " + host + "\r\nProxy-Authorization: NTLM " + base64.StdEncoding.EncodeToString(first) +
		"\r\nProxy-Connection: Keep-Alive\r\n"
	if method != http.MethodConnect && method != http.MethodGet && method != http.MethodHead {
		head += "Content-Length: 0\r\n"
	}
	if _, err := io.WriteString(c, head+"\r\n"); err != nil {
		return "", alerted(c, err)
	}
	challenge, err := readNTLM(c, method)
	if err != nil {
		return "", err
	}
	parsed, err := parseChallenge(challenge)
	if err != nil {
		return "", err
	}
	var bindings [16]byte
	if ac, ok := c.(*alertConn); ok {
		c = ac.Conn
	}
	if tc, ok := c.(*tls.Conn); ok {
		if certs := tc.ConnectionState().PeerCertificates; len(certs) > 0 {
			bindings = channelBindings(certs[0])
		}
	}
	last := u.account.authenticate(first, parsed, "HTTP/"+u.cfg.Proxy.Proxies()[i].Target.Name(), bindings, time.Now())
	return "NTLM " + base64.StdEncoding.EncodeToString(last), nil
}

// ntlmRefused has nobody log in for a while.
func (u *Upstream) ntlmRefused() {
	u.mu.Lock()
	u.ntlmUntil = time.Now().Add(ntlmRest)
	u.mu.Unlock()
}

// readNTLM reads the answer to the request that begins a login, the whole of it,
// and returns the challenge.
func readNTLM(r io.Reader, method string) ([]byte, error) {
	br := bufio.NewReaderSize(io.LimitReader(r, maxAnswer+maxNTLMBody), 4<<10)
	resp, err := readResponse(br, method)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode < 400 {
		return nil, errNTLMNone
	}
	if resp.StatusCode != http.StatusProxyAuthRequired {
		return nil, Refusal(resp)
	}
	token, asked := "", 0
	for _, v := range resp.Header["Proxy-Authenticate"] {
		if scheme, t, _ := strings.Cut(strings.TrimSpace(v), " "); strings.EqualFold(scheme, "NTLM") {
			token = strings.TrimSpace(t)
			asked++
		}
	}
	switch {
	case asked == 0:
		return nil, Refusal(resp)
	case asked > 1 || len(token) > base64.StdEncoding.EncodedLen(maxChallenge):
		return nil, errNTLMForm
	case resp.Close:
		return nil, errNTLMEnds
	}
	if n, err := io.Copy(io.Discard, resp.Body); err != nil || n > maxNTLMBody {
		return nil, errBadAnswer
	}
	// What comes unasked for would be taken for the answer to the next request.
	if br.Buffered() > 0 {
		return nil, errBadAnswer
	}
	b, err := base64.StdEncoding.DecodeString(token)
	if err != nil {
		return nil, errNTLMForm
	}
	return b, nil
}

// maxNTLMBody bounds the body of a 407, in bytes.
const maxNTLMBody = 256 << 10

// ntlmConn logs in before the first request that is written to it: with NTLM it is
// the connection that is logged in. Reading waits for that.
type ntlmConn struct {
	net.Conn
	up *Upstream
	i  int

	head []byte // of the first request, as far as it was written
	in   bool   // it was sent; only the writer looks
	line []byte // of its answer, as far as it was read; only the reader looks

	once  sync.Once
	ready chan struct{} // closed by the login, or by Close
}

func newNTLMConn(c net.Conn, up *Upstream, i int) *ntlmConn {
	return &ntlmConn{Conn: c, up: up, i: i, ready: make(chan struct{})}
}

// Write logs in once it knows the request line and Host.
func (c *ntlmConn) Write(p []byte) (int, error) {
	if c.in {
		return c.Conn.Write(p)
	}
	c.head = append(c.head, p...)
	line, rest, ok := bytes.Cut(c.head, []byte("\r\n"))
	if host, _, whole := bytes.Cut(rest, []byte("\r\n")); ok && whole {
		if err := c.login(string(line), string(host)); err != nil {
			return 0, err
		}
	} else if len(c.head) > maxAnswer {
		return 0, c.up.fail(c.i, hooks.Target{}, errors.New("the request line is too long"))
	}
	return len(p), nil
}

func (c *ntlmConn) login(line, host string) error {
	// net/http has made both of the one target.
	method, rest, _ := strings.Cut(line, " ")
	uri, version, _ := strings.Cut(rest, " ")
	host, ok := strings.CutPrefix(host, "Host: ")
	if !ok || version != "HTTP/1.1" {
		return c.up.fail(c.i, hooks.Target{}, errors.New("the request line is none"))
	}
	c.Conn.SetDeadline(time.Now().Add(c.up.cfg.Answer)) //nolint:errcheck // a dead connection fails at the next use
	login, err := c.up.ntlm(c.Conn, c.i, method, uri, host)
	if err == nil {
		_, err = io.WriteString(c.Conn, line+"\r\nProxy-Authorization: "+login+"\r\n"+string(c.head[len(line)+2:]))
	}
	if err != nil {
		return c.up.fail(c.i, hooks.Target{}, err)
	}
	c.Conn.SetDeadline(time.Time{}) //nolint:errcheck // the same
	c.in, c.head = true, nil
	c.once.Do(func() { close(c.ready) })
	return nil
}

// Read notes whether the first answer is that the login was not accepted.
func (c *ntlmConn) Read(p []byte) (int, error) {
	<-c.ready
	n, err := c.Conn.Read(p)
	if whole := len("HTTP/1.1 407"); len(c.line) < whole {
		c.line = append(c.line, p[:min(n, whole-len(c.line))]...)
		if len(c.line) == whole && string(c.line[8:]) == " 407" {
			c.up.ntlmRefused()
		}
	}
	return n, err
}

// Close ends what waits.
func (c *ntlmConn) Close() error {
	c.once.Do(func() { close(c.ready) })
	return c.Conn.Close()
}
