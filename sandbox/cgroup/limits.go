package cgroup

import (
	"fmt"

	"github.com/penstock/penstock/sandbox"
)

// Rlimit is one resource limit for the shim to set, soft and hard.
type Rlimit struct {
	Resource int
	Value    uint64
}

// What brings a limit into force, in one line: for a user, and for the
// administrator of a machine with the daemon.
const (
	fixGroup = "start penstock in a delegated group: systemd-run --user --scope -p Delegate=yes penstock run …"
	fixTree  = "boot with this controller of control groups (on the kernel's command line: cgroup_enable=memory, cgroup_no_v1=all)"
)

// facts decide what a resource limit is worth here.
type facts struct {
	root bool // the pen's processes are root of the host
	// perNamespace: RLIMIT_NPROC counts inside the pen's user namespace (5.14),
	// not all of the user's processes.
	perNamespace bool
	why          string // why there is no group, or not this controller
	fix          string
	fallback     resources
}

// resources are the numbers of setrlimit(2), which differ between systems.
type resources struct{ data, nproc, nofile, core int }

// plan says for each limit what enforces it, and which resource limits stand
// in. by holds the controllers that there are.
func plan(l sandbox.Limits, by map[string]carrier, f facts) ([]Rlimit, []sandbox.Capability) {
	// 1 byte, not 0: a kernel that pipes cores to a program of the host's runs it
	// at 0, with the pen's memory as its input, but not at 1 (core(5)).
	limits := []Rlimit{{f.fallback.core, 1}}
	var caps []sandbox.Capability
	add := func(control string, state sandbox.Enforcement, by, detail, fix string) {
		c := sandbox.Capability{Control: control, State: state, By: by, Detail: detail}
		if state != sandbox.Enforced {
			c.Fix = fix
		}
		caps = append(caps, c)
	}
	if c, ok := by[memory]; l.Memory > 0 && ok {
		add("memory", sandbox.Enforced, c.by(memory), "", "")
	} else if l.Memory > 0 {
		limits = append(limits, Rlimit{f.fallback.data, uint64(l.Memory)})
		add("memory", sandbox.Partial, "RLIMIT_DATA", "counts each process's own memory, not that of all together; "+f.why, f.fix)
	}
	if l.PIDs > 0 {
		c, ok := by[pids]
		switch {
		case ok:
			add("pids", sandbox.Enforced, c.by(pids), "", "")
		case f.root:
			add("pids", sandbox.Unavailable, "", "the kernel exempts root from RLIMIT_NPROC; "+f.why, f.fix)
		case !f.perNamespace:
			add("pids", sandbox.Unavailable, "", "this kernel counts RLIMIT_NPROC over all of the user's processes; "+f.why, f.fix)
		default:
			limits = append(limits, Rlimit{f.fallback.nproc, uint64(l.PIDs)})
			add("pids", sandbox.Enforced, "RLIMIT_NPROC in the pen's user namespace", "", "")
		}
	}
	if c, ok := by[cpu]; l.CPUs > 0 && ok {
		add("cpus", sandbox.Enforced, c.by(cpu), "", "")
	} else if l.CPUs > 0 {
		add("cpus", sandbox.Unavailable, "", "no resource limit bounds processors; "+f.why, f.fix)
	}
	if l.ReadRate > 0 || l.WriteRate > 0 {
		c, ok := by[blocks]
		switch {
		case !ok:
			add("io", sandbox.Unavailable, "", "no resource limit bounds the rate of reading and writing; "+f.why, f.fix)
		case c.v2 || l.WriteRate <= 0:
			add("io", sandbox.Enforced, c.by(blocks), "", "")
		default:
			add("io", sandbox.Partial, c.by(blocks), "version 1 does not know who wrote a page that is written back later", "boot with control groups of version 2 (cgroup_no_v1=all)")
		}
	}
	if l.OpenFiles > 0 {
		limits = append(limits, Rlimit{f.fallback.nofile, uint64(l.OpenFiles)})
		add("open-files", sandbox.Enforced, "RLIMIT_NOFILE", "", "")
	}
	if l.Wall > 0 {
		add("wall-time", sandbox.Enforced, fmt.Sprintf("supervisor's clock (%s)", l.Wall), "", "")
	}
	return limits, caps
}
