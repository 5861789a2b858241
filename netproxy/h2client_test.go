package netproxy

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// h2 is a client of HTTP/2 that sends whatever it is told to.
type h2 struct {
	t    testing.TB
	c    *tls.Conn
	fr   *http2.Framer
	enc  *hpack.Encoder
	buf  bytes.Buffer
	seen []http2.Setting // the server's
}

// http2 opens a connection to target and exchanges settings.
func (pn *pen) http2(target string, settings ...http2.Setting) *h2 {
	pn.t.Helper()
	h := pn.http2Silent(target)
	io.WriteString(h.c, http2.ClientPreface)
	h.fr.WriteSettings(settings...)
	for acked := false; !acked || h.seen == nil; {
		f, err := h.fr.ReadFrame()
		if err != nil {
			pn.t.Fatal(err)
		}
		if s, ok := f.(*http2.SettingsFrame); ok {
			if acked = acked || s.IsAck(); !s.IsAck() {
				h.settings(s)
			}
		}
	}
	return h
}

// http2Silent has not sent its preface.
func (pn *pen) http2Silent(target string) *h2 {
	pn.t.Helper()
	h := &h2{t: pn.t, c: pn.tls(target, target[:len(target)-len(":443")], "h2")}
	h.fr = http2.NewFramer(h.c, h.c)
	h.fr.AllowIllegalWrites = true
	h.fr.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	h.enc = hpack.NewEncoder(&h.buf)
	return h
}

func (h *h2) settings(s *http2.SettingsFrame) {
	h.seen = []http2.Setting{}
	s.ForeachSetting(func(s http2.Setting) error { h.seen = append(h.seen, s); return nil })
	h.fr.WriteSettingsAck()
}

// block encodes a header block.
func (h *h2) block(fields ...string) []byte {
	h.buf.Reset()
	for i := 0; i+1 < len(fields); i += 2 {
		h.enc.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	return bytes.Clone(h.buf.Bytes())
}

func (h *h2) headers(stream uint32, end bool, fields ...string) {
	h.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: h.block(fields...), EndStream: end, EndHeaders: true})
}

func (h *h2) raw(typ http2.FrameType, flags http2.Flags, stream uint32, payload string) {
	h.fr.WriteRawFrame(typ, flags, stream, []byte(payload))
}

// outcome reads until something is decided: the connection ("GOAWAY CODE",
// "closed"), the stream ("RST_STREAM CODE", or the status of a whole answer), or,
// if no answer is waited for, that the server still answers a ping ("open").
func (h *h2) outcome(stream uint32, answer bool) string {
	if !answer {
		h.fr.WritePing(false, [8]byte{'o', 'p', 'e', 'n', '?'})
	}
	status := ""
	for {
		f, err := h.fr.ReadFrame()
		var se http2.StreamError
		switch {
		case errors.As(err, &se):
			h.t.Fatalf("the server's frame: %v", err)
		case err != nil:
			return "closed"
		}
		switch f := f.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() {
				h.settings(f)
			}
		case *http2.PingFrame:
			if !answer && f.IsAck() && f.Data[4] == '?' {
				return "open"
			}
		case *http2.GoAwayFrame:
			if f.ErrCode != http2.ErrCodeNo {
				return "GOAWAY " + f.ErrCode.String()
			}
		case *http2.RSTStreamFrame:
			if f.StreamID == stream && f.ErrCode != http2.ErrCodeNo {
				return "RST_STREAM " + f.ErrCode.String()
			}
		case *http2.MetaHeadersFrame:
			if f.StreamID != stream {
				continue
			}
			if s := f.PseudoValue("status"); s != "100" {
				status = s
			}
			if answer && f.StreamEnded() {
				return status
			}
		case *http2.DataFrame:
			if answer && f.StreamID == stream && f.StreamEnded() {
				return status
			}
		}
	}
}

// firstData waits for the first DATA of stream 1 and says how much it holds.
func (h *h2) firstData() string {
	for {
		f, err := h.fr.ReadFrame()
		if err != nil {
			return "closed"
		}
		if d, ok := f.(*http2.DataFrame); ok && len(d.Data()) > 0 {
			return fmt.Sprintf("DATA of %d", len(d.Data()))
		}
	}
}
