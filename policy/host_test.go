package policy

import (
	"errors"
	"strings"
	"testing"
)

func TestCanonicalHost(t *testing.T) {
	l63 := strings.Repeat("a", 63)
	for _, tt := range []struct {
		in, want string
		err      error
	}{
		{"example.com", "example.com", nil},
		{"EXAMPLE.Com.", "example.com", nil},
		{"a_b.s3.example", "a_b.s3.example", nil},
		{"_dmarc.example.com", "_dmarc.example.com", nil},
		{"r3---sn-abc.example", "r3---sn-abc.example", nil},
		{"db", "db", nil},
		{"bücher.example", "xn--bcher-kva.example", nil},
		{"BÜCHER.example", "xn--bcher-kva.example", nil},
		{"xn--bcher-kva.example", "xn--bcher-kva.example", nil},
		{"XN--BCHER-KVA.example", "xn--bcher-kva.example", nil},
		{"faß.example", "xn--fa-hia.example", nil},
		{"ｅｘａｍｐｌｅ．ｃｏｍ", "example.com", nil},
		{"example。com", "example.com", nil},
		{"example.com。", "example.com", nil},
		{"exa\u00admple.com", "example.com", nil}, // soft hyphen is ignored by UTS 46
		{"日本語.jp", "xn--wgv71a119e.jp", nil},
		{l63 + ".example", l63 + ".example", nil},
		{l63 + "a.example", "", ErrHostLabel},
		{strings.Repeat("a.", 126) + "a", strings.Repeat("a.", 126) + "a", nil},
		{strings.Repeat("a.", 127) + "a", "", ErrHostLong},
		{strings.Repeat("x", 5000), "", ErrHostLong},
		{"", "", ErrHostEmpty},
		{".", "", ErrHostEmpty},
		{"..", "", ErrHostLabel},
		{"a..b", "", ErrHostLabel},
		{".a", "", ErrHostLabel},
		{"a b", "", ErrHostChar},
		{"a\x00b", "", ErrHostChar},
		{"a/b", "", ErrHostChar},
		{"a%2eb", "", ErrHostChar},
		{"a@b", "", ErrHostChar},
		{"a:80", "", ErrHostChar},
		{"*.a", "", ErrHostChar},
		{"a／b", "", ErrHostChar}, // full-width slash
		{"℀.example", "", ErrHostChar},
		{"-a.example", "", ErrHostHyphen},
		{"a-.example", "", ErrHostHyphen},
		{"127.0.0.1", "", ErrHostAddress},
		{"127.1", "", ErrHostAddress},
		{"2130706433", "", ErrHostAddress},
		{"0x7f.1", "", ErrHostAddress},
		{"0x7f000001", "", ErrHostAddress},
		{"0X7F000001", "", ErrHostAddress},
		{"a.0x", "", ErrHostAddress},
		{"１２７.０.０.１", "", ErrHostAddress},
		{"1.2.3.4.", "", ErrHostAddress},
		{"xn--a.example", "", ErrHostIDNA},
		{"xn--.example", "", ErrHostLabel},
		{"xn--bcher-KVA-.example", "", ErrHostIDNA},
		{"xn--bücher.example", "", ErrHostIDNA},
		{"a\u202eb.example", "", ErrHostIDNA},
		{"a\u200db.example", "", ErrHostIDNA}, // a joiner where it may not stand
		{"\xff.example", "", ErrHostIDNA},
		{"א1a.example", "", ErrHostIDNA}, // against the Bidi rule
	} {
		got, err := CanonicalHost(tt.in)
		if got != tt.want || !errors.Is(err, tt.err) {
			t.Errorf("%q: got %q, %v; want %q, %v", tt.in, got, err, tt.want, tt.err)
		}
		if err != nil && !isPrintableASCII(err.Error()) {
			t.Errorf("%q: error is not printable ASCII: %q", tt.in, err)
		}
		if err == nil {
			if again, err := CanonicalHost(got); again != got || err != nil {
				t.Errorf("%q: not idempotent: %q, %v", tt.in, again, err)
			}
		}
	}
}

