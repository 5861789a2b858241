// Package cgroup puts limits into force: by a control group where there is one to
// be had, else by resource limits per process, and it says which is which.
//
// A user's session (Make) gets a group if the machine lets this user make one,
// of version 2 only: beside the one that the supervisor is in, never below it,
// because a group with processes of its own can't hand controllers on ("no
// internal processes", kernel's cgroup-v2.rst). That needs a parent that was
// delegated to the user: systemd's user manager does it, a session started by ssh
// or su is not in one.
//
// The root daemon (NewTree) has a tree of its own in the unified hierarchy, and
// the same names in each hierarchy of version 1 that has a controller which the
// unified one lacks. A pen's group is in its user's, whose quota bounds them all.
//
// Hazards. A limit that is asked for but not in force must be visible, so every
// limit yields a sandbox.Capability, and what is partial says how. The control
// files must not be in the pen: who owns them can leave. A group outlives a
// killed supervisor; its name says whose it was, and the next session, the janitor
// or the next daemon removes it (Remove, Tree.Sweep), which must not touch what
// another made: a tree's topmost group has an extended attribute that only its
// owner could set, names below it are parsed strictly, and who claims or removes
// a topmost group holds a lock on it (Abandoned is the janitor's part). A hostile tool fills
// the memory or the processes, forks while it is killed, and hits a limit a
// million times a second: Kill is one step of the kernel's, and what is told of
// limits is bounded.
//
// Only the supervisor and the daemon import it.
package cgroup
