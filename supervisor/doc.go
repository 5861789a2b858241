// Package supervisor is the life of a session: plan → pen → proxy → sandbox →
// verify → release → watch → clean. It is the only package that joins the
// others.
//
// Its hazard is order. Nothing of the command runs before the proxy serves the
// pen's sockets, the child has been read back from the kernel and compared with
// the plan, and the session's start is in the audit. Whatever fails before that
// ends the session closed; whatever dies after it ends the session closed too.
// The supervisor parses no traffic: that is the proxy role's (package
// supervisor/proxyrole), which runs without privilege.
//
// On macOS the child can't be read back: the held shim tries what has to be refused
// instead (shim.Tries), and there is no privileged supervisor, no list of sessions and
// nobody to be asked. What both systems do is in files for both.
//
// What a hostile tool would try here: make the supervisor signal a process that
// took over a pid (it holds pidfds), inherit a descriptor (posture reads them
// back), outlive the session (everything is in a pid namespace whose first
// process dies with the supervisor), paint on the terminal through a summary
// (all of it is escaped), or kill the proxy to be unrecorded (the pen dies with
// it). Only cmd imports this package.
package supervisor
