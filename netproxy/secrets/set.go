package secrets

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/penstock/penstock/policy"
)

// Secret is one declared credential.
type Secret struct {
	Name  string   // of the variable in the pen
	Hosts []string // canonical names, or "*.suffix" for any depth below suffix
	// The one place in which the value may go out: a header, with what stands
	// before the value there, e.g. "Bearer " ("": any scheme, or Basic), or as the
	// password of User in Basic credentials; or a query parameter; or a field of a
	// JSON body, by its keys with dots between; or such a field of the first text
	// message that a client sends in a WebSocket.
	Header    string
	Prefix    string
	Basic     bool
	User      string
	Query     string
	JSON      string
	WebSocket string
	AWS       *AWS // with header Authorization: requests are signed with it
	// Value is what the secret is at first. Later Set.Replace says.
	Value Value
	// Late says that the value may come later, by Set.Replace.
	Late bool
	// Parts are values that never go out as they are and that the secret is made
	// with, by their names.
	Parts map[string]Value
	// Placeholder is what the pen gets; New fills it in when empty.
	Placeholder string

	held  *held // once it is in a Set
	parts map[string]*held
}

// minRedact is the least length of a value that is searched for in logs, in
// bytes. Shorter ones ("test", "dummy", for a model on the host) are no secrets,
// and would tear every text up.
const minRedact = 8

// maxValue bounds a value; servers refuse longer header lines.
const maxValue = 16 << 10

// Set is the secrets of a session. Only their values change. It is safe for
// concurrent use; the nil Set has no secrets.
type Set struct {
	secrets   []Secret // without values
	replacing *sync.Mutex
	cores     []string // cores[i] is the searched part of secrets[i].Placeholder
	scan      *scanner
}

// New checks the secrets and gives each one without a placeholder a new one.
func New(list []Secret) (*Set, error) {
	if len(list) == 0 {
		return nil, nil
	}
	s := &Set{secrets: slices.Clone(list), replacing: new(sync.Mutex)}
	seen := make(map[string]bool, len(list))
	for i := range s.secrets {
		c := &s.secrets[i]
		if c.Name == "" || seen[c.Name] {
			return nil, fmt.Errorf("use secret %q: the name is empty or declared twice", c.Name)
		}
		seen[c.Name] = true
		if err := checkValue(c.Value.reveal()); err != nil && !(c.Late && c.Value.reveal() == "") {
			return nil, fmt.Errorf("use secret %q: %w", c.Name, err)
		}
		if !c.onePlace() || len(c.Hosts) == 0 {
			return nil, fmt.Errorf("use secret %q: it names no header or other place, or several, or no host", c.Name)
		}
		c.Header = http.CanonicalHeaderKey(c.Header)
		if framing(c.Header) {
			return nil, fmt.Errorf("use secret %q: header %s belongs to the connection", c.Name, c.Header)
		}
		if a := c.AWS; a != nil && (c.Header != "Authorization" || c.Prefix != "" || c.Basic || c.Parts[policy.PartSecretKey].Empty()) {
			return nil, fmt.Errorf("use secret %q: AWS keys go into header Authorization, and are two", c.Name)
		}
		if c.Placeholder == "" {
			c.Placeholder = Placeholder(nil, c.Name, c.Value)
		}
		core := coreOf(c.Placeholder)
		if core == "" {
			return nil, fmt.Errorf("use secret %q: not a placeholder of this package", c.Name)
		}
		s.cores = append(s.cores, core)
	}
	s.scan = newScanner(s.cores)
	for i := range s.secrets {
		c := &s.secrets[i]
		c.held, c.parts = &held{}, map[string]*held{}
		if err := s.Replace(c.Name, c.Value); err != nil {
			return nil, err
		}
		for part, v := range c.Parts {
			c.parts[part] = &held{}
			if err := s.Replace(PartName(c.Name, part), v); err != nil {
				return nil, err
			}
		}
		c.Value, c.Parts = Value{}, nil
	}
	return s, nil
}

func checkValue(v string) error {
	switch {
	case v == "":
		return errors.New("the value is empty")
	case len(v) > maxValue:
		return fmt.Errorf("the value has %d bytes, more than %d", len(v), maxValue)
	}
	// RFC 9110, 5.5: what may stand in a field value. A line break would let
	// the value's author add headers of his own.
	for i := range len(v) {
		if c := v[i]; c < 0x20 || c == 0x7f {
			return fmt.Errorf("byte %d of the value is a control character (a line break at its end?)", i+1)
		}
	}
	if strings.TrimSpace(v) != v {
		return errors.New("the value begins or ends with a space")
	}
	if strings.Contains(v, marker) {
		return errors.New("the value is itself a placeholder: is this penstock running inside a pen?")
	}
	return nil
}

