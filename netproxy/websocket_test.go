package netproxy

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/penstock/penstock/audit"
	"github.com/penstock/penstock/hooks"
)

// frame is one of RFC 6455 section 5.2, right or wrong. size is that of the length
// field (0: the shortest). A mask of 0 leaves the payload as it is.
func frame(first byte, masked bool, size int, payload string) string {
	b := []byte{first}
	n := len(payload)
	bit := byte(0)
	if masked {
		bit = 0x80
	}
	switch {
	case size == 8 || size == 0 && n > 0xffff:
		b = binary.BigEndian.AppendUint64(append(b, bit|127), uint64(n))
	case size == 2 || size == 0 && n > 125:
		b = binary.BigEndian.AppendUint16(append(b, bit|126), uint16(n))
	default:
		b = append(b, bit|byte(n))
	}
	p := []byte(payload)
	if masked {
		key := [4]byte{0x37, 0xfa, 0x21, 0x3d}
		b = append(b, key[:]...)
		for i := range p {
			p[i] ^= key[i%4]
		}
	}
	return string(append(b, p...))
}

// webSocketCases are the groups of Autobahn's list, as what one end sends. The
// proxy reads no frame: each has to arrive as it was sent, also those that the
// other end will refuse, since the refusing is that end's.
func webSocketCases() map[string]string {
	const (
		fin, text, binaryOp, cont, closeOp, ping, pong = 0x80, 1, 2, 0, 8, 9, 10
	)
	big := make([]byte, 10<<20)
	rand.Read(big)
	cases := map[string]string{}
	for _, masked := range []bool{true, false} { // the client's and the server's way; the other way round is wrong, and passes
		f := func(first byte, payload string) string { return frame(first, masked, 0, payload) }
		add := func(name string, frames ...string) {
			cases[fmt.Sprintf("%s, masked %v", name, masked)] = strings.Join(frames, "")
		}
		for _, n := range []int{0, 1, 125, 126, 127, 128, 65535, 65536} {
			add(fmt.Sprintf("1 framing, %d bytes", n), f(fin|text, strings.Repeat("*", n)), f(fin|binaryOp, strings.Repeat("\xfe", n)))
		}
		add("1 framing, length not the shortest", frame(fin|text, masked, 2, "a"), frame(fin|text, masked, 8, "a"))
		add("2 pings", f(fin|ping, ""), f(fin|ping, "payload"), f(fin|ping, "\x00\xff\xfe"), f(fin|ping, strings.Repeat("\xfe", 125)), f(fin|ping, strings.Repeat("\xfe", 126)), f(fin|pong, "unasked"))
		for rsv := byte(1); rsv < 8; rsv++ {
			add(fmt.Sprintf("3 reserved bits %d", rsv), f(fin|rsv<<4|text, "x"), f(fin|rsv<<4|ping, "x"))
		}
		for _, op := range []byte{3, 4, 5, 6, 7, 11, 12, 13, 14, 15} {
			add(fmt.Sprintf("4 opcode %d", op), f(fin|op, ""), f(fin|op, "x"))
		}
		add("5 fragments", f(text, "one"), f(cont, "two"), f(fin|cont, "three"))
		add("5 fragments with a ping between", f(text, "one"), f(fin|ping, "p"), f(fin|cont, "two"))
		add("5 fragmented ping", f(ping, "one"), f(fin|cont, "two"))
		add("5 continuation of nothing", f(fin|cont, "x"), f(cont, "y"))
		add("5 text inside fragments", f(text, "one"), f(fin|text, "two"))
		add("6 UTF-8", f(fin|text, "Hello-µ@ßöäüàá-UTF-8!!"), f(text, "κό\xcf"), f(fin|cont, "\x83με"))
		add("6 not UTF-8", f(fin|text, "\xce\xba\xe1\xbd\xb9\xed\xa0\x80edited"), f(fin|text, "\xf4\x90\x80\x80"), f(fin|text, "\xff\xfe"))
		for _, code := range []uint16{0, 999, 1000, 1001, 1004, 1005, 1006, 1016, 2999, 3000, 4999, 5000, 65535} {
			add(fmt.Sprintf("7 close %d", code), f(fin|closeOp, string(binary.BigEndian.AppendUint16(nil, code))+"bye"), f(fin|text, "after"))
		}
		add("7 close, odd payloads", f(fin|closeOp, ""), f(fin|closeOp, "\x03"), f(fin|closeOp, "\x03\xe8\xff\xfe"), f(fin|closeOp, "\x03\xe8"+strings.Repeat("*", 124)))
		add("9 message of 10 MB", f(fin|binaryOp, string(big)))
		add("9 message of 10 MB in fragments", f(binaryOp, string(big[:4<<20])), f(cont, string(big[4<<20:8<<20])), f(fin|cont, string(big[8<<20:])))
		add("10 in pieces", f(fin|text, strings.Repeat("*", 65536)))
		// permessage-deflate (RFC 7692 section 7.2.3.1): "Hello", then the same by its window.
		add("12 compressed", f(fin|0x40|text, "\xf2\x48\xcd\xc9\xc9\x07\x00"), f(fin|0x40|text, "\xf2\x00\x11\x00\x00"))
		add("13 compressed in fragments", f(0x40|text, "\xf2\x48\xcd"), f(fin|cont, "\xc9\xc9\x07\x00"))
	}
	cases["frame that says 2^63-1 bytes"] = "\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00xyz"
	cases["no frame at all"] = "GET /smuggled HTTP/1.1\r\nHost: web.test\r\n\r\n\x00\n"
	return cases
}

