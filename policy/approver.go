package policy

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"

	"go.yaml.in/yaml/v3"
)

// maxApprovers bounds the keys of a policy.
const maxApprovers = 32

// approverPrefix begins every key: there is one algorithm.
const approverPrefix = "ed25519:"

// Approver is a key whose signed tokens answer what a person would be asked.
type Approver struct {
	Name string
	Key  ed25519.PublicKey
	From Source
}

// KeyText writes a public key as a policy has it.
func KeyText(key ed25519.PublicKey) string {
	return approverPrefix + base64.StdEncoding.EncodeToString(key)
}

// ParseKey reads what KeyText wrote, and nothing that says the same in another way.
func ParseKey(s string) (ed25519.PublicKey, error) {
	b, err := base64.StdEncoding.Strict().DecodeString(strings.TrimPrefix(s, approverPrefix))
	if err != nil || len(b) != ed25519.PublicKeySize || KeyText(b) != s {
		return nil, errors.New("it is not " + approverPrefix + " and 32 bytes in base64")
	}
	if weakKey(b) {
		return nil, errors.New("anybody can sign for it")
	}
	return b, nil
}

// weakKey says whether a signature that needs no private key holds for the key: of a
// point of small order there is one for at least every eighth message.
func weakKey(key ed25519.PublicKey) bool {
	none := make([]byte, ed25519.SignatureSize)
	none[0] = 1 // R is the neutral point, S is 0
	for i := range byte(64) {
		if ed25519.Verify(key, []byte{i}, none) {
			return true
		}
	}
	return false
}

// validApprover says whether s can name a key.
func validApprover(s string) bool { return validUpstream(s) }

// approvers reads egress.approvers. What a project's file says comes from who wrote
// the project, and a profile is nobody's word: neither decides who answers for the
// user.
func (p *parser) approvers(f *File, n *yaml.Node) {
	if p.lay == Project || p.lay == Profile {
		p.fail(n, "name the key in your own policy, the administrator's, or a file of --policy", "egress.approvers has no place in %s's file: it would name who answers for its user", p.lay)
		return
	}
	if n.Kind != yaml.MappingNode {
		p.fail(n, "write NAME: "+approverPrefix+"KEY", "egress.approvers must be a mapping, not %s", kind(n))
		return
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		if k.Kind != yaml.ScalarNode || !validApprover(k.Value) {
			p.fail(k, "for example release-desk: lower-case letters, digits, - and _", "%s can't name a key", quote(k.Value))
			continue
		}
		if seen[k.Value] {
			p.fail(k, "remove one of them", "key %s is here twice", quote(k.Value))
			continue
		}
		seen[k.Value] = true
		s, ok := p.text(v, "egress.approvers")
		if !ok {
			continue
		}
		key, err := ParseKey(s)
		if err != nil {
			p.fail(v, "penstock approve keygen prints it", "the key of %s can't be used: %s", k.Value, err)
			continue
		}
		f.approvers = append(f.approvers, Approver{k.Value, key, p.at(k)})
	}
}

// approvers add up. A name is one key, and a key has one name: the record says
// which one answered.
func (m *merge) approvers() {
	for _, f := range m.files {
	next:
		for _, a := range f.approvers {
			for _, b := range m.d.Approvers {
				same := bytes.Equal(a.Key, b.Key)
				if a.Name == b.Name && same {
					continue next
				}
				if a.Name == b.Name || same {
					m.errs.add(a.From, "give each key one name of its own", "approver %s is here, and at %s is %s with %s key", a.Name, b.From.Ref(), b.Name, map[bool]string{true: "the same", false: "another"}[same])
					continue next
				}
			}
			m.d.Approvers = append(m.d.Approvers, a)
		}
	}
	if n := len(m.d.Approvers); n > maxApprovers {
		m.errs.add(m.d.Approvers[n-1].From, "leave some out", "there are %d approvers, more than %d", n, maxApprovers)
	}
}

// approvers are the caller's; of the administrator's file's it has its own.
func (c *claims) approvers() {
	for _, a := range c.d.Approvers {
		f := c.file(a.From)
		if f == nil {
			continue
		}
		if !validApprover(a.Name) || a.From.Layer == Project || a.From.Layer == Profile {
			c.fail(a.From, "approver %s can't be in a policy", quote(a.Name))
			continue
		}
		f.approvers = append(f.approvers, a)
	}
}

// Approvers returns whose tokens answer what a person would be asked.
func (p *Policy) Approvers() []Approver { return p.d.Approvers }

func (a *Approver) text() string { return yamlText(a.Name) + ": " + quoteYAML(KeyText(a.Key)) }

type wireApprover struct {
	Name string `json:"name"`
	Key  string `json:"key"`
	From Source `json:"from"`
}

// MarshalJSON writes the key as a policy has it.
func (a Approver) MarshalJSON() ([]byte, error) {
	return json.Marshal(wireApprover{a.Name, KeyText(a.Key), a.From})
}

// UnmarshalJSON reads what MarshalJSON wrote and checks it.
func (a *Approver) UnmarshalJSON(b []byte) error {
	var w wireApprover
	if err := strictJSON(b, &w); err != nil {
		return err
	}
	key, err := ParseKey(w.Key)
	if err != nil || !validApprover(w.Name) {
		return errors.New("read policy: " + quote(w.Name) + " is no approver")
	}
	*a = Approver{w.Name, key, w.From}
	return nil
}
