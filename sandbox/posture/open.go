package posture

import "github.com/penstock/penstock/sandbox"

// CheckOpen compares what a command without a sandbox has: the pen's network, below
// the user namespace that owns it and without a capability, and its three streams. The
// rest of the expectation is not looked at. Its error is a Mismatch.
func CheckOpen(e *Expectation, o *Observation) error {
	m := append(checkIdentity(e, o), checkRights("", o)...)
	switch n := o.Namespaces; {
	case n.Net == 0 || n.Net == e.Ours.Net || n.Net != e.Net:
		m.add(network, "net namespace is %d, declared %d and not the host's", n.Net, e.Net)
	case n.User == 0 || n.User == e.Ours.User || n.User == e.Owner:
		m.add(network, "user namespace is %d: the host's, or the one that owns the network; declared another", n.User)
	}
	m = append(m, checkFiles(e, o)...)
	if len(m) == 0 {
		return nil
	}
	return m
}

// CheckPlain is CheckOpen for a command that has not even namespaces of its own.
func CheckPlain(e *Expectation, o *Observation) error {
	var m Mismatch
	for i := range o.UID {
		if o.UID[i] != e.HostUID || o.GID[i] != e.HostGID {
			m.add(privilege, "user ids are %v and group ids %v, declared %d and %d", o.UID, o.GID, e.HostUID, e.HostGID)
			break
		}
	}
	m = append(m, checkRights("", o)...)
	m = append(m, checkFiles(e, o)...)
	if len(m) == 0 {
		return nil
	}
	return m
}

// PlainControls are what such a command has.
func PlainControls() []sandbox.Capability {
	out := OpenControls()
	out[0].By, out[0].Detail = "proxy variables", "only programs that obey them are captured; any other reaches the network unseen"
	return out
}

// OpenControls are what a command without a sandbox has that CheckOpen found nothing
// wrong with.
func OpenControls() []sandbox.Capability {
	const not = "not enforced without a sandbox"
	return []sandbox.Capability{
		{Control: network, State: sandbox.Partial, By: "network namespace without uplink, nftables",
			Detail: "captured, but a command that wants to gets past it: by the host's unix sockets, and by what else runs as you"},
		{Control: fileReads, State: sandbox.Unavailable, Detail: not},
		{Control: fileWrites, State: sandbox.Unavailable, Detail: not},
		{Control: processes, State: sandbox.Unavailable, Detail: not},
		{Control: privilege, State: sandbox.Unavailable, Detail: not + ": it is you, though without capabilities"},
		{Control: syscalls, State: sandbox.Unavailable, Detail: not},
		{Control: devices, State: sandbox.Unavailable, Detail: not},
		{Control: setUserID, State: sandbox.Enforced, By: "no_new_privs"},
		{Control: descriptors, State: sandbox.Enforced, By: "none but the three streams"},
	}
}