const upgradeHead = "GET /chat HTTP/1.1\r\nHost: web.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
	"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n"

const upgraded = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
	"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n"

// After the handshake every byte arrives, in both directions, however it is cut,
// also what came with the handshake and what came right before an end.
func TestWebSocketTransparent(t *testing.T) {
	pn := newPen(t, someRules)
	l := listen(t)
	pn.place("web.test:80", l.Addr().String())
	for name, in := range webSocketCases() {
		t.Run(name, func(t *testing.T) {
			for _, early := range []bool{false, true} {
				type result struct {
					got  []byte
					head string
					err  error
				}
				origin := make(chan result, 1)
				go func() {
					var r result
					defer func() { origin <- r }()
					c, err := l.Accept()
					if err != nil {
						r.err = err
						return
					}
					defer c.Close()
					c.SetDeadline(time.Now().Add(20 * time.Second))
					br := bufio.NewReader(c)
					req, err := http.ReadRequest(br)
					if err != nil {
						r.err = err
						return
					}
					r.head = fmt.Sprint(req.RequestURI, req.Header["Sec-Websocket-Key"], req.Header["Sec-Websocket-Extensions"], req.Header["Upgrade"])
					go io.WriteString(c, upgraded+in) // early itself
					r.got = make([]byte, len(in))
					_, r.err = io.ReadFull(br, r.got)
					if r.err == nil {
						br.ReadByte() // until the client ends it
					}
				}()
				c := pn.dial("web.test:80")
				br := bufio.NewReader(c)
				sent, begin := make(chan error, 1), make(chan struct{})
				go func() {
					out := upgradeHead + in
					if !early {
						io.WriteString(c, upgradeHead)
						<-begin
						out = in
					}
					var err error
					for b := out; b != "" && err == nil; b = b[min(len(b), 100_003):] { // of no frame's length
						_, err = io.WriteString(c, b[:min(len(b), 100_003)])
					}
					sent <- err
				}()
				resp, err := http.ReadResponse(br, nil)
				if err != nil || resp.StatusCode != 101 || resp.Header.Get("Sec-Websocket-Accept") != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" || resp.Header.Get("Sec-Websocket-Extensions") != "permessage-deflate" {
					t.Fatalf("%v %v", resp, err)
				}
				close(begin)
				got := make([]byte, len(in))
				if _, err := io.ReadFull(br, got); err != nil || string(got) != in {
					t.Fatalf("early %v: the client got %d of %d bytes, equal: %v: %v", early, len(got), len(in), string(got) == in, err)
				}
				if err := <-sent; err != nil {
					t.Fatal(err)
				}
				c.CloseWrite()
				r := <-origin
				if r.err != nil || !bytes.Equal(r.got, []byte(in)) {
					t.Fatalf("early %v: the origin got %d of %d bytes: %v", early, len(r.got), len(in), r.err)
				}
				if want := "/chat[dGhlIHNhbXBsZSBub25jZQ==] [permessage-deflate] [websocket]"; r.head != want {
					t.Errorf("handshake %s", r.head)
				}
				if b, err := br.ReadByte(); err == nil {
					t.Errorf("%q after the end", b)
				}
			}
		})
	}
}

