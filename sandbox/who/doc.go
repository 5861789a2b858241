// Package who finds the process of a pen that opened a connection, without
// privilege: sock_diag(7) in the pen's network namespace gives the socket's inode,
// /proc the process that holds it.
//
// HAZARDS. It looks after the fact, at what a hostile tool arranges. Such a tool
//   - renames its binary, links it, deletes it, writes what it likes over its
//     arguments: the executable is device, inode and content, the rest is hearsay
//     that must be escaped;
//   - passes a connected socket on, or leaves it to a child: several processes
//     hold it then. Who called connect isn't recorded anywhere, so the oldest
//     holder is named (a child is younger than the parent it has a socket from),
//     and with Exact a holder that runs another program makes the answer Shared;
//   - lets go of the socket right after it wrote: then whoever else holds it is
//     named, or nobody. A tool can always have a program that it may start make a
//     request for it; the answer says which program's socket it was, no more;
//   - executes another program between connect and our look: the new one is named.
//     On the same connection nobody looks again;
//   - ends at once, hides behind prctl(PR_SET_DUMPABLE) or an unreadable binary:
//     unknown, never a guess;
//   - reuses numbers: a process is held by its directory in /proc, which stays that
//     process's, and what was read of it is read again after;
//   - takes a source port twice, so that the packet filter changes one of them
//     (nf_nat): the connection's own entry of conntrack tells the port it had;
//   - starts thousands of processes with thousands of descriptors: the work for one
//     answer is bounded, and so is that of a second; beyond it is unknown;
//   - takes a namespace of its own: its sockets aren't the pen's, so there is no
//     connection to ask about, and no process of another pid namespace is named.
//
// A parent is what the kernel says at the moment of the look: a process whose
// parent has ended has none. Only the supervisor imports it, with the caller's
// rights; it answers the proxy role, which can't read the pen's /proc. It imports
// hooks for the vocabulary and nothing else of this module.
package who
