// Package none is what is there when nobody wants a sandbox: the command runs as
// the caller, on the caller's files, among the caller's processes. Only its network
// is a pen's: what it connects to reaches the proxy, as in every tier.
//
// The builder of the pen's network (sandbox/netns) becomes the role of this package,
// which starts the shim in a user namespace of its own, below the one that owns the
// network: the caller's ids, and no right to the network's rules. It inherits what
// the command leaves behind, so that all of it can be counted and stopped.
//
// Hazards. This is no wall, and nothing may take it for one: it is chosen on the
// command line, by two flags, and by nothing else (supervisor/config); what a policy
// asks for and this can't keep is an error; its controls say that they are not
// enforced. A hostile command gets out in many ways, of which no test says the
// contrary: it asks a process of the caller's or a socket of the host's (D-Bus, a
// container engine, systemd) to connect for it, changes a file that the caller
// executes later, reads the key of Penstock's authority, traces another process of
// the caller's, opens a vsock. What it would try and what does hold, each with a test:
// a packet straight out of its namespace (there is no link); leaving the namespace
// (setns needs a right in the namespace that it wants to enter, unshare leads down);
// changing the rules or the listeners' ports (no capability in the owning namespace);
// outliving the session, by a session of its own, by a namespace below, by killing the
// role above it (a process never leaves its user namespace upwards: all that are in
// the owning one or below are killed, see procs.KillWithin).
//
// Where nobody may make a namespace it is plain: the command has the host's network,
// proxy variables are all that leads to the proxy, and descent from the role all that
// tells what is the session's. A hostile command would kill the role to lose that, and
// be left behind.
//
// The supervisor and the role table of cmd import it.
package none