// What an end sends right before it closes arrives, whichever end it is.
func TestWebSocketLastBytes(t *testing.T) {
	pn := newPen(t, someRules)
	l := listen(t)
	pn.place("web.test:80", l.Addr().String())
	last := frame(0x82, false, 0, strings.Repeat("x", 10<<20)) + frame(0x88, false, 0, "\x03\xe8")
	for _, by := range []string{"client", "origin"} {
		t.Run(by, func(t *testing.T) {
			origin := make(chan int, 1)
			go func() {
				c, err := l.Accept()
				if err != nil {
					origin <- -1
					return
				}
				defer c.Close()
				c.SetDeadline(time.Now().Add(20 * time.Second))
				br := bufio.NewReader(c)
				http.ReadRequest(br)
				io.WriteString(c, upgraded)
				n := int64(0)
				if by == "origin" {
					io.WriteString(c, last)
					c.(*net.TCPConn).CloseWrite()
				}
				n, _ = io.Copy(io.Discard, br)
				origin <- int(n)
			}()
			c := pn.dial("web.test:80")
			br := bufio.NewReader(c)
			io.WriteString(c, upgradeHead)
			if resp, err := http.ReadResponse(br, nil); err != nil || resp.StatusCode != 101 {
				t.Fatal(err)
			}
			if by == "client" {
				io.WriteString(c, last)
				c.CloseWrite()
			}
			n, err := io.Copy(io.Discard, br)
			c.Close()
			got := <-origin
			if by == "client" && got != len(last) || by == "origin" && int(n) != len(last) {
				t.Errorf("the client got %d, the origin %d of %d: %v", n, got, len(last), err)
			}
		})
	}
	wait(t, pn.records, func(e *audit.FlowClose) bool { return e.Status == 101 && e.BytesUp == uint64(len(last)) })
	wait(t, pn.records, func(e *audit.FlowClose) bool { return e.Status == 101 && e.BytesDown == uint64(len(last)) })
}

// nodeModules are where .ci/install puts modules of the npm registry.
func nodeModules() string {
	var dirs []string
	for _, d := range []string{os.Getenv("PENSTOCK_CLIENTS"), "/var/cache/penstock/clients", filepath.Join(os.Getenv("HOME"), ".cache/penstock/clients")} {
		if d != "" {
			dirs = append(dirs, filepath.Join(d, "lib/node_modules"))
		}
	}
	return strings.Join(dirs, ":")
}

// A client in Python (websockets) and a server in node (ws), neither of them ours,
// talk through the proxy: text, 10 MB, fragments, pings, compression, the close. With
// hooks about messages there is no compression, and what these deny ends it.
func TestWebSocketClients(t *testing.T) {
	for name, i := range map[string]*hooks.Inspect{
		"none": nil, "whole": {Max: hooks.MaxBody, Over: true}, "stream": {Stream: true, Overlap: 5},
	} {
		t.Run(name, func(t *testing.T) { webSocketClients(t, i) })
	}
}

