// Package cgroup puts a pen's limits into force: by a control group where the
// machine lets this user make one, else by resource limits per process, and it
// says which is which.
//
// Only version 2 counts. A group is made beside the one that the supervisor is
// in, never below it: a group with processes of its own can't hand controllers
// on ("no internal processes", kernel's cgroup-v2.rst). That needs a parent
// that was delegated to the user: systemd's user manager does it, a session
// started by ssh or su is not in one.
//
// Hazards. A limit that is asked for but not in force must be visible, so every
// limit yields a sandbox.Capability, and what is partial says how. The control
// files must not be in the pen: who owns them can leave. A group outlives a
// killed supervisor as an empty directory; its name says whose it was, and the
// next session or the janitor removes it (Sweep, Remove).
//
// Only the supervisor imports it.
package cgroup
