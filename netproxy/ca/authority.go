package ca

import (
	"bytes"
	"container/list"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/netip"
	"os"
	"os/user"
	"strings"
	"sync"
	"time"
)

const (
	authorityLife = 10 * 365 * 24 * time.Hour
	leafLife      = 7 * 24 * time.Hour
	// backdate lets a client accept a certificate made just now although its
	// clock, or a container's faked one, is behind.
	backdate = 24 * time.Hour
	// renewBefore is how long before its end a cached leaf is replaced: a
	// session may outlive a leaf.
	renewBefore = 24 * time.Hour
	// maxLeaves bounds the cache. A leaf holds about 1 KiB.
	maxLeaves = 1024
)

// Authority mints leaf certificates. It is safe for concurrent use.
type Authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	// leaf is the one key of all leaves of this process: making a key for each
	// name would double the cost of a new name and protect nothing, because
	// whoever reads one reads all.
	leafKey *ecdsa.PrivateKey
	now     func() time.Time

	mu     sync.Mutex
	leaves map[string]*list.Element // of *leaf
	order  *list.List               // most recently used first
}

type leaf struct {
	name  string
	ready chan struct{} // closed when cert or err is set
	cert  *tls.Certificate
	err   error
	renew time.Time
}

// New returns the authority of a certificate (PEM) and its private key (PEM),
// which is read to its end. The caller keeps owning key.
func New(certificate []byte, key io.Reader) (*Authority, error) {
	cert, err := parseCertificate(certificate, time.Now())
	if err != nil {
		return nil, &Error{Path: CertFile, Err: err, Fix: hintRotate}
	}
	doc, err := io.ReadAll(io.LimitReader(key, maxFile))
	if err != nil {
		return nil, &Error{Path: KeyFile, Err: err, Fix: hintRotate}
	}
	defer clear(doc)
	priv, err := parseKey(doc)
	if err != nil {
		return nil, &Error{Path: KeyFile, Err: err, Fix: hintRotate}
	}
	pub, ok := cert.PublicKey.(*ecdsa.PublicKey)
	if !ok || !pub.Equal(priv.Public()) {
		return nil, &Error{Path: KeyFile, Err: errors.New("the private key does not belong to the certificate"), Fix: hintRotate}
	}
	leafKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make leaf key: %w", err)
	}
	return &Authority{cert: cert, key: priv, leafKey: leafKey, now: time.Now,
		leaves: make(map[string]*list.Element), order: list.New()}, nil
}

// Certificate returns the authority's own certificate. It must not be changed.
func (a *Authority) Certificate() *x509.Certificate { return a.cert }

// Leaf returns the certificate for a canonical host name or a literal address
// (netip.Addr's text form). Leaves are cached; callers that ask for the same
// new name at once share one signature. The result must not be changed.
func (a *Authority) Leaf(name string) (*tls.Certificate, error) {
	now := a.now()
	a.mu.Lock()
	if e, ok := a.leaves[name]; ok {
		l := e.Value.(*leaf)
		a.order.MoveToFront(e)
		a.mu.Unlock()
		<-l.ready
		if l.err != nil || now.Before(l.renew) {
			return l.cert, l.err
		}
		a.mu.Lock()
		// Whoever comes first takes the old one out; the rest find the new one.
		if a.leaves[name] == e {
			a.remove(e)
		}
		a.mu.Unlock()
		return a.Leaf(name)
	}
	l := &leaf{name: name, ready: make(chan struct{}), renew: now.Add(leafLife - renewBefore)}
	e := a.order.PushFront(l)
	a.leaves[name] = e
	if a.order.Len() > maxLeaves {
		a.remove(a.order.Back())
	}
	a.mu.Unlock()

	l.cert, l.err = a.mint(name, now)
	close(l.ready)
	if l.err != nil {
		a.mu.Lock()
		if a.leaves[name] == e {
			a.remove(e)
		}
		a.mu.Unlock()
	}
	return l.cert, l.err
}

func (a *Authority) remove(e *list.Element) {
	a.order.Remove(e)
	delete(a.leaves, e.Value.(*leaf).name)
}

