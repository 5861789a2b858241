// Package approval is the signed token: what somebody who is not there has said
// beforehand about what a person would be asked.
//
// HAZARDS. A token is a bearer's: whoever has it could change it, use it for
// longer, more often, elsewhere or for something else, or make one. He would try
// another algorithm or none, a key of his own, a payload that two readers read in
// two ways, the same token twice, and a policy in the repository that trusts his
// key. So there is one form and one algorithm, named by what every token begins with
// and no part of what is decided by the token; the signature is checked, with the
// key that the policy has, before anything of the statement is read; the statement
// has one spelling only; and which keys count is no project's to say (package
// policy). A tool in the pen never sees a token. It would try to use one up for
// another request than it was meant for: so each answer is about one request, which
// the token's rule is about, and counted.
//
// A token widens nothing: it answers only what a policy has a person asked about.
package approval

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/penstock/penstock/policy"
)

// Bounds.
const (
	MaxTokens = 64       // of one session
	MaxToken  = 8 << 10  // bytes of one
	MaxFile   = 64 << 10 // bytes of all
	MaxFor    = 7 * 24 * time.Hour
	MaxUses   = 100_000
)

// form begins every token. It is part of what is signed.
const form = "penstock-approval.v1"

// Any as Statement.Audience is every session.
const Any = "*"

// Statement is what a token says.
type Statement struct {
	ID       string `json:"id"`     // 32 hexadecimal digits
	Answer   string `json:"answer"` // "allow" or "deny"
	Rule     string `json:"rule"`   // see policy.ParseSigned
	Audience string `json:"audience"`
	From     int64  `json:"from"`          // Unix time, in seconds
	Until    int64  `json:"until"`         // the first second in which it does not hold
	Max      uint32 `json:"max,omitempty"` // of allow: requests of one session that it answers
}

// Allow says what the answer is.
func (s *Statement) Allow() bool { return s.Answer == "allow" }

// check says what is wrong with a statement, and returns its rule.
func (s *Statement) check() (*policy.Signed, error) {
	id, err := hex.DecodeString(s.ID)
	switch {
	case err != nil || len(id) != 16 || hex.EncodeToString(id) != s.ID:
		return nil, errors.New("its id is not 32 hexadecimal digits")
	case s.Answer != "allow" && s.Answer != "deny":
		return nil, errors.New("it answers neither allow nor deny")
	case !ValidAudience(s.Audience):
		return nil, errors.New("its audience is no name")
	case s.From <= 0 || s.Until <= s.From:
		return nil, errors.New("it ends before it begins")
	case s.Until-s.From > int64(MaxFor/time.Second):
		return nil, fmt.Errorf("it holds for more than %s", MaxFor)
	case s.Allow() != (s.Max > 0) || s.Max > MaxUses:
		return nil, fmt.Errorf("an allow answers from 1 to %d requests, a deny all", MaxUses)
	}
	return policy.ParseSigned(s.Rule, !s.Allow())
}

// ValidAudience says whether s is Any or a name of a session or job.
func ValidAudience(s string) bool {
	return s == Any || s != "" && len(s) <= 200 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:@#+") == ""
}

// NewID returns an ID.
func NewID() string {
	b := make([]byte, 16)
	rand.Read(b) //nolint:errcheck // it never fails
	return hex.EncodeToString(b)
}

// KeyID is what a token calls its key by.
func KeyID(key ed25519.PublicKey) string {
	sum := sha256.Sum256(key)
	return hex.EncodeToString(sum[:8])
}

// Sign makes the token of a statement.
func Sign(key ed25519.PrivateKey, s *Statement) (string, error) {
	if _, err := s.check(); err != nil {
		return "", fmt.Errorf("sign approval: %w", err)
	}
	b, err := encode(s)
	if err != nil {
		return "", fmt.Errorf("sign approval: %w", err)
	}
	t := form + "." + KeyID(key.Public().(ed25519.PublicKey)) + "." + text(b)
	return t + "." + text(ed25519.Sign(key, []byte(t))), nil
}

// encode writes a statement in its one spelling.
func encode(s *Statement) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(s)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}

