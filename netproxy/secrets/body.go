package secrets

import (
	"io"
	"net/http"

	"github.com/penstock/penstock/hooks"
)

// Body returns a reader that passes the body of a request on and fails with a
// *Violation before it returns the last bytes of a placeholder. The nil Set
// returns body itself. deferred says that a placeholder may be in this body: it is
// returned as it is, and SwapBody must see it before anything of it leaves.
func (s *Set) Body(body io.ReadCloser, h http.Header, target hooks.Target) (out io.ReadCloser, deferred bool) {
	if s == nil || body == nil {
		return body, false
	}
	if s.inJSON(h, target) {
		return body, true
	}
	return s.scanned(body), false
}

func (s *Set) scanned(body io.ReadCloser) io.ReadCloser { return s.scannedAs("body", body) }

func (s *Set) scannedAs(where string, body io.ReadCloser) *bodyScanner {
	return &bodyScanner{body: body, scan: s.scan, found: func(i int, enc string) error {
		return &Violation{Secret: s.secrets[i].Name, Where: where, Encoding: enc, Reason: "it may stand in its declared place only"}
	}}
}

// Reflection says that a server's answer holds the real value that was just sent
// to it. The answer must not reach the pen.
type Reflection struct {
	Secret   string
	Where    string // "header NAME" or "body"
	Encoding string // "" or "base64"
}

// Error returns one line.
func (r *Reflection) Error() string {
	return "the answer's " + r.Where + " holds the real value of secret " + r.Secret
}

// Hint says what a user who meant it can do.
func (r *Reflection) Hint() string {
	return "don't declare the secret for a host that sends it back"
}

// Response checks the header of the answer to a request in which Swap has put
// used, and returns a reader of its body that fails with a *Reflection before
// the last bytes of a real value. Bodies are searched as they are: Swap asks the
// server not to compress. A body that can also be written to, which is the
// connection of a WebSocket, is returned as it is.
func (s *Set) Response(h http.Header, body io.ReadCloser, used []Swapped) (io.ReadCloser, error) {
	if s == nil || len(used) == 0 {
		return body, nil
	}
	var groups []group
	for _, u := range used {
		for i := range s.secrets {
			if s.secrets[i].Name == u.Secret {
				groups = append(groups, s.secrets[i].reflections(i, u.value)...)
			}
		}
	}
	sc := joinScanner(groups)
	for name, values := range h {
		for _, v := range values {
			if i, enc := sc.find([]byte(v)); i >= 0 {
				return nil, &Reflection{Secret: s.secrets[i].Name, Where: "header " + name, Encoding: enc}
			}
		}
	}
	if _, duplex := body.(io.Writer); duplex || len(groups) == 0 || body == nil || body == http.NoBody {
		return body, nil
	}
	return &bodyScanner{body: body, scan: sc, hold: true, found: func(i int, enc string) error {
		return &Reflection{Secret: s.secrets[i].Name, Where: "body", Encoding: enc}
	}}, nil
}

type bodyScanner struct {
	body  io.ReadCloser
	scan  *scanner
	found func(secret int, encoding string) error
	// tail holds the last bytes already passed on, fewer than the longest
	// pattern: one that lies across two reads begins in there.
	tail []byte
	err  error

	// hold keeps back what may be the beginning of a pattern until the next
	// bytes tell: else a value that comes in two reads is known but for its last
	// byte when it is found. held are these bytes, out those that turned out to
	// be something else and did not fit into the caller's buffer.
	hold      bool
	held, out []byte
}

// minHold is how many first bytes of a pattern are worth keeping back: so many
// that an ordinary text does not end in them.
const minHold = 8

func (r *bodyScanner) Close() error { return r.body.Close() }

func (r *bodyScanner) Read(p []byte) (int, error) {
	for {
		if len(r.out) > 0 {
			n := copy(p, r.out)
			r.out = r.out[n:]
			return n, nil
		}
		if r.err != nil || len(p) == 0 {
			return 0, r.err
		}
		n, err := r.body.Read(p)
		if n > 0 {
			if v := r.inspect(p[:n]); v != nil {
				// The bytes must not be used by a caller that ignores n.
				clear(p[:n])
				r.err, r.held = v, nil
				return 0, v
			}
		}
		n = r.release(p, n, err != nil)
		if err != nil {
			r.err = err
			if len(r.out) > 0 {
				err = nil
			}
		}
		if n > 0 || err != nil || len(r.out) == 0 && len(r.held) == 0 {
			return n, err
		}
	}
}

// release settles what of the held bytes and of the n new ones in p the caller
// gets now: all at the end of the body, else all but a possible beginning.
func (r *bodyScanner) release(p []byte, n int, end bool) int {
	if !r.hold {
		return n
	}
	k := 0
	if !end {
		// The tail ends with these bytes, and knows what went before them.
		k = min(r.scan.beginning(r.tail), len(r.held)+n)
	}
	if len(r.held) == 0 {
		r.held = append(r.held, p[n-k:n]...)
		clear(p[n-k : n])
		return n - k
	}
	all := append(r.held, p[:n]...)
	clear(p[:n])
	m := copy(p, all[:len(all)-k])
	r.out = append([]byte(nil), all[m:len(all)-k]...)
	r.held = append([]byte(nil), all[len(all)-k:]...)
	return m
}

func (r *bodyScanner) inspect(chunk []byte) error {
	keep := r.scan.longest - 1
	// Across the border: the tail and as much of the chunk as a pattern that
	// begins in the tail can reach.
	if len(r.tail) > 0 {
		n := min(len(chunk), keep)
		r.tail = append(r.tail, chunk[:n]...)
		if i, enc := r.scan.find(r.tail); i >= 0 {
			return r.found(i, enc)
		}
	}
	if i, enc := r.scan.find(chunk); i >= 0 {
		return r.found(i, enc)
	}
	switch {
	case len(chunk) >= keep:
		r.tail = append(r.tail[:0], chunk[len(chunk)-keep:]...)
	case len(r.tail) == 0:
		r.tail = append(r.tail, chunk...)
	case len(r.tail) > keep: // the chunk has been appended above
		r.tail = append(r.tail[:0], r.tail[len(r.tail)-keep:]...)
	}
	return nil
}
