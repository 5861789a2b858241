package extauthz

import (
	"errors"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/hooks/protobuf"
)

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

	var web protobuf.Message // AttributeContext.HttpRequest
	web.Text(1, r.Session+"-"+strconv.FormatUint(r.Flow, 10))
	web.Text(2, r.Method)
	web.TextEntries(3, header)
	web.Text(4, path)
	web.Text(5, authority)
	web.Text(6, scheme)
	web.Number(9, uint64(r.Size)) // -1 is: not known

	var request protobuf.Message // AttributeContext.Request
	request.Part(2, web)

	var socket, address, peer protobuf.Message // core.v3.SocketAddress, core.v3.Address, AttributeContext.Peer
	socket.Text(2, r.Target.Name())
	socket.Number(3, uint64(r.Target.Port))
	address.Part(1, socket)
	peer.Part(1, address)

	about := map[string]string{"penstock.session": r.Session, "penstock.flow": strconv.FormatUint(r.Flow, 10), "penstock.hook": hook}
	if p := r.Process; p != nil {
		about["penstock.process.pid"] = strconv.Itoa(p.PID)
		// A path may be any bytes; nothing that leaves depends on it.
		about["penstock.process.exe"] = strings.ToValidUTF8(p.Exe.Path, "?")
		about["penstock.process.sha256"] = p.Exe.SHA256
	}
	var context protobuf.Message // AttributeContext
	context.Part(2, peer)
	context.Part(4, request)
	context.TextEntries(10, about)

	var check protobuf.Message // CheckRequest
	check.Part(1, context)
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
