package posture

import (
	"slices"

	"github.com/penstock/penstock/sandbox"
)

// The controls that Check verifies; each Difference is one's.
const (
	network     = "network"
	fileReads   = "file-reads"
	fileWrites  = "file-writes"
	processes   = "processes"
	privilege   = "privilege"
	syscalls    = "syscalls"
	devices     = "devices"
	setUserID   = "set-user-id"
	descriptors = "descriptors"
)

// Controls are what a pen that was compared has, as its differences leave it: nil of
// them, and each is enforced.
func Controls(m Mismatch) []sandbox.Capability {
	out := []sandbox.Capability{
		{Control: network, By: "network namespace without uplink, nftables"},
		{Control: fileReads, By: "mount namespace with a root of its own"},
		{Control: fileWrites, By: "read-only mounts"},
		{Control: processes, By: "pid, ipc, uts and cgroup namespaces"},
		{Control: privilege, By: "user namespace, no capabilities, no_new_privs"},
		{Control: syscalls, By: "seccomp-bpf"},
		{Control: devices, By: "mounts without devices but /dev"},
		{Control: setUserID, By: "mounts without set-user-id, no_new_privs"},
		{Control: descriptors, By: "none but the three streams"},
	}
	for i := range out {
		c := &out[i]
		c.State = sandbox.Enforced
		if at := slices.IndexFunc(m, func(d Difference) bool { return d.Control == c.Control }); at >= 0 {
			c.State, c.By, c.Detail = sandbox.Unavailable, "", m[at].Text
		}
	}
	return out
}
