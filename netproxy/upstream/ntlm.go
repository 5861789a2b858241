package upstream

import (
	"bytes"
	"crypto/hmac"
	"crypto/md5"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"strings"
	"time"
	"unicode/utf16"
)

// The messages of NTLM ([MS-NLMP]), as a client that knows version 2 only: no LM
// hash and no response of version 1 is ever made, whatever a proxy asks for.

// Flags of [MS-NLMP] section 2.2.2.5.
const (
	ntlmUnicode      = 0x00000001
	ntlmTarget       = 0x00000004
	ntlmLMKey        = 0x00000080
	ntlmNTLM         = 0x00000200
	ntlmAlwaysSign   = 0x00008000
	ntlmExtended     = 0x00080000
	ntlmTargetInfo   = 0x00800000
	ntlmOffered      = ntlmUnicode | ntlmTarget | ntlmNTLM | ntlmAlwaysSign | ntlmExtended
	ntlmSignature    = "NTLMSSP\x00"
	maxChallenge     = 16 << 10
	avEnd            = 0
	avFlags          = 6
	avTimestamp      = 7
	avTargetName     = 9
	avBindings       = 10
	ntlmHead         = 88 // of an AUTHENTICATE_MESSAGE with a MIC
	ntlmMIC          = 72 // where it is
	filetimeEpoch    = 116444736000000000
	filetimesASecond = 1e7
)

var (
	errNTLMForm = errors.New("its NTLM challenge is malformed")
	errNTLMv1   = errors.New("it does NTLM of version 1, which is not given")
	errNTLMNone = errors.New("it does not ask for a login by NTLM")
	errNTLMEnds = errors.New("it closes the connection in the middle of the login by NTLM")
)

// ntlmNegotiate is the NEGOTIATE_MESSAGE, section 2.2.1.1. It names neither a
// domain nor this machine.
func ntlmNegotiate() []byte {
	b := append([]byte(ntlmSignature), 1, 0, 0, 0)
	b = binary.LittleEndian.AppendUint32(b, ntlmOffered)
	return append(b, make([]byte, 16)...)
}

// ntlmChallenge is what is used of a CHALLENGE_MESSAGE, section 2.2.1.2.
type ntlmChallenge struct {
	raw       []byte
	flags     uint32
	nonce     [8]byte
	timestamp []byte // nil: it has none
	info      []byte // pairs, without those that are the client's to say, and without the end
}

func parseChallenge(b []byte) (*ntlmChallenge, error) {
	if len(b) > maxChallenge || len(b) < 32 || string(b[:8]) != ntlmSignature || binary.LittleEndian.Uint32(b[8:]) != 2 {
		return nil, errNTLMForm
	}
	c := &ntlmChallenge{raw: b, flags: binary.LittleEndian.Uint32(b[20:])}
	copy(c.nonce[:], b[24:])
	if c.flags&ntlmUnicode == 0 || c.flags&ntlmNTLM == 0 {
		return nil, errNTLMForm
	}
	// Without the pairs there is nothing to make a response of version 2 of.
	if c.flags&ntlmLMKey != 0 || c.flags&ntlmTargetInfo == 0 {
		return nil, errNTLMv1
	}
	if len(b) < 48 {
		return nil, errNTLMForm
	}
	n, at := int(binary.LittleEndian.Uint16(b[40:])), binary.LittleEndian.Uint32(b[44:])
	if at < 48 || uint64(at)+uint64(n) > uint64(len(b)) {
		return nil, errNTLMForm
	}
	seen := map[uint16]bool{}
	for pairs := b[at : int(at)+n]; ; {
		if len(pairs) < 4 {
			return nil, errNTLMForm
		}
		id, size := binary.LittleEndian.Uint16(pairs), int(binary.LittleEndian.Uint16(pairs[2:]))
		if size > len(pairs)-4 || seen[id] {
			return nil, errNTLMForm
		}
		pair := pairs[:4+size]
		pairs, seen[id] = pairs[4+size:], true
		switch id {
		case avEnd:
			if size != 0 || len(seen) == 1 {
				return nil, errNTLMForm
			}
			return c, nil
		case avFlags, avTargetName, avBindings:
			continue
		case avTimestamp:
			if size != 8 {
				return nil, errNTLMForm
			}
			c.timestamp = pair[4:]
		}
		c.info = append(c.info, pair...)
	}
}

// ntlmLogin is who logs in.
type ntlmLogin struct {
	domain, user string
	hash         [16]byte // NTOWFv1: MD4 of the password
}

