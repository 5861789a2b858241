// Package terminal decides what a pen gets as standard input, output and error,
// and carries the bytes where it does not get the caller's own descriptor.
//
// A descriptor is an authority. A socket could be connected again to somewhere
// else, a directory opens what is below it, a terminal takes input for others;
// none of them goes into a pen. A regular file, a pipe and /dev/null do, as they
// are: the command then behaves as without us, to the byte, and costs nothing.
// For a terminal the pen gets a pseudo-terminal of its own, whose line
// discipline turns Ctrl-C into a signal for whatever runs in its foreground;
// the caller's terminal is put into raw mode meanwhile and restored by Finish.
// For everything else there is a pipe, and a goroutine that copies.
//
// Hazards. Nothing that the pen writes is interpreted here. Raw mode must be
// left on every way out, so Finish may be called at any time and more than once;
// only SIGKILL leaves the terminal raw (stty sane). If the caller's terminal is
// also read by another process of a pipeline (penstock run -- cmd | less), both
// get a part of what is typed, as without us when cmd reads it.
//
// Only the supervisor imports it.
package terminal