func text(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// bytesOf reads base64url in its one spelling.
func bytesOf(s string) ([]byte, bool) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	return b, err == nil && text(b) == s // not with line breaks, which the decoder skips
}

// Token is one that a key of the policy has signed.
type Token struct {
	Statement
	Approver policy.Approver
	rule     *policy.Signed
}

// Open checks a token. The error says nothing of its content but what a key that
// the policy trusts has signed.
func Open(token string, approvers []policy.Approver) (*Token, error) {
	if len(token) > MaxToken {
		return nil, fmt.Errorf("it has more than %d bytes", MaxToken)
	}
	rest, ok := strings.CutPrefix(token, form+".")
	part := strings.Split(rest, ".")
	if !ok || len(part) != 3 {
		return nil, errors.New("it is no token of this version: it does not begin with " + form + ", or has not three parts behind that")
	}
	id, payload, signature := part[0], part[1], part[2]
	var by *policy.Approver
	for i := range approvers {
		if KeyID(approvers[i].Key) == id {
			by = &approvers[i]
		}
	}
	if by == nil {
		if b, err := hex.DecodeString(id); err != nil || len(b) != 8 {
			return nil, errors.New("it names no key")
		}
		return nil, errors.New("its key " + id + " is not among egress.approvers of the policy")
	}
	sig, ok := bytesOf(signature)
	if !ok || len(sig) != ed25519.SignatureSize || !ed25519.Verify(by.Key, []byte(token[:len(token)-len(signature)-1]), sig) {
		return nil, errors.New("its signature is not by key " + by.Name + ": it was altered, or made with another key")
	}
	b, ok := bytesOf(payload)
	if !ok {
		return nil, errors.New("its statement is not base64url")
	}
	t := &Token{Approver: *by}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&t.Statement); err != nil {
		return nil, fmt.Errorf("read its statement: %w", err)
	}
	// Keys twice, in another case or order, spaces, and what follows are another
	// spelling.
	if again, err := encode(&t.Statement); err != nil || !bytes.Equal(again, b) {
		return nil, errors.New("its statement is not in the one spelling that a token has")
	}
	var err error
	if t.rule, err = t.check(); err != nil {
		return nil, err
	}
	return t, nil
}

// Fit says why a token is not for a session that begins now.
func (t *Token) Fit(audience string, now time.Time) error {
	switch {
	case now.Unix() < t.From:
		return errors.New("it holds only from " + stamp(t.From))
	case now.Unix() >= t.Until:
		return errors.New("it held until " + stamp(t.Until))
	case t.Audience != Any && t.Audience != audience && audience == "":
		return errors.New("it is for audience " + t.Audience + ", and this session has none")
	case t.Audience != Any && t.Audience != audience:
		return errors.New("it is for audience " + t.Audience + ", not " + audience)
	}
	return nil
}

func stamp(s int64) string { return time.Unix(s, 0).UTC().Format(time.RFC3339) }

// By is what a record says of who answered.
func (t *Token) By() string {
	return "token " + t.ID + " of " + t.Approver.Name + " (key " + KeyID(t.Approver.Key) + ")"
}

// RuleText is the token's rule, on one line of YAML.
func (t *Token) RuleText() string { return t.rule.Text() }

// holds says whether the token holds at a time.
func (t *Token) holds(now time.Time) bool { return t.From <= now.Unix() && now.Unix() < t.Until }

// Executable is the path that the token names a process by, "" for none.
func (t *Token) Executable() string { return t.rule.Executable() }

// Lines reads the tokens of a file: one on a line; empty lines and such that begin
// with # are none.
func Lines(b []byte) ([]string, error) {
	if len(b) > MaxFile {
		return nil, fmt.Errorf("there are more than %d bytes", MaxFile)
	}
	var out []string
	for line := range strings.Lines(string(b)) {
		if line = strings.Trim(line, " \t\r\n"); line != "" && line[0] != '#' {
			out = append(out, line)
		}
	}
	if len(out) == 0 {
		return nil, errors.New("there is no token")
	}
	if len(out) > MaxTokens {
		return nil, fmt.Errorf("there are more than %d tokens", MaxTokens)
	}
	return out, nil
}
