// Package janitor removes what a supervisor leaves on the host when it can't itself.
// It is two roles.
//
// One is a session's: when its supervisor was killed it removes placeholders, a
// control group, and the rest of a pen that had only begun, or the processes of a
// command that had no sandbox.
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
// The other is the privileged supervisor's: that is not allowed any more, when it
// ends, to remove its topmost control groups, killed or not. The role is told which
// they are before the supervisor gives up its privileges, gives up its own but for
// one, and reads nothing after that. Its hazard is a race with the next supervisor:
// who has a topmost group locked has it, and one that was made anew is another
// (see cgroup.Abandoned). Only empty groups with the tree's names are removed.
//
// Only the packages supervisor and supervisor/daemon (which start the roles) and cmd
// (which is them) import it.
package janitor
