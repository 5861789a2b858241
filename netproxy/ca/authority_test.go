package ca

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

func newAuthority(t testing.TB) (*Authority, []byte) {
	t.Helper()
	f, err := Ephemeral()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	a, err := New(f.Certificate, f.Key)
	if err != nil {
		t.Fatal(err)
	}
	return a, f.Certificate
}

func TestLeafVerifies(t *testing.T) {
	a, certPEM := newAuthority(t)
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(certPEM) {
		t.Fatal("no certificate in PEM")
	}
	long := strings.Repeat("a", 60) + "." + strings.Repeat("b", 60) + ".example"
	for _, name := range []string{"example.com", "xn--bcher-kva.example", "under_score.example", "localhost", long, "192.0.2.7", "2001:db8::7"} {
		t.Run(name[:min(len(name), 20)], func(t *testing.T) {
			c, err := a.Leaf(name)
			if err != nil {
				t.Fatal(err)
			}
			leaf, err := x509.ParseCertificate(c.Certificate[0])
			if err != nil {
				t.Fatal(err)
			}
			if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: name, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}); err != nil {
				t.Fatal(err)
			}
			if leaf.IsCA || len(leaf.AuthorityKeyId) == 0 || !bytes.Equal(leaf.AuthorityKeyId, a.cert.SubjectKeyId) {
				t.Errorf("IsCA %v, AKI %x, issuer's SKI %x", leaf.IsCA, leaf.AuthorityKeyId, a.cert.SubjectKeyId)
			}
			if leaf.SerialNumber.Sign() <= 0 || leaf.SerialNumber.BitLen() > 159 {
				t.Errorf("serial number %v", leaf.SerialNumber)
			}
			if d := leaf.NotAfter.Sub(leaf.NotBefore); d > 10*24*time.Hour {
				t.Errorf("valid for %v", d)
			}
			if err := leaf.VerifyHostname("other.example"); err == nil {
				t.Error("valid for another name")
			}
		})
	}
}

func TestLeafRefusesNames(t *testing.T) {
	a, _ := newAuthority(t)
	for _, name := range []string{"", "*.example.com", "a b", "a/b", "a\x00b", "fe80::1%eth0", "user@host", strings.Repeat("a", 254), strings.Repeat("a", 64), "a..b", ".a", "a.", "Upper.example", "bücher.example", "a\nb", "-" + strings.Repeat("a.", 130)} {
		if _, err := a.Leaf(name); err == nil {
			t.Errorf("Leaf(%q): no error", name)
		}
	}
	if n := a.order.Len(); n != 0 {
		t.Errorf("%d failed leaves cached", n)
	}
}

func TestLeafCache(t *testing.T) {
	a, _ := newAuthority(t)
	first, _ := a.Leaf("one.example")
	if again, _ := a.Leaf("one.example"); again != first {
		t.Error("minted twice")
	}
	for i := range 3 * maxLeaves {
		if _, err := a.Leaf(fmt.Sprintf("h%d.example", i)); err != nil {
			t.Fatal(err)
		}
	}
	if len(a.leaves) != maxLeaves || a.order.Len() != maxLeaves {
		t.Errorf("cache holds %d and %d leaves, want %d", len(a.leaves), a.order.Len(), maxLeaves)
	}
	if again, _ := a.Leaf("one.example"); again == first {
		t.Error("the least recently used leaf was kept")
	}
}

func TestLeafRenews(t *testing.T) {
	a, _ := newAuthority(t)
	now := time.Now()
	a.now = func() time.Time { return now }
	first, _ := a.Leaf("one.example")
	now = now.Add(leafLife - renewBefore - time.Second)
	if again, _ := a.Leaf("one.example"); again != first {
		t.Error("renewed too early")
	}
	now = now.Add(2 * time.Second)
	again, err := a.Leaf("one.example")
	if err != nil || again == first {
		t.Errorf("not renewed: %v", err)
	}
}

