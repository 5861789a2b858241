package upstream

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"

	"github.com/penstock/penstock/hooks"
)

// connect asks an HTTP proxy for a tunnel (RFC 9110 section 9.3.6).
func (u *Upstream) connect(c net.Conn, i int, t hooks.Target, login string) (net.Conn, error) {
	authority := t.String()
	more := ""
	if u.account != nil {
		var err error
		if login, err = u.ntlm(c, i, http.MethodConnect, authority, authority); err != nil {
			return c, err
		}
		more = "Proxy-Connection: Keep-Alive\r\n"
	}
	var b strings.Builder
	b.WriteString("CONNECT " + authority + " HTTP/1.1\r\nHost: " + authority + "\r\n")
	if login != "" {
		b.WriteString("Proxy-Authorization: " + login + "\r\n" + more)
	}
	b.WriteString("\r\n")
	if _, err := io.WriteString(c, b.String()); err != nil {
		return c, alerted(c, err)
	}
	rest, err := readAnswer(c)
	var status *StatusError
	if u.account != nil && errors.As(err, &status) && status.Status == http.StatusProxyAuthRequired {
		u.ntlmRefused()
	}
	if err != nil || len(rest) == 0 {
		return c, err
	}
	return &prefixed{Conn: c, prefix: rest}, nil
}

// readAnswer reads the answer to CONNECT and returns what came behind it: in a
// tunnel the server may be the one that speaks first.
func readAnswer(r io.Reader) ([]byte, error) {
	// The size of the buffer is what may be read beyond the head.
	br := bufio.NewReaderSize(io.LimitReader(r, maxAnswer), 4<<10)
	resp, err := readResponse(br, http.MethodConnect)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return nil, Refusal(resp)
	}
	// Length and encoding of a 2xx mean nothing: the tunnel begins.
	rest := make([]byte, br.Buffered())
	if _, err := io.ReadFull(br, rest); err != nil {
		return nil, err
	}
	return rest, nil
}

// readResponse reads the head of a final answer to a request.
func readResponse(br *bufio.Reader, method string) (*http.Response, error) {
	req := &http.Request{Method: method}
	for range 8 { // informational ones are as good as none
		resp, err := http.ReadResponse(br, req)
		if err != nil {
			if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
				return nil, errNoAnswer
			}
			var ne net.Error
			if errors.As(err, &ne) {
				return nil, err
			}
			return nil, errBadAnswer // net/http's text quotes the peer
		}
		if resp.StatusCode >= 200 || resp.StatusCode == http.StatusSwitchingProtocols {
			return resp, nil
		}
	}
	return nil, errBadAnswer
}

// prefixed is a connection of which some bytes were read already.
type prefixed struct {
	net.Conn
	prefix []byte
}

// Read gives what was read already, then what comes.
func (p *prefixed) Read(b []byte) (int, error) {
	if len(p.prefix) == 0 {
		return p.Conn.Read(b)
	}
	n := copy(b, p.prefix)
	p.prefix = p.prefix[n:]
	return n, nil
}

// CloseWrite ends one direction.
func (p *prefixed) CloseWrite() error {
	if cw, ok := p.Conn.(interface{ CloseWrite() error }); ok {
		return cw.CloseWrite()
	}
	return nil
}

// Refusal returns the error in a proxy's own answer: what it says of itself is in
// the status and in two headers, whose text is not passed on.
func Refusal(resp *http.Response) error {
	e := &StatusError{Status: resp.StatusCode}
	for _, v := range resp.Header["Proxy-Authenticate"] {
		for _, known := range []string{"Basic", "Digest", "Negotiate", "NTLM"} {
			if scheme, _, _ := strings.Cut(strings.TrimSpace(v), " "); strings.EqualFold(scheme, known) {
				e.Schemes = append(e.Schemes, known)
			}
		}
	}
	if word, _, _ := strings.Cut(resp.Header.Get("X-Squid-Error"), " "); strings.HasPrefix(word, "ERR_") && len(word) < 40 && strings.Trim(word, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_") == "" {
		e.Word = word
	}
	return e
}

// Own says whether an answer to a request with an absolute URL comes from the
// proxy itself and not from the target: 407 always does, others when the proxy
// says so in the way of squid or of RFC 9209.
func Own(resp *http.Response) bool {
	if resp.StatusCode == http.StatusProxyAuthRequired {
		return true
	}
	return resp.StatusCode >= 400 && (strings.HasPrefix(resp.Header.Get("X-Squid-Error"), "ERR_") ||
		strings.Contains(resp.Header.Get("Proxy-Status"), "error="))
}
