package netproxy

import (
	"encoding/binary"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/http2"
)

// The frames' types and flags, short for the table below.
const (
	fData, fHeaders, fPriority, fRST, fSettings     = http2.FrameData, http2.FrameHeaders, http2.FramePriority, http2.FrameRSTStream, http2.FrameSettings
	fPush, fPing, fGoAway, fWindow, fContinue       = http2.FramePushPromise, http2.FramePing, http2.FrameGoAway, http2.FrameWindowUpdate, http2.FrameContinuation
	endStream, endHeaders, padded, priority, ackBit = http2.Flags(1), http2.Flags(4), http2.Flags(8), http2.Flags(0x20), http2.Flags(1)
)

var (
	h2Get  = []string{":method", "GET", ":scheme", "https", ":path", "/", ":authority", "api.test"}
	h2Post = []string{":method", "POST", ":scheme", "https", ":path", "/", ":authority", "api.test"}
	h2Head = []string{":method", "HEAD", ":scheme", "https", ":path", "/", ":authority", "api.test"}
)

func be32(v ...uint32) string {
	var b []byte
	for _, n := range v {
		b = binary.BigEndian.AppendUint32(b, n)
	}
	return string(b)
}

func setting(id uint16, v uint32) string {
	return string(binary.BigEndian.AppendUint16(nil, id)) + be32(v)
}

// Outcomes that the RFC allows, as h2.outcome names them.
const (
	is200          = "200"
	isOpen         = "open" // the connection goes on
	connProtocol   = "GOAWAY PROTOCOL_ERROR"
	connSize       = "GOAWAY FRAME_SIZE_ERROR"
	connFlow       = "GOAWAY FLOW_CONTROL_ERROR"
	connCompress   = "GOAWAY COMPRESSION_ERROR"
	connClosed     = "GOAWAY STREAM_CLOSED"
	streamProtocol = "RST_STREAM PROTOCOL_ERROR"
	streamSize     = "RST_STREAM FRAME_SIZE_ERROR"
	streamFlow     = "RST_STREAM FLOW_CONTROL_ERROR"
	streamClosed   = "RST_STREAM STREAM_CLOSED"
	streamRefused  = "RST_STREAM REFUSED_STREAM"
	gone           = "closed"
)

// A connection error may close without a word (RFC 9113 section 5.4.1), and a
// stream error may be treated as one of the connection (section 5.4.2).
var (
	protocol   = []string{connProtocol, gone}
	size       = []string{connSize, gone}
	connFlowOr = []string{connFlow, gone}
	compress   = []string{connCompress, gone}
	closed     = []string{connClosed, gone}
	ok         = []string{is200}
	open       = []string{isOpen}
	// malformed is a request that section 8.1.1 calls so: the server may also
	// answer it with 4xx.
	malformed2 = []string{streamProtocol, connProtocol, gone, "400"}
)

// http2Case is one case of the list that h2spec made known: what is sent after
// the settings were exchanged, what is waited for on which stream (0: nothing, the
// connection's state counts), and which outcomes the RFC allows.
type http2Case struct {
	name   string // section of RFC 9113, or of RFC 7541 for those of hpack
	send   func(h *h2)
	stream uint32
	want   []string
}

// differs lists what net/http's server, which is the front's, does otherwise, with
// the reason why it may stay so. A case that begins to conform fails the test too.
var http2Differs = map[string]struct{ got, why string }{
	"5.1 reset: HEADERS":                       {connProtocol, "ends the connection all the same, by another code: it compares with the largest number seen"},
	"5.1 closed: HEADERS":                      {connProtocol, "as above"},
	"6.2 padding longer than HEADERS":          {streamProtocol, "refuses the request only; a peer whose header table is out of step then harms itself"},
	"6.5.3 the last value of a setting counts": {connProtocol, "refuses a setting that is in one frame twice, which is stricter"},
}

