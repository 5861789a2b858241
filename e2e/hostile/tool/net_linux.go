package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// patience is how long an act waits for a peer: longer where the processor is an
// emulated one.
func patience() time.Duration {
	if d, err := time.ParseDuration(os.Getenv("HOSTILE_PATIENCE")); err == nil {
		return d
	}
	return 2 * time.Second
}

// text undoes Go's escapes (\r\n, \x00) of a script's argument.
func text(s string) string {
	if u, err := strconv.Unquote(`"` + strings.ReplaceAll(s, `"`, `\"`) + `"`); err == nil {
		return u
	}
	return s
}

// exchange writes each payload and prints what comes back before the next.
func exchange(c net.Conn, payloads []string) error {
	defer c.Close()
	r := bufio.NewReader(c)
	for i, p := range payloads {
		c.SetDeadline(time.Now().Add(patience()))
		if _, err := io.WriteString(c, text(p)); err != nil {
			return err
		}
		if i < len(payloads)-1 {
			if resp, err := http.ReadResponse(r, nil); err == nil {
				b, _ := io.ReadAll(io.LimitReader(resp.Body, 4096))
				fmt.Printf("answer %d %s\n", resp.StatusCode, b)
			} else {
				fmt.Println("no answer:", err)
			}
		}
	}
	// The first byte may take its time; after it a silence is the end.
	var last []byte
	buf := make([]byte, 4096)
	for len(last) < 4096 {
		n, err := r.Read(buf)
		last = append(last, buf[:n]...)
		if err != nil {
			fmt.Printf("last %s\n", last)
			if err == io.EOF || len(last) > 0 && errors.Is(err, os.ErrDeadlineExceeded) {
				return nil
			}
			return err
		}
		c.SetDeadline(time.Now().Add(patience() / 5))
	}
	fmt.Printf("last %s\n", last)
	return nil
}

// say NET TARGET PAYLOAD…: connect and speak.
func say(args []string) error {
	c, err := net.DialTimeout(args[0], text(args[1]), patience())
	if err != nil {
		return err
	}
	return exchange(c, args[2:])
}

func hello(c net.Conn, sni, alpn string) (*tls.Conn, error) {
	cfg := &tls.Config{InsecureSkipVerify: true}
	if sni != "-" {
		cfg.ServerName = text(sni)
	}
	if alpn != "" {
		cfg.NextProtos = strings.Split(alpn, ",")
	}
	t := tls.Client(c, cfg)
	t.SetDeadline(time.Now().Add(patience()))
	if err := t.Handshake(); err != nil {
		return nil, fmt.Errorf("handshake: %w", err)
	}
	return t, nil
}

// sayTLS TARGET SNI ALPN PAYLOAD…; SNI - is none.
func sayTLS(args []string) error {
	c, err := net.DialTimeout("tcp", args[0], patience())
	if err != nil {
		return err
	}
	t, err := hello(c, args[1], args[2])
	if err != nil {
		return err
	}
	return exchange(t, args[3:])
}

// tunnel PROXY PREAMBLE SNI PAYLOAD…: speak to a proxy, then inside what it
// opened. A preamble that starts with 5 is SOCKS (greeting, then the request).
func tunnel(args []string) error {
	c, err := net.DialTimeout("tcp", args[0], patience())
	if err != nil {
		return err
	}
	c.SetDeadline(time.Now().Add(patience()))
	preamble := text(args[1])
	if strings.HasPrefix(preamble, "\x05") {
		answer := make([]byte, 10)
		if _, err := io.WriteString(c, "\x05\x01\x00"); err != nil {
			return err
		}
		if _, err := io.ReadFull(c, answer[:2]); err != nil {
			return err
		}
		if _, err := io.WriteString(c, preamble); err != nil {
			return err
		}
		if _, err := io.ReadFull(c, answer); err != nil {
			return err
		}
		fmt.Printf("socks %d\n", answer[1])
	} else {
		if _, err := io.WriteString(c, preamble); err != nil {
			return err
		}
		var head []byte
		for one := make([]byte, 1); !bytes.HasSuffix(head, []byte("\r\n\r\n")); head = append(head, one[0]) {
			if _, err := io.ReadFull(c, one); err != nil {
				return fmt.Errorf("proxy said %q: %w", head, err)
			}
		}
		fmt.Printf("proxy %s\n", head)
	}
	if args[2] != "" {
		t, err := hello(c, args[2], "")
		if err != nil {
			return err
		}
		c = t
	}
	return exchange(c, args[3:])
}

