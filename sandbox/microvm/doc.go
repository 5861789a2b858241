// Package microvm is the tier in which the command runs in a virtual machine, QEMU's,
// which is a process in a pen of another tier. The pen around it is built, verified and
// recorded like any other; nothing in it is loosened.
//
// What would be the pen's root is shown below Root there, and is the machine's root by
// 9p: no file is copied, and what is read-only or hidden is so by the pen's own mounts,
// through which QEMU opens everything. Beside it the pen shows QEMU with its libraries,
// the image that the machine boots, and the program that holds it (a program of the
// nested module, see /gvisor/microvm). The machine's only network is that program, which
// makes each of its connections from the pen: every one is captured.
//
// # Hazards
//
// A hostile command would try: to become the machine's root (nothing of the host's is
// gained by it: the machine has no secret, no disk and no network but those of the
// pen); to leave the machine by a device of QEMU's (it lands in the pen, as a command of
// the tier around, under that tier's filter and QEMU's own); to leave by the shared
// files (QEMU follows no link out of the root, and what is outside of it is the pen's);
// by the link or the serial port (what parses them is in the pen, too); to fill the
// machine's or the host's memory (the machine's is fixed before it starts). What it can
// do that others can't is be nobody: every connection is the program's, so rules that ask
// for a process can't be kept, and a session with such a rule is refused.
package microvm
