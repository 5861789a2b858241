package upstream

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/internal/text"
	"github.com/penstock/penstock/netproxy/dialguard"
	"github.com/penstock/penstock/policy"
)

// Error says which upstream did not do what was asked of it, and why.
type Error struct {
	Upstream  string
	Proxy     string       // URL
	Target    hooks.Target // zero: the proxy itself could not be reached
	Login     bool         // it was given credentials,
	Auth      string       // in this way of a policy; "" is a password
	Certified bool         // it was shown a certificate
	Err       error
	others    int // proxies that failed before this one
}

// Error returns one line, which quotes nothing that the proxy said.
func (e *Error) Error() string {
	s := "upstream " + e.Upstream + " (" + e.Proxy + ")"
	if e.answered() {
		s += " refused"
	} else {
		s += " failed"
	}
	if e.Target.Port != 0 {
		s += " for " + e.Target.String()
	}
	s += ": " + plain(e.Err)
	if e.others > 0 {
		s += fmt.Sprintf("; %d other proxies of it could not be reached", e.others)
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Timeout says whether it took too long.
func (e *Error) Timeout() bool {
	var ne net.Error
	return errors.As(e.Err, &ne) && ne.Timeout() || errors.Is(e.Err, os.ErrDeadlineExceeded)
}

func (e *Error) scheme() string {
	switch e.Auth {
	case policy.Negotiate:
		return "Negotiate"
	case policy.NTLM:
		return "NTLM"
	}
	return "Basic"
}

// Answered says whether the proxy works and said no: another one is not to be asked.
func (e *Error) Answered() bool { return e.answered() }

// answered says whether the proxy works and said no.
func (e *Error) answered() bool {
	var status *StatusError
	var socks SOCKSError
	return errors.As(e.Err, &status) || errors.As(e.Err, &socks) || slices.ContainsFunc([]error{
		errSOCKSMethod, errSOCKSLogin, errNTLMForm, errNTLMv1, errNTLMNone, errNTLMEnds, errNTLMRest,
	}, func(v error) bool { return errors.Is(e.Err, v) })
}

// Hint says what can be done about it.
func (e *Error) Hint() string {
	var status *StatusError
	var socks SOCKSError
	var guard *dialguard.RefusedError
	var tlsErr *tlsError
	var kerberos *KerberosError
	entry := "egress.upstreams." + e.Upstream
	switch {
	case errors.As(e.Err, &guard):
		return "addresses: [\"" + guard.Addr.String() + "\"] in " + entry + " would allow it"
	case errors.As(e.Err, &kerberos):
		return kerberos.hint
	case certificateAlert(e.Err) && e.Certified:
		return "the proxy did not accept the certificate: look at client_cert: in " + entry
	case certificateAlert(e.Err):
		return "the proxy wants a certificate: name it by client_cert: and client_key: in " + entry
	case errors.As(e.Err, &tlsErr):
		return "if the proxy's authority is your company's, name its certificate under ca: in the policy"
	case errors.Is(e.Err, errNTLMv1):
		return "who runs the proxy has to turn on NTLMv2: version 1 gives the password away"
	case errors.Is(e.Err, errNTLMNone):
		return "leave auth: and from: out of " + entry + ", or except: what the proxy lets through without a login"
	case errors.Is(e.Err, errNTLMRest):
		return "look at what from: in " + entry + " names, before the account is locked"
	case errors.Is(e.Err, errSOCKSLogin), errors.As(e.Err, &status) && status.Status == http.StatusProxyAuthRequired && e.Login:
		if status != nil && len(status.Schemes) > 0 && !slices.Contains(status.Schemes, e.scheme()) {
			return "the proxy takes " + strings.Join(status.Schemes, " or ") + ", and is given " + e.scheme() + ": see auth: in " + entry
		}
		return "the proxy did not accept the credentials: look at what from: in " + entry + " names"
	case errors.Is(e.Err, errSOCKSMethod) && e.Login:
		return "the proxy takes no user and password: remove from: in " + entry
	case errors.Is(e.Err, errSOCKSMethod), errors.As(e.Err, &status) && status.Status == http.StatusProxyAuthRequired:
		return "the proxy wants credentials: name where they are by from: in " + entry
	case errors.As(e.Err, &status) && status.Status >= 500, errors.As(e.Err, &socks) && socks != 2:
		return "the proxy resolves and connects: is the target known and open there?"
	case errors.As(e.Err, &status), errors.As(e.Err, &socks):
		return "who runs the proxy decides that; via: in a rule chooses another way"
	}
	return ""
}

// certificateAlert says whether a proxy did not like that there was no certificate, or
// which (RFC 8446 section 6.2). Many say no more than that the handshake failed.
func certificateAlert(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "remote error" && (strings.Contains(op.Err.Error(), "certificate") || strings.HasSuffix(op.Err.Error(), "handshake failure"))
}

// plain is an error's text without what a proxy could have put there.
func plain(err error) string {
	var kerberos *KerberosError
	if errors.As(err, &kerberos) {
		return kerberos.Error()
	}
	var shake *tlsError
	if errors.As(err, &shake) {
		return "TLS with the proxy: " + text.Escape(plain(shake.err)) // it may quote a certificate
	}
	var op *net.OpError
	if errors.As(err, &op) && op.Op != "dial" {
		if op.Timeout() {
			return "it did not answer in time"
		}
		return op.Err.Error()
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return "it did not answer in time"
	}
	return err.Error()
}

// StatusError is a proxy's own answer other than 2xx.
type StatusError struct {
	Status  int
	Schemes []string // of logins that it asks for, as far as they are known
	Word    string   // squid's ERR_…, "" if it has none
}

// Error returns the status in words.
func (e *StatusError) Error() string {
	s := "it answered " + strconv.Itoa(e.Status)
	if t := http.StatusText(e.Status); t != "" {
		s += " (" + t + ")"
	}
	if e.Word != "" {
		s += ", " + e.Word
	}
	if len(e.Schemes) > 0 {
		s += ", login by " + strings.Join(e.Schemes, " or ")
	}
	return s
}

// tlsError is a handshake with the proxy itself that failed.
type tlsError struct{ err error }

func (e *tlsError) Error() string { return "TLS with the proxy: " + e.err.Error() }
func (e *tlsError) Unwrap() error { return e.err }

var (
	errResting     = errors.New("it could not be reached a short while ago")
	errNoAnswer    = errors.New("it closed the connection without an answer")
	errBadAnswer   = errors.New("its answer is not that of a proxy of this kind")
	errSOCKSMethod = errors.New("it takes none of the ways to log in that are offered")
	errSOCKSLogin  = errors.New("it did not accept the user and password")
)