func TestHostPattern(t *testing.T) {
	for _, tt := range []struct {
		pattern, host string
		want          bool
	}{
		{"example.com", "example.com", true},
		{"example.com", "a.example.com", false},
		{"*.example.com", "example.com", false},
		{"*.example.com", "a.example.com", true},
		{"*.example.com", "a.b.c.example.com", true},
		{"*.example.com", "evilexample.com", false},
		{"*.example.com", "example.com.evil", false},
		{"*.example.com", "a.example.com.evil", false},
		{"*", "anything", true},
		{"*", HostInternal, false},
		{"*.internal", HostInternal, false},
		{"*.penstock.internal", HostInternal, false},
		{"*.penstock.internal", "x.penstock.internal", true},
		{HostInternal, HostInternal, true},
		{"*.EXAMPLE.com.", "a.example.com", true},
		{"*.bücher.example", "a.xn--bcher-kva.example", true},
	} {
		p, err := parseHostPattern(tt.pattern)
		if err != nil {
			t.Fatal(err)
		}
		if p.matches(tt.host) != tt.want {
			t.Errorf("%s on %s: got %v", tt.pattern, tt.host, !tt.want)
		}
		// The index must agree with the plain match.
		text := "version: 1\negress: {allow: [{host: \"" + tt.pattern + "\", ports: [443]}]}\n"
		if got := mustPolicy(t, text).Decide(req(t, tt.host)).Rule != nil; got != tt.want {
			t.Errorf("%s on %s: the index says %v", tt.pattern, tt.host, got)
		}
	}
}

func TestHostPatternCovers(t *testing.T) {
	pat := func(s string) hostPattern {
		p, err := parseHostPattern(s)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	for _, tt := range []struct {
		outer, inner string
		want         bool
	}{
		{"*", "*", true}, {"*", "a", true}, {"*", "*.a", true}, {"*", HostInternal, false},
		{"*.a.b", "*.a.b", true}, {"*.b", "*.a.b", true}, {"*.a.b", "*.b", false}, {"*.a.b", "*", false},
		{"*.a.b", "a.b", false}, {"*.a.b", "x.a.b", true}, {"a.b", "a.b", true}, {"a.b", "*.a.b", false},
		{HostInternal, HostInternal, true}, {"*.b", "*.xb", false},
	} {
		if got := pat(tt.outer).covers(pat(tt.inner)); got != tt.want {
			t.Errorf("%s covers %s: got %v", tt.outer, tt.inner, got)
		}
	}
}

func TestParseTarget(t *testing.T) {
	for _, tt := range []struct {
		in, want string
		err      error
	}{
		{"example.com", "example.com:443", nil},
		{"Example.COM.:8080", "example.com:8080", nil},
		{"https://example.com", "example.com:443", nil},
		{"http://example.com/x?y#z", "example.com:80", nil},
		{"ws://example.com", "example.com:80", nil},
		{"wss://example.com:99/", "example.com:99", nil},
		{"HTTPS://EXAMPLE.com", "example.com:443", nil},
		{"tcp://example.com:22", "example.com:22", nil},
		{"example.com/path", "example.com:443", nil},
		{"1.2.3.4", "1.2.3.4:443", nil},
		{"1.2.3.4:80", "1.2.3.4:80", nil},
		{"::1", "[::1]:443", nil},
		{"[::1]:80", "[::1]:80", nil},
		{"[::ffff:1.2.3.4]:80", "1.2.3.4:80", nil},
		{"https://[2001:db8::1]/", "[2001:db8::1]:443", nil},
		{"tcp://example.com", "", ErrNoPort},
		{"ftp://example.com", "", ErrScheme},
		{"https://user:pass@example.com", "", ErrUserinfo},
		{"https://example.com@evil", "", ErrUserinfo},
		{"[fe80::1%eth0]:80", "", ErrZone},
		{"fe80::1%eth0", "", ErrZone},
		{"example.com:0", "", ErrPort},
		{"example.com:65536", "", ErrPort},
		{"example.com:+80", "", ErrPort},
		{"example.com:080", "", ErrPort},
		{"example.com:", "", ErrPort},
		{"example.com:80:90", "", ErrTarget},
		{"[1.2.3.4]:80", "", ErrTarget},
		{"[::1", "", ErrTarget},
		{"[::1]80", "", ErrTarget},
		{"127.1:80", "", ErrHostAddress},
		{"0x7f000001", "", ErrHostAddress},
		{"", "", ErrHostEmpty},
		{":80", "", ErrHostEmpty},
		{"https://", "", ErrHostEmpty},
		{"exa mple", "", ErrHostChar},
		{"https://example.com\\@evil", "", ErrUserinfo},
		{"https://example.com\\evil", "", ErrHostChar},
	} {
		got, err := ParseTarget(tt.in)
		if !errors.Is(err, tt.err) || err == nil && got.String() != tt.want {
			t.Errorf("%q: got %v, %v; want %q, %v", tt.in, got, err, tt.want, tt.err)
		}
	}
}
