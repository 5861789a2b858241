// Package events reads what the programs of package ebpf tell about one session:
// which process makes each connection, and which processes there are. It answers
// Who for an accepted connection, and tells of the ends of processes that somebody
// should know of.
//
// It is for the proxy role, which has no privilege: it maps the ring into memory
// and makes no bpf(2) call. The event of a connection is in the ring before its
// SYN leaves, so Who drains the ring and looks; nobody waits and nobody polls.
//
// A tier with a kernel of its own in the pen tells the same, in the same form, over a
// pipe (Follow). That is a process of the pen: what it tells is marked, and is for
// records. It can flood, and be told of by numbers; it can end or break the stream,
// which is counted once; it can't make more be kept than there are bounds for.
//
// Hazards. Names, paths and arguments in the events are any bytes that a tool
// chose; they are bounded and are for people, and what is decided by them must
// be decided by device and inode too. What a hostile tool would try: to flood
// the ring so that an event is missing (then the answer is less or nothing, never
// another process: each event carries how often its process had executed, and a
// gap shows), to reuse a pid (each process is its pid and its start time) or the
// four addresses and ports of a connection (two processes that may have made one
// are nobody), to make the tree grow (it is bounded), and to end processes in any
// way by the million, so that one end that matters is not seen or the audit is full
// (the first ends of each kind are told one by one, the others by their number).
//
// It imports values only, and must stay small: each proxy has it.
package events
