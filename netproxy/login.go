package netproxy

import (
	"crypto/subtle"
	"encoding/base64"
	"io"
	"net/http"
	"strings"

	"github.com/penstock/penstock/netproxy/internal/wire"
)

// Login is what clients of the proxy port have to show where others than the pen's
// can reach it: user and password of HTTP's Basic scheme (RFC 7617) and of SOCKS5
// (RFC 1929). The zero value asks for nothing.
type Login struct{ User, Password string }

// is compares without telling by its time how much was right.
func (l *Login) is(user, password string) bool {
	return subtle.ConstantTimeCompare([]byte(user), []byte(l.User))&subtle.ConstantTimeCompare([]byte(password), []byte(l.Password)) == 1
}

// stranger says whether a connection to the proxy port has still to show whose it is.
// Nothing that it does is judged, recorded or held against the session: who is not of
// it must not be able to end it, nor to fill its record.
func (c *conn) stranger() bool {
	return c.open && c.p.cfg.Login != Login{} && !c.admitted.Load()
}

// admit says whether a request on the proxy port may be served. Each one shows the
// login, since a connection may be shared by what stands between (RFC 9110 section
// 11.7.2). It answers those that may not.
func (p *Proxy) admit(c *conn, w http.ResponseWriter, r *http.Request) bool {
	if !c.open || p.cfg.Login == (Login{}) {
		return true
	}
	// What the filter has refused has no header any more; the requests before tell.
	if r.URL.Path == p.refusedPath && !c.stranger() {
		return true
	}
	given := r.Header["Proxy-Authorization"]
	delete(r.Header, "Proxy-Authorization") // nobody else's business: no hook's, no record's
	if len(given) == 1 {
		if scheme, text, ok := strings.Cut(given[0], " "); ok && strings.EqualFold(scheme, "Basic") {
			b, err := base64.StdEncoding.DecodeString(strings.TrimSpace(text))
			if user, password, ok := strings.Cut(string(b), ":"); err == nil && ok && p.cfg.Login.is(user, password) {
				c.admitted.Store(true)
				return true
			}
		}
	}
	c.admitted.Store(false)
	p.turnedAway()
	h := w.Header()
	h["Proxy-Authenticate"] = []string{`Basic realm="penstock"`}
	h["Content-Type"] = []string{"text/plain; charset=utf-8"}
	h[VerdictHeader] = []string{"refused"}
	h["Connection"] = []string{"close"} // what follows a CONNECT is not read as HTTP
	w.WriteHeader(http.StatusProxyAuthRequired)
	io.WriteString(w, "penstock: this is the proxy of somebody's session; its commands have the login in their proxy variables\n") //nolint:errcheck // the client may be gone
	return false
}

// turnedAway tells the user, once, that somebody tried. Most often it is a client that
// takes the address out of the variables and leaves the login.
func (p *Proxy) turnedAway() {
	if p.strangers.Add(1) == 1 && p.cfg.Notice != nil {
		p.cfg.Notice("a client without this session's login was turned away by its proxy: either it is none of yours, or it does not take the login from the proxy variables")
	}
}

// socksLogin serves RFC 1929, after the greeting, and says whether it was right.
func (p *Proxy) socksLogin(c *conn) bool {
	if _, err := c.Write([]byte{5, wire.SOCKSPassword}); err != nil {
		c.Close()
		return false
	}
	var user, password string
	var n int
	err := c.fill(wire.MaxSOCKS, p.limits.Handshake, func(b []byte) (err error) {
		user, password, n, err = wire.ParseSOCKSLogin(b)
		return err
	})
	if err != nil || !p.cfg.Login.is(user, password) {
		c.Write([]byte{1, 1}) //nolint:errcheck // closing all the same
		p.turnedAway()
		c.finish()
		return false
	}
	c.prefix = c.prefix[n:]
	c.admitted.Store(true)
	if _, err := c.Write([]byte{1, 0}); err != nil {
		c.Close()
		return false
	}
	return true
}
