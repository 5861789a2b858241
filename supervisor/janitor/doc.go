// Package janitor removes what a session leaves on the host when the supervisor
// can't, because it was killed: placeholders, a control group, and the rest of a
// pen that had only begun.
//
// The role is told of them before they are made, over a pipe whose end it then
// waits for: the supervisor and the pen's first process hold the other end,
// because a placeholder must outlive the pen, whose protection it carries.
//
// Its hazard is removing what is not a placeholder. A tool that got hold of the
// pipe could still add nothing: only what the supervisor wrote first counts, and
// only what is still a placeholder, and no other session's, is removed (see
// layout.Adopt). A tool that keeps the pipe open past its pen's end keeps its
// own placeholders, which protect the host.
//
// Only package supervisor (which starts the role) and cmd (which is the role)
// import it.
package janitor
