package wire

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
)

const secret = "/s3cret"

func filtered(in string, one bool) (string, *Filter, error) {
	var src io.Reader = strings.NewReader(in)
	if one {
		src = iotest.OneByteReader(src)
	}
	f := NewFilter(src, 16<<10, secret, nil, nil)
	out, err := io.ReadAll(f)
	return string(out), f, err
}

func TestFilterPasses(t *testing.T) {
	big := strings.Repeat("x", 10000)
	for name, in := range map[string]string{
		"get":       "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
		"two":       "GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n",
		"length":    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhelloGET / HTTP/1.1\r\nHost: a\r\n\r\n",
		"big":       "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10000\r\n\r\n" + big + "GET / HTTP/1.0\r\n\r\n",
		"chunked":   "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\nX-T: 1\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
		"websocket": "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x00\r\n\n\x00",
		"connect":   "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n\x16\x03\x01\n\n",
		"long head": "GET / HTTP/1.1\r\nHost: a\r\nX: " + big + "\r\n\r\n",
		"values":    "GET http://a/%41?q=\"x\" HTTP/1.1\r\nHost: a\r\nX:\r\nY: \t a\xffb \r\n\r\n",
	} {
		for _, one := range []bool{false, true} {
			got, f, err := filtered(in, one)
			if got != in || err != nil || f.Refused() != nil {
				t.Errorf("%s: %v %v\n got %.200q\nwant %.200q", name, err, f.Refused(), got, in)
			}
		}
	}
	if got, _, _ := filtered("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", true); !strings.HasPrefix(got, "GET") {
		t.Errorf("empty line before: %q", got)
	}
}

// Each of these is read in two ways somewhere.
func TestFilterRefuses(t *testing.T) {
	const ok = "GET /before HTTP/1.1\r\nHost: a\r\n\r\n"
	for name, in := range map[string]string{
		"bare LF":             "GET / HTTP/1.1\nHost: a\n\n",
		"bare LF in the head": "GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n",
		"bare LF at the end":  "GET / HTTP/1.1\r\nHost: a\r\n\n",
		"bare CR":             "GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n",
		"NUL":                 "GET / HTTP/1.1\r\nHost: a\r\nX: a\x00b\r\n\r\n",
		"folded":              "GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n z\r\n\r\n",
		"folded first":        "GET / HTTP/1.1\r\n Host: a\r\n\r\n",
		"no host":             "GET / HTTP/1.1\r\n\r\n",
		"two hosts":           "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
		"host list":           "GET / HTTP/1.1\r\nHost: a,b\r\n\r\n",
		"host with user":      "GET / HTTP/1.1\r\nHost: a@b\r\n\r\n",
		"space before colon":  "GET / HTTP/1.1\r\nHost: a\r\nContent-Length : 5\r\n\r\nhello",
		"both lengths":        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"two lengths":         "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
		"length list":         "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\nhello",
		"signed length":       "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\nhello",
		"hex length":          "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x5\r\n\r\nhello",
		"huge length":         "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\nhello",
		"gzip, chunked":       "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
		"xchunked":            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
		"chunked twice":       "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"chunked in 1.0":      "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"announced length":    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X, content-length\r\n\r\n0\r\n\r\n",
		"length with _":       "POST / HTTP/1.1\r\nHost: a\r\nContent_Length: 5\r\n\r\n",
		"encoding with _":     "POST / HTTP/1.1\r\nHost: a\r\nTransfer_Encoding: chunked\r\n\r\n",
		"nominated host":      "GET / HTTP/1.1\r\nHost: a\r\nConnection: close, Host\r\n\r\n",
		"version":             "GET / HTTP/1.2\r\nHost: a\r\n\r\n",
		"preface":             "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		"lower case method":   "get / HTTP/1.1\r\nHost: a\r\n\r\n",
		"space in the target": "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
		"tab":                 "GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n",
		"fragment":            "GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n",
		"no slash":            "GET a HTTP/1.1\r\nHost: a\r\n\r\n",
		"too long":            "GET / HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("x", 17<<10) + "\r\n\r\n",
		"too many":            "GET / HTTP/1.1\r\nHost: a\r\n" + strings.Repeat("X: y\r\n", 300) + "\r\n",
		"noise":               "\x16\x03\x01\r\n\r\n",
		"three empty lines":   "\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
	} {
		for _, one := range []bool{false, true} {
			got, f, err := filtered(ok+in+ok, one)
			rest, found := strings.CutPrefix(got, ok)
			if !found || !strings.HasPrefix(rest, "GET "+secret+" ") || err != nil || f.Refused() == nil {
				t.Errorf("%s: %v %v\n%.300q", name, err, f.Refused(), got)
				continue
			}
			if n := requests(got); n != 2 {
				t.Errorf("%s: %d requests", name, n)
			}
		}
	}
}

