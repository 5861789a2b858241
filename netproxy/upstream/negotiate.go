package upstream

import (
	"context"
	"encoding/asn1"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/jcmturner/gokrb5/v8/config"
	"github.com/jcmturner/gokrb5/v8/messages"
	"github.com/jcmturner/gokrb5/v8/types"

	"github.com/penstock/penstock/policy"
)

const (
	kdcTimeout = 15 * time.Second
	// maxKDC bounds a KDC's answer, in bytes: tickets of Active Directory hold
	// the user's groups, up to 64 KiB.
	maxKDC = 256 << 10
)

// negotiator makes tokens for SPNEGO (RFC 4178) with Kerberos 5 (RFC 4121), from
// the ticket-granting ticket of a credential cache. It is safe for concurrent use.
type negotiator struct {
	service types.PrincipalName
	kdcs    []policy.Proxy
	dial    func(ctx context.Context, p policy.Proxy) (net.Conn, error)

	mu     sync.Mutex
	cache  []byte // as kinit writes it; read at the first use
	client types.PrincipalName
	realm  string
	tgt    ticket
	held   ticket // for the service
}

type ticket struct {
	ticket messages.Ticket
	key    types.EncryptionKey
	end    time.Time
}

// KerberosError says why there is no token. Its text has nothing of a KDC's.
type KerberosError struct {
	what string
	hint string
	err  error // cause that is ours, or the system's
}

func (e *KerberosError) Error() string {
	if e.err != nil {
		return e.what + ": " + plain(e.err)
	}
	return e.what
}

// Unwrap returns the cause.
func (e *KerberosError) Unwrap() error { return e.err }

// token returns the value of Proxy-Authorization. Each has an authenticator of
// its own: a proxy takes none twice.
func (n *negotiator) token(ctx context.Context) (value string, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	defer func() {
		// The library's parsers index some of what they are given without a look.
		if recover() != nil {
			value, err = "", &KerberosError{what: "a Kerberos message or cache is malformed", hint: "kinit makes the cache anew"}
		}
	}()
	now := time.Now()
	if n.tgt.key.KeyValue == nil {
		if err := n.open(now); err != nil {
			return "", err
		}
	}
	if now.Add(time.Minute).After(n.held.end) {
		if err := n.ask(ctx, now); err != nil {
			return "", err
		}
	}
	auth, err := types.NewAuthenticator(n.realm, n.client)
	if err != nil {
		return "", &KerberosError{what: "make an authenticator", err: err}
	}
	// RFC 4121 section 4.1.1: no channel bindings, no flags.
	auth.Cksum = types.Checksum{CksumType: 0x8003, Checksum: append([]byte{16, 0, 0, 0}, make([]byte, 20)...)}
	req, err := messages.NewAPReq(n.held.ticket, n.held.key, auth)
	if err != nil {
		return "", &KerberosError{what: "make a Kerberos request", err: errors.New("the ticket's encryption is not known here")}
	}
	b, err := req.Marshal()
	if err != nil {
		return "", &KerberosError{what: "make a Kerberos request", err: err}
	}
	if b, err = spnego(b); err != nil {
		return "", &KerberosError{what: "make a token", err: err}
	}
	return "Negotiate " + base64.StdEncoding.EncodeToString(b), nil
}

// open reads the cache: the ticket-granting ticket, and the service's if it has
// one that lasts.
func (n *negotiator) open(now time.Time) error {
	c, err := parseCache(n.cache)
	if err != nil {
		return &KerberosError{what: "the file is no Kerberos credential cache", hint: "name the file of kinit (klist shows it), of type FILE:"}
	}
	n.client, n.realm = c.client.name, c.client.realm
	expired := false
	for _, e := range c.entries {
		s := e.server.name.NameString
		granting := slices.Equal(s, []string{"krbtgt", n.realm}) && e.server.realm == n.realm
		if !granting && !slices.Equal(s, n.service.NameString) {
			continue
		}
		if now.After(e.end) {
			expired = expired || granting
			continue
		}
		t := ticket{key: e.key, end: e.end}
		if err := t.ticket.Unmarshal(e.ticket); err != nil {
			return &KerberosError{what: "a ticket of the cache is malformed", hint: "kinit makes the cache anew"}
		}
		if granting {
			n.tgt = t
		} else {
			n.held = t
		}
	}
	switch {
	case n.tgt.key.KeyValue != nil:
		return nil
	case expired:
		return &KerberosError{what: "the ticket has expired", hint: "kinit, and begin the session anew: the cache is read when it begins"}
	}
	return &KerberosError{what: "the cache has no ticket of realm " + fmt.Sprintf("%.60q", n.realm), hint: "kinit, and begin the session anew"}
}

