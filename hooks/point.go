package hooks

import (
	"net/http"
	"slices"
)

// Point is when a hook is asked. The zero value is PointRequest, before anything
// has left.
type Point uint8

// The points.
const (
	PointRequest  Point = iota // a request's header is there, and nothing of it has left
	PointResponse              // the header of the answer is there, and nothing of it is the pen's
	// PointConnect is before a connection is made for the pen: one that is not read,
	// or the first request of one of the pen's to its target.
	PointConnect
	PointRequestBody  // a part of a request's body is there, and nothing of it has left
	PointResponseBody // a part of an answer's body is there, and nothing of it is the pen's
	PointWebSocket    // a message of a WebSocket is there, or a part of one, and nothing of it is passed on
	// PointSessionStart is before a session's command runs, PointSessionEnd when it has
	// ended, or will never run: what is said then changes nothing.
	PointSessionStart
	PointSessionEnd
	// PointDNS is before the pen is told the address of a name, and before a connection
	// is made to one.
	PointDNS
	// PointToolCall is before a request leaves in which a rule about JSON-RPC has found
	// the call of a tool, once for each.
	PointToolCall
	points
)

var pointNames = [points]string{"request", "response", "connect", "request_body", "response_body", "websocket", "session_start", "session_end", "dns", "tool_call"}

// String returns the point's name as it stands in policies, questions and in the
// audit.
func (p Point) String() string {
	if p < points {
		return pointNames[p]
	}
	return "unknown"
}

// PointNames returns the names of all points.
func PointNames() []string { return slices.Clone(pointNames[:]) }

// PointNamed returns the point of a name.
func PointNamed(s string) (p Point, ok bool) {
	i := slices.Index(pointNames[:], s)
	return Point(max(i, 0)), i >= 0
}

// Replies says whether a hook may answer itself at the point.
func (p Point) Replies() bool { return p == PointRequest || p == PointResponse }

// Ahead says whether nothing of the request, or the connection, has left at the point:
// it can still wait for a person, or go another way.
func (p Point) Ahead() bool { return p == PointRequest || p == PointConnect || p.Called() }

// Web says whether there is a request at the point: method, path, query, header and
// size.
func (p Point) Web() bool { return p != PointConnect && !p.Named() && !p.Sessional() }

// Named says whether the point is about a name, and nothing else of a target.
func (p Point) Named() bool { return p == PointDNS }

// Called says whether there is the call of a tool at the point.
func (p Point) Called() bool { return p == PointToolCall }

// Sessional says whether the point is about a session, and no target.
func (p Point) Sessional() bool { return p == PointSessionStart || p == PointSessionEnd }

// Answered says whether there is an upstream's answer at the point.
func (p Point) Answered() bool { return p == PointResponse || p == PointResponseBody }

// Bodied says whether there is a part of a body, or of a message, at the point.
func (p Point) Bodied() bool {
	return p == PointRequestBody || p == PointResponseBody || p == PointWebSocket
}

// Spoken says whether the part at the point is one of a message.
func (p Point) Spoken() bool { return p == PointWebSocket }

// Response is what an upstream answers a request with.
type Response struct {
	Status int // final: 101 and 200 to 999
	Header http.Header
	Size   int64 // declared body length in bytes; -1 if unknown
}