func (a *Authority) mint(name string, now time.Time) (*tls.Certificate, error) {
	t := &x509.Certificate{
		NotBefore:   now.Add(-backdate),
		NotAfter:    now.Add(leafLife),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		// Explicitly no authority, as OpenSSL's strict mode wants it.
		BasicConstraintsValid: true,
		Subject:               pkix.Name{Organization: []string{"Penstock interception"}},
	}
	// A leaf must not outlive its issuer: Java and GnuTLS check the chain.
	if t.NotAfter.After(a.cert.NotAfter) {
		t.NotAfter = a.cert.NotAfter
	}
	if addr, err := netip.ParseAddr(name); err == nil && addr.Zone() == "" {
		t.IPAddresses = []net.IP{addr.Unmap().AsSlice()}
	} else {
		if !canonical(name) {
			return nil, fmt.Errorf("make leaf certificate: %q is not a canonical host name", name)
		}
		t.DNSNames = []string{name}
	}
	// ub-common-name is 64 (RFC 5280, A.1); longer names stand in the SAN only.
	if len(name) <= 64 {
		t.Subject.CommonName = name
	}
	var err error
	if t.SerialNumber, err = serial(); err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, t, a.cert, a.leafKey.Public(), a.key)
	if err != nil {
		return nil, fmt.Errorf("make leaf certificate for %q: %w", name, err)
	}
	// The root is not needed by a client that trusts it, but with it a client
	// that does not says "self-signed certificate in certificate chain" and
	// names the authority, instead of "unable to get local issuer certificate".
	return &tls.Certificate{Certificate: [][]byte{der, a.cert.Raw}, PrivateKey: a.leafKey}, nil
}

// canonical reports whether a name has the form of policy.CanonicalHost: what
// else got here is a mistake, and a certificate for it might be read in two ways.
func canonical(name string) bool {
	if len(name) > 253 {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return false
		}
	}
	return true
}

// Fingerprint returns the SHA-256 of a PEM certificate's DER in lower-case hex.
func Fingerprint(certificate []byte) (string, error) {
	b, _ := pem.Decode(certificate)
	if b == nil {
		return "", errors.New("read certificate: not PEM")
	}
	h := sha256.Sum256(b.Bytes)
	return hex.EncodeToString(h[:]), nil
}

// generate makes a new authority: certificate and private key in PEM.
func generate(now time.Time) (cert, key []byte, err error) {
	priv, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("make authority's key: %w", err)
	}
	sn, err := serial()
	if err != nil {
		return nil, nil, err
	}
	t := &x509.Certificate{
		SerialNumber:          sn,
		Subject:               pkix.Name{CommonName: authorityName(sn)},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(authorityLife),
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLenZero:        true, // it signs leaves only
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, priv.Public(), priv)
	if err != nil {
		return nil, nil, fmt.Errorf("make authority's certificate: %w", err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(priv)
	if err != nil {
		return nil, nil, fmt.Errorf("encode authority's key: %w", err)
	}
	defer clear(raw)
	return pemCert(der),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}), nil
}

// authorityName is what a person meets in a certificate viewer. At most 64
// bytes of printable ASCII, whatever the user and the host are called.
func authorityName(sn *big.Int) string {
	name := fmt.Sprintf("uid%d", os.Getuid())
	if u, err := user.Current(); err == nil && u.Username != "" {
		name = u.Username
	}
	host, _ := os.Hostname()
	who := []byte(name + "@" + host)
	for i, c := range who {
		if c < 0x21 || c > 0x7e {
			who[i] = '_'
		}
	}
	return fmt.Sprintf("Penstock CA for %s (%08x)", who[:min(len(who), 37)], new(big.Int).Rsh(sn, 95).Uint64()&0xffffffff)
}

// serial returns a positive random number of at most 127 bits (RFC 5280,
// 4.1.2.2: positive, at most 20 octets; at least 64 random bits).
func serial() (*big.Int, error) {
	var b [16]byte
	if _, err := rand.Read(b[:]); err != nil {
		return nil, fmt.Errorf("make serial number: %w", err)
	}
	b[0] = b[0]&0x7f | 0x40 // never zero, and always the same length
	return new(big.Int).SetBytes(b[:]), nil
}

func parseKey(doc []byte) (*ecdsa.PrivateKey, error) {
	if len(bytes.TrimSpace(doc)) == 0 {
		return nil, errors.New("the private key file is empty")
	}
	b, _ := pem.Decode(doc)
	if b == nil || b.Type != "PRIVATE KEY" {
		return nil, errors.New("the private key file is not PEM")
	}
	defer clear(b.Bytes)
	k, err := x509.ParsePKCS8PrivateKey(b.Bytes)
	if err != nil {
		// The parser's message could quote the key; it is not passed on.
		return nil, errors.New("the private key can't be read")
	}
	priv, ok := k.(*ecdsa.PrivateKey)
	if !ok {
		return nil, errors.New("the private key is not an ECDSA key")
	}
	return priv, nil
}

func pemCert(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// Describe returns a PEM certificate's name and the day of its end.
func Describe(certificate []byte) (subject, notAfter string, err error) {
	c, err := parseCertificate(certificate, time.Time{})
	if err != nil {
		return "", "", fmt.Errorf("read certificate: %w", err)
	}
	return c.Subject.CommonName, c.NotAfter.Format(time.DateOnly), nil
}