func webSocketClients(t *testing.T, i *hooks.Inspect) {
	node, python := need(t, "node"), "/usr/bin/python3" // Debian's, which has the module
	options, extensions := []func(*Config){}, `["permessage-deflate"]`
	if i != nil {
		options, extensions = append(options, (&bodyHook{}).on(*i, hooks.PointWebSocket)), "[]"
	}
	pn := newPen(t, someRules, options...)
	missing := func(what string, err error) {
		if os.Getenv("CI") == "true" {
			t.Fatalf("%s is missing: %v", what, err)
		}
		t.Skipf("%s is missing: .ci/install", what)
	}
	if out, err := exec.CommandContext(t.Context(), python, "-c", "import websockets").CombinedOutput(); err != nil {
		missing("python3-websockets", fmt.Errorf("%w: %s", err, out))
	}
	server := exec.CommandContext(t.Context(), node, "-e", `
		let ws
		try { ws = require("ws") } catch { process.exit(77) }
		const s = new ws.WebSocketServer({host: "127.0.0.1", port: 0, maxPayload: 64 << 20, perMessageDeflate: {threshold: 0}, handleProtocols: p => [...p][0]},
			() => console.log(s.address().port))
		s.on("connection", c => {
			c.on("message", (m, binary) => {
				if (!binary && m.toString() == "fragments") { c.send("a", {fin: false}); c.ping("between"); c.send("b", {fin: true}) }
				else if (!binary && m.toString() == "bye") c.close(4321, "gone")
				else if (!binary && m.toString() == "please") c.send("the SECRET")
				else c.send(m, {binary})
			})
		})`)
	server.Env = append(os.Environ(), "NODE_PATH="+nodeModules())
	out, err := server.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	defer server.Wait()
	defer server.Process.Kill()
	port, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		missing("node's ws", err)
	}
	pn.place("web.test:80", "127.0.0.1:"+strings.TrimSpace(port))
	client := exec.CommandContext(t.Context(), python, "-c", `
import asyncio, os, socket, sys, websockets
async def main(proxy):
    host, port = proxy.split(":")
    def connected():
        s = socket.create_connection((host, int(port)))
        s.sendall(b"CONNECT web.test:80 HTTP/1.1\r\nHost: web.test:80\r\n\r\n")
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += s.recv(1)
        assert b" 200 " in head, head
        return s
    async with websockets.connect("ws://web.test/chat", sock=connected(), subprotocols=["p1"], max_size=64 << 20) as c:
        assert c.subprotocol == "p1", c.subprotocol
        assert [e.name for e in c.extensions] == `+extensions+`, c.extensions
        for m in ["", "grüß", "x" * 100000, b"\x00\xff", os.urandom(10 << 20)]:
            await c.send(m)
            assert await c.recv() == m
        await c.send([b"one", b"two", b"three"])
        assert await c.recv() == b"onetwothree"
        await c.send("fragments")
        assert await c.recv() == "ab"
        await (await c.ping(b"ours"))
        await c.send("bye")
        try:
            await c.recv()
            raise SystemExit("not closed")
        except websockets.ConnectionClosed as e:
            assert (e.rcvd.code, e.rcvd.reason) == (4321, "gone"), e
    hooked = sys.argv[2] == "hooked"
    for m in ["a SECRET", ["in fragments SEC", "RET"], "please"]:
        async with websockets.connect("ws://web.test/chat", sock=connected()) as c:
            await c.send(m)
            try:
                assert await c.recv() and not hooked
            except websockets.ConnectionClosed as e:
                assert hooked and (e.rcvd.code, e.rcvd.reason) == (1008, "denied by hook test: it is secret"), e
    print("ok")
asyncio.run(main(sys.argv[1]))`, pn.explicit, map[bool]string{true: "hooked"}[i != nil])
	if got, err := client.CombinedOutput(); err != nil || string(got) != "ok\n" {
		t.Errorf("%v: %s", err, got)
	}
	wait(t, pn.records, func(e *audit.FlowClose) bool { return e.Status == 101 && e.Class == "" })
	for range 3 {
		if i != nil {
			wait(t, pn.records, func(e *audit.FlowClose) bool { return e.Status == 101 && e.Class == "hook" })
		}
	}
}
