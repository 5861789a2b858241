package har

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/penstock/penstock/audit"
	"github.com/penstock/penstock/audit/capture"
	"github.com/penstock/penstock/internal/text"
)

// redacted stands where a value was sent that the audit does not keep.
const redacted = "[redacted]"

// Writer writes a HAR 1.2 file entry by entry; it holds one flow at a time. It is
// not safe for use by several goroutines.
type Writer struct {
	w       io.Writer
	kept    *captures     // nil: nothing captured is added
	open    *audit.Record // whose end is still to come
	entries int
	others  int // flows that are not HTTP
	err     error
}

// New begins a file on w. version is Penstock's own.
func New(w io.Writer, version string) *Writer {
	hw := &Writer{w: w}
	creator, err := json.Marshal(nameVersion{"Penstock", version})
	if err != nil {
		hw.err = fmt.Errorf("write HAR: %w", err)
		return hw
	}
	hw.print(`{"log":{"version":"1.2","creator":` + string(text.JSON(creator)) + `,"entries":[`)
	return hw
}

// CapturesOf adds what rules have captured (capture:) of the store's sessions to
// the entries that follow.
func (hw *Writer) CapturesOf(store *audit.Store) { hw.kept = &captures{store: store} }

// Record takes a record of the audit: an entry is made of each opening of an HTTP
// flow and the end that directly follows it. Records of other types are left out.
func (hw *Writer) Record(r *audit.Record) error {
	switch r.Type {
	case audit.TypeFlowOpen:
		hw.flush(nil)
		if r.Protocol != "http" && r.Protocol != "https" {
			hw.others++
			break
		}
		hw.open = r
	case audit.TypeFlowClose:
		if hw.open != nil && r.Flow == hw.open.Flow && r.Session == hw.open.Session {
			hw.flush(r)
		}
	}
	return hw.err
}

// Close ends the file. It does not close what it is written to.
func (hw *Writer) Close() error {
	hw.flush(nil)
	if hw.kept != nil {
		hw.kept.close()
	}
	comment := "Made of the audit, which keeps no values of queries, and header fields and bodies only of what a rule captures. Times are of whole flows."
	if hw.others > 0 {
		comment += fmt.Sprintf(" %d flows that are not HTTP are left out.", hw.others)
	}
	hw.print("\n]," + `"comment":"` + comment + "\"}}\n")
	return hw.err
}

func (hw *Writer) print(s string) {
	if hw.err == nil {
		if _, err := io.WriteString(hw.w, s); err != nil {
			hw.err = fmt.Errorf("write HAR: %w", err)
		}
	}
}

// flush writes the entry of the open flow; end is nil if none was recorded.
func (hw *Writer) flush(end *audit.Record) {
	if hw.open == nil || hw.err != nil {
		return
	}
	e := entryOf(hw.open, end)
	if hw.kept != nil {
		x, err := hw.kept.of(e.Session, e.Flow)
		if err != nil {
			hw.err = err
			return
		}
		if x != nil {
			e.add(x)
		}
	}
	hw.open = nil
	doc, err := json.Marshal(e)
	if err != nil {
		hw.err = fmt.Errorf("write HAR: %w", err)
		return
	}
	sep := ",\n"
	if hw.entries == 0 {
		sep = "\n"
	}
	hw.entries++
	hw.print(sep)
	hw.print(string(text.JSON(doc)))
}

// entryOf joins what is recorded of a flow.
func entryOf(open, end *audit.Record) *entry {
	e := &entry{
		Started: open.Time.UTC().Format(time.RFC3339Nano),
		Request: request{
			Method: open.Method, URL: urlOf(open), Version: open.Version, Cookies: none, Headers: none,
			Query: queryOf(open.QueryKeys), HeadersSize: -1,
		},
		Response: response{
			Version: open.Version, Cookies: none, Headers: none, HeadersSize: -1, BodySize: -1,
			Content: content{MimeType: "x-unknown"},
		},
		Session: open.Session, Flow: open.Flow, Verdict: open.Verdict, Mode: open.Mode, Rule: open.Rule, Reason: open.Reason,
		Via: open.Via, Routed: open.Routed, Process: open.Process, PID: open.PID, Exe: open.Exe, Truncated: open.Truncated,
	}
	if open.Conn != 0 {
		e.Connection = strconv.FormatUint(open.Conn, 10)
	}
	if end == nil {
		e.acted(open.Hooks)
		e.remark("no end of this flow was recorded")
		return e
	}
	// Send, wait and receive may not be unknown: all of it is the wait.
	e.Time = math.Max(0, float64(end.Duration)/1000)
	e.Timings.Wait = e.Time
	e.Request.BodySize = size(end.BytesUp)
	e.Response.Status, e.Response.StatusText = end.Status, http.StatusText(end.Status)
	e.Response.BodySize, e.Response.Content.Size = size(end.BytesDown), size(end.BytesDown)
	if end.Status == http.StatusSwitchingProtocols {
		e.ResourceType = "websocket"
	}
	e.acted(slices.Concat(open.Hooks, end.Hooks))
	e.Class, e.Error, e.Truncated = end.Class, end.Error, e.Truncated || end.Truncated
	if upstream, err := netip.ParseAddrPort(end.Upstream); err == nil {
		if open.Via == "" {
			e.ServerIP = upstream.Addr().Unmap().WithZone("").String()
		} else {
			e.ViaAddress = upstream.String()
		}
	}
	return e
}

