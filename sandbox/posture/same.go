package posture

// Same compares a process that was put into a pen with the command that is in it
// already: they are in the same namespaces and groups. Its error is a Mismatch.
func Same(first, other *Observation) error {
	var m Mismatch
	if first.Namespaces != other.Namespaces {
		m.add(processes, "namespaces are %v, those of the pen are %v", other.Namespaces, first.Namespaces)
	}
	if first.Cgroup != other.Cgroup {
		m.add(processes, "cgroup is %q, that of the pen is %q", other.Cgroup, first.Cgroup)
	}
	if first.Filters != other.Filters {
		m.add(syscalls, "it has %d seccomp filters, the pen's command has %d", other.Filters, first.Filters)
	}
	if len(m) == 0 {
		return nil
	}
	return m
}
