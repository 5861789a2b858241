// Package posture reads a held child back from the kernel and compares it with
// what was declared, before it runs a line of anybody's code.
//
// The builder of a pen is our own code and bwrap's; both can be wrong, and a
// kernel can silently do less than asked. So nothing here asks the child or the
// builder: an Observation comes from /proc of the host, an Expectation from the
// plan, and Check is a pure comparison whose error names the declared and the
// found. The supervisor kills the child on any difference.
//
// Hazards. The child is held by a socket, not stopped: it must not have been
// released before Check returns. Its number can't be reused meanwhile, since
// the socket would have ended. What can change under a running check is the
// host's file system: a concurrent session may swap a directory for a link
// between planning and mounting, so for mounts the root inside the file system
// is compared, not only the place.
//
// Only the supervisor imports it.
package posture