// acted puts in what hooks did.
func (e *entry) acted(list []audit.Asked) {
	e.Hooks = audit.Acted(list)
	e.remark(audit.ActedText(list))
}

// remark adds to what a viewer shows of the entry beside the standard's members.
func (e *entry) remark(s string) {
	if e.Comment != "" && s != "" {
		s = "; " + s
	}
	e.Comment += s
}

// add puts in what was captured.
func (e *entry) add(x *capture.Exchange) {
	if m := x.Request; m != nil {
		e.Request.Headers = pairs(m.Header)
		if len(m.Body) > 0 {
			e.Request.PostData = &postData{MimeType: field(m.Header, "Content-Type")}
			e.Request.PostData.Text, e.Request.PostData.Encoding = bodyText(m.Body)
		}
		e.Request.Truncated = m.Truncated
	}
	if m := x.Response; m != nil {
		e.Response.Headers, e.Response.RedirectURL = pairs(m.Header), field(m.Header, "Location")
		c := &e.Response.Content
		if c.Text, c.Encoding = bodyText(m.Body); field(m.Header, "Content-Type") != "" {
			c.MimeType = field(m.Header, "Content-Type")
		}
		if coding := field(m.Header, "Content-Encoding"); coding != "" {
			c.Comment = "as it was transferred: " + coding
		}
		e.Response.Truncated = m.Truncated
	}
}

func pairs(header [][2]string) []pair {
	list := make([]pair, len(header))
	for i, h := range header {
		list[i] = pair{h[0], h[1]}
	}
	return list
}

func field(header [][2]string, name string) string {
	for _, h := range header {
		if strings.EqualFold(h[0], name) {
			return h[1]
		}
	}
	return ""
}

// bodyText is a body as a string of JSON.
func bodyText(b []byte) (s, encoding string) {
	if utf8.Valid(b) {
		return string(b), ""
	}
	return base64.StdEncoding.EncodeToString(b), "base64"
}

func size(n uint64) int64 { return int64(min(n, math.MaxInt64)) }

// urlOf is what was asked for, with every byte that a URL can't hold escaped and
// no value of its query.
func urlOf(r *audit.Record) string {
	host, port := r.Target(), strconv.Itoa(r.Port)
	if r.Protocol == "https" && r.Port == 443 || r.Protocol == "http" && r.Port == 80 {
		if strings.Contains(host, ":") {
			host = "[" + host + "]"
		}
	} else {
		host = net.JoinHostPort(host, port)
	}
	var b strings.Builder
	b.WriteString(r.Protocol + "://")
	escape(&b, host, "-._~!$&'()*+,;=:[]")
	if !strings.HasPrefix(r.Path, "/") {
		b.WriteByte('/')
	}
	escape(&b, r.Path, "-._~!$&'()*+,;=:@/%")
	for i, k := range r.QueryKeys {
		b.WriteByte("?&"[min(i, 1)])
		escape(&b, k, "-._~!$'()*+,:@/%")
		b.WriteString("=%5Bredacted%5D")
	}
	return b.String()
}

// escape writes letters, digits and what is in keep as they are. A % is kept only
// as the beginning of an escape.
func escape(b *strings.Builder, s, keep string) {
	for i := range len(s) {
		c := s[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		case c == '%' && i+2 < len(s) && isHex(s[i+1]) && isHex(s[i+2]):
		case c != '%' && strings.IndexByte(keep, c) >= 0:
		default:
			fmt.Fprintf(b, "%%%02X", c)
			continue
		}
		b.WriteByte(c)
	}
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

func queryOf(keys []string) []pair {
	list := make([]pair, len(keys))
	for i, k := range keys {
		list[i] = pair{k, redacted}
	}
	return list
}
