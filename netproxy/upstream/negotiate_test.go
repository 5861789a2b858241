package upstream

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jcmturner/gokrb5/v8/config"
	"github.com/jcmturner/gokrb5/v8/iana/nametype"
	"github.com/jcmturner/gokrb5/v8/messages"
	"github.com/jcmturner/gokrb5/v8/types"

	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/policy"
)

// granted is a negotiator with a ticket-granting ticket, for what a KDC answers.
func granted(t *testing.T, answer func(c net.Conn)) *negotiator {
	t.Helper()
	name := types.NewPrincipalName(nametype.KRB_NT_PRINCIPAL, "agent")
	// Of the right form; no KDC here looks into it.
	tkt := messages.Ticket{TktVNO: 5, Realm: "CORP.EXAMPLE", SName: types.NewPrincipalName(nametype.KRB_NT_SRV_INST, "krbtgt/CORP.EXAMPLE"),
		EncPart: types.EncryptedData{EType: 18, Cipher: make([]byte, 64)}}
	at := serve(t, func(c net.Conn) {
		var size [4]byte
		if _, err := io.ReadFull(c, size[:]); err == nil {
			io.CopyN(io.Discard, c, int64(binary.BigEndian.Uint32(size[:])))
			answer(c)
		}
	})
	return &negotiator{
		service: types.NewPrincipalName(nametype.KRB_NT_SRV_HST, "HTTP/proxy.example"), client: name, realm: "CORP.EXAMPLE",
		tgt:  ticket{tkt, types.EncryptionKey{KeyType: 18, KeyValue: make([]byte, 32)}, time.Now().Add(time.Hour)},
		kdcs: []policy.Proxy{{Target: hooks.Target{Host: "kdc.example", Port: 88}}},
		dial: func(ctx context.Context, _ policy.Proxy) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "tcp", at)
		},
	}
}

// framed sends a message in the form of a KDC.
func framed(c net.Conn, b []byte) {
	c.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...))
}

// TestHostileKDC: whatever a KDC answers, there is no token but by a ticket for
// the proxy, and nothing of its text in the error.
func TestHostileKDC(t *testing.T) {
	refused := func(code int32) []byte {
		e := messages.NewKRBError(types.NewPrincipalName(2, "HTTP/proxy.example"), "CORP.EXAMPLE", code, "\x1b[2JSECRETTEXT")
		b, err := e.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for name, tc := range map[string]struct {
		answer func(net.Conn)
		want   string
	}{
		"nothing":   {func(net.Conn) {}, "KDC kdc.example:88: it closed the connection without an answer"},
		"empty":     {func(c net.Conn) { framed(c, nil) }, "longer than a ticket"},
		"endless":   {func(c net.Conn) { c.Write([]byte{0xff, 0xff, 0xff, 0xff}) }, "longer than a ticket"},
		"cut off":   {func(c net.Conn) { c.Write([]byte{0, 0, 1, 0, 1}) }, "without an answer"},
		"rubbish":   {func(c net.Conn) { framed(c, []byte("\x7e\x84\xff\xff\xff\xffSECRETTEXT")) }, "not one to what was asked"},
		"rubbish 2": {func(c net.Conn) { framed(c, []byte("\x6d\x03SECRETTEXT")) }, "not one to what was asked"},
		"unknown":   {func(c net.Conn) { framed(c, refused(7)) }, "the KDC does not know HTTP/proxy.example"},
		"expired":   {func(c net.Conn) { framed(c, refused(32)) }, "the ticket has expired"},
		"skew":      {func(c net.Conn) { framed(c, refused(37)) }, "clock and this machine's differ"},
		"refused":   {func(c net.Conn) { framed(c, refused(12)) }, "with error 12"},
	} {
		n := granted(t, tc.answer)
		v, err := n.token(t.Context())
		var k *KerberosError
		if v != "" || !errors.As(err, &k) || !strings.Contains(err.Error(), tc.want) || k.hint == "" {
			t.Errorf("%s: %q, %v", name, v, err)
		}
		if err != nil && (strings.Contains(err.Error(), "SECRETTEXT") || strings.ContainsAny(err.Error(), "\x1b\n")) {
			t.Errorf("%s: the error has what the KDC said: %q", name, err)
		}
	}
	n := granted(t, nil)
	n.tgt.end = time.Now().Add(-time.Second)
	if _, err := n.token(t.Context()); err == nil || !strings.Contains(err.Error(), "expired") {
		t.Errorf("an old ticket: %v", err)
	}
}

// TestTokens: each is another one, in the form of RFC 4178.
func TestTokens(t *testing.T) {
	n := granted(t, nil)
	n.held = n.tgt
	seen := map[string]bool{}
	for range 50 {
		v, err := n.token(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if seen[v] || !strings.HasPrefix(v, "Negotiate YI") {
			t.Fatalf("token %.40s, again: %v", v, seen[v])
		}
		seen[v] = true
	}
	if config.New().LibDefaults.NoAddresses != true {
		t.Error("requests would name the host's addresses")
	}
}

// TestCache reads what a real kinit has written, of which the tickets are of no use.
func TestCache(t *testing.T) {
	b, err := os.ReadFile("testdata/krb5cc")
	if err != nil {
		t.Fatal(err)
	}
	c, err := parseCache(b)
	if err != nil {
		t.Fatal(err)
	}
	if c.client.realm != "CORP.EXAMPLE" || c.client.name.PrincipalNameString() != "agent" || len(c.entries) == 0 {
		t.Fatalf("%+v", c)
	}
	granting := func(c *ccache) *ccEntry {
		for i := range c.entries { // the others are settings
			if c.entries[i].server.realm == "CORP.EXAMPLE" {
				return &c.entries[i]
			}
		}
		return nil
	}
	e := granting(c)
	if e == nil || e.server.name.PrincipalNameString() != "krbtgt/CORP.EXAMPLE" || len(e.key.KeyValue) != 32 || e.key.KeyType != 18 || len(e.ticket) == 0 || e.end.IsZero() {
		t.Errorf("%+v", e)
	}
	n := &negotiator{service: types.NewPrincipalName(nametype.KRB_NT_SRV_HST, "HTTP/p.example"), cache: b}
	if _, err := n.token(t.Context()); err == nil || !strings.Contains(err.Error(), "expired") {
		t.Errorf("an old cache: %v", err)
	}
	for i := range b {
		if c, err := parseCache(b[:i]); err == nil && granting(c) != nil && len(granting(c).ticket) != len(e.ticket) {
			t.Errorf("the first %d bytes are a cache with half a ticket", i)
		}
	}
}

// FuzzCache: a credential cache makes an error or a ticket, and no panic.
func FuzzCache(f *testing.F) {
	f.Add([]byte{5, 4, 0})
	f.Add([]byte("\x05\x03\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00\x01R\x00\x00\x00\x01a"))
	if b, err := os.ReadFile("testdata/krb5cc"); err != nil {
		f.Fatal(err)
	} else {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		n := &negotiator{service: types.NewPrincipalName(nametype.KRB_NT_SRV_HST, "HTTP/p.example"), cache: b}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if v, err := n.token(ctx); err == nil && !strings.HasPrefix(v, "Negotiate ") {
			t.Errorf("%q", v)
		}
	})
}
