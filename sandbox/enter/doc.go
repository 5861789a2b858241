// Package enter starts a process in a pen that runs, from outside: the first step of a
// further command in a session of the tier bwrap.
//
// Nothing in the pen waits for that, and a session that takes no further command has
// nothing of it. The role enters by the descriptor of a process there:
//
//	role:enter (the caller's rights, in the session's control group)
//	  └ fork: setns to the pen's namespaces, all at once; it is in none of its pids
//	     └ fork, as a child of the role's: no bounding set, no capability,
//	       no_new_privs, the pen's seccomp filter, and then the shim as in the pen
//
// The shim is held until the supervisor has compared it with what the session's own
// was compared with (sandbox/posture). The role waits for its end and ends alike.
//
// # Hazards
//
// Between the second fork and the shim a process that has every capability in the pen's
// user namespace can be seen in the pen's process table. A hostile tool would trace it,
// read its memory or descriptors, or have it execute something else. It is not
// dumpable, which only a capability outside of the pen overrides; it is outside of the
// tool's Landlock domain, or where there is no Landlock the tool can't trace at all; it
// holds no secret, no descriptor but the three streams, the shim's line and what ends
// with execve; and what it executes is Penstock's own file on a mount that is read-only
// and verified. A tool can kill it or stop it, or use up the pen's processes: then no
// command is started, and whoever asked is told so.
//
// Joining a user namespace needs a process with one thread, which no Go program is. So
// both forks run nothing but system calls that were prepared before them. Nothing may be
// allocated or called there, not even a signal handler.
//
// Only supervisor and the role table of cmd import it.
package enter
