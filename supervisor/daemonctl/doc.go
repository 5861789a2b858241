// Package daemonctl is the conversation between penstock run and the privileged
// supervisor: typed, bounded messages with descriptors over one unix seqpacket
// connection. One connection is one session, and its end is the session's end.
//
// The daemon never starts a process of the session and resolves no path for a
// caller: the caller builds the pen with its own rights, as without a daemon, and
// passes descriptors of what it built. What the daemon gives is a control group,
// eBPF, a proxy under a user id of its own, and an audit that the caller can't
// change.
//
// Its hazard is a hostile caller: every user in the socket's group can send any
// bytes and any descriptors, in any order, and stop at any point. So a message
// is small, known field by field, and checked by Check before anybody looks at
// it; descriptors are counted, and closed when they were not asked for. Each
// message's comment says why it is safe to obey for anybody.
//
// Only supervisor, supervisor/daemon, supervisor/doctor and cmd import it.
package daemonctl
