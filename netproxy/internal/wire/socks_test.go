package wire

import (
	"bytes"
	"errors"
	"net/netip"
	"testing"
)

func TestSOCKS(t *testing.T) {
	for _, c := range []struct {
		in  string
		ok  bool
		n   int
		err bool
	}{
		{"\x05\x01\x00", true, 3, false},
		{"\x05\x03\x02\x01\x00rest", true, 5, false},
		{"\x05\x01\x02", false, 3, false},
		{"\x05\x00", false, 0, true},
		{"\x04\x01\x00\x50", false, 0, true},
	} {
		ok, n, err := SOCKSGreeting([]byte(c.in), SOCKSOpen)
		if ok != c.ok || n != c.n || (err != nil) != c.err {
			t.Errorf("%q: %t %d %v", c.in, ok, n, err)
		}
	}
	v6 := "\x05\x01\x00\x04" + string(make([]byte, 15)) + "\x01\x01\xbb"
	for _, c := range []struct {
		in   string
		want SOCKSRequest
		err  bool
	}{
		{"\x05\x01\x00\x03\x05a.com\x01\xbbxx", SOCKSRequest{Connect: true, Name: "a.com", Port: 443}, false},
		{"\x05\x01\x00\x01\x7f\x00\x00\x01\x00\x50", SOCKSRequest{Connect: true, Addr: netip.MustParseAddr("127.0.0.1"), Port: 80}, false},
		{v6, SOCKSRequest{Connect: true, Addr: netip.IPv6Loopback(), Port: 443}, false},
		{"\x05\x03\x00\x01\x00\x00\x00\x00\x00\x50", SOCKSRequest{Addr: netip.IPv4Unspecified(), Port: 80}, false},
		{"\x05\x01\x00\x03\x00\x01\xbb", SOCKSRequest{}, true},
		{"\x05\x01\x00\x03\x03a\x00b\x01\xbb", SOCKSRequest{}, true},
		{"\x05\x01\x01\x01\x7f\x00\x00\x01\x00\x50", SOCKSRequest{}, true},
		{"\x05\x09\x00\x01\x7f\x00\x00\x01\x00\x50", SOCKSRequest{}, true},
		{"\x05\x01\x00\x02\x7f\x00\x00\x01\x00\x50", SOCKSRequest{}, true},
		{"\x05\x01\x00\x01\x7f\x00\x00\x01\x00\x00", SOCKSRequest{}, true},
	} {
		got, _, err := ParseSOCKSRequest([]byte(c.in))
		if (err != nil) != c.err || err == nil && got != c.want {
			t.Errorf("%q: %+v %v", c.in, got, err)
		}
	}
}

func TestSOCKSLogin(t *testing.T) {
	long := string(bytes.Repeat([]byte("x"), 255))
	for _, c := range []struct {
		in, user, password string
		bad                bool
	}{
		{"\x01\x01a\x02bcrest", "a", "bc", false},
		{"\x01\x00\x00", "", "", false},
		{"\x01\xff" + long + "\xff" + long, long, long, false},
		{"\x05\x01a\x01b", "", "", true},
	} {
		user, password, n, err := ParseSOCKSLogin([]byte(c.in))
		if user != c.user || password != c.password || (err != nil) != c.bad || errors.Is(err, ErrShort) {
			t.Errorf("%.20q: %.10q %.10q %v", c.in, user, password, err)
		}
		for i := range n {
			if _, _, _, err := ParseSOCKSLogin([]byte(c.in[:i])); !errors.Is(err, ErrShort) {
				t.Errorf("%.20q: %v", c.in[:i], err)
			}
		}
	}
}

func FuzzSOCKS(f *testing.F) {
	f.Add([]byte("\x05\x01\x00\x05\x01\x00\x03\x05a.com\x01\xbb"))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, n, err := SOCKSGreeting(b, SOCKSOpen)
		if err != nil {
			return
		}
		rest := b[n:]
		r, k, err := ParseSOCKSRequest(rest)
		if err != nil {
			if !errors.Is(err, ErrShort) && len(rest) == 0 {
				t.Fatal("error about nothing")
			}
			return
		}
		if k > len(rest) || n+k > MaxSOCKS || r.Port == 0 || (r.Name == "") == !r.Addr.IsValid() {
			t.Fatalf("%q: %+v", b, r)
		}
		for i := range k {
			if _, _, err := ParseSOCKSRequest(rest[:i]); !errors.Is(err, ErrShort) {
				t.Fatalf("first %d bytes of %q: %v", i, rest, err)
			}
		}
	})
}