// framing reports whether a header steers the connection rather than the request.
func framing(header string) bool {
	switch header {
	case "Host", "Connection", "Content-Length", "Transfer-Encoding", "Te", "Trailer", "Upgrade", "Expect", "Keep-Alive", "Content-Encoding":
		return true
	}
	return false
}

// marker begins the random part of every placeholder. It has one spelling in
// every encoding that leaves letters and digits alone, so that one search for
// it finds all placeholders of all sessions.
const marker = "PENSTOCKph"

// coreLen is the length of marker and random part: 32 base-62 digits, 190 bits.
const coreLen = len(marker) + 32

const base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// Placeholder makes a value of the same kind as the real one: SDKs and tools
// look at the prefix to choose a scheme or to reject a wrong key early. The
// prefixes are public; nothing else of the value goes in, nor does its length.
//
// With a nil seed it is random. With a seed of at least 16 bytes that differ
// between users, such as the fingerprint of the user's authority, it is the same
// in every session of that user for the same name: some agents ask the user
// again, or lose their login, whenever the key that they see changes. The seed
// need not be secret, because the pen knows the placeholder anyway.
func Placeholder(seed []byte, name string, value Value) string {
	if len(seed) < 16 {
		seed = make([]byte, 32)
		rand.Read(seed) // never fails since Go 1.24
	}
	mac := hmac.New(sha256.New, seed)
	io.WriteString(mac, "penstock placeholder\x00"+name)
	n := new(big.Int).SetBytes(mac.Sum(nil))
	b := []byte(prefix(value.reveal()) + marker)
	d, base := new(big.Int), big.NewInt(int64(len(base62)))
	for range coreLen - len(marker) {
		n.DivMod(n, base, d)
		b = append(b, base62[d.Int64()])
	}
	return string(b)
}

// prefix returns the public prefix that says what kind of credential this is.
// Longer ones come first.
func prefix(value string) string {
	for _, p := range [...]string{
		"sk-ant-api03-", "sk-ant-admin01-", "sk-ant-oat01-", "sk-ant-", // Anthropic
		"sk-proj-", "sk-svcacct-", "sk-or-v1-", "sk-", // OpenAI, OpenRouter and many others
		"github_pat_", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", // GitHub
		"glpat-", "AIza", "xoxb-", "xoxp-", "npm_", "pypi-", "hf_", "gsk_", "xai-", "r8_", "lin_api_", "dop_v1_",
	} {
		if strings.HasPrefix(value, p) {
			return p
		}
	}
	return ""
}

// coreOf returns the searched part of a placeholder.
func coreOf(p string) string {
	i := strings.Index(p, marker)
	if i < 0 || len(p)-i != coreLen {
		return ""
	}
	return p[i:]
}

// Format prints a fixed text for every verb.
func (*Set) Format(f fmt.State, _ rune) { io.WriteString(f, redacted) }

// Environ returns the pen's variables, NAME=placeholder.
func (s *Set) Environ() []string {
	if s == nil {
		return nil
	}
	out := make([]string, len(s.secrets))
	for i, c := range s.secrets {
		if c.AWS != nil {
			out[i] = c.Name + policy.AWSAccessKey + "=" + c.Placeholder
			out = append(out, c.Name+policy.AWSSecretKey+"="+c.Placeholder)
			continue
		}
		out[i] = c.Name + "=" + c.Placeholder
	}
	return out
}

// Redact replaces every real value in a text that a person or a log will see.
func (s *Set) Redact(text string) string {
	if s == nil {
		return text
	}
	redact := func(name string, spellings ...string) {
		for _, v := range spellings {
			if len(v) >= minRedact && strings.Contains(text, v) {
				text = strings.ReplaceAll(text, v, "[redacted "+name+"]")
			}
		}
	}
	for i := range s.secrets {
		c := &s.secrets[i]
		for _, v := range c.held.all() {
			redact(c.Name, append(c.spellings(v), v.reveal())...)
		}
		for _, h := range c.parts {
			for _, v := range h.all() {
				redact(c.Name, v.reveal())
			}
		}
	}
	return text
}