// splitDomain reads DOMAIN\user; user@domain stays one name.
func splitDomain(s string) (domain, user string) {
	if d, u, ok := strings.Cut(s, `\`); ok {
		return d, u
	}
	return "", s
}

// key is NTOWFv2, section 3.3.2.
func (l *ntlmLogin) key() []byte {
	return hmacMD5(l.hash[:], utf16le(strings.ToUpper(l.user)+l.domain))
}

// proof is NTProofStr and SessionBaseKey, section 3.3.2.
func (l *ntlmLogin) proof(nonce, client, timestamp, info []byte) (response, session []byte) {
	key := l.key()
	temp := append([]byte{1, 1, 0, 0, 0, 0, 0, 0}, timestamp...)
	temp = append(append(append(temp, client...), 0, 0, 0, 0), info...)
	temp = append(temp, 0, 0, 0, 0)
	proof := hmacMD5(key, nonce, temp)
	return append(proof, temp...), hmacMD5(key, proof)
}

// authenticate is the AUTHENTICATE_MESSAGE, section 2.2.1.3, for a challenge. spn
// says whom the login is for, bindings which TLS connection it is made in.
func (l *ntlmLogin) authenticate(negotiate []byte, c *ntlmChallenge, spn string, bindings [16]byte, now time.Time) []byte {
	client := make([]byte, 8)
	rand.Read(client) //nolint:errcheck // crypto/rand does not fail
	pair := func(b []byte, id uint16, v []byte) []byte {
		b = binary.LittleEndian.AppendUint16(b, id)
		return append(binary.LittleEndian.AppendUint16(b, uint16(len(v))), v...)
	}
	info, timestamp := bytes.Clone(c.info), c.timestamp
	if timestamp != nil {
		info = pair(info, avFlags, []byte{2, 0, 0, 0}) // there is a MIC
	} else {
		timestamp = binary.LittleEndian.AppendUint64(nil, uint64(now.Unix())*filetimesASecond+filetimeEpoch)
	}
	info = pair(info, avBindings, bindings[:])
	info = pair(info, avTargetName, utf16le(spn))
	info = pair(info, avEnd, nil)
	response, session := l.proof(c.nonce[:], client, timestamp, info)
	lm := make([]byte, 24)
	if c.timestamp == nil {
		lm = append(hmacMD5(l.key(), c.nonce[:], client), client...) // LMv2
	}

	head := append([]byte(ntlmSignature), 3, 0, 0, 0)
	var payload []byte
	for _, v := range [][]byte{lm, response, utf16le(l.domain), utf16le(l.user), nil, nil} {
		head = binary.LittleEndian.AppendUint16(head, uint16(len(v)))
		head = binary.LittleEndian.AppendUint16(head, uint16(len(v)))
		head = binary.LittleEndian.AppendUint32(head, uint32(ntlmHead+len(payload)))
		payload = append(payload, v...)
	}
	head = binary.LittleEndian.AppendUint32(head, c.flags&ntlmOffered|ntlmTargetInfo)
	head = append(head, make([]byte, 8+16)...) // no version; the MIC is zero while it is made
	b := append(head, payload...)
	if c.timestamp != nil {
		copy(b[ntlmMIC:], hmacMD5(session, negotiate, c.raw, b))
	}
	return b
}

// channelBindings is the hash of tls-server-end-point (RFC 5929) in the structure
// of RFC 2744 section 3.11: a login that is made for one proxy is of no use at
// another.
func channelBindings(cert *x509.Certificate) [16]byte {
	var sum []byte
	switch cert.SignatureAlgorithm {
	case x509.SHA384WithRSA, x509.ECDSAWithSHA384, x509.SHA384WithRSAPSS:
		v := sha512.Sum384(cert.Raw)
		sum = v[:]
	case x509.SHA512WithRSA, x509.ECDSAWithSHA512, x509.SHA512WithRSAPSS:
		v := sha512.Sum512(cert.Raw)
		sum = v[:]
	default:
		v := sha256.Sum256(cert.Raw)
		sum = v[:]
	}
	data := append([]byte("tls-server-end-point:"), sum...)
	b := make([]byte, 16) // no addresses
	b = binary.LittleEndian.AppendUint32(b, uint32(len(data)))
	return md5.Sum(append(b, data...))
}

func hmacMD5(key []byte, data ...[]byte) []byte {
	h := hmac.New(md5.New, key)
	for _, d := range data {
		h.Write(d)
	}
	return h.Sum(nil)
}

func utf16le(s string) []byte {
	var b []byte
	for _, u := range utf16.Encode([]rune(s)) {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	return b
}
