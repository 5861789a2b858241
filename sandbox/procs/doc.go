// Package procs knows a pen's processes where no control group does: it lists
// them, adds up what they use, and stops them and lets them go on.
//
// A pen has a process namespace of its own, whose first process inherits every
// orphan, so all that is in it descends from the sandbox's process.
//
// Hazards. A process number may be another's a moment later: signals go by pidfd,
// after its place in the tree has been read again. What hostile processes are
// called, and how many there are, is theirs to choose: nothing but numbers is
// read. They fork while they are counted or stopped; stopping goes on until a
// whole round has found nobody who runs, and fails if that takes too long. They
// can't undo it: SIGSTOP can't be caught, and nobody is left to send SIGCONT.
//
// On macOS there is neither that namespace nor a descriptor for a process: there the
// session's processes are those that descend from the first or are in a group that one of
// them leads, and are killed right after they were listed.
//
// Only the supervisor and its janitor import it, and the roles of sandbox that stand
// between the supervisor and a command, which wait for that.
package procs
