package upstream

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/penstock/penstock/netproxy/secrets"
	"github.com/penstock/penstock/policy"
)

const ntlmKeys = `, user: 'CORP\agent', from: "env:X", auth: ntlm`

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestNTLMVectors: the values of [MS-NLMP] section 4.2.4, "NTLMv2 Authentication".
func TestNTLMVectors(t *testing.T) {
	login := &secrets.Login{Password: secrets.NewValue("Password"), Auth: policy.NTLM}
	l := &ntlmLogin{domain: "Domain", user: "User", hash: login.NTHash()}
	if want := unhex(t, "a4f49c406510bdcab6824ee7c30fd852"); !bytes.Equal(l.hash[:], want) {
		t.Errorf("NTOWFv1: %x", l.hash)
	}
	if want := unhex(t, "0c868a403bfd7a93a3001ef22ef02e3f"); !bytes.Equal(l.key(), want) {
		t.Errorf("NTOWFv2: %x", l.key())
	}
	nonce, client := unhex(t, "0123456789abcdef"), unhex(t, "aaaaaaaaaaaaaaaa")
	info := unhex(t, "02000c0044006f006d00610069006e00 01000c00530065007200760065007200 00000000")
	response, session := l.proof(nonce, client, make([]byte, 8), info)
	if want := unhex(t, "68cd0ab851e51c96aabc927bebef6a1c"); !bytes.Equal(response[:16], want) {
		t.Errorf("NTProofStr: %x", response[:16])
	}
	if want := append([]byte{1, 1}, make([]byte, 14)...); !bytes.HasPrefix(response[16:], want) || !bytes.HasSuffix(response, append(info, 0, 0, 0, 0)) {
		t.Errorf("temp: %x", response[16:])
	}
	if want := unhex(t, "8de40ccadbc14a82f15cb0ad0de95ca3"); !bytes.Equal(session, want) {
		t.Errorf("SessionBaseKey: %x", session)
	}
	if got := hmacMD5(l.key(), nonce, client); !bytes.Equal(got, unhex(t, "86c35097ac9cec102554764a57cccc19")) {
		t.Errorf("LMv2: %x", got)
	}
}

// challengeOf is a CHALLENGE_MESSAGE with these flags and pairs.
func challengeOf(flags uint32, info string) []byte {
	b := append([]byte(ntlmSignature), 2, 0, 0, 0)
	b = append(b, make([]byte, 8)...) // no name
	b = binary.LittleEndian.AppendUint32(b, flags)
	b = append(b, "noncenonce"[:8]...)
	b = append(b, make([]byte, 8)...)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(info)))
	b = binary.LittleEndian.AppendUint16(b, uint16(len(info)))
	b = binary.LittleEndian.AppendUint32(b, 48)
	return append(b, info...)
}

const (
	goodFlags = ntlmUnicode | ntlmNTLM | ntlmExtended | ntlmTargetInfo
	goodInfo  = "\x02\x00\x04\x00D\x00M\x00" + "\x07\x00\x08\x0001234567" + "\x00\x00\x00\x00"
	noTime    = "\x02\x00\x04\x00D\x00M\x00" + "\x00\x00\x00\x00"
)