// ask gets the service's ticket (RFC 4120 section 3.3).
func (n *negotiator) ask(ctx context.Context, now time.Time) error {
	if now.After(n.tgt.end) {
		return &KerberosError{what: "the ticket has expired", hint: "kinit, and begin the session anew: the cache is read when it begins"}
	}
	cfg := config.New()
	req, err := messages.NewTGSReq(n.client, n.realm, cfg, n.tgt.ticket, n.tgt.key, n.service, false)
	if err != nil {
		return &KerberosError{what: "make a request for a ticket", err: errors.New("the ticket's encryption is not known here")}
	}
	b, err := req.Marshal()
	if err != nil {
		return &KerberosError{what: "make a request for a ticket", err: err}
	}
	answer, err := n.exchange(ctx, b)
	if err != nil {
		return err
	}
	name := n.service.PrincipalNameString()
	var refused messages.KRBError
	if len(answer) > 0 && answer[0] == 0x7e { // [APPLICATION 30], KRB-ERROR
		if err := refused.Unmarshal(answer); err != nil {
			return errKDC
		}
		return refusal(name, refused.ErrorCode)
	}
	var rep messages.TGSRep
	if rep.Unmarshal(answer) != nil || rep.DecryptEncPart(n.tgt.key) != nil {
		return errKDC
	}
	if ok, err := rep.Verify(cfg, req); err != nil || !ok {
		return errKDC
	}
	if !slices.Equal(rep.Ticket.SName.NameString, n.service.NameString) {
		return errKDC // a referral, which nobody follows
	}
	n.held = ticket{rep.Ticket, rep.DecryptedEncPart.Key, rep.DecryptedEncPart.EndTime}
	return nil
}

// errKDC has nothing of what the KDC said.
var errKDC = &KerberosError{what: "the KDC's answer is not one to what was asked", hint: "is kdc: that of the ticket's realm, and this machine's clock right?"}

func refusal(name string, code int32) error {
	switch code {
	case 7:
		return &KerberosError{what: "the KDC does not know " + name, hint: "the proxy's URL must have the name under which it is in Kerberos"}
	case 32:
		return &KerberosError{what: "the KDC says that the ticket has expired", hint: "kinit, and begin the session anew"}
	case 37:
		return &KerberosError{what: "the KDC's clock and this machine's differ", hint: "set the clock"}
	}
	return &KerberosError{what: fmt.Sprintf("the KDC refused a ticket for %s with error %d", name, code), hint: "RFC 4120 section 7.5.9 says what the number means"}
}

// exchange sends a request to the KDCs in turn, by TCP (RFC 4120 section 7.2.2).
func (n *negotiator) exchange(ctx context.Context, b []byte) ([]byte, error) {
	var last error
	for _, k := range n.kdcs {
		answer, err := n.once(ctx, k, b)
		if err == nil {
			return answer, nil
		}
		last = &KerberosError{what: "KDC " + k.Target.String(), err: err, hint: "kdc: in the upstream's entry names HOST:PORT of the realm's KDCs"}
		if ctx.Err() != nil {
			break
		}
	}
	return nil, last
}

func (n *negotiator) once(ctx context.Context, k policy.Proxy, b []byte) ([]byte, error) {
	c, err := n.dial(ctx, k)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	defer within(ctx, c, kdcTimeout)()
	if _, err := c.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...)); err != nil {
		return nil, err
	}
	var size [4]byte
	if err := read(c, size[:]); err != nil {
		return nil, err
	}
	m := binary.BigEndian.Uint32(size[:])
	if m == 0 || m > maxKDC {
		return nil, errors.New("its answer is longer than a ticket")
	}
	answer, err := io.ReadAll(io.LimitReader(c, int64(m)))
	if err == nil && len(answer) < int(m) {
		err = errNoAnswer
	}
	return answer, err
}

// spnego wraps an AP-REQ in a GSS-API token (RFC 2743 section 3.1) and that in a
// NegTokenInit (RFC 4178 section 4.2.1).
func spnego(apReq []byte) ([]byte, error) {
	kerberos, err := asn1.Marshal(asn1.ObjectIdentifier{1, 2, 840, 113554, 1, 2, 2})
	if err != nil {
		return nil, err
	}
	inner := slices.Concat(kerberos, []byte{1, 0}, apReq)
	if inner, err = asn1.Marshal(asn1.RawValue{Class: asn1.ClassApplication, Tag: 0, IsCompound: true, Bytes: inner}); err != nil {
		return nil, err
	}
	init, err := asn1.MarshalWithParams(struct {
		MechTypes []asn1.ObjectIdentifier `asn1:"explicit,tag:0"`
		MechToken []byte                  `asn1:"explicit,tag:2"`
	}{[]asn1.ObjectIdentifier{{1, 2, 840, 113554, 1, 2, 2}}, inner}, "explicit,tag:0")
	if err != nil {
		return nil, err
	}
	mech, err := asn1.Marshal(asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 2})
	if err != nil {
		return nil, err
	}
	return asn1.Marshal(asn1.RawValue{Class: asn1.ClassApplication, Tag: 0, IsCompound: true, Bytes: slices.Concat(mech, init)})
}
