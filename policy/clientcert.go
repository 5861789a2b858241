package policy

import (
	"strings"

	"go.yaml.in/yaml/v3"
)

// ClientCert is what the other side of TLS is shown, two files of PEM: a
// certificate, with those of authorities between, and its key. The zero value is
// none. What is in the files is never in a policy.
type ClientCert struct {
	Cert string `json:"cert,omitempty"` // absolute
	Key  string `json:"key,omitempty"`  // absolute
}

// clientCertKeys are how it is written.
func clientCertKeys() []string { return []string{"client_cert", "client_key"} }

// certPath reads one of its files.
func (p *parser) certPath(n *yaml.Node, key string) string {
	s, ok := p.text(n, key)
	if !ok {
		return ""
	}
	if msg, hint := badPath(s); msg != "" {
		p.fail(n, hint, "%s %s %s", key, quote(s), msg)
	}
	return s
}

// check says why it can't be one.
func (c *ClientCert) check() (msg, hint string) {
	if (c.Cert == "") != (c.Key == "") {
		return "has one of client_cert and client_key", "write both: files of PEM, with the certificate and with its key"
	}
	if strings.ContainsAny(c.Cert+c.Key, "\x00\n\r") {
		return "has a certificate at what is no path", ""
	}
	return "", ""
}

// text is its keys and values, as YAML, to go behind others.
func (c *ClientCert) text() string {
	if *c == (ClientCert{}) {
		return ""
	}
	return ", client_cert: " + quoteYAML(c.Cert) + ", client_key: " + quoteYAML(c.Key)
}

// locate makes its paths absolute; given is one that can't be.
func (c *ClientCert) locate(path func(string) (string, bool)) (given string, ok bool) {
	for _, file := range []*string{&c.Cert, &c.Key} {
		if *file == "" {
			continue
		}
		abs, ok := path(*file)
		if !ok {
			return *file, false
		}
		*file = abs
	}
	return "", true
}

// plain says whether it is none, or has paths as locate makes them.
func (c *ClientCert) plain() bool {
	return *c == (ClientCert{}) || plainPath(c.Cert) && plainPath(c.Key)
}
