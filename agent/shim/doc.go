// Package shim is the first process in a pen and the supervisor's end of the
// line to it.
//
// The shim is held until it is verified: it gets its orders, puts the last
// restrictions on itself, says ready, and waits. The supervisor reads it back
// from /proc meanwhile. Only when it is released does it execute the command,
// in the same process, so that what was verified is what runs.
//
//	supervisor                       shim (in the pen)
//	Pair, Configure ── orders ──►    Main: reads orders
//	                                 limits, session, terminal, directory, Landlock
//	WaitReady ◄── ready ──────────   (the kernel adds its credentials)
//	… posture, audit …
//	Release ── go ──►                execve
//	WaitExec ◄── end of file         (the socket is close-on-exec)
//	     or  ◄── what failed
//
// The orders travel as a sealed memory file over a socket pair, so nothing of
// the command shows in another process's arguments and no path is involved.
//
// On macOS, whose unix sockets have no packets and which has no memory files, the line is a
// stream and the orders are its first message. What holds the shim can't be read back
// there: it tries what has to be refused (Tries), and says how much was. It is our own
// program, not yet the command, that says so; what it may do decides the profile that it
// is started under.
//
// Hazards. After release the process is hostile: the supervisor believes
// nothing that came later than "ready" but an error of execve, and bounds what
// it reads. A descriptor that survives execve would be a way out: all above 2
// are closed before anything else happens, but for the runtime's own, which do not.
// What comes with the orders the command is meant to have (a tier's own program, never
// a user's command): the supervisor has compared it with what it gave. The package
// runs in the pen with the user's id, so it must not print what it was told.
//
// Only the supervisor and the role table of cmd import it.
package shim
