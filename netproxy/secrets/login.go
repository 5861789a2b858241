package secrets

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"unicode/utf16"

	//lint:ignore SA1019 NTLM is made of it
	"golang.org/x/crypto/md4"

	"github.com/penstock/penstock/policy"
)

// Login is what one upstream proxy asks for. It is sent to that proxy and stands
// in nothing else.
type Login struct {
	Upstream string
	User     string
	Password Value
	Auth     string // "" or as in a policy; with Negotiate Password is a credential cache, as kinit writes it
}

// Logins are the credentials for the upstream proxies of a session. They are
// immutable and safe for concurrent use; nil has none.
type Logins struct {
	list []Login
	set  *Set // finds the passwords in what comes back
}

// loginName is how a login is named in errors and in redacted text.
func loginName(upstream string) string { return "password of upstream " + upstream }

// NewLogins checks the logins.
func NewLogins(list []Login) (*Logins, error) {
	if len(list) == 0 {
		return nil, nil
	}
	l := &Logins{list: list}
	var values []Secret
	for _, c := range list {
		if c.Auth == policy.Negotiate {
			continue
		}
		if strings.ContainsAny(c.User, ":\r\n\x00") {
			return nil, fmt.Errorf("use %s: the user's name has a colon or a control character", loginName(c.Upstream))
		}
		// The header and the host are those of a Set's rules; nothing is swapped.
		values = append(values, Secret{Name: loginName(c.Upstream), Hosts: []string{"proxy.invalid"}, Header: "Proxy-Authorization", Value: c.Password})
	}
	var err error
	l.set, err = New(values)
	return l, err
}

// ResolveLogins reads the credentials of a policy's upstreams. Here a missing one
// is an error: nothing could be reached by that proxy.
func ResolveLogins(declared []policy.Upstream, from Source) (*Logins, error) {
	var list []Login
	for i := range declared {
		u := &declared[i]
		if !u.LogsIn() {
			continue
		}
		if u.Auth == policy.Negotiate {
			file := CacheFile(u, from.Lookup)
			if file == "" {
				return nil, &NoLoginError{Upstream: u.Name, At: u.From.Ref(), Where: u.Origin.Words(), Cache: true}
			}
			raw, err := from.Read(file)
			if err != nil {
				return nil, fmt.Errorf("use upstream %s (%s): %w", u.Name, u.From.Ref(), err)
			}
			list = append(list, Login{Upstream: u.Name, Password: NewValue(string(raw)), Auth: u.Auth})
			clear(raw)
			continue
		}
		v, err := from.value(&u.Origin)
		if err != nil {
			return nil, fmt.Errorf("use upstream %s (%s): %w", u.Name, u.From.Ref(), err)
		}
		if v == "" {
			return nil, &NoLoginError{Upstream: u.Name, At: u.From.Ref(), Where: u.Origin.Words()}
		}
		c := Login{Upstream: u.Name, User: u.User, Auth: u.Auth}
		if c.User == "" {
			user, password, ok := strings.Cut(v, ":")
			if !ok || password == "" {
				return nil, &NoLoginError{Upstream: u.Name, At: u.From.Ref(), Where: u.Origin.Words(), Form: true}
			}
			c.User, v = user, password
		}
		c.Password = NewValue(v)
		list = append(list, c)
	}
	return NewLogins(list)
}

// NoLoginError says that an upstream's credentials are not where the policy says.
type NoLoginError struct {
	Upstream, At string
	Where        string // see policy.Origin.Words
	Form         bool   // there is something, and it is not user:password
	Cache        bool   // what is missing is a Kerberos credential cache
}

func (e *NoLoginError) Error() string {
	what := "is empty or not set"
	if e.Cache {
		what = "names no file"
	} else if e.Form {
		what = "does not hold user:password"
	}
	return fmt.Sprintf("use upstream %s (%s): %s %s", e.Upstream, e.At, e.Where, what)
}

// Hint says what to do.
func (e *NoLoginError) Hint() string {
	if e.Cache {
		return "kinit -c FILE:PATH makes a credential cache in a file, and from: file:PATH names it"
	}
	if e.Form {
		return "write user:password there, or name the user in the policy (user: NAME)"
	}
	return "put the proxy's user:password there, or remove from: of the upstream"
}

// Of returns the login for an upstream, nil if it has none.
func (l *Logins) Of(upstream string) *Login {
	if l == nil {
		return nil
	}
	for i := range l.list {
		if l.list[i].Upstream == upstream {
			return &l.list[i]
		}
	}
	return nil
}

// Basic returns the value of Proxy-Authorization (RFC 7617). It goes to the
// proxy and nowhere else.
func (c *Login) Basic() string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(c.User+":"+c.Password.reveal()))
}

