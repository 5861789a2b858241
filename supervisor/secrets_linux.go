package supervisor

import (
	"crypto/sha256"
	"slices"

	"github.com/penstock/penstock/netproxy/secrets"
	"github.com/penstock/penstock/policy"
)

// maxSecret bounds a secret's file, in bytes.
const maxSecret = 64 << 10

// resolveSecrets reads the real values. A secret whose source is empty is left
// out, with a hint: its variable is not in the pen at all.
func (s *session) resolveSecrets() error {
	from := secrets.Source{
		Lookup: s.cfg.Host.Lookup,
		Read:   func(path string) ([]byte, error) { return readFile(path, maxSecret) },
	}
	if !s.cfg.EphemeralCA {
		// The same secret has the same placeholder as long as the authority lives:
		// agents ask again for each key that they have not seen.
		seed := sha256.Sum256(s.ca.Certificate)
		from.Seed = seed[:]
	}
	set, missing, err := secrets.Resolve(s.cfg.Policy.Secrets(), from)
	if err != nil {
		return err
	}
	s.secrets = set
	if s.logins, err = secrets.ResolveLogins(s.cfg.Policy.Upstreams(), from); err != nil {
		return err
	}
	for _, name := range missing {
		s.cfg.Hints = append(s.cfg.Hints, "secret "+name+" has no value here, so the pen has no such variable")
	}
	return nil
}

// holdsLogin tells whether a variable has an upstream proxy's credentials, which
// not even "*" passes.
func holdsLogin(p *policy.Policy, name string) bool {
	return slices.ContainsFunc(p.Upstreams(), func(u policy.Upstream) bool { return u.Env == name })
}
