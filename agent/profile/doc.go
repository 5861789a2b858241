// Package profile knows what the well-known coding agents need: the hosts of
// their models, their credentials, their variables and where they keep state.
//
// Its hazard is generosity. What a profile grants, a hostile tool started by the
// agent gets too, so a profile grants the model's hosts and nothing else that
// the network can be left by, and no credential file:
//
//   - Keys come from the user's environment and reach the pen as placeholders.
//   - Logins kept in files (~/.claude/.credentials.json, ~/.codex/auth.json and
//     their like, see Withheld) hold refresh tokens that are worth as much as
//     the account; they are not in the pen. Logins takes the short-lived key out
//     of them, on the host, and that goes the same way as one from the environment.
//   - The agent's own state directory is private to its pens (State with
//     Private): kept between sessions, apart from the one that the agent uses on
//     the host. The host's agent executes what stands in its directory (hooks,
//     MCP servers, status lines, plugins), so a pen that could write there would
//     be out of the pen at the next start outside.
//   - For the same reason the agent's configuration in the project is read-only
//     (Protected).
//
// A hostile project would put a program named like an agent in the way, or set
// the agent's base URL: a profile adds no host that is not written in this
// package, whatever the environment says; Notes tells the user what was left out.
//
// It holds values only, starts nothing and reads no file. It imports no other
// package of this module.
package profile
