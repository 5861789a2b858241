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

// fix is what brings a group, in one line.
const fix = "start penstock in a delegated group: systemd-run --user --scope -p Delegate=yes penstock run …"

// facts decide what a resource limit is worth here.
type facts struct {
	root bool // the pen's processes are root of the host
	// perNamespace: RLIMIT_NPROC counts inside the pen's user namespace (5.14),
	// not all of the user's processes.
	perNamespace bool
	why          string // why there is no group
	fallback     resources
}

// resources are the numbers of setrlimit(2), which differ between systems.
type resources struct{ data, nproc, nofile, core int }

// plan says for each limit what enforces it, and which resource limits stand
// in. group says whether there is a control group.
func plan(l sandbox.Limits, group bool, f facts) ([]Rlimit, []sandbox.Capability) {
	// 1 byte, not 0: a kernel that pipes cores to a program of the host's runs it
	// at 0, with the pen's memory as its input, but not at 1 (core(5)).
	limits := []Rlimit{{f.fallback.core, 1}}
	var caps []sandbox.Capability
	add := func(control string, state sandbox.Enforcement, by, detail string) {
		c := sandbox.Capability{Control: control, State: state, By: by, Detail: detail}
		if state != sandbox.Enforced && !group {
			c.Fix = fix
			if detail == "" {
				c.Detail = f.why
			}
		}
		caps = append(caps, c)
	}
	if l.Memory > 0 {
		if group {
			add("memory", sandbox.Enforced, "cgroup v2 memory.max", "")
		} else {
			limits = append(limits, Rlimit{f.fallback.data, uint64(l.Memory)})
			add("memory", sandbox.Partial, "RLIMIT_DATA", "counts each process's own memory, not that of all together; "+f.why)
		}
	}
	if l.PIDs > 0 {
		switch {
		case group:
			add("pids", sandbox.Enforced, "cgroup v2 pids.max", "")
		case f.root:
			add("pids", sandbox.Unavailable, "", "the kernel exempts root from RLIMIT_NPROC; "+f.why)
		case !f.perNamespace:
			add("pids", sandbox.Unavailable, "", "this kernel counts RLIMIT_NPROC over all of the user's processes; "+f.why)
		default:
			limits = append(limits, Rlimit{f.fallback.nproc, uint64(l.PIDs)})
			add("pids", sandbox.Enforced, "RLIMIT_NPROC in the pen's user namespace", "")
		}
	}
	if l.CPUs > 0 {
		if group {
			add("cpus", sandbox.Enforced, "cgroup v2 cpu.max", "")
		} else {
			add("cpus", sandbox.Unavailable, "", "no resource limit bounds processors; "+f.why)
		}
	}
	if l.OpenFiles > 0 {
		limits = append(limits, Rlimit{f.fallback.nofile, uint64(l.OpenFiles)})
		add("open-files", sandbox.Enforced, "RLIMIT_NOFILE", "")
	}
	if l.Wall > 0 {
		add("wall-time", sandbox.Enforced, fmt.Sprintf("supervisor's clock (%s)", l.Wall), "")
	}
	return limits, caps
}
