// Package netns builds the pen's network: a user and network namespace that
// has only lo, in which every IPv4 and IPv6 address is local, all TCP is
// steered to a listener opened inside, DNS of any server reaches our resolver,
// and every other packet is refused at once and reported.
//
// The work is done by a role of its own, `penstock role:netns`, because a Go
// process can't enter a user namespace after it has started threads: the
// caller starts the role with CLONE_NEWUSER|CLONE_NEWNET (Start), the role is
// root in that namespace and nowhere else, builds, opens the sockets, sends
// them out (Sockets) and then becomes, as the same process, the next command,
// which makes a nested user namespace for the tool.
//
// Hazards. The wall is that there is no link, no route and no socket that
// leaves the namespace; the rules only steer. What a hostile tool inside would
// try, each with a test: a destination no rule thought of (IPv6, IPv4-mapped,
// multicast, another protocol, port 53, the capture port itself); taking the
// listeners' ports or a foreign address for itself; changing links, routes or
// rules (it has no capability in the owning user namespace, and with the rules
// flushed there is still no uplink); flooding the report of refused packets
// (bounded, what is lost is counted); packet headers made to break the parser
// of that report; descriptors of the builder left open in the pen.
//
// Only the supervisor starts it; the proxy role uses Sockets, OriginalDst and
// Drops. Package sandbox must not import it.
package netns