// TestNTLMChallenge: what is no challenge, and what is one of version 1.
func TestNTLMChallenge(t *testing.T) {
	good := challengeOf(goodFlags, goodInfo)
	if c, err := parseChallenge(good); err != nil || string(c.timestamp) != "01234567" || string(c.nonce[:]) != "noncenon" {
		t.Errorf("%+v, %v", c, err)
	}
	pair := func(id byte, v string) string {
		return string([]byte{id, 0, byte(len(v)), byte(len(v) >> 8)}) + v
	}
	for name, tc := range map[string]struct {
		b    []byte
		want error
	}{
		"empty":                   {nil, errNTLMForm},
		"signature":               {append([]byte("NTLMSSQ\x00"), good[8:]...), errNTLMForm},
		"another message":         {append([]byte(ntlmSignature+"\x03"), good[9:]...), errNTLMForm},
		"huge":                    {append(good, make([]byte, maxChallenge)...), errNTLMForm},
		"OEM":                     {challengeOf(goodFlags&^ntlmUnicode|2, goodInfo), errNTLMForm},
		"LM key":                  {challengeOf(goodFlags|ntlmLMKey, goodInfo), errNTLMv1},
		"no pairs":                {challengeOf(goodFlags&^ntlmTargetInfo, ""), errNTLMv1},
		"short, of version 1":     {challengeOf(goodFlags&^ntlmTargetInfo, "")[:32], errNTLMv1},
		"no NTLM":                 {challengeOf(goodFlags&^ntlmNTLM, goodInfo), errNTLMForm},
		"cut off":                 {good[:47], errNTLMForm},
		"no end":                  {challengeOf(goodFlags, pair(2, "DM")), errNTLMForm},
		"nothing but the end":     {challengeOf(goodFlags, pair(0, "")), errNTLMForm},
		"an end with a value":     {challengeOf(goodFlags, pair(2, "DM")+pair(0, "x")), errNTLMForm},
		"a pair that is too long": {challengeOf(goodFlags, "\x02\x00\xff\xffD\x00"), errNTLMForm},
		"a pair twice":            {challengeOf(goodFlags, pair(2, "DM")+pair(2, "DN")+pair(0, "")), errNTLMForm},
		"half a time":             {challengeOf(goodFlags, pair(7, "0123")+pair(0, "")), errNTLMForm},
	} {
		if c, err := parseChallenge(tc.b); c != nil || !errors.Is(err, tc.want) {
			t.Errorf("%s: %+v, %v", name, c, err)
		}
	}
	outside := bytes.Clone(good)
	binary.LittleEndian.PutUint32(outside[44:], 1<<31)
	if _, err := parseChallenge(outside); !errors.Is(err, errNTLMForm) {
		t.Errorf("pairs outside of the message: %v", err)
	}
	// What the client says of itself is not the server's to say.
	c, err := parseChallenge(challengeOf(goodFlags, pair(2, "DM")+pair(6, "\x01\x00\x00\x00")+pair(9, "evil")+pair(10, strings.Repeat("b", 16))+pair(0, "")))
	if err != nil || string(c.info) != pair(2, "DM") {
		t.Errorf("%+v, %v", c, err)
	}
}

// TestNTLMMessage: a response has no LM hash and nothing of version 1, and what a
// server sets does not change what is signed.
func TestNTLMMessage(t *testing.T) {
	l := &ntlmLogin{domain: "CORP", user: "agent", hash: [16]byte{1}}
	field := func(b []byte, at int) []byte {
		n, off := int(binary.LittleEndian.Uint16(b[at:])), int(binary.LittleEndian.Uint32(b[at+4:]))
		return b[off : off+n]
	}
	seen := map[string]bool{}
	for _, info := range []string{goodInfo, noTime} {
		for range 20 {
			c, err := parseChallenge(challengeOf(goodFlags|0x40000000|0x10|0x20, info)) // key exchange, sign, seal
			if err != nil {
				t.Fatal(err)
			}
			b := l.authenticate(ntlmNegotiate(), c, "HTTP/proxy.example", [16]byte{7}, time.Unix(1e9, 0))
			lm, nt := field(b, 12), field(b, 20)
			if seen[string(nt)] {
				t.Error("the same response twice")
			}
			seen[string(nt)] = true
			if len(nt) <= 24 || nt[16] != 1 || !bytes.Contains(nt, utf16le("HTTP/proxy.example")) || !bytes.Contains(nt, append([]byte{10, 0, 16, 0, 7}, make([]byte, 15)...)) {
				t.Errorf("response %q", nt)
			}
			if info == goodInfo && (len(bytes.Trim(lm, "\x00")) > 0 || bytes.Equal(b[ntlmMIC:ntlmHead], make([]byte, 16)) || !bytes.Contains(nt, []byte{6, 0, 4, 0, 2, 0, 0, 0})) {
				t.Errorf("with a time: LM %x, MIC %x", lm, b[ntlmMIC:ntlmHead])
			}
			if info == noTime && !bytes.Equal(lm[:16], hmacMD5(l.key(), c.nonce[:], lm[16:])) {
				t.Errorf("without a time: LMv2 %x", lm)
			}
			if string(field(b, 28)) != string(utf16le("CORP")) || string(field(b, 36)) != string(utf16le("agent")) || binary.LittleEndian.Uint32(b[60:])&(0x40000000|0x10|0x20) != 0 {
				t.Errorf("%q", b)
			}
		}
	}
}