func requests(s string) (n int) {
	r := bufio.NewReader(strings.NewReader(s))
	for {
		req, err := http.ReadRequest(r)
		if err != nil {
			return n
		}
		io.Copy(io.Discard, req.Body)
		n++
	}
}

func TestFilterRefusesBodies(t *testing.T) {
	const head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
	for name, in := range map[string]string{
		"bare LF":          "5\nhello\r\n0\r\n\r\n",
		"no CRLF after":    "5\r\nhelloXX0\r\n\r\n",
		"sign":             "+5\r\nhello\r\n0\r\n\r\n",
		"space":            "5 \r\nhello\r\n0\r\n\r\n",
		"0x":               "0x5\r\nhello\r\n0\r\n\r\n",
		"empty":            "\r\nhello\r\n0\r\n\r\n",
		"overflow":         "fffffffffffffffff\r\nhello\r\n0\r\n\r\n",
		"LF in extension":  "5;a\nb\r\nhello\r\n0\r\n\r\n",
		"long extension":   "5;" + strings.Repeat("a", 1000) + "\r\nhello\r\n0\r\n\r\n",
		"length trailer":   "0\r\nContent-Length: 5\r\n\r\n",
		"folded trailer":   "0\r\nX: a\r\n b\r\n\r\n",
		"endless trailers": "0\r\n" + strings.Repeat("X: aaaaaaaaaaaa\r\n", 2000) + "\r\n",
	} {
		for _, one := range []bool{false, true} {
			_, f, err := filtered(head+in, one)
			var m *Malformed
			if !errors.As(err, &m) || f.Refused() == nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

// FuzzFilter holds that net/http reads from the filter's output exactly the
// requests that the filter let through.
func FuzzFilter(f *testing.F) {
	f.Add([]byte("GET / HTTP/1.1\r\nHost: a\r\n\r\nPOST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"), 7)
	f.Add([]byte("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: y\r\n\r\n"), 1)
	f.Add([]byte("GET / HTTP/1.1\nHost: a\r\n\r\n"), 100)
	f.Add([]byte("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: Content-Length\r\n\r\n0\r\n\r\n"), 100)
	f.Fuzz(func(t *testing.T, b []byte, size int) {
		heads, absolute := 0, false
		fl := NewFilter(bytes.NewReader(b), 8<<10, secret, func(h *Head) *Malformed {
			heads++
			absolute = absolute || h.Absolute() // which only the proxy's own check parses
			return nil
		}, nil)
		var out []byte
		buf := make([]byte, 1+abs(size)%5000)
		for {
			n, err := fl.Read(buf)
			out = append(out, buf[:n]...)
			if err != nil {
				break
			}
			if len(out) > len(b)+len(fl.replacement) {
				t.Fatal("more came out than went in")
			}
		}
		if fl.Tunnel() {
			return
		}
		r := bufio.NewReader(bytes.NewReader(out))
		n := 0
		for {
			req, err := http.ReadRequest(r)
			if err != nil {
				// It would answer by itself, and nothing would record that.
				if n < heads && fl.Refused() == nil && !absolute {
					t.Fatalf("net/http refuses request %d, which the filter lets through: %v\n%q", n+1, err, out)
				}
				break
			}
			if req.URL.Path == secret {
				if fl.Refused() == nil {
					t.Fatal("replacement without a refusal")
				}
				return
			}
			if n++; n > heads {
				t.Fatalf("net/http sees request %d (%s %s), the filter saw %d:\n%q", n, req.Method, req.URL, heads, out)
			}
			if _, err := io.Copy(io.Discard, req.Body); err != nil {
				break
			}
		}
	})
}

func abs(n int) int {
	if n < 0 {
		return -(n + 1)
	}
	return n
}

func BenchmarkFilter(b *testing.B) {
	head := []byte("GET /v1/messages?x=y HTTP/1.1\r\nHost: api.example.com\r\nUser-Agent: curl/8\r\nAccept: */*\r\nAuthorization: Bearer xxxxxxxxxxxxxxxxxxxxxx\r\nContent-Type: application/json\r\n\r\n")
	r := bytes.NewReader(head)
	f := NewFilter(r, 64<<10, secret, nil, nil)
	p := make([]byte, 4096)
	b.ReportAllocs()
	for b.Loop() {
		r.Reset(head)
		if n, err := f.Read(p); n != len(head) || err != nil {
			b.Fatal(n, err)
		}
	}
}
