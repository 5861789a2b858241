// Package daemon is the privileged supervisor: one root process for all users of
// a machine, which gives a session what its user can't have and starts nothing
// of it. See package daemonctl for the conversation, bossctl for its proxies.
//
// Its hazard is that it is root and everybody in a group may talk to it. So
//
//   - it reads its own bounded messages and facts of /proc, nothing else: no
//     policy, no YAML of a caller, no traffic, no audit line. The one thing for
//     which it follows paths, whether a pen's files are within the
//     administrator's policy, it does with the caller's ids (files_linux.go).
//     It never reads from, stats or seeks a descriptor that it was
//     sent before the kernel's name for it says what it is (kind): a file of a
//     FUSE server answers as late as its owner likes. For the same reason such a
//     descriptor is closed last, when nobody waits for the connection any more;
//   - who somebody is is the kernel's word (SO_PEERCRED), and which process, a
//     pidfd; a number is only used between two looks at a pidfd that both say
//     that the process lives;
//   - every user's connections, sessions and messages are counted before any
//     work is done for them, so that a flood costs its sender;
//   - each step pushes its reversal, and a connection's end, wherever it comes,
//     runs them all: the pen is killed, the proxy writes the last record, the
//     ledger is sealed.
//
// What a hostile caller tries, each with a test: garbage, half messages, huge
// ones, too many descriptors; descriptors of the wrong kind or of another
// namespace (the host's, another session's); a pidfd of another user's process,
// of root's, of one that is dead, or without no_new_privs; messages out of
// order; leaving at any step; flooding; naming another's session; a pen that shows
// what is hidden or outlasts its limits; file systems that don't answer. What a proxy
// that was taken over tries: any message at any time; it is killed for the first
// that is out of turn, and its session ends closed.
//
// Sessions end when the daemon ends, however it does (see RATIONALE.md); what is
// left of them then is swept by the next one. Its control groups are removed by a
// janitor, which it starts before it gives up the privilege for that.
//
// Only cmd imports it.
package daemon
