// Package proxyctl is the conversation between the supervisor and the proxy
// role: typed, bounded messages over one unix seqpacket socket, or
// where there is none (macOS) a stream.
//
// The proxy parses hostile bytes, so the supervisor treats what comes back as
// hostile too: a message that is too long, unknown or out of turn ends the
// session closed. Secrets go with the role's configuration (internal/donate); of a
// value that changes later the new one goes here, in secrets.Renewal and nothing
// else, and never comes back. The supervisor never receives traffic. Only the
// supervisor and the proxy role import it.
package proxyctl
