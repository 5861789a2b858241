package extauthz

import (
	"encoding/binary"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/penstock/penstock/hooks"
)

// Wire types of protobuf.
const (
	varint = 0
	fixed8 = 1
	bytesT = 2
	fixed4 = 5
)

// message is one that is being written. The zero value is empty.
type message []byte

func (m *message) number(field int, v uint64) {
	*m = binary.AppendUvarint(*m, uint64(field)<<3|varint)
	*m = binary.AppendUvarint(*m, v)
}

// text leaves out what is empty, as protobuf does.
func (m *message) text(field int, s string) {
	if s != "" {
		m.part(field, message(s))
	}
}

func (m *message) part(field int, b message) {
	*m = binary.AppendUvarint(*m, uint64(field)<<3|bytesT)
	*m = binary.AppendUvarint(*m, uint64(len(b)))
	*m = append(*m, b...)
}

// entries writes a map of texts.
func (m *message) entries(field int, all map[string]string) {
	for _, k := range slices.Sorted(maps.Keys(all)) {
		var e message
		e.text(1, k)
		e.text(2, all[k])
		m.part(field, e)
	}
}

var errText = errors.New("the request has bytes that are not UTF-8, which can't be told to the hook as they are")

// question renders a CheckRequest. The request's path has the query behind it, and the
// header the fields with a colon of HTTP/2, as Envoy has them.
func question(hook string, r *hooks.Request) ([]byte, error) {
	path := r.Path
	if r.Query != "" {
		path += "?" + r.Query
	}
	header, ok := fields(r.Header)
	if !ok || !utf8.ValidString(r.Method) || !utf8.ValidString(path) {
		return nil, errText
	}
	scheme, authority := r.Protocol.String(), authority(r)
	header[":method"], header[":path"], header[":scheme"], header[":authority"] = r.Method, path, scheme, authority

	var web message // AttributeContext.HttpRequest
	web.text(1, r.Session+"-"+strconv.FormatUint(r.Flow, 10))
	web.text(2, r.Method)
	web.entries(3, header)
	web.text(4, path)
	web.text(5, authority)
	web.text(6, scheme)
	web.number(9, uint64(r.Size)) // -1 is: not known

	var request message // AttributeContext.Request
	request.part(2, web)

	var socket, address, peer message // core.v3.SocketAddress, core.v3.Address, AttributeContext.Peer
	socket.text(2, r.Target.Name())
	socket.number(3, uint64(r.Target.Port))
	address.part(1, socket)
	peer.part(1, address)

	about := map[string]string{"penstock.session": r.Session, "penstock.flow": strconv.FormatUint(r.Flow, 10), "penstock.hook": hook}
	if p := r.Process; p != nil {
		about["penstock.process.pid"] = strconv.Itoa(p.PID)
		// A path may be any bytes; nothing that leaves depends on it.
		about["penstock.process.exe"] = strings.ToValidUTF8(p.Exe.Path, "?")
		about["penstock.process.sha256"] = p.Exe.SHA256
	}
	var context message // AttributeContext
	context.part(2, peer)
	context.part(4, request)
	context.entries(10, about)

	var check message // CheckRequest
	check.part(1, context)
	return check, nil
}

// authority is the host as the request names it, without the port that its scheme has.
func authority(r *hooks.Request) string {
	if r.Protocol == hooks.ProtocolHTTPS && r.Target.Port == 443 || r.Protocol == hooks.ProtocolHTTP && r.Target.Port == 80 {
		return strings.TrimSuffix(r.Target.String(), ":"+strconv.Itoa(int(r.Target.Port)))
	}
	return r.Target.String()
}

// fields has one text for each field, by its name in lower case: those of several
// lines are joined as HTTP joins them.
func fields(h http.Header) (map[string]string, bool) {
	out := make(map[string]string, len(h)+4)
	for _, k := range slices.Sorted(maps.Keys(h)) {
		list := h[k]
		if list == nil {
			continue // a mark for the transport, no field
		}
		name, by := strings.ToLower(k), ","
		if name == "cookie" {
			by = "; "
		}
		v := strings.Join(list, by)
		if before, ok := out[name]; ok {
			v = before + by + v
		}
		if !utf8.ValidString(name) || !utf8.ValidString(v) {
			return nil, false
		}
		out[name] = v
	}
	return out, true
}
