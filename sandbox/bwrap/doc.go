// Package bwrap is the sandbox tier that runs on bubblewrap: it turns a
// sandbox.Spec into the arguments of the bwrap binary and nothing else. The
// planner is pure; the descriptors it needs are made in a thin last step.
//
// bwrap runs as root of the user namespace that owns the pen's network, so it
// makes a second one for the pen, in which the caller has their own id and no
// capability. It gives up every capability before the shim starts, keeps
// no_new_privs, loads the filter of package confine and dies with its parent.
//
// Hazards. Arguments are readable by every process of the user in
// /proc/PID/cmdline, so all but the shim's name goes through descriptors. bwrap
// follows symbolic links when it looks for a mount's source and target, so a
// link planted in the work directory could pull something else in: package
// layout names no link as a source, and package posture compares the mounts
// that came out. A bwrap that is not root's is a program of anybody's choice,
// so it is only taken from directories that root alone can write.
//
// The supervisor and its backends' list import it; nothing else.
package bwrap