func http2Cases() []http2Case {
	get := func(h *h2) { h.headers(1, true, h2Get...) }
	half := func(h *h2) { h.raw(fHeaders, endStream|endHeaders, 1, string(h.block(h2Get...))) }
	// held is not answered before its stream or connection ends.
	asHeld := slices.Clone(h2Get)
	asHeld[5] = "/held"
	held := func(h *h2) { h.raw(fHeaders, endStream|endHeaders, 1, string(h.block(asHeld...))) }
	request := func(f ...string) func(h *h2) { return func(h *h2) { h.headers(1, true, f...) } }
	and := func(fields []string, more ...string) func(h *h2) {
		return request(append(slices.Clone(fields), more...)...)
	}
	raw := func(typ http2.FrameType, flags http2.Flags, stream uint32, payload string) func(h *h2) {
		return func(h *h2) { h.raw(typ, flags, stream, payload) }
	}
	// block sends a header block of these bytes.
	block := func(b string) func(h *h2) {
		return func(h *h2) { h.raw(fHeaders, endStream|endHeaders, 1, string(h.block(h2Get...))+b) }
	}
	first := func(b string) func(h *h2) {
		return func(h *h2) { h.raw(fHeaders, endStream|endHeaders, 1, b+string(h.block(h2Get...))) }
	}
	then := func(f ...func(h *h2)) func(h *h2) {
		return func(h *h2) {
			for _, f := range f {
				f(h)
			}
		}
	}
	// answered is a stream that both sides have closed.
	answered := func(h *h2) {
		get(h)
		if got := h.outcome(1, true); got != is200 {
			h.t.Fatalf("request before the case: %s", got)
		}
	}
	// opened is a stream that can still take a body, reset one that could.
	opened := func(h *h2) { h.headers(1, false, h2Post...) }
	reset := then(opened, raw(fRST, 0, 1, be32(8)))
	body := func(s ...string) func(h *h2) {
		return func(h *h2) {
			for i, d := range s {
				h.fr.WriteData(1, i == len(s)-1, []byte(d))
			}
		}
	}
	trailers := func(f ...string) func(h *h2) { return func(h *h2) { h.headers(1, true, f...) } }
	parts := func(fields []string, n int, last http2.Flags) func(h *h2) {
		return func(h *h2) {
			b := string(h.block(append(slices.Clone(fields), "x-long", strings.Repeat("x", 64))...))
			h.raw(fHeaders, endStream, 1, b[:8])
			for b = b[8:]; n > 1; n-- {
				h.raw(fContinue, 0, 1, b[:8])
				b = b[8:]
			}
			h.raw(fContinue, last, 1, b)
		}
	}
	begun := func(h *h2) { h.raw(fHeaders, endStream, 1, string(h.block(h2Get...))) }
	over := strings.Repeat("x", 1<<20+1) // than SETTINGS_MAX_FRAME_SIZE of the server

	return []http2Case{
		{"3.4 preface", func(h *h2) {}, 0, open},
		{"4.1 unknown type is ignored", raw(0x16, 0, 0, "12345678"), 0, open},
		{"4.1 undefined flags are ignored", raw(fPing, 0x16, 0, "12345678"), 0, open},
		{"4.1 reserved bit is ignored", raw(fPing, 0, 1<<31, "12345678"), 0, open},
		{"4.2 DATA of 2^14 bytes", then(opened, body(strings.Repeat("x", 1<<14))), 1, ok},
		{"4.2 DATA longer than the setting", then(opened, raw(fData, endStream, 1, over)), 1, []string{streamSize, connSize, gone}},
		{"4.2 HEADERS longer than the setting", raw(fHeaders, endStream|endHeaders, 1, over), 1, size},
		{"4.3 invalid header block", raw(fHeaders, endStream|endHeaders, 1, "\x40"), 1, compress},
		{"4.3 PRIORITY inside a header block", then(begun, raw(fPriority, 0, 1, be32(0)+"\xff")), 1, protocol},
		{"4.3 HEADERS of another stream inside a header block", then(begun, raw(fHeaders, endStream|endHeaders, 3, "\x82")), 1, protocol},

		{"5.1 idle: DATA", raw(fData, endStream, 1, "x"), 1, protocol},
		{"5.1 idle: RST_STREAM", raw(fRST, 0, 1, be32(8)), 1, protocol},
		{"5.1 idle: WINDOW_UPDATE", raw(fWindow, 0, 1, be32(100)), 1, protocol},
		{"5.1 idle: CONTINUATION", raw(fContinue, endHeaders, 1, "\x82"), 1, protocol},
		{"5.1 idle: PRIORITY", raw(fPriority, 0, 1, be32(0)+"\xff"), 0, open},
		{"5.1 half-closed: WINDOW_UPDATE", then(half, raw(fWindow, 0, 1, be32(100))), 1, ok},
		{"5.1 half-closed: PRIORITY", then(half, raw(fPriority, 0, 1, be32(0)+"\xff")), 1, ok},
		{"5.1 half-closed: RST_STREAM", then(half, raw(fRST, 0, 1, be32(8))), 0, open},
		{"5.1 half-closed: DATA", then(held, raw(fData, endStream, 1, "x")), 1, []string{streamClosed, connClosed, gone}},
		{"5.1 half-closed: HEADERS", then(held, held), 1, []string{streamClosed, connClosed, gone}},
		{"5.1 half-closed: CONTINUATION", then(held, raw(fContinue, endHeaders, 1, "\x82")), 1, []string{connClosed, connProtocol, gone}},
		{"5.1 reset: DATA", then(reset, raw(fData, endStream, 1, "x")), 1, []string{streamClosed, connClosed, gone}},
		{"5.1 reset: HEADERS", then(reset, get), 1, []string{streamClosed, connClosed, gone}},
		{"5.1 reset: CONTINUATION", then(reset, raw(fContinue, endHeaders, 1, "\x82")), 1, []string{connClosed, connProtocol, gone}},
		{"5.1 closed: DATA", then(answered, raw(fData, endStream, 1, "x")), 1, []string{streamClosed, connClosed, gone}},
		{"5.1 closed: HEADERS", then(answered, get), 1, closed},
		{"5.1 closed: CONTINUATION", then(answered, raw(fContinue, endHeaders, 1, "\x82")), 1, []string{connClosed, connProtocol, gone}},
		{"5.1 closed: PRIORITY", then(answered, raw(fPriority, 0, 1, be32(0)+"\xff")), 0, open},
		{"5.1.1 stream of an even number", func(h *h2) { h.headers(2, true, h2Get...) }, 2, protocol},
		{"5.1.1 stream of a smaller number", func(h *h2) { h.headers(5, true, h2Get...); h.headers(3, true, h2Get...) }, 3, protocol},
		{"5.1.2 more streams than the setting", func(h *h2) {
			n := uint32(250)
			for i := range n + 1 {
				h.headers(2*i+1, false, h2Post...)
			}
		}, 501, []string{streamProtocol, streamRefused, connProtocol, gone}},
		{"5.3.1 HEADERS depend on their own stream", func(h *h2) {
			h.raw(fHeaders, endStream|endHeaders|priority, 1, be32(1)+"\xff"+string(h.block(h2Get...)))
		}, 1, []string{streamProtocol, connProtocol, gone, is200}}, // RFC 9113 deprecates priority
		{"5.3.1 PRIORITY depends on its own stream", raw(fPriority, 0, 1, be32(1)+"\xff"), 1, []string{streamProtocol, connProtocol, gone}},
		{"5.4.1 error of the connection ends it", raw(fPing, 0, 0, "short"), 0, size},
		{"5.5 unknown frame", then(raw(0xff, 0, 0, "x"), get), 1, ok},
		{"5.5 unknown frame inside a header block", then(begun, raw(0xff, 0, 0, "x"), raw(fContinue, endHeaders, 1, "")), 1, protocol},
		{"5.5 unknown setting", raw(fSettings, 0, 0, setting(0xff, 1)), 0, open},

		{"6.1 DATA of stream 0", raw(fData, endStream, 0, "x"), 0, protocol},
		{"6.1 DATA", then(opened, body("hello")), 1, ok},
		{"6.1 several DATA", then(opened, body("he", "llo")), 1, ok},
		{"6.1 DATA with padding", then(opened, raw(fData, endStream|padded, 1, "\x06hello\x00\x00\x00\x00\x00\x00")), 1, ok},
		{"6.1 padding longer than DATA", then(opened, raw(fData, endStream|padded, 1, "\x16hello")), 1, protocol},
		{"6.2 HEADERS", get, 1, ok},
		{"6.2 HEADERS with padding", func(h *h2) {
			h.raw(fHeaders, endStream|endHeaders|padded, 1, "\x06"+string(h.block(h2Get...))+strings.Repeat("\x00", 6))
		}, 1, ok},
		{"6.2 HEADERS with priority", func(h *h2) {
			h.raw(fHeaders, endStream|endHeaders|priority, 1, be32(0)+"\xff"+string(h.block(h2Get...)))
		}, 1, ok},
		{"6.2 HEADERS of stream 0", func(h *h2) { h.raw(fHeaders, endStream|endHeaders, 0, string(h.block(h2Get...))) }, 0, protocol},
		{"6.2 padding longer than HEADERS", func(h *h2) {
			h.raw(fHeaders, endStream|endHeaders|padded, 1, "\xf0"+string(h.block(h2Get...)))
		}, 1, protocol},
		{"6.3 PRIORITY weight 1", then(raw(fPriority, 0, 1, be32(0)+"\x00"), get), 1, ok},
		{"6.3 PRIORITY weight 256", then(raw(fPriority, 0, 1, be32(0)+"\xff"), get), 1, ok},
		{"6.3 PRIORITY with dependency", then(raw(fPriority, 0, 1, be32(0)+"\xff"), raw(fPriority, 0, 3, be32(1)+"\xff")), 0, open},
		{"6.3 PRIORITY exclusive", then(raw(fPriority, 0, 3, be32(1|1<<31)+"\xff"), get), 1, ok},
		{"6.3 PRIORITY of an idle stream, then a smaller one", then(raw(fPriority, 0, 99, be32(0)+"\xff"), get), 1, ok},
		{"6.3 PRIORITY of stream 0", raw(fPriority, 0, 0, be32(0)+"\xff"), 0, protocol},
		{"6.3 PRIORITY of 4 bytes", raw(fPriority, 0, 1, be32(0)), 1, []string{streamSize, connSize, gone}},
		{"6.4 RST_STREAM", reset, 0, open},
		{"6.4 RST_STREAM of stream 0", raw(fRST, 0, 0, be32(8)), 0, protocol},
		{"6.4 RST_STREAM of 3 bytes", then(opened, raw(fRST, 0, 1, "\x00\x00\x00")), 1, size},
		{"6.5 SETTINGS", raw(fSettings, 0, 0, setting(3, 100)), 0, open},
		{"6.5 acknowledgement with bytes", raw(fSettings, ackBit, 0, "\x00"), 0, size},
		{"6.5 SETTINGS of a stream", raw(fSettings, 0, 1, setting(3, 100)), 0, protocol},
		{"6.5 SETTINGS of 3 bytes", raw(fSettings, 0, 0, "\x00\x03\x00"), 0, size},
		{"6.5.2 ENABLE_PUSH 2", raw(fSettings, 0, 0, setting(2, 2)), 0, protocol},
		{"6.5.2 INITIAL_WINDOW_SIZE 2^31", raw(fSettings, 0, 0, setting(4, 1<<31)), 0, connFlowOr},
		{"6.5.2 MAX_FRAME_SIZE too small", raw(fSettings, 0, 0, setting(5, 1<<14-1)), 0, protocol},
		{"6.5.2 MAX_FRAME_SIZE too large", raw(fSettings, 0, 0, setting(5, 1<<24)), 0, protocol},
		{"6.5.3 the last value of a setting counts", then(raw(fSettings, 0, 0, setting(4, 100)+setting(4, 1)), get, raw(fWindow, 0, 1, be32(1000))), 1, ok},
		{"6.6 PUSH_PROMISE of a client", then(opened, raw(fPush, endHeaders, 1, be32(2)+"\x82")), 1, protocol},
		{"6.7 PING", raw(fPing, 0, 0, "12345678"), 0, open},
		{"6.7 acknowledgement that nobody asked for", raw(fPing, ackBit, 0, "12345678"), 0, open},
		{"6.7 PING of a stream", raw(fPing, 0, 1, "12345678"), 0, protocol},
		{"6.7 PING of 6 bytes", raw(fPing, 0, 0, "123456"), 0, size},
		{"6.8 GOAWAY", raw(fGoAway, 0, 0, be32(0, 0)), 0, []string{isOpen, gone}},
		{"6.8 GOAWAY of a stream", raw(fGoAway, 0, 1, be32(0, 0)), 0, protocol},
		{"6.9 WINDOW_UPDATE of the connection", raw(fWindow, 0, 0, be32(1)), 0, open},
		{"6.9 WINDOW_UPDATE of a stream", then(opened, raw(fWindow, 0, 1, be32(1))), 0, open},
		{"6.9 increment 0, connection", raw(fWindow, 0, 0, be32(0)), 0, protocol},
		{"6.9 increment 0, stream", then(opened, raw(fWindow, 0, 1, be32(0))), 1, []string{streamProtocol, connProtocol, gone}},
		{"6.9 WINDOW_UPDATE of 3 bytes", raw(fWindow, 0, 0, "\x00\x00\x01"), 0, size},
		{"6.9.1 window of 1 byte", then(raw(fSettings, 0, 0, setting(4, 1)), get), 0, []string{"DATA of 1"}},
		{"6.9.1 window of the connection above 2^31-1", then(raw(fWindow, 0, 0, be32(1<<31-1)), raw(fWindow, 0, 0, be32(1<<31-1))), 0, connFlowOr},
		{"6.9.1 window of a stream above 2^31-1", then(opened, raw(fWindow, 0, 1, be32(1<<31-1)), raw(fWindow, 0, 1, be32(1<<31-1))), 1, []string{streamFlow, connFlow, gone}},
		{"6.9.2 window grows by a setting", then(raw(fSettings, 0, 0, setting(4, 0)), get, raw(fSettings, 0, 0, setting(4, 1))), 0, []string{"DATA of 1"}},
		{"6.9.2 window below 0", then(raw(fSettings, 0, 0, setting(4, 3)), get, raw(fSettings, 0, 0, setting(4, 2)), raw(fWindow, 0, 1, be32(100))), 1, ok},
		{"6.9.3 window above 2^31-1 by a setting", then(opened, raw(fWindow, 0, 1, be32(1<<30)), raw(fSettings, 0, 0, setting(4, 1<<31-1))), 1, connFlowOr},
		{"6.10 CONTINUATION", parts(h2Get, 1, endHeaders), 1, ok},
		{"6.10 several CONTINUATION", parts(h2Get, 3, endHeaders), 1, ok},
		{"6.10 CONTINUATION, then DATA", then(begun, raw(fContinue, 0, 1, ""), raw(fData, 0, 1, "x")), 1, protocol},
		{"6.10 CONTINUATION of stream 0", then(begun, raw(fContinue, endHeaders, 0, "")), 1, protocol},
		{"6.10 CONTINUATION of another stream", then(begun, raw(fContinue, endHeaders, 3, "")), 1, protocol},
		{"6.10 CONTINUATION after END_HEADERS", then(opened, raw(fContinue, endHeaders, 1, "\x82")), 1, protocol},
		{"6.10 CONTINUATION after CONTINUATION with END_HEADERS", then(parts(asHeld, 1, endHeaders), raw(fContinue, endHeaders, 1, "\x82")), 1, protocol},
		{"6.10 CONTINUATION after DATA", then(opened, raw(fData, 0, 1, "x"), raw(fContinue, endHeaders, 1, "\x82")), 1, protocol},

		{"7 GOAWAY with an unknown code", raw(fGoAway, 0, 0, be32(0, 0xff)), 0, []string{isOpen, gone}},
		{"7 RST_STREAM with an unknown code", then(opened, raw(fRST, 0, 1, be32(0xff))), 0, open},

		{"8.1 GET", get, 1, ok},
		{"8.1 HEAD", request(h2Head...), 1, ok},
		{"8.1 POST", then(opened, body("hello")), 1, ok},
		{"8.1 POST with trailers", then(opened, raw(fData, 0, 1, "hello"), trailers("x-sum", "1")), 1, ok},
		{"8.1 second HEADERS without END_STREAM", then(opened, raw(fData, 0, 1, "x"), func(h *h2) { h.headers(1, false, "x", "y") }), 1, malformed2},
		{"8.1.1 length of other than one DATA", then(func(h *h2) { h.headers(1, false, append(slices.Clone(h2Post), "content-length", "1")...) }, body("test")), 1, malformed2},
		{"8.1.1 length of other than several DATA", then(func(h *h2) { h.headers(1, false, append(slices.Clone(h2Post), "content-length", "1")...) }, body("test", "test")), 1, malformed2},
		{"8.2.1 upper case name", and(h2Get, "X-Test", "x"), 1, malformed2},
		{"8.2.1 name with a space", and(h2Get, "x test", "x"), 1, malformed2},
		{"8.2.1 value with NUL", and(h2Get, "x", "a\x00"), 1, malformed2},
		{"8.2.1 value with CR LF", and(h2Get, "x", "a\r\nb: c"), 1, malformed2},
		{"8.2.2 connection", and(h2Get, "connection", "keep-alive"), 1, malformed2},
		{"8.2.2 transfer-encoding", and(h2Post, "transfer-encoding", "chunked"), 1, malformed2},
		{"8.2.2 te other than trailers", and(h2Get, "te", "trailers, deflate"), 1, malformed2},
		{"8.2.2 te: trailers", and(h2Get, "te", "trailers"), 1, ok},
		{"8.2.3 cookies in pieces", and(h2Get, "cookie", "a=1", "cookie", "b=2"), 1, ok},
		{"8.3 unknown pseudo-field", and(h2Get, ":test", "x"), 1, malformed2},
		{"8.3 pseudo-field of a response", and(h2Get, ":status", "200"), 1, malformed2},
		{"8.3 pseudo-field as a trailer", then(opened, raw(fData, 0, 1, "x"), trailers(":method", "POST")), 1, malformed2},
		{"8.3 pseudo-field after another", request(append([]string{"x", "y"}, h2Get...)...), 1, malformed2},
		{"8.3.1 empty :path", request(":method", "GET", ":scheme", "https", ":path", "", ":authority", "api.test"), 1, malformed2},
		{"8.3.1 no :method", request(h2Get[2:]...), 1, malformed2},
		{"8.3.1 no :scheme", request(":method", "GET", ":path", "/", ":authority", "api.test"), 1, malformed2},
		{"8.3.1 no :path", request(":method", "GET", ":scheme", "https", ":authority", "api.test"), 1, malformed2},
		{"8.3.1 two :method", request(append([]string{":method", "GET"}, h2Get...)...), 1, malformed2},
		{"8.3.1 two :scheme", request(append([]string{":scheme", "https"}, h2Get...)...), 1, malformed2},
		{"8.3.1 two :path", request(append([]string{":path", "/"}, h2Get...)...), 1, malformed2},
		{"8.3.1 two :authority", request(append([]string{":authority", "api.test"}, h2Get...)...), 1, malformed2},
		{"8.3.1 neither :authority nor host", request(h2Get[:6]...), 1, malformed2},
		{"8.5 CONNECT with :scheme and :path", request(":method", "CONNECT", ":scheme", "https", ":path", "/", ":authority", "api.test"), 1, malformed2},
		{"8.5 CONNECT without :authority", request(":method", "CONNECT"), 1, malformed2},

		{"hpack 2.3.3 index beyond the table", block("\xff\x00"), 1, compress},
		{"hpack 2.3.3 index of a name beyond the table", block("\x7f\x80\x01\x01x"), 1, compress},
		{"hpack 4.2 size update at the end", block("\x20"), 1, compress},
		{"hpack 4.2 size update at the beginning", first("\x20"), 1, ok},
		{"hpack 4.2 two size updates", first("\x20\x3f\xe1\x1f"), 1, ok},
		{"hpack 5.1 integer that overflows", block("\x7f\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f"), 1, compress},
		{"hpack 5.2 Huffman padding of more than 7 bits", block("\x00\x85\xf2\xb2\x4a\x84\xff\x84\x49\x50\x9f\xff"), 1, compress},
		{"hpack 5.2 Huffman padding of zeros", block("\x00\x85\xf2\xb2\x4a\x84\xff\x83\x49\x50\x90"), 1, compress},
		{"hpack 5.2 Huffman with EOS", block("\x00\x85\xf2\xb2\x4a\x84\xff\x87\x49\x51\xff\xff\xff\xfa\x7f"), 1, compress},
		{"hpack 5.2 Huffman", block("\x00\x85\xf2\xb2\x4a\x87\x4f\x84\xf2\xb2\x4a\x87"), 1, []string{is200, connCompress}},
		{"hpack 6.1 index 0", block("\x80"), 1, compress},
		{"hpack 6.1 indexed", block("\x90"), 1, ok}, // accept-encoding: gzip, deflate
		{"hpack 6.2.1 with indexing, indexed name", block("\x53\x01x"), 1, ok},
		{"hpack 6.2.1 with indexing, new name", block("\x40\x01x\x01y\xbe"), 1, ok},
		{"hpack 6.2.2 without indexing, indexed name", block("\x0f\x04\x01x"), 1, ok},
		{"hpack 6.2.2 without indexing, new name", block("\x00\x01x\x01y"), 1, ok},
		{"hpack 6.2.3 never indexed, indexed name", block("\x1f\x04\x01x"), 1, ok},
		{"hpack 6.2.3 never indexed, new name", block("\x10\x01x\x01y"), 1, ok},
		{"hpack 6.3 size update above the setting", first("\x3f\xe2\x1f"), 1, compress},
		{"hpack string longer than the block", block("\x00\x7f\x01x"), 1, compress},
	}
}

