// Package execctl is the conversation in which a further command is started in a pen
// that runs: of penstock exec with the session's supervisor, and of that with whoever
// starts the command in the pen.
//
// Who asks sends Start with the command's three streams; the answer is Started, and
// Ended when the command has, or Failed. Meanwhile Signal messages go to the command.
// The end of the conversation is the end of whoever was there: a supervisor that
// loses its caller has the command killed, a caller that loses the supervisor knows
// that the session is over.
//
// Hazards. What answers from the pen may be in a tool's hands: nothing that it says is
// believed but an exit code, its words are bounded, and a message that carries a
// descriptor is refused. The streams are authority: Check refuses all that is not what
// a session's own command may have. Only supervisor, its registry and cmd import it.
package execctl
