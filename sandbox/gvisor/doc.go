// Package gvisor is the tier in which the command has a kernel of its own, gVisor's,
// which runs as an ordinary process in a pen of another tier. The pen around it is
// built, verified and recorded like any other; nothing in it is loosened.
//
// What would be the pen's root is shown below Root there, and is the command's root;
// around it there is nothing but the program (a module of its own, see /gvisor), the
// process table and the devices that every pen has. The program's network is the
// pen's: loopback, and every connection captured.
//
// # Hazards
//
// A hostile command would try: a path out of its root (the gofer follows no link and
// no "..", and what is outside of it is the pen's); a unix socket, a pipe or a device
// that the host listens at (the gofer opens none of them); the network (its sockets
// are the pen's); and a bug of gVisor's. After that it is what a command of the tier
// around is, with two filters. What it can do that others can't is be nobody: every
// connection is gVisor's, so rules that ask for a process can't be kept, and a
// session with such a rule is refused. What gVisor's kernel tells of processes, over a
// pipe that it is given, is bounded, marked as its word and believed for nothing: a
// kernel that was taken over would tell what it likes, flood the pipe, or be silent. The
// program starts further commands when it is asked to, over a socket that nothing is read
// from outside of the pen: the command has no descriptor of it, and a kernel that was
// taken over gets at most the streams of commands that it would have run.
package gvisor
