package policy

import (
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// AWS says that a secret is a pair of AWS keys: requests that the tool has signed with
// placeholders of them are signed anew, for these services and regions.
type AWS struct {
	AccessKey    Origin   `json:"access_key"`
	SecretKey    Origin   `json:"secret_key"`
	SessionToken *Origin  `json:"session_token,omitempty"`
	Services     []string `json:"services"`
	Regions      []string `json:"regions"`
}

// Names of a pair's parts beside the id of the access key, which is the value.
const (
	PartSecretKey    = "secret_key"
	PartSessionToken = "session_token"
)

// What stands after the secret's name in the pen's variables of a pair.
const (
	AWSAccessKey = "_ACCESS_KEY_ID"
	AWSSecretKey = "_SECRET_ACCESS_KEY"
)

// Variables returns the names of the pen's variables.
func (s *Secret) Variables() []string {
	if s.AWS != nil {
		return []string{s.Name + AWSAccessKey, s.Name + AWSSecretKey}
	}
	return []string{s.Name}
}

// Optional says whether the secret can do without the part of that name.
func (s *Secret) Optional(name string) bool {
	return s.AWS != nil && name == s.Name+"."+PartSessionToken
}

func (p *parser) aws(s *Secret, n *yaml.Node) {
	a := &AWS{}
	words := func(to *[]string, key string) func(*yaml.Node) {
		return func(n *yaml.Node) {
			p.texts(n, key, func(c *yaml.Node, v string) {
				if !validScope(v) {
					p.fail(c, "as it stands in a signature, for example s3 or eu-central-1", "%s is not in small letters, digits and -", quote(v))
				}
				*to = append(*to, v)
			})
			if n.Kind == yaml.SequenceNode && len(n.Content) == 0 {
				p.fail(n, "name what the keys are needed for", "%s is empty: nothing could be signed", key)
			}
		}
	}
	seen := p.fields(n, "aws", []field{
		{"access_key", func(n *yaml.Node) { a.AccessKey = p.origin(n, "access_key", forSecret) }},
		{"secret_key", func(n *yaml.Node) { a.SecretKey = p.origin(n, "secret_key", forSecret) }},
		{"session_token", func(n *yaml.Node) { o := p.origin(n, "session_token", forSecret); a.SessionToken = &o }},
		{"services", words(&a.Services, "services")},
		{"regions", words(&a.Regions, "regions")},
	})
	for _, key := range []string{"access_key", "secret_key", "services", "regions"} {
		if seen != nil && seen[key] == nil {
			p.fail(n, `for example {access_key: "env:AWS_ACCESS_KEY_ID", secret_key: "env:AWS_SECRET_ACCESS_KEY", services: [s3], regions: [eu-central-1]}`, "aws has no %s", key)
			break
		}
	}
	s.AWS, s.Header = a, "Authorization"
}

func validScope(s string) bool {
	return s != "" && len(s) <= 64 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}

func (a *AWS) text() string {
	list := func(words []string) string {
		q := make([]string, len(words))
		for i, w := range words {
			q[i] = quoteYAML(w)
		}
		return "[" + strings.Join(q, ", ") + "]"
	}
	t := "{access_key: " + a.AccessKey.text() + ", secret_key: " + a.SecretKey.text()
	if a.SessionToken != nil {
		t += ", session_token: " + a.SessionToken.text()
	}
	return t + ", services: " + list(a.Services) + ", regions: " + list(a.Regions) + "}"
}

// valid says whether it is as the parser makes it for a file of that layer.
func (a *AWS) valid(l Layer) bool {
	bad := func(w string) bool { return !validScope(w) }
	return a.AccessKey.valid(l) && a.SecretKey.valid(l) && (a.SessionToken == nil || a.SessionToken.valid(l)) && len(a.Services) > 0 && len(a.Regions) > 0 &&
		!slices.ContainsFunc(a.Services, bad) && !slices.ContainsFunc(a.Regions, bad)
}