// sayH2 TARGET SNI STREAM…: a stream is name=value fields with | between;
// SNI "clear" is HTTP/2 without TLS.
func sayH2(args []string) error {
	c, err := net.DialTimeout("tcp", args[0], patience())
	if err != nil {
		return err
	}
	defer c.Close()
	if args[1] != "clear" {
		if c, err = hello(c, args[1], "h2"); err != nil {
			return err
		}
	}
	c.SetDeadline(time.Now().Add(patience()))
	if _, err := io.WriteString(c, http2.ClientPreface); err != nil {
		return err
	}
	fr := http2.NewFramer(c, c)
	fr.AllowIllegalWrites = true
	if err := fr.WriteSettings(); err != nil {
		return err
	}
	// One table each way for the whole connection (RFC 7541 section 2.2).
	var block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	fr.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	for i, stream := range args[2:] {
		block.Reset()
		for _, field := range strings.Split(stream, "|") {
			name, value, _ := strings.Cut(field[1:], "=")
			enc.WriteField(hpack.HeaderField{Name: field[:1] + text(name), Value: text(value)})
		}
		id := uint32(2*i + 1)
		if err := fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block.Bytes(), EndStream: true, EndHeaders: true}); err != nil {
			return err
		}
		for done := false; !done; {
			f, err := fr.ReadFrame()
			if err != nil {
				return err
			}
			switch f := f.(type) {
			case *http2.SettingsFrame:
				if !f.IsAck() {
					fr.WriteSettingsAck()
				}
			case *http2.MetaHeadersFrame:
				fmt.Println("stream", id, f.PseudoFields())
				done = f.StreamEnded()
			case *http2.DataFrame:
				fmt.Printf("%s\n", f.Data())
				done = f.StreamEnded()
			case *http2.RSTStreamFrame:
				fmt.Println("stream", id, "reset", f.ErrCode)
				done = true
			case *http2.GoAwayFrame:
				return fmt.Errorf("go away: %v", f.ErrCode)
			}
		}
	}
	return nil
}

// lookup NAME…: as any program resolves.
func lookup(args []string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience())
	defer cancel()
	var last error
	for _, name := range args {
		addrs, err := net.DefaultResolver.LookupHost(ctx, text(name))
		fmt.Println(name, addrs, err)
		last = err
	}
	return last
}

// dns NET SERVER TYPE NAME: one question to a server of choice.
func dns(args []string) error {
	kind, err := strconv.Atoi(args[2])
	if err != nil {
		return err
	}
	var name []byte
	for _, label := range strings.Split(strings.TrimSuffix(text(args[3]), "."), ".") {
		name = append(append(name, byte(len(label))), label...)
	}
	msg := binary.BigEndian.AppendUint16([]byte{0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0}, 0)
	msg = append(msg[:12], append(append(name, 0), byte(kind>>8), byte(kind), 0, 1)...)
	c, err := net.DialTimeout(args[0], args[1], patience())
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience()))
	if strings.HasPrefix(args[0], "tcp") {
		msg = append(binary.BigEndian.AppendUint16(nil, uint16(len(msg))), msg...)
	}
	if _, err := c.Write(msg); err != nil {
		return err
	}
	buf := make([]byte, 4096)
	n, err := c.Read(buf)
	if err != nil {
		return err
	}
	if strings.HasPrefix(args[0], "tcp") && n > 2 {
		buf, n = buf[2:], n-2
	}
	var p dnsmessage.Parser
	h, err := p.Start(buf[:n])
	if err != nil {
		return err
	}
	p.SkipAllQuestions()
	answers, _ := p.AllAnswers()
	fmt.Println("answer", h.RCode, answers)
	return nil
}

// get METHOD URL [HEADER=VALUE]… [body=BODY]: an ordinary request.
func get(args []string) error {
	var body io.Reader
	head := http.Header{}
	for _, h := range args[2:] {
		k, v, _ := strings.Cut(h, "=")
		if k == "body" {
			body = strings.NewReader(text(v))
			continue
		}
		head.Set(k, text(v))
	}
	req, err := http.NewRequest(args[0], text(args[1]), body)
	if err != nil {
		return err
	}
	req.Header = head
	if h := head.Get("Host"); h != "" {
		req.Host = h
		head.Del("Host")
	}
	client := &http.Client{
		Transport:     &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return errors.New("redirected") },
		Timeout:       2 * patience(),
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(io.LimitReader(resp.Body, 8192))
	if resp.Header.Get("Content-Encoding") == "gzip" {
		if z, err := gzip.NewReader(bytes.NewReader(b)); err == nil {
			b, _ = io.ReadAll(io.LimitReader(z, 8192))
		}
	}
	fmt.Printf("answer %d %s %v %v\n", resp.StatusCode, b, resp.Header, resp.Trailer)
	return nil
}
