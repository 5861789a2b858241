package wire

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// clientHello returns what crypto/tls sends first.
func clientHello(t testing.TB, c *tls.Config) []byte {
	t.Helper()
	a, b := net.Pipe()
	defer b.Close()
	go func() {
		tls.Client(a, c).HandshakeContext(context.Background())
	}()
	defer a.Close()
	b.SetReadDeadline(time.Now().Add(10 * time.Second))
	head := make([]byte, 5)
	if _, err := io.ReadFull(b, head); err != nil {
		t.Fatal(err)
	}
	body := make([]byte, binary.BigEndian.Uint16(head[3:]))
	if _, err := io.ReadFull(b, body); err != nil {
		t.Fatal(err)
	}
	return append(head, body...)
}

// split puts the handshake message of one record into records of n bytes.
func split(hello []byte, n int) []byte {
	var out []byte
	for msg := hello[5:]; len(msg) > 0; {
		k := min(n, len(msg))
		out = append(out, 22, 3, 1, byte(k>>8), byte(k))
		out = append(out, msg[:k]...)
		msg = msg[k:]
	}
	return out
}

// reference is what crypto/tls reads from the same bytes.
func reference(b []byte) (info *tls.ClientHelloInfo) {
	stop := errors.New("seen")
	s := tls.Server(&oneWay{Reader: bytes.NewReader(b)}, &tls.Config{GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		info = h
		return nil, stop
	}})
	s.Handshake()
	return info
}

type oneWay struct {
	net.Conn
	io.Reader
}

func (o *oneWay) Read(b []byte) (int, error)       { return o.Reader.Read(b) }
func (*oneWay) Write(b []byte) (int, error)        { return len(b), nil }
func (*oneWay) Close() error                       { return nil }
func (*oneWay) SetDeadline(time.Time) error        { return nil }
func (*oneWay) SetReadDeadline(t time.Time) error  { return nil }
func (*oneWay) SetWriteDeadline(t time.Time) error { return nil }
func (*oneWay) LocalAddr() net.Addr                { return &net.TCPAddr{} }
func (*oneWay) RemoteAddr() net.Addr               { return &net.TCPAddr{} }

func configs() map[string]*tls.Config {
	return map[string]*tls.Config{
		"plain": {ServerName: "example.com", MaxVersion: tls.VersionTLS12},
		"1.3":   {ServerName: "a.example.com", NextProtos: []string{"h2", "http/1.1"}},
		"no name": {
			InsecureSkipVerify: true,
		},
		"large": {ServerName: "example.com", NextProtos: []string{strings.Repeat("x", 250), strings.Repeat("y", 250)}},
	}
}

func TestClientHello(t *testing.T) {
	for name, cfg := range configs() {
		hello := clientHello(t, cfg)
		for _, n := range []int{1 << 14, 1, 2, 3, 5, 100, len(hello) - 6} {
			b := split(hello, n)
			got, err := ParseClientHello(append(bytes.Clone(b), "anything"...))
			if err != nil {
				t.Fatalf("%s in %d: %v", name, n, err)
			}
			if got.ServerName != cfg.ServerName || strings.Join(got.ALPN, ",") != strings.Join(cfg.NextProtos, ",") || got.ECH {
				t.Errorf("%s in %d: %+v", name, n, got)
			}
			for i := range b { // every beginning is short, none is an error
				if i%7 != 0 && len(b) > 4000 {
					continue
				}
				if _, err := ParseClientHello(b[:i]); !errors.Is(err, ErrShort) {
					t.Fatalf("%s in %d: first %d bytes: %v", name, n, i, err)
				}
			}
		}
	}
}

func TestClientHelloRefuses(t *testing.T) {
	good := clientHello(t, configs()["1.3"])
	sni := bytes.Index(good, []byte("a.example.com"))
	edit := func(f func(b []byte) []byte) []byte { return f(bytes.Clone(good)) }
	for name, b := range map[string][]byte{
		"another record":    edit(func(b []byte) []byte { b[0] = 23; return b }),
		"SSL 2":             {0x80, 0x2e, 1, 0, 2},
		"version":           edit(func(b []byte) []byte { b[1] = 2; return b }),
		"another message":   edit(func(b []byte) []byte { b[5] = 2; return b }),
		"empty fragment":    {22, 3, 1, 0, 0, 22, 3, 1, 0, 4, 1, 0, 0, 0},
		"record too long":   {22, 3, 1, 0x40, 1},
		"message too long":  {22, 3, 1, 0, 4, 1, 2, 0, 0},
		"NUL in the name":   edit(func(b []byte) []byte { b[sni+3] = 0; return b }),
		"dot at the end":    edit(func(b []byte) []byte { b[sni+12] = '.'; return b }),
		"UTF-8 in the name": edit(func(b []byte) []byte { b[sni] = 0xc3; return b }),
		"name type":         edit(func(b []byte) []byte { b[sni-3] = 1; return b }),
		"two names":         edit(func(b []byte) []byte { b[sni-1] -= 4; return b }),
		"bytes after":       edit(func(b []byte) []byte { b[4]++; return append(b, 0) }),
		"cut inside":        edit(func(b []byte) []byte { b[8] -= 9; b[4] -= 9; b[3] -= 0; return b[:len(b)-9] }),
	} {
		if h, err := ParseClientHello(b); err == nil || errors.Is(err, ErrShort) || !IsHelloError(err) {
			t.Errorf("%s: %+v %v", name, h, err)
		}
	}
}

// FuzzClientHello holds that what is accepted here is read by crypto/tls with
// the same name and protocols, or not at all.
func FuzzClientHello(f *testing.F) {
	for _, cfg := range configs() {
		h := clientHello(f, cfg)
		f.Add(h)
		f.Add(split(h, 40))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := ParseClientHello(b)
		if err != nil {
			return
		}
		ref := reference(b)
		if ref == nil {
			return
		}
		if ref.ServerName != got.ServerName || strings.Join(ref.SupportedProtos, "\x00") != strings.Join(got.ALPN, "\x00") {
			t.Fatalf("crypto/tls reads %q %q, we %q %q", ref.ServerName, ref.SupportedProtos, got.ServerName, got.ALPN)
		}
		// One byte per record is the same hello.
		again, err := ParseClientHello(split(joined(b), 1))
		if err != nil || again.ServerName != got.ServerName {
			t.Fatalf("in pieces: %v", err)
		}
	})
}

// joined returns a hello in one record of any length, for split.
func joined(b []byte) []byte {
	msg, err := helloMessage(b)
	if err != nil {
		return nil
	}
	return append([]byte{22, 3, 1, 0, 0}, msg...)
}

func BenchmarkClientHello(b *testing.B) {
	h := clientHello(b, configs()["1.3"])
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseClientHello(h); err != nil {
			b.Fatal(err)
		}
	}
}
