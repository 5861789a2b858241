// Package container tells in which container this process is, and which of its
// options keep a pen from being built there.
//
// Its job is the last line of an error: the one option that somebody has to add to
// the container's start. What is missing is what was refused when it was tried, by
// a child that makes the pen's kinds of namespace and mounts what a pen mounts (Try);
// what could not be tried any more, because what comes before it was refused, is said
// only where the kernel's answer is known (a covered /proc, see Place).
//
// Its hazard is to be believed. Every process of a container can make the marks by
// which its engine is recognised, so they choose words and nothing else: no pen is
// built otherwise, and none is built that lacks something, because of what is found
// here. A hostile tool in a pen could write such marks into the work directory, at
// most: all of them are elsewhere. The trial's own privilege is that of a new user
// namespace; it gets no data of anybody's, and its answer is bounded and parsed as
// numbers.
//
// Nothing is read or tried before something has failed, but by penstock doctor. The
// commands do not import it; sandbox/netns, the tiers and the supervisor do.
package container
