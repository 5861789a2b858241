// Package wire reads the first bytes of hostile connections: TLS ClientHello
// messages, SOCKS5 greetings, the heads and framing of HTTP/1 messages, and the frames
// of WebSockets.
//
// HAZARDS. Everything here is written by a tool that wants two readers of the
// same bytes to disagree: a proxy that judges one name while the origin, or the
// HTTP server behind this package, sees another. So nothing is repaired and
// nothing is guessed: what the grammar does not allow is refused, what is
// allowed has one reading, and bytes are passed on unchanged. Every loop is
// bounded by a limit of the caller; no read waits for more than it must.
//
// It does no I/O of its own but reads from the io.Reader it is given, decides
// nothing, and only netproxy may import it.
package wire

import "errors"

// ErrShort means that the bytes so far are a valid beginning: read more.
var ErrShort = errors.New("more bytes needed")
