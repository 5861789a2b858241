package secrets

import (
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/penstock/penstock/policy"
)

// ClientCerts are what the servers of TLS are shown that a policy names: proxies
// and webhooks, by CertOfUpstream and CertOfHook. They hold keys; nil has none.
type ClientCerts struct{ list map[string]clientCert }

type clientCert struct {
	Cert []byte `json:"cert"`
	Key  []byte `json:"key"`
}

// CertOfUpstream is under what an upstream's certificate is.
func CertOfUpstream(name string) string { return "upstream " + name }

// CertOfHook is under what a webhook's certificate is.
func CertOfHook(name string) string { return "hook " + name }

// ResolveClientCerts reads the certificates of a policy's upstreams and webhooks.
// read gets one file, and is told whether it holds a key.
func ResolveClientCerts(upstreams []policy.Upstream, asked []policy.Hook, read func(path string, key bool) ([]byte, error)) (*ClientCerts, error) {
	c := &ClientCerts{list: map[string]clientCert{}}
	add := func(name string, from policy.Source, files policy.ClientCert) error {
		if files.Key == "" {
			return nil
		}
		fail := func(err error) error {
			return fmt.Errorf("use the certificate of %s (%s): %w", name, from.Ref(), err)
		}
		var one clientCert
		var err error
		if one.Cert, err = read(files.Cert, false); err != nil {
			return fail(err)
		}
		if one.Key, err = read(files.Key, true); err != nil {
			return fail(err)
		}
		if err := one.check(); err != nil {
			return fail(fmt.Errorf("%s with %s: %w", files.Cert, files.Key, err))
		}
		c.list[name] = one
		return nil
	}
	for i := range upstreams {
		if err := add(CertOfUpstream(upstreams[i].Name), upstreams[i].From, upstreams[i].Client); err != nil {
			return nil, err
		}
	}
	for i := range asked {
		if err := add(CertOfHook(asked[i].Name), asked[i].From, asked[i].Client()); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func (c *clientCert) check() error {
	for rest := c.Key; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if strings.Contains(block.Type, "ENCRYPTED") || block.Headers["DEK-Info"] != "" {
			return errors.New("the key is encrypted: openssl pkey -in KEY -out PLAIN takes that off, and the file's mode protects it")
		}
	}
	_, err := tls.X509KeyPair(c.Cert, c.Key) // whose errors quote nothing of a key
	return err
}

// Of returns the certificate under a name, nil if there is none.
func (c *ClientCerts) Of(name string) (*tls.Certificate, error) {
	if c == nil || c.list[name].Key == nil {
		return nil, nil
	}
	pair, err := tls.X509KeyPair(c.list[name].Cert, c.list[name].Key)
	if err != nil {
		return nil, fmt.Errorf("use the certificate of %s: %w", name, err)
	}
	return &pair, nil
}

// Format prints a fixed text for every verb.
func (*ClientCerts) Format(f fmt.State, _ rune) { io.WriteString(f, redacted) }

// CertDonation is Donation for ClientCerts.
type CertDonation map[string]clientCert

// Donate returns what the proxy role needs to make equal ClientCerts.
func (c *ClientCerts) Donate() CertDonation {
	if c == nil {
		return nil
	}
	return c.list
}

// ClientCerts returns what was donated.
func (d CertDonation) ClientCerts() *ClientCerts { return &ClientCerts{d} }

// Format prints a fixed text for every verb.
func (CertDonation) Format(f fmt.State, _ rune) { io.WriteString(f, redacted) }
