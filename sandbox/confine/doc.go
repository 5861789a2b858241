// Package confine is the last lock on a process: seccomp filters, Landlock
// rules, dropped capabilities. It has one lock for the pen (the command and
// everything it starts) and a stricter one for the proxy role.
//
// All of it is irreversible and inherited, so it is applied late, in a fixed
// order, and a step that fails is an error, never a warning: no new privileges
// first (without it an unprivileged filter is refused), then capabilities, then
// Landlock (it opens paths), then seccomp (it may refuse what came before).
//
// Hazards. A hostile tool looks for the call that was forgotten: another
// architecture's numbers (int 0x80, x32), io_uring instead of connect, clone3
// whose flags a filter can't read, the upper half of a 64-bit argument that the
// kernel ignores but the filter compares (CVE-2019-10063), a socket family with
// an uplink of its own (AF_VSOCK reaches the hypervisor from any network
// namespace), a setuid file left in the work directory for another user of the
// host. Each has a rule here and a test.
//
// What stays allowed on purpose: ptrace and process_vm_* inside the pen
// (debuggers; the pid and user namespaces bound whom they can reach, and the
// pen's first process is outside of their Landlock domain; on a kernel without
// Landlock they are refused), seccomp and landlock
// themselves (they only take away), SysV and POSIX IPC (a namespace of the
// pen's own), pings and raw sockets not.
//
// Only agent/shim, sandbox/bwrap, and the roles of package supervisor import it.
package confine