// ntlmProxy answers requests in turn; "" closes the connection.
func ntlmProxy(t *testing.T, asked chan<- string, answers ...string) string {
	return serve(t, func(c net.Conn) {
		for i := 0; ; i++ {
			head := readUntil(c, "\r\n\r\n")
			if !strings.HasSuffix(head, "\r\n\r\n") {
				return
			}
			asked <- head
			answer := answers[min(i, len(answers)-1)]
			if answer == "" {
				return
			}
			io.WriteString(c, answer)
			if strings.HasPrefix(answer, "HTTP/1.1 200") && strings.HasPrefix(head, "CONNECT") {
				io.Copy(c, c)
				return
			}
		}
	})
}

func ntlm407(challenge []byte, more string) string {
	return "HTTP/1.1 407 No\r\nProxy-Authenticate: NTLM " + base64.StdEncoding.EncodeToString(challenge) + "\r\n" + more + "\r\n"
}

const length5 = "Content-Length: 5\r\n"

// TestNTLMConnect: the two requests are on one connection, and the second is the
// one with the response.
func TestNTLMConnect(t *testing.T) {
	asked := make(chan string, 10)
	at := ntlmProxy(t, asked, ntlm407(challengeOf(goodFlags, goodInfo), length5)+"hello", "HTTP/1.1 200 OK\r\n\r\n")
	u := newUpstreamWith(t, ntlmKeys, "http://"+at)
	u.cfg.Answer = time.Minute
	c, err := u.Tunnel(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	io.WriteString(c, "ping")
	if b := make([]byte, 4); readFull(c, b) != nil || string(b) != "ping" {
		t.Errorf("%q", b)
	}
	for _, kind := range []string{"TlRMTVNTUAABAAAA", "TlRMTVNTUAADAAAA"} {
		if head := <-asked; !strings.HasPrefix(head, "CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\nProxy-Authorization: NTLM "+kind) {
			t.Errorf("the proxy was asked %q", head)
		}
	}
}

func readFull(r io.Reader, b []byte) error {
	_, err := io.ReadFull(r, b)
	return err
}

// TestNTLMHostile: whatever a proxy answers, nobody waits for ever, nothing but
// NTLMv2 is sent, nothing of the proxy's text is in the error, and a login that
// was refused is not tried again and again.
func TestNTLMHostile(t *testing.T) {
	evil := "\x1b[31mSECRETTEXT"
	good := ntlm407(challengeOf(goodFlags, goodInfo), length5) + "hello"
	for name, tc := range map[string]struct {
		answers    []string
		want, hint string
		logins     int // responses that were sent
	}{
		"endless 407":     {[]string{good}, "it answered 407", "did not accept the credentials", 1},
		"no NTLM":         {[]string{"HTTP/1.1 407 x\r\nProxy-Authenticate: Basic realm=SECRETTEXT\r\n" + length5 + "\r\nhello"}, "login by Basic", "takes Basic, and is given NTLM", 0},
		"no token":        {[]string{"HTTP/1.1 407 x\r\nProxy-Authenticate: NTLM\r\n" + length5 + "\r\nhello"}, "challenge is malformed", "", 0},
		"two tokens":      {[]string{ntlm407(nil, "Proxy-Authenticate: NTLM TlRM\r\n"+length5) + "hello"}, "challenge is malformed", "", 0},
		"no base64":       {[]string{"HTTP/1.1 407 x\r\nProxy-Authenticate: NTLM " + evil + "\r\n" + length5 + "\r\nhello"}, "", "", 0},
		"rubbish":         {[]string{ntlm407([]byte(evil), length5) + "hello"}, "challenge is malformed", "", 0},
		"huge challenge":  {[]string{ntlm407(challengeOf(goodFlags, strings.Repeat("\x02\x00\x04\x00D\x00M\x00", 3000)), length5) + "hello"}, "challenge is malformed", "", 0},
		"version 1":       {[]string{ntlm407(challengeOf(ntlmUnicode|ntlmNTLM, ""), length5) + "hello"}, "NTLM of version 1, which is not given", "has to turn on NTLMv2", 0},
		"LM":              {[]string{ntlm407(challengeOf(goodFlags|ntlmLMKey, goodInfo), length5) + "hello"}, "NTLM of version 1", "", 0},
		"closes":          {[]string{ntlm407(challengeOf(goodFlags, goodInfo), "Connection: close\r\n")}, "closes the connection in the middle", "", 0},
		"no length":       {[]string{ntlm407(challengeOf(goodFlags, goodInfo), "")}, "closes the connection in the middle", "", 0},
		"one too many":    {[]string{good + "HTTP/1.1 200 OK\r\n\r\n"}, "its answer is not that of a proxy", "", 0},
		"endless body":    {[]string{ntlm407(challengeOf(goodFlags, goodInfo), "Content-Length: 900000\r\n") + strings.Repeat("x", 900000)}, "its answer is not that of a proxy", "", 0},
		"no login wanted": {[]string{"HTTP/1.1 200 OK\r\n\r\n"}, "does not ask for a login by NTLM", "leave auth:", 0},
		"forbidden":       {[]string{"HTTP/1.1 403 x\r\n" + length5 + "\r\nhello"}, "it answered 403", "who runs the proxy", 0},
		"hangs up":        {[]string{good, ""}, "without an answer", "", 1},
		"silence":         {[]string{good, "HTTP/1.1 100 Continue\r\n\r\n"}, "it did not answer in time", "", 1},
	} {
		t.Run(name, func(t *testing.T) {
			asked := make(chan string, 100)
			u := newUpstreamWith(t, ntlmKeys, "http://"+ntlmProxy(t, asked, tc.answers...))
			if name != "silence" {
				u.cfg.Answer = time.Minute
			}
			for again := range 3 {
				c, err := u.Tunnel(t.Context(), target)
				if err == nil {
					c.Close()
					t.Fatal("there is a tunnel")
				}
				var e *Error
				if !errors.As(err, &e) {
					t.Fatalf("%T: %v", err, err)
				}
				all := e.Error() + " " + e.Hint()
				if strings.Contains(all, "SECRETTEXT") || strings.Contains(all, password) || strings.ContainsAny(all, "\x1b\r\n") || len(all) > 500 {
					t.Errorf("the error has what the proxy said, or the login: %q", all)
				}
				if again == 0 && (!strings.Contains(e.Error(), tc.want) || !strings.Contains(e.Hint(), tc.hint)) {
					t.Errorf("%s | %s", e.Error(), e.Hint())
				}
				if again > 0 && tc.want == "it answered 407" && !strings.Contains(e.Error(), "not given them again") {
					t.Errorf("the login was tried again: %v", e)
				}
				if again == 0 && len(asked) != 1+tc.logins {
					t.Errorf("%d requests", len(asked))
				}
			}
			for len(asked) > 0 {
				head := <-asked
				if _, token, ok := strings.Cut(head, "Authorization: NTLM "); ok {
					token, _, _ = strings.Cut(token, "\r\n")
					b, err := base64.StdEncoding.DecodeString(token)
					if err != nil || b[8] == 3 && binary.LittleEndian.Uint16(b[20:]) <= 24 {
						t.Errorf("a response of version 1: %q", b)
					}
				}
			}
		})
	}
}

// TestNTLMWhole: a request in clear logs in its connection first, with its own
// method and URL and without its body, and those behind it need not.
func TestNTLMWhole(t *testing.T) {
	asked := make(chan string, 10)
	ok := "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
	at := ntlmProxy(t, asked, ntlm407(challengeOf(goodFlags, goodInfo), length5)+"hello", ok)
	u := newUpstreamWith(t, ntlmKeys, "http://"+at)
	u.cfg.Answer = time.Minute
	c, err := u.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for i := range 2 {
		// As a transport's buffer may do it.
		for _, part := range []string{"GET http://a.exam", "ple/x HTTP/1.1\r\nHost: a.example", "\r\nUser-", "Agent: x\r\n\r\n"} {
			if _, err := io.WriteString(c, part); err != nil {
				t.Fatal(err)
			}
		}
		b := make([]byte, len(ok))
		if readFull(c, b) != nil || string(b) != ok {
			t.Errorf("%d: %q", i, b)
		}
	}
	const head = "GET http://a.example/x HTTP/1.1\r\n"
	first, second, third := <-asked, <-asked, <-asked
	if !strings.HasPrefix(first, head+"Host: a.example\r\nProxy-Authorization: NTLM TlRMTVNTUAABAAAA") || strings.Contains(first, "User-Agent") {
		t.Errorf("the first: %q", first)
	}
	if !strings.HasPrefix(second, head+"Proxy-Authorization: NTLM TlRMTVNTUAADAAAA") || !strings.HasSuffix(second, "\r\nHost: a.example\r\nUser-Agent: x\r\n\r\n") {
		t.Errorf("the second: %q", second)
	}
	if third != head+"Host: a.example\r\nUser-Agent: x\r\n\r\n" {
		t.Errorf("the third: %q", third)
	}

	// A reader that waits for the login is let go by the end of the connection.
	if c, err = u.Dial(t.Context()); err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- readFull(c, make([]byte, 1)) }()
	c.Close()
	if err := <-done; err == nil {
		t.Error("a closed connection was read")
	}
}