func TestLeafSingleFlight(t *testing.T) {
	a, _ := newAuthority(t)
	var wg sync.WaitGroup
	got := make([]*tls.Certificate, 64)
	for i := range got {
		wg.Go(func() { got[i], _ = a.Leaf("same.example") })
	}
	wg.Wait()
	for _, c := range got {
		if c == nil || c != got[0] {
			t.Fatal("callers at once got different leaves")
		}
	}
}

func TestNewRefuses(t *testing.T) {
	cert, key, err := generate(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	_, otherKey, _ := generate(time.Now())
	expired, expiredKey, _ := generate(time.Now().Add(-authorityLife - 48*time.Hour))
	a, _ := newAuthority(t)
	leaf, _ := a.Leaf("a.example")
	for _, tt := range []struct {
		name      string
		cert, key []byte
		want      string
	}{
		{"empty certificate", nil, key, "empty"},
		{"no PEM", []byte("hello"), key, "not PEM"},
		{"two certificates", append(bytes.Clone(cert), cert...), key, "more than one"},
		{"cut certificate", append(bytes.Clone(cert[:len(cert)/2]), "\n-----END CERTIFICATE-----\n"...), key, "not PEM"},
		{"expired", expired, expiredKey, "expired"},
		{"a leaf", pemCert(leaf.Certificate[0]), key, "not that of an authority"},
		{"empty key", cert, nil, "empty"},
		{"key not PEM", cert, []byte("secret"), "not PEM"},
		{"key of another", cert, otherKey, "does not belong"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := New(tt.cert, bytes.NewReader(tt.key))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("got %v, want %q", err, tt.want)
			}
			if strings.Contains(err.Error(), "secret") {
				t.Error("the error quotes the key file")
			}
		})
	}
}

// TestHandshake runs a real TLS handshake per protocol version with a leaf.
func TestHandshake(t *testing.T) {
	a, certPEM := newAuthority(t)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(certPEM)
	for _, v := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		cl, sv := net.Pipe()
		go func() {
			s := tls.Server(sv, &tls.Config{GetCertificate: func(h *tls.ClientHelloInfo) (*tls.Certificate, error) { return a.Leaf(h.ServerName) }})
			io.Copy(s, s)
		}()
		c := tls.Client(cl, &tls.Config{RootCAs: roots, ServerName: "shop.example", MaxVersion: v})
		if err := c.Handshake(); err != nil {
			t.Errorf("%s: %v", tls.VersionName(v), err)
		}
		c.Close()
	}
}

// FuzzLeaf: whatever name gets a certificate gets one that parses, is for that
// name only, and can sign nothing.
func FuzzLeaf(f *testing.F) {
	a, certPEM := newAuthority(f)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(certPEM)
	for _, s := range []string{"a.example", "192.0.2.1", "2001:db8::1", "::ffff:1.2.3.4", "*.a", "_a.b", "a..b", "fe80::1%x", "0x7f.1", "a\x00.b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		c, err := a.Leaf(name)
		if err != nil {
			return
		}
		leaf, err := x509.ParseCertificate(c.Certificate[0])
		if err != nil {
			t.Fatalf("%q: %v", name, err)
		}
		if len(leaf.DNSNames)+len(leaf.IPAddresses) != 1 || len(leaf.DNSNames) == 1 && leaf.DNSNames[0] != name {
			t.Errorf("%q: for %q, %v", name, leaf.DNSNames, leaf.IPAddresses)
		}
		if leaf.IsCA || leaf.KeyUsage != x509.KeyUsageDigitalSignature {
			t.Errorf("%q: usable for more than a server", name)
		}
		if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots}); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	})
}

func BenchmarkLeafCached(b *testing.B) {
	a, _ := newAuthority(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := a.Leaf("one.example"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkLeafNew(b *testing.B) {
	a, _ := newAuthority(b)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		i++
		if _, err := a.Leaf(fmt.Sprintf("h%d.example", i)); err != nil {
			b.Fatal(err)
		}
	}
}
