// Package secrets keeps real credentials out of the pen: the pen gets a random
// placeholder, and the real value takes its place in one header, query parameter or
// JSON field of requests to the declared hosts, or in a field of the first message of a
// WebSocket, after the verdict and just before that leaves.
//
// Its hazard is the real value. It exists in this package's Set, in the header
// of an outgoing request, and nowhere else: no value is ever formatted, logged
// or encoded (type Value refuses), and every error or line of text that could
// have met one goes through Redact.
//
// # What a hostile tool could try
//
// A placeholder is worthless outside the pen, so sending it somewhere gains
// nothing; that it is refused and flagged wherever it is not meant to be is an
// alarm, and tells a misconfigured tool why its key "does not work". The attacks
// that matter aim at the real value: to have it sent to another host (the host
// is that of the bound target, never a header), in clear text (refused), or to a
// host that echoes requests. Against echoes: only the declared place is
// swapped, as a whole value of which the tool chooses nothing (a field of a prompt
// that is stored or shown would give it back), TRACE and its like are refused, and
// the answer to a request with a real value is searched for
// it, plain and in base64, in header, body and trailers (Response). A host that
// returns it compressed unasked, encrypted, hashed or in pieces can't be caught:
// declare a secret only for hosts that are trusted with it.
//
// In a WebSocket the tool would send the field again, when the value can be said to
// somebody; put it into a ping, a close or a binary message; cut it into fragments; or
// have the server say it in one (Messages). So all frames are read, both ways.
//
// Where a rule pins a host to a secret (Pinned), the tool's aim is another: to be
// served with its own credential, so that the host keeps the user's data for its
// account. It puts it beside ours or instead of it: in the same header, twice, joined
// or behind a scheme, in another header or spelling of one, in a cookie, the query,
// a trailer, a subprotocol, or as the user name that goes with our password. The host
// is honest: only places that a server reads count, so the judgement is by name,
// and by look where the name says nothing. Paths and bodies are not judged.
//
// Keys that sign (AWS) never leave at all, but what is signed with them is as good as a
// key for as long as the signature is. A tool chooses all of a request but its time: it
// can have anything signed that goes to a declared host, for a declared service and
// region, now. So nothing is signed that is not sent (no presigned URLs), nothing in
// clear text, and nothing for a service or region that the tool only names.
//
// Splitting, compressing or encrypting a placeholder hides it from the alarm; the
// alarm is not a boundary, and nothing is lost when it stays silent.
//
// Logins are the credentials for upstream proxies. They have no placeholder: no
// tool ever sends them.
//
// Only netproxy, its packages and the supervisor import it.
package secrets