// TestNTLMWholeRefused: over a transport, as the proxy uses it.
func TestNTLMWholeRefused(t *testing.T) {
	asked := make(chan string, 100)
	u := newUpstreamWith(t, ntlmKeys, "http://"+ntlmProxy(t, asked, ntlm407(challengeOf(goodFlags, goodInfo), length5)+"hello"))
	u.cfg.Answer = time.Minute
	for i, want := range []string{"", "not given them again for a minute", "not given them again for a minute"} {
		c, err := u.Dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		_, err = io.WriteString(c, "POST http://a.example/x HTTP/1.1\r\nHost: a.example\r\nContent-Length: 4\r\n\r\nbody")
		if want == "" {
			if err != nil {
				t.Fatal(err)
			}
			if head := readUntil(c, "\r\n\r\n"); !strings.HasPrefix(head, "HTTP/1.1 407") {
				t.Errorf("%q", head)
			}
		} else if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%d: %v", i, err)
		}
		c.Close()
	}
	if first := <-asked; !strings.Contains(first, "Content-Length: 0\r\n") || len(asked) != 1 {
		t.Errorf("%q, and %d more requests", first, len(asked))
	}
}

func TestChannelBindings(t *testing.T) {
	a, b := channelBindings(&x509.Certificate{Raw: []byte("a")}), channelBindings(&x509.Certificate{Raw: []byte("b")})
	long := channelBindings(&x509.Certificate{Raw: []byte("a"), SignatureAlgorithm: x509.ECDSAWithSHA384})
	if a == b || a == long || a == [16]byte{} {
		t.Errorf("%x %x %x", a, b, long)
	}
}

// FuzzNTLM: no challenge makes a panic, or a response without a proof of version 2.
func FuzzNTLM(f *testing.F) {
	f.Add(challengeOf(goodFlags, goodInfo))
	f.Add(challengeOf(goodFlags, noTime))
	f.Add(challengeOf(ntlmUnicode|ntlmNTLM, ""))
	l := &ntlmLogin{user: "agent"}
	f.Fuzz(func(t *testing.T, b []byte) {
		_, err := readNTLM(strings.NewReader(ntlm407(b, length5)+"hello"), http.MethodConnect)
		if err != nil && len(b) <= maxChallenge && !errors.Is(err, errNTLMForm) {
			t.Error(err)
		}
		c, err := parseChallenge(b)
		if err != nil {
			return
		}
		m := l.authenticate(ntlmNegotiate(), c, "HTTP/p", [16]byte{}, time.Now())
		if binary.LittleEndian.Uint16(m[20:]) < 48 {
			t.Errorf("%q", m)
		}
	})
}