// The front of HTTP/2 does what the RFC says to each of the ways in which a peer
// can be wrong, or differs as it is written down; and it serves the next
// connection.
func TestHTTP2Conformance(t *testing.T) {
	pn := newPen(t, someRules)
	pn.origin("api.test:443", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		if r.URL.Path == "/held" {
			<-r.Context().Done()
		}
		io.WriteString(w, "hello")
	}))
	seen := map[string]bool{}
	for _, c := range http2Cases() {
		t.Run(c.name, func(t *testing.T) {
			if seen[c.name] {
				t.Fatal("twice in the list")
			}
			seen[c.name] = true
			h := pn.http2("api.test:443")
			h.t = t
			defer h.c.Close()
			c.send(h)
			got := ""
			if len(c.want) == 1 && strings.HasPrefix(c.want[0], "DATA") {
				got = h.firstData()
			} else {
				got = h.outcome(c.stream, c.stream != 0)
			}
			want := c.want
			if d, ok := http2Differs[c.name]; ok {
				if slices.Contains(c.want, got) {
					t.Errorf("%s conforms now: take it from the list of differences", got)
				}
				want = []string{d.got}
			}
			if !slices.Contains(want, got) {
				t.Errorf("%s, want %s", got, strings.Join(want, " or "))
			}
		})
	}
	for name := range http2Differs {
		if !seen[name] {
			t.Errorf("difference of an unknown case: %s", name)
		}
	}
	if _, body := get(t, pn.client("h2"), "https://api.test/"); body != "hello" {
		t.Errorf("after all of them: %q", body)
	}
}

// What is no preface is never taken for a connection of HTTP/2 (section 3.4).
func TestHTTP2Preface(t *testing.T) {
	pn := newPen(t, someRules)
	for name, in := range map[string]string{
		"other bytes":  "INVALID CONNECTION PREFACE\r\n\r\n",
		"lower case":   "pri * HTTP/2.0\r\n\r\nsm\r\n\r\n",
		"no SM":        "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
		"no settings":  http2.ClientPreface + "\x00\x00\x08\x06\x00\x00\x00\x00\x0012345678",
		"half of it":   http2.ClientPreface[:12],
		"HTTP/1":       "GET / HTTP/1.1\r\nHost: api.test\r\n\r\n",
		"NUL and more": strings.Repeat("\x00", 24),
	} {
		t.Run(name, func(t *testing.T) {
			h := pn.http2Silent("api.test:443")
			h.t = t
			defer h.c.Close()
			io.WriteString(h.c, in)
			h.c.CloseWrite()
			if got := h.outcome(0, true); got != gone && got != connProtocol {
				t.Errorf("%s", got)
			}
		})
	}
	if d := pn.dialed(); len(d) != 0 {
		t.Errorf("dialled %v", d)
	}
}
