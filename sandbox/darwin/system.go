package darwin

import "github.com/penstock/penstock/sandbox"

// System returns what every program needs to start, read-only: the loader, libraries,
// frameworks and commands of macOS. Prepare puts it before a Spec's own mounts.
func System() []sandbox.Mount {
	var out []sandbox.Mount
	for _, p := range []string{
		"/bin", "/sbin", "/usr/bin", "/usr/lib", "/usr/libexec", "/usr/sbin", "/usr/share",
		"/System/Library", "/System/Cryptexes", "/System/Volumes/Preboot/Cryptexes",
		"/Library/Apple", "/Library/Developer", "/private/etc", "/private/var/db/dyld", "/private/var/db/timezone", "/private/var/select",
	} {
		out = append(out, sandbox.Mount{Source: p, Target: p, Optional: true})
	}
	return out
}

// services are the Mach services of every pen: who a user id is, where one's temporary
// directory is, the system's log. None of them acts on files or the network for its client.
func services() []string {
	return []string{
		"com.apple.bsd.dirhelper", "com.apple.logd", "com.apple.system.logger",
		"com.apple.system.opendirectoryd.libinfo", "com.apple.system.opendirectoryd.membership",
	}
}

// sysctls are what can be read of the kernel: what the machine is. Arguments and
// environments of other processes (kern.procargs2) are not among them.
func sysctls() []string {
	return []string{
		"hw.activecpu", "hw.busfrequency", "hw.byteorder", "hw.cacheconfig", "hw.cachelinesize", "hw.cpufamily", "hw.cpufrequency",
		"hw.cputype", "hw.l1dcachesize", "hw.l1icachesize", "hw.l2cachesize", "hw.l3cachesize", "hw.logicalcpu", "hw.logicalcpu_max",
		"hw.machine", "hw.memsize", "hw.model", "hw.ncpu", "hw.nperflevels", "hw.packages", "hw.pagesize", "hw.pagesize_compat",
		"hw.physicalcpu", "hw.physicalcpu_max", "hw.tbfrequency", "hw.vectorunit",
		"kern.argmax", "kern.boottime", "kern.hostname", "kern.maxfilesperproc", "kern.maxproc", "kern.ngroups", "kern.osproductversion",
		"kern.osrelease", "kern.ostype", "kern.osvariant_status", "kern.osversion", "kern.secure_kernel", "kern.usrstack64", "kern.version",
		"machdep.cpu.brand_string", "security.mac.lockdown_mode_state", "sysctl.proc_cputype", "sysctl.proc_translated", "vm.loadavg",
	}
}