// SOCKS returns the request of RFC 1929, or an error if it can't hold the login.
func (c *Login) SOCKS() ([]byte, error) {
	p := c.Password.reveal()
	if c.User == "" || len(c.User) > 255 || p == "" || len(p) > 255 {
		return nil, fmt.Errorf("use %s: SOCKS5 takes a user and a password of 1 to 255 bytes", loginName(c.Upstream))
	}
	b := append([]byte{1, byte(len(c.User))}, c.User...)
	return append(append(b, byte(len(p))), p...), nil
}

// Redact replaces every password in a text that a person or a log will see.
func (l *Logins) Redact(text string) string {
	if l == nil {
		return text
	}
	return l.set.Redact(text)
}

// Response is Set.Response for the answer of a proxy to a request that was sent
// with its login: whoever sends it back does so to the pen.
func (l *Logins) Response(upstream, sent string, h http.Header, body io.ReadCloser) (io.ReadCloser, error) {
	if l == nil {
		return body, nil
	}
	token := ""
	switch l.Of(upstream).Auth {
	case policy.Negotiate:
		// Of this request only.
		_, token, _ = strings.Cut(sent, " ")
		token = token[:min(len(token), maxValue)]
	case policy.NTLM:
		// The password is in none, but can be guessed from any that comes back.
		token = ntlmToken
	}
	if token != "" {
		one, err := New([]Secret{{Name: loginName(upstream), Hosts: []string{"proxy.invalid"}, Header: "Proxy-Authorization", Value: NewValue(token)}})
		if err != nil {
			return nil, err
		}
		return one.Response(h, body, []Swapped{{Secret: loginName(upstream)}})
	}
	return l.set.Response(h, body, []Swapped{{Secret: loginName(upstream)}})
}

// ntlmToken is how each AUTHENTICATE_MESSAGE of NTLM begins, in base64.
const ntlmToken = "TlRMTVNTUAADAAAA"

// Format prints a fixed text for every verb.
func (*Logins) Format(f fmt.State, _ rune) { io.WriteString(f, redacted) }

// LoginDonation is Donation for Logins.
type LoginDonation struct{ list []Login }

// Donate returns what the proxy role needs to make equal Logins.
func (l *Logins) Donate() *LoginDonation {
	if l == nil {
		return nil
	}
	return &LoginDonation{l.list}
}

// Logins returns what was donated.
func (d *LoginDonation) Logins() (*Logins, error) {
	if d == nil {
		return nil, nil
	}
	return NewLogins(d.list)
}

type donatedLogin struct {
	Upstream string `json:"upstream"`
	User     string `json:"user"`
	Value    []byte `json:"value"` // not always text
	Auth     string `json:"auth,omitempty"`
}

// MarshalJSON encodes the values.
func (d *LoginDonation) MarshalJSON() ([]byte, error) {
	out := make([]donatedLogin, len(d.list))
	for i, c := range d.list {
		out[i] = donatedLogin{c.Upstream, c.User, []byte(c.Password.reveal()), c.Auth}
	}
	return json.Marshal(out)
}

// UnmarshalJSON is the reverse of MarshalJSON.
func (d *LoginDonation) UnmarshalJSON(doc []byte) error {
	var in []donatedLogin
	if err := json.Unmarshal(doc, &in); err != nil {
		// The decoder's message could quote the document.
		return fmt.Errorf("read donated logins: malformed document")
	}
	d.list = nil
	for _, c := range in {
		d.list = append(d.list, Login{c.Upstream, c.User, NewValue(string(c.Value)), c.Auth})
	}
	return nil
}

// Format prints a fixed text for every verb.
func (*LoginDonation) Format(f fmt.State, _ rune) { io.WriteString(f, redacted) }

// Cache returns the Kerberos credential cache of a login that has one, nil
// otherwise. Its bytes are keys: they are parsed, and sent nowhere.
func (c *Login) Cache() []byte {
	if c.Auth != policy.Negotiate {
		return nil
	}
	return []byte(c.Password.reveal())
}

// NTHash returns the hash of the password that NTLM makes its responses of
// ([MS-NLMP] section 3.3.2). It is as good as the password: it is sent nowhere.
func (c *Login) NTHash() (hash [16]byte) {
	h := md4.New()
	for _, u := range utf16.Encode([]rune(c.Password.reveal())) {
		h.Write([]byte{byte(u), byte(u >> 8)}) //nolint:errcheck // a hash does not fail
	}
	h.Sum(hash[:0])
	return hash
}

// cacheFile is where a variable such as KRB5CCNAME says that the cache is.
func cacheFile(v string) (string, bool) {
	if path, ok := strings.CutPrefix(v, "FILE:"); ok {
		return path, filepath.IsAbs(path)
	}
	return v, filepath.IsAbs(v)
}

// CacheFile returns the file of an upstream's Kerberos credential cache, "" if it
// has none. Something else in the variable than a file is no file.
func CacheFile(u *policy.Upstream, lookup func(string) (string, bool)) string {
	if u.Auth != policy.Negotiate {
		return ""
	}
	if u.File != "" {
		return u.File
	}
	v, _ := lookup(u.Env)
	file, ok := cacheFile(v)
	if !ok {
		return ""
	}
	return file
}
